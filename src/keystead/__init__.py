"""Keystead: customer-managed keys for the MySQL databases one runs oneself."""

__version__ = "0.1.0"

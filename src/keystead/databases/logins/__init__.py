"""Logins to databases with security tokens: who is let in, as whom, and for how long."""

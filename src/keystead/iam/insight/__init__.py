"""Seeing through policies: why, who, what if, what for, and which duties meet in one person."""

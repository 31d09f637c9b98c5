"""What needs a key, who uses it, and what an act would stop."""

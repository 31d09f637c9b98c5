"""Database systems: what is wanted, what is, and the steps from one to the other; their keys, backups and rules."""

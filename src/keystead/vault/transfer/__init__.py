"""Keys brought in and kept outside: imports and backups."""

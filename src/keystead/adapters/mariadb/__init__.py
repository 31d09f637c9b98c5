"""MariaDB on this machine: data directories, processes, accounts, backups, and what is on disk."""

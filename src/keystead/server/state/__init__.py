"""A region's own state: opened, built, backed up, restored, told from yesterday's."""

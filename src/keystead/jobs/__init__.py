"""The job row, its lease and its steps."""

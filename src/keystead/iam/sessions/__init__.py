"""Sessions of those who have signed in: proofs of their keys, refreshing and ending, and keys that sign requests."""

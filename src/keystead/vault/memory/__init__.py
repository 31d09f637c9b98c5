"""What the hot path reads: the keyring and the snapshot, in memory, as of a generation."""

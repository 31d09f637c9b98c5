"""Vaults, keys and their versions: what may be done with a key, in which state, by whom."""

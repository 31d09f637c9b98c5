"""Words everyone uses. Standard library only; imports nothing else of Keystead."""

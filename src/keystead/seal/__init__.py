"""The root key: N slots, any one of which opens it, and the subkeys that a region lives on."""

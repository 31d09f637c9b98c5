"""The seal of a region on its own machine: slots, unsealing, the process that holds the root key."""

"""Settings, wiring and the processes of a region; owns the console script."""

"""What every process of a region is: confined, locked, logged, supervised, asked whether it works."""

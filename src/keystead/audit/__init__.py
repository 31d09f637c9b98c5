"""What was done, by whom, on what, and what came of it: entries, segments, and how they are checked."""

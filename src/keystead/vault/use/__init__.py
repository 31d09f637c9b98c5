"""Keys in use: by people and applications, by resources, in batches."""

"""The command line. It speaks only the public API, and knows nothing of the server's insides."""

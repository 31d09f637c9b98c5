"""The HTTP faces: one table of operations, one pipeline. Handlers translate and decide nothing."""

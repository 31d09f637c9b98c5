"""The life of a key: the table of legal moves, rotation, deadlines, and what makes keys move."""

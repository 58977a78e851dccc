"""The HTTP service of a finished run: notes of several clients scored together, and the coder's desk."""

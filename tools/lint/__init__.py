"""Style and type checks."""

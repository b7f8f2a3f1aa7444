"""A board's settings in a file, and back: `python -m tools.settings`."""

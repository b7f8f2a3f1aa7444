"""Calibrating a board's sensors with a reference meter; `python -m tools.calibrate PORT`."""

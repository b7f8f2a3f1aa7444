"""Putting the firmware onto a board over its serial port."""

"""Hostile input for the console: lines.py makes it, run.py plays it to the real firmware."""

import sys

from tools import cpython

if "micropython" not in sys.modules:
    cpython.install()

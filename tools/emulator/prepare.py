"""`python -m tools.emulator.prepare`: compile the emulator's core for this Python, once."""

from __future__ import annotations

import sys

from tools.emulator import native

if __name__ == "__main__":
    native.prepare()
    sys.exit(0)

"""What all host tests share: the firmware's portable modules import on CPython."""

from tools import cpython

cpython.install()

# MicroPython's `time` with the simulated chip's clock. See machine.py.
# ruff: noqa: F401

from machine import gmtime, sleep, sleep_ms, sleep_us, ticks_ms, ticks_us, time, time_ns
from utime import mktime, ticks_add, ticks_diff

ticks_cpu = ticks_us
localtime = gmtime

"""Lets the firmware's modules run on CPython: unit tests and host tools call `install()` first.

Supplies the `micropython` module (decorators and `const` as plain Python) and MicroPython's
`time.ticks_*` family, which wraps at 2**30 as on the RP2040.
"""

import sys
import time
import types
from collections.abc import Callable

TICKS_PERIOD = 1 << 30


def _wall_us() -> int:
    return time.monotonic_ns() // 1000


_now_us: Callable[[], int] = _wall_us


def ticks_us() -> int:
    return _now_us() % TICKS_PERIOD


def ticks_ms() -> int:
    return (_now_us() // 1000) % TICKS_PERIOD


def ticks_add(ticks: int, delta: int) -> int:
    return (ticks + delta) % TICKS_PERIOD


def ticks_diff(end: int, start: int) -> int:
    half = TICKS_PERIOD // 2
    return (end - start + half) % TICKS_PERIOD - half


def _same(thing):  # type: ignore[no-untyped-def]
    return thing


def install(now_us: Callable[[], int] | None = None) -> None:
    """Make `import micropython` and `time.ticks_*` work; `now_us` replaces the wall clock."""
    global _now_us
    if now_us is not None:
        _now_us = now_us
    fake = types.ModuleType("micropython")
    for name in ("const", "native", "viper"):
        setattr(fake, name, _same)
    fake.heap_lock = fake.heap_unlock = lambda: 0  # type: ignore[attr-defined]
    fake.kbd_intr = lambda char: None  # type: ignore[attr-defined]
    fake.schedule = lambda function, arg: function(arg)  # type: ignore[attr-defined]
    sys.modules.setdefault("micropython", fake)
    for function in (ticks_us, ticks_ms, ticks_add, ticks_diff):
        setattr(time, function.__name__, function)

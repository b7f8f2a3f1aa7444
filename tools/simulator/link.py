"""What goes over the two pipes between the simulated chip (chip/machine.py) and its truck.

The chip speaks, the host answers. All numbers are little-endian.

A **request** is 16 bytes: `op u32, epoch u32, time u32, arg u32`. The instant meant is
`epoch * 500_000_000 + time` microseconds after the chip's start (64 bits on the host's side).

| op | arg | answer |
|---|---|---|
| 1 HELLO | 0 | the table below |
| 2 IDLE | 0 | head. The chip has come to the limit of the time that it was granted |
| 3 SCAN | period, us | head, value = rows valid, then all rows: the codes of all channels at the |
|   |  | instant, and at `period` after each other (one row when `period` is 0). No row is |
|   |  | valid while the converter is silent |
| 4 ADC | gpio, multiplexer address << 8 | head, value = code |
| 5 PIN_IN | gpio, pull << 8 (0 none, 1 up, 2 down) | head, value = level |
| 6 PIN_OUT | gpio, level << 8 (0, 1, 2 = released) | none |
| 7 RESET | cause (2 reset(), 3 watchdog, 5 soft) | none: the host ends the process |
| 8 WATCHDOG | timeout, ms: it is armed | none |
| 9 PULSES | gpio, duty << 8 (0 to 65535): PWM with the frequency of op 10 | none |
| 10 PULSE_HZ | gpio, Hz << 8 | none |

The **head** is 8 bytes: `limit u32, value u16, inputs u16`. `limit`: microseconds from the
request's instant up to which the chip may let time run before it asks again. `inputs`: levels of
the board's inputs, bit n = the n-th of the table. Codes have 12 bits scaled to 16, as
`ADC.read_u16()` gives them. Every SCAN answer has `rows` rows, so that its length is known; rows
past `value` are void.

The **table** is u16 words, the first one their number without itself: limit (2 words), ticks_us()
at the start (2), Unix time at the start (2), seed of `random` (2), reset cause, unique id (4),
rows in a SCAN answer, channels n, n times (ADC gpio, multiplexer address or 255), address pins m,
their GPIOs, inputs k, their GPIOs, the voltage of code 2048 and how much more makes 4096 (units of
0.1 mV).

While the host does not answer, virtual time stands still; this is how it stops, steps and paces
the chip. Answers come after the host has read the chip's console, and typed input is in the
console's pipe before the answer, so a run without sockets is deterministic to the byte.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

HELLO, IDLE, SCAN, ADC, PIN_IN, PIN_OUT, RESET, WATCHDOG, PULSES, PULSE_HZ = range(1, 11)
ONE_WAY = (PIN_OUT, RESET, WATCHDOG, PULSES, PULSE_HZ)

EPOCH_US = 500_000_000
RELEASED = 2
NO_MUX = 255
MAX_LIMIT_US = 1 << 28

PWRON_RESET, HARD_RESET, WDT_RESET, DEEPSLEEP_RESET, SOFT_RESET = range(1, 6)
SUPPLY_UV = 3_300_000
CAUSES = {1: "power-on", 2: "reset", 3: "watchdog", 5: "soft reset"}

_REQUEST = struct.Struct("<IIII")
_HEAD = struct.Struct("<IHH")
REQUEST_BYTES = _REQUEST.size


@dataclass(frozen=True)
class Request:
    """One request of the chip; `time_us` counts from the chip's start."""

    op: int
    time_us: int
    arg: int

    @classmethod
    def parse(cls, data: bytes) -> Request:
        op, epoch, time, arg = _REQUEST.unpack(data)
        return cls(op, epoch * EPOCH_US + time, arg)


def head(limit_us: int, value: int = 0, inputs: int = 0) -> bytes:
    """The head of an answer."""
    return _HEAD.pack(max(0, min(limit_us, MAX_LIMIT_US)), value, inputs)


def u16(code: int) -> int:
    """A 12-bit code as ADC.read_u16() of the RP2040 gives it."""
    return code << 4 | code >> 8


def rows(codes: list[int], size: int) -> bytes:
    """12-bit codes of one or more rows as the body of a SCAN answer of `size` words."""
    words = array("H", [c << 4 | c >> 8 for c in codes])
    return words.tobytes().ljust(2 * size, b"\0")


def table(
    board: Any,
    *,
    limit_us: int,
    ticks_us: int,
    unix_time: int,
    seed: int,
    cause: int,
    unique_id: bytes,
    block: int,
) -> bytes:
    """The answer to HELLO for `board`."""
    words: list[int] = []
    for number in (min(limit_us, MAX_LIMIT_US), ticks_us, unix_time, seed):
        words += [number & 0xFFFF, number >> 16 & 0xFFFF]
    words += [cause, *struct.unpack("<4H", unique_id), block, len(board.channels)]
    for channel in board.channels:
        words += [channel.adc, NO_MUX if channel.mux is None else channel.mux]
    words += _counted(board.mux_address or ())
    words += _counted((board.inputs or {}).values())
    words.append((getattr(board, "adc_mid_uv", None) or SUPPLY_UV // 2) // 100)
    words.append((getattr(board, "adc_span_uv", None) or SUPPLY_UV // 2) // 100)
    return struct.pack(f"<{len(words) + 1}H", len(words), *words)


def _counted(numbers: Iterable[int]) -> list[int]:
    listed = list(numbers)
    return [len(listed), *listed]

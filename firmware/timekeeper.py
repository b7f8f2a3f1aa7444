# Sets the clock: by what a time server says, or what somebody types. Loaded when that happens, and
# dropped again. Called by timeservers.py and timecommand.py (outer lane).

from micropython import const

from firmware import events

_FIRST = 1_767_225_600  # 2026-01-01: no board with this firmware has seen an earlier time
_LAST = 3_155_760_000  # 2070-01-01
_NOTED_S = const(2)  # a correction by no more is not worth an event
_MOST = const(1 << 30)  # what a record can hold


def is_plausible(utc: int) -> bool:
    return _FIRST <= utc < _LAST


def tell(app, utc: int, by: int) -> int:
    """Set the clock, the chip's too; `by`: of events.SOURCES. Returns by how many s it stepped."""
    from firmware.hal import system

    clock = app.clock
    step = utc - clock.wall() if clock.offset_s else 0
    first = not clock.offset_s
    clock.told_s = clock.now_s
    if first or step > 1 or step < -1 or by != clock.told_by:
        clock.offset_s = app.journal.epoch_offset_s = utc - clock.now_s
    clock.told_by = by
    system.set_clock(utc)
    if by != events.BY_BOOT and (first or abs(step) > _NOTED_S or by != events.BY_NTP):
        value = max(-_MOST, min(_MOST, step))
        app.journal.add(events.CLOCK_SET, -1, events.WAS_SET, value, by)
    return step

# Is this a moment for flash? While it is erased or programmed, the fast lane of the RP2040 is
# blind. Called by the keeper (storage task, outer lane): reads what lanes 1 and 2 have counted.

from micropython import const

from firmware.protection import outlet as o

# what speaks against it
HALF = const(1)  # an outlet carries more than half its rating
SLOW = const(2)  # a heat curve is on its way to a trip: a matter of minutes
FAST = const(4)  # a stage counts in cycles or seconds, or a relay moves
WAVE = const(8)  # the waveform after a trip is being recorded
REST = const(16)  # an outlet has just opened: it may be welded

# layouts: thermal.T_…, stages.S_… and its rows, kernel's header and channel words
_T_LOAD = const(0)
_T_LIMIT = const(3)
_S_DELAY = const(2)
_S_COUNT = const(3)
_S_WORDS = const(4)
_TIMED_ROWS = const(13)  # supply, frequency, over-temperature, inputs
_BUSY = const(38)
_WAITING = const(39)
_WAVE_HOLD = const(22)
_C_OVER = const(7)
_C_SHORT_N = const(13)
_MADE_WINDOWS = const(6)


def busy(controller) -> int:
    """The bits above; 0: nothing would be missed."""
    fast = controller.fast
    st = fast.st
    bits = WAVE if st[_WAVE_HOLD] > 0 else 0
    if st[_BUSY] or st[_WAITING] or fast.fast_trips():
        bits |= FAST
    heat = controller.bank.block
    n = controller.meter.n
    any_on = False
    for outlet in controller.outlets:
        energised = o.energised(outlet.state)
        if controller.amps_ma[outlet.index] << 1 > outlet.outlet.rating_ma:
            bits |= HALF  # also a welded one
        if energised:
            any_on = True
            if outlet.closing_windows < _MADE_WINDOWS:
                bits |= FAST
            if _rises(heat, outlet.thermal.at, n):
                bits |= SLOW
        elif not outlet.at_rest:
            bits |= REST
        at = fast.base(outlet.outlet.channel)
        if st[at + _C_OVER] or st[at + _C_SHORT_N]:
            bits |= FAST
    if not any_on:  # nothing that a stage could open
        return bits
    for limit in controller.dispatch.limits:
        if limit.is_timing():
            bits |= FAST
        if _rises(heat, limit.thermal.at, n):
            bits |= SLOW
    if controller.checks.is_timing():
        bits |= FAST
    rows = controller.conditions.stages.block
    for at in range(0, _TIMED_ROWS * _S_WORDS, _S_WORDS):
        if 0 < rows[at + _S_COUNT] < rows[at + _S_DELAY]:
            bits |= FAST
    return bits


def _rises(heat, at, n) -> bool:
    """Whether an element's load, the sum of `n` squares, would trip it in the end."""
    return heat[at + _T_LOAD] > n * heat[at + _T_LIMIT]


def why(bits: int) -> str:  # on demand
    """In words for people."""
    if bits & (FAST | REST):
        return "a protection stage is timing or a relay moves"
    if bits & WAVE:
        return "the waveform after a trip is being recorded"
    if bits & SLOW:
        return "an outlet or a leg is overloaded, and its heat curve is timing"
    return "an outlet carries more than half its rating" if bits else ""

# What a reset of the chip cannot take away, in four words that it does not clear (RP2040:
# watchdog scratch registers): which outlets tripped, why, and how hot all of them are. Flash
# follows some 0.2 s after a trip; a hang in between must not lose it.
# Called by the control task (pack, allocates nothing) and at boot (unpack).

from micropython import const

from firmware import events
from firmware.protection import outlet as o

OUTLETS = const(5)  # as many as fit: 6 bits each of reason and of heat
_MOST = const(8)  # of those beyond it is known that they tripped, and no more
_MARK = const(0x1A5 << 20)
_LOW = const(0x7FFFFFF)  # of 30 bits, which a small integer has
_PARTS = const(32)  # of the trip heat
_LATCHED = (o.TRIPPED, o.LOCKOUT, o.FAULT)
_SALT = const(0x15A3C96E)


def pack(words, outlets):
    """Fill `words` (four) from the controller's outlets."""
    latched = reasons = heats = shift = 0
    for outlet in outlets:
        state = outlet.state
        if shift >= 6 * OUTLETS:
            if state in _LATCHED:
                latched |= 1 << outlet.index & (1 << _MOST) - 1
            continue
        if state in _LATCHED:
            latched |= 1 << outlet.index
            reason = events.LOCKED if state == o.LOCKOUT else outlet.reason
            reasons |= (reason if reason < 64 else events.SENSOR) << shift
        heat = outlet.thermal.share(_PARTS)
        heats |= (heat if heat < 63 else 63) << shift
        shift += 6
    words[0] = _MARK | latched
    words[1] = reasons
    words[2] = heats
    words[3] = _sum(words)


def _sum(words) -> int:
    turned = (words[2] & _LOW) << 3 ^ words[2] >> 27  # so that equal reasons and heats count
    return words[0] ^ words[1] ^ turned ^ _SALT


def unpack(words):  # on demand
    """({outlet index: reason}, [heat in permille]) of words that survived; None when they are
    not pack()'s, as after power-on."""
    if words[0] & ~255 != _MARK or words[3] != _sum(words):
        return None
    latched = {}
    for i in range(_MOST):
        if words[0] >> i & 1:
            latched[i] = words[1] >> 6 * i & 63 if i < OUTLETS else events.LATCHED
    heats = [(words[2] >> 6 * i & 63) * 1000 // _PARTS for i in range(OUTLETS)]
    return latched, heats

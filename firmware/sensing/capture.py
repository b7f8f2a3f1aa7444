# The record of a trip: the waveform ring's codes with what turns them into volts and amps.
# Called by the outer lane (command `capture`), which loads it when asked and drops it again.
#
# Two base64 digits are one code of 12 bits, the high one first. A record of 300 ms has 722 of
# them a channel, so it is never built as one text: parts() gives it in pieces of 96 digits.

import json
from binascii import crc32

from micropython import const

from firmware import pieces

# the layout of the state block and of a meter's words (a test compares them)
_WAVE_POS = const(20)
_WAVE_SCANS = const(21)
_WAVE_HOLD = const(22)
_WAVE_POST = const(23)
_E11 = const(34)
_C_PEAK = const(6)
_M_RESIDUE = const(0)

_PIECE = const(48)  # codes
_KEEP_S = const(60)  # after it was read: the reader may have lost it on the way, and ask again
_LOOK_S = const(5)
_DIGITS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


class CaptureError(Exception):
    """There is nothing to show or to release; the text says why."""


def state(controller) -> dict:
    """Whether a record is kept (`kept`), being completed (`recording`) or not yet needed."""
    fast = controller.fast
    hold = fast.st[_WAVE_HOLD]
    which = fast.wave_outlet
    left = fast.wave_release_s - controller.clock.now_s
    return {
        "state": "waiting" if hold < 0 else "recording" if hold else "kept",
        "trip": controller.outlets[which].name if which >= 0 else None,
        "event": fast.wave_event if which >= 0 else None,
        "release_s": max(left, 0) if hold == 0 and fast.wave_release_s else None,
    }


def clear(controller) -> str:
    """Let the next trip be recorded; the name of whose record it was, or ""."""
    fast = controller.fast
    hold = fast.st[_WAVE_HOLD]
    if hold < 0:
        return ""
    if hold:
        raise CaptureError("the record is not complete yet: ask again in 0.1 s")
    which = fast.wave_outlet
    fast.run_wave()
    return controller.outlets[which].name if which >= 0 else ""


class Record:
    """Current and voltage of an outlet, or every channel, of the record that is kept; of the last
    300 ms when none is. CaptureError while one is being completed.

    `info`: more for the head of the JSON object. Everything but the codes is taken now: MQTT asks
    for the parts twice, and they must be the same."""

    def __init__(self, controller, index, every, info):
        fast = self._fast = controller.fast
        st = fast.st
        self._clock = controller.clock
        if st[_WAVE_HOLD] > 0 or not (st[_WAVE_HOLD] == 0 or fast.hold_wave()):
            raise CaptureError("the record is not complete yet: ask again in 0.1 s")
        which = fast.wave_outlet
        self._is_look = which < -1
        self._stay()  # at once: whatever fails from here on must not end the recording for good
        board = controller.board
        outlet = board.outlets[index]
        self.trip = controller.outlets[which].name if which >= 0 else None
        self._event = fast.wave_event
        self._is_own = which == index or every or which == -1
        total = st[_WAVE_SCANS]
        skip = 0
        pieces.breathe()
        while skip < total and fast.wave[(st[_WAVE_POS] + skip) % total * fast.n_ch] > 4095:
            skip += 1
        self._at = (st[_WAVE_POS] + skip) % total
        self.scans = total - skip
        self.trip_scan = None if self._is_look else self.scans - 1 - st[_WAVE_POST]
        self.period_us = fast.period_us
        # the kernel's own way to a voltage: L2 is minus L1 where only that one is measured
        volts = outlet.volts
        if board.voltages > 1:
            self.voltage = ((volts, 1),) if volts < 2 else ((0, 1), (1, -1))
        else:
            self.voltage = ((0, (1, -1, 2)[volts]),)
        self.current = outlet.channel
        self._has_e11 = st[_E11] != 0
        self.channels = []
        meters = controller.meter.channels
        for m in meters:
            pieces.breathe()
            i = m.index
            if every or i == outlet.channel or i in [v[0] for v in self.voltage]:
                peak = st[fast.base(i) + _C_PEAK]
                per_count = m.unit_per_count / 1000
                kind = m.channel.kind
                row = {
                    "name": m.channel.name,
                    "unit": "A" if kind == "current" else "V",
                    "zero": round(fast.zero(i) + m.word(_M_RESIDUE) / 256, 2),
                    "per_count": round(per_count, 7),
                    "skew_us": board.skew_us[i],
                    "limit": round(peak * per_count, 1) if kind == "current" else None,
                }
                self.channels.append((i, row))
        self.info = {
            "outlet": outlet.name,
            "trip": self.trip,
            "was_on": fast.wave_was_on if which >= 0 else None,
            "scan_period_us": self.period_us,
            "scans": self.scans,
            "trip_scan": self.trip_scan,
            "frequency_hz": round(controller.meter.hertz(), 3),
            "errata": "e11" if self._has_e11 else None,
            "current": outlet.name,
            "voltage": {meters[i].channel.name: factor for i, factor in self.voltage},
        }
        self.info.update(info)

    def _stay(self):
        """Somebody is reading: what the present shows, and what was read before, stays longer."""
        fast = self._fast
        if self._is_look:
            fast.wave_release_s = self._clock.now_s + _LOOK_S
        elif fast.wave_release_s:
            fast.wave_release_s = self._clock.now_s + _KEEP_S

    def done(self):
        """It was read to its end. The record of a trip is released a minute later, so that it can
        be read again when it was lost on the way."""
        if self._is_own and not self._is_look and self.is_whole():
            self._fast.wave_release_s = self._clock.now_s + _KEEP_S

    def is_whole(self):
        """Nobody has released the record while it was being read."""
        return self._fast.wave_frozen() and self._fast.wave_event == self._event

    def code(self, channel, k):
        """Raw code of scan `k` (0: the oldest)."""
        fast = self._fast
        return fast.wave[(self._at + k) % fast.st[_WAVE_SCANS] * fast.n_ch + channel]

    def counts(self, channel, k):
        """What the kernel made of it: counts from zero, the converter's flaw E11 corrected."""
        x = self.code(channel, k)
        if self._has_e11:
            at = x + 513
            x += (at >> 10 << 3) - 16 - (0 if at & 1023 else 4)
        return x - self._fast.zero(channel)

    def parts(self):
        """The JSON object in pieces, from behind its opening brace; the same each time."""
        yield _json(self.info)[1:-1] + ',"channels":['
        text = bytearray(2 * _PIECE)
        lead = ""
        for channel, row in self.channels:
            yield lead + _json(row)[:-1] + ',"codes":"'
            lead = ","
            crc = 0
            k = 0
            while k < self.scans:
                self._stay()
                n = 0
                while n < 2 * _PIECE and k < self.scans:
                    code = self.code(channel, k)
                    text[n] = _DIGITS[code >> 6 & 63]
                    text[n + 1] = _DIGITS[code & 63]
                    n += 2
                    k += 1
                piece = bytes(text[:n])
                crc = crc32(piece, crc)
                yield piece
            yield '","crc":"%08x"}' % (crc if self.is_whole() else 0)
        yield "]}"
        self.done()


def _json(value):
    return json.dumps(value, separators=(",", ":"))

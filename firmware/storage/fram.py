"""Optional FRAM on I2C: memory without erases, for what changes often and must not be lost.

Role: counters and trip latch where `storage.fram_kb` says that one is fitted; they are then
written within a millisecond, at any time, and wear nothing (10^12 writes and more).
Called by: boot (load) and the outer lane's storage task (save).

For the usual chips with 16-bit addresses: MB85RC64 to MB85RC512, FM24CL64 to FM24V05, at address
0x50. Every area holds two slots, written in turn and checksummed: a cut while one is written
leaves the other. A slot: serial, length, CRC-32 of both and of the payload, payload.
"""

import binascii
import struct

from micropython import const

from firmware.storage import files

_ADDRESS = const(0x50)
_HEAD = "<III"
_HEAD_SIZE = const(12)
_SERIAL_MAX = const(0xFFFFFFFF)


class Fram:
    """The chip. `bus`: a machine.I2C or whatever has its *_mem methods."""

    def __init__(self, bus, size: int, address: int = _ADDRESS):
        self._bus = bus
        self._address = address
        self.size = size

    def read(self, at: int, count: int) -> bytes:
        """Bytes from `at` on. Raises files.StorageError when the chip does not answer."""
        try:
            return self._bus.readfrom_mem(self._address, at, count, addrsize=16)
        except OSError as error:
            raise files.StorageError("FRAM does not answer: %s" % files.why(error))

    def write(self, at: int, data):
        """Raises files.StorageError when the chip does not answer; part may be written then."""
        try:
            self._bus.writeto_mem(self._address, at, data, addrsize=16)
        except OSError as error:
            raise files.StorageError("FRAM does not answer: %s" % files.why(error))

    def check(self) -> str:
        """Why the chip cannot be used, or "": it must hold what is written and be as large as
        stated (a power of two); a smaller one wraps round and would overwrite its beginning."""
        end = self.size // 2  # where a smaller one is at its first byte again
        try:
            first = self.read(0, 4)
            old = self.read(end, 4)
            probe = bytes([x ^ 0x5A for x in old])
            self.write(end, probe)
            good = self.read(end, 4) == probe
            wraps = self.read(0, 4) != first
            self.write(end, old)
        except files.StorageError as error:
            return str(error)
        if wraps:
            return "the FRAM is smaller than %d bytes" % self.size
        return "" if good else "the FRAM does not hold what is written (size, write protection?)"


class Area:
    """Two slots of a payload of up to `room` bytes each, from `at` on. `note` says what load()
    found wrong."""

    def __init__(self, fram: Fram, at: int, room: int):
        self._fram = fram
        self._at = at
        self._room = room
        self._serial = 0
        self.note = ""

    @property
    def end(self) -> int:
        """First address behind the area."""
        return self._at + 2 * (self._room + _HEAD_SIZE)

    def _slot(self, number):
        return self._at + (number & 1) * (self._room + _HEAD_SIZE)

    def load(self):
        """Payload of the newest good slot, or None. Never raises."""
        best = None
        self._serial = 0
        damaged = 0
        self.note = ""
        try:
            for number in (0, 1):
                at = self._slot(number)
                head = self._fram.read(at, _HEAD_SIZE)
                serial, length, crc = struct.unpack(_HEAD, head)
                if serial & 1 != number or not 0 < length <= self._room:
                    # never written (all zeros or all ones), or torn in the header
                    damaged += head not in (b"\0" * _HEAD_SIZE, b"\xff" * _HEAD_SIZE)
                    continue
                payload = self._fram.read(at + _HEAD_SIZE, length)
                if binascii.crc32(payload, binascii.crc32(head[:8])) & 0xFFFFFFFF != crc:
                    damaged += 1
                elif serial > self._serial:
                    best = payload
                    self._serial = serial
        except files.StorageError as error:
            self.note = str(error)
            return best
        if damaged:
            self.note = "FRAM: a torn record; the one before it is used"
            if best is None:
                self.note = "FRAM: no usable record"
        return best

    def save(self, payload: bytes):
        """Write the older slot. Raises files.StorageError; the newer slot is intact then."""
        if not 0 < len(payload) <= self._room:
            raise files.StorageError(
                "FRAM: %d bytes do not fit into %d" % (len(payload), self._room)
            )
        serial = self._serial + 1
        if serial >= _SERIAL_MAX:
            raise files.StorageError("FRAM: worn out")
        at = self._slot(serial)
        head = struct.pack("<II", serial, len(payload))
        crc = binascii.crc32(payload, binascii.crc32(head)) & 0xFFFFFFFF
        self._fram.write(at, head + struct.pack("<I", crc) + payload)
        self._serial = serial

"""A stateful I2C bus with an FRAM: wraps round at its size, tears a write at a chosen byte."""

from __future__ import annotations


class PowerCut(Exception):
    """The supply ended in the middle of a write."""


class FramBus:
    """What machine.I2C offers of it. `cut_after`: bytes until the power goes; None: never."""

    def __init__(self, size: int = 8192, address: int = 0x50) -> None:
        self.memory = bytearray(size)
        self.address = address
        self.present = True
        self.protected = False
        self.cut_after: int | None = None
        self.written = 0

    def _select(self, address: int, addrsize: int) -> None:
        if not self.present or address != self.address:
            raise OSError(5)
        assert addrsize == 16

    def readfrom_mem(self, address: int, at: int, count: int, *, addrsize: int) -> bytes:
        self._select(address, addrsize)
        size = len(self.memory)
        return bytes(self.memory[(at + i) % size] for i in range(count))

    def writeto_mem(self, address: int, at: int, data: bytes, *, addrsize: int) -> None:
        self._select(address, addrsize)
        for i, byte in enumerate(data):
            if self.cut_after is not None:
                if not self.cut_after:
                    raise PowerCut
                self.cut_after -= 1
            if not self.protected:
                self.memory[(at + i) % len(self.memory)] = byte
            self.written += 1

"""Cuts the power of an emulated chip in the middle of a flash program or erase.

The emulated flash applies a command when its chip select is released. Here the command that the
power ends in is torn instead: a page is programmed in part, or only some of its bits are; a sector
is erased in part. What the chip sends afterwards reaches no cell any more.
"""

from __future__ import annotations

import random
from typing import Any

from rp2040py.peripherals import ssi

from tools.emulator.chip import EmulatedPico

_ERASE = (ssi.CMD_SECTOR_ERASE, ssi.CMD_BLOCK_ERASE)


class TornFlash:
    """The flash of `pico`. `programs` and `erases` count what was done to it."""

    def __init__(self, pico: EmulatedPico, seed: int) -> None:
        self._pico = pico
        self._rng = random.Random(seed)
        self._ssi: Any = pico.flash_port
        self._apply = self._ssi._apply_command
        self._ssi._apply_command = self._command
        self._left = -1
        self.dead = False
        self.programs = 0
        self.erases = 0
        self.torn = ""

    def cut_after(self, commands: int) -> None:
        """The power goes in the command after so many programs and erases; the emulator's run
        ends there."""
        self._left = commands
        self.torn = ""

    def power_on(self) -> None:
        """Cut the power, if it is still there, and restore it."""
        self._left = -1
        self.dead = False
        self._pico.power_cycle()

    def _command(self) -> None:
        sent = bytes(self._ssi._tx_buffer)
        writes = bool(sent) and self._ssi._write_enabled
        erase = writes and sent[0] in _ERASE and len(sent) >= 4
        program = writes and sent[0] == ssi.CMD_PAGE_PROGRAM and len(sent) > 4
        if not erase and not program:
            self._apply()
            return
        if self.dead:
            self._drop()
            return
        if self._left == 0:
            self.dead = True
            at = sent[1] << 16 | sent[2] << 8 | sent[3]
            cells = self._pico.flash_cells
            if erase:
                size = ssi.FLASH_SECTOR_SIZE
                if sent[0] == ssi.CMD_BLOCK_ERASE:
                    size = ssi.FLASH_BLOCK_SIZE
                at &= ~(size - 1)
                self.torn = self._tear_erase(cells, at, size)
            else:
                self.torn = self._tear_page(cells, at, sent[4 : 4 + ssi.FLASH_PAGE_SIZE])
            self._drop()
            self._pico.stop()
            return
        if self._left > 0:
            self._left -= 1
        self.erases += erase
        self.programs += program
        self._apply()

    def _drop(self) -> None:
        self._ssi._write_enabled = False
        self._ssi._tx_buffer = bytearray()

    def _tear_page(self, cells: bytearray, at: int, data: bytes) -> str:
        how = self._rng.choice(("begun", "part", "bits", "nearly"))
        done = self._rng.randrange(len(data) + 1)
        for i, byte in enumerate(data):
            keep = 0  # bits that are not programmed yet
            if how == "begun" or (how == "part" and i >= done):
                keep = 0xFF
            elif how == "bits" or (how == "nearly" and self._rng.random() < 0.03):
                keep = self._rng.getrandbits(8)
            cells[at + i] &= byte | keep
        return f"program, {how}"

    def _tear_erase(self, cells: bytearray, at: int, size: int) -> str:
        how = self._rng.choice(("begun", "part", "bits", "nearly"))
        done = self._rng.randrange(size + 1)
        for i in range(at, at + size):
            if how == "part" and i - at < done:
                cells[i] = 0xFF
            elif how == "bits":
                cells[i] |= self._rng.getrandbits(8)
            elif how == "nearly":
                cells[i] = 0xFF if self._rng.random() < 0.9 else self._rng.getrandbits(8)
        return f"erase, {how}"

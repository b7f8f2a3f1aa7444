"""One emulated Raspberry Pi Pico: boots an image, runs for emulated time, is reset, is looked at.

Emulated time counts from the first power-on and goes on through resets and power cycles. It starts
where the boot ROM hands over to the image; the ROM itself (some 5 ms on a real chip) is skipped,
and flash has no wait states, so a real chip is about an eighth slower.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from rp2040py.boards import BoardSpec, FlashLayout
from rp2040py.device.base_device import BaseDevice, ResetCause
from rp2040py.execute_batch import execute_batch
from rp2040py.memory_map import FLASH_START_ADDRESS
from rp2040py.utils.logging import LogLevel

from tools.emulator import fixes, flash
from tools.emulator.console import Console, Link
from tools.emulator.wiring import Edge, Plant, Wiring

_LAYOUT = FlashLayout(fs_start=flash.START, fs_blockcount=flash.BLOCKS, fs_blocksize=flash.BLOCK)
_BEAT_NS = 1_000_000
_POWER_ON_RAM = 0xA5  # not zero: firmware must not rely on cleared memory
_AHEAD_S = 0.002
# RP2040 with MicroPython: the C stack, its last 8 KB of RAM, as an offset
_RAM = 0x2000_0000
_STACK = 0x4_0000
STACK_BYTES = 0x2000
_STACK_MARK = 0x5A


class EmulatorError(Exception):
    """The emulated chip cannot be used like this."""


class NotSeen(EmulatorError):
    """A text did not appear, or a condition did not come true, in the emulated time given."""


class _Batch:
    """What the emulator's loop looks at after every instruction; slots are found quickest."""

    __slots__ = ("clock", "rp2040", "stopped")

    def __init__(self, mcu: Any) -> None:
        self.rp2040 = mcu
        self.clock = mcu.clock
        self.stopped = False


class EmulatedPico:
    """A Raspberry Pi Pico with a firmware image, a file system, a plant on its pins, a console.

    - `console`: what it printed (`console.text`), links for other programs
    - `edges`: every change that the chip made to a pin, `Edge(t_us, gpio, level)`
    - `resets`: times (us) of resets that the chip itself asked for (watchdog, `machine.reset()`)
    - `usb_up_us`: when the USB host had set up the console after the latest start, or None.
      What is printed earlier is kept by the chip (to 256 bytes) until it prints again.
    """

    def __init__(
        self,
        uf2: str | Path,
        truck: Plant | None = None,
        files: flash.Files | None = None,
        *,
        keep_flash: str | Path | None = None,
        inputs: Iterable[int] = (),
        quiet: Iterable[int] = (),
        speed: float | None = None,
        usb_host: bool = True,
    ) -> None:
        """Put a chip together; nothing runs yet.

        `files`: put onto the file system (a folder, or contents by path); with neither this nor
        `keep_flash` the flash is blank and MicroPython formats it.
        `keep_flash`: a file that holds the file system between uses: read now if it exists,
        written by `close()`.
        `inputs`: pins that the truck drives, looked at each ms. `quiet`: pins whose edges are not
        kept in `edges` (multiplexer addresses: a hundred thousand a second).
        `speed`: at most so many emulated seconds a second of wall time; None: as fast as can be,
        in which idle time passes in no time. Programs on a link need 1.0.
        `usb_host`: False when nothing but a charger is on the USB socket.
        """
        image = Path(uf2)
        if not image.is_file():
            raise EmulatorError(f"there is no firmware image {image}")
        spec = BoardSpec(layout=_LAYOUT, image=image)
        try:
            self._device = BaseDevice(board=spec, log_level=LogLevel.ERROR)
        except ValueError as error:
            raise EmulatorError(f"{image} is not a UF2 image for the RP2040: {error}") from error
        self._mcu: Any = self._device.mcu
        self._batch = _Batch(self._mcu)
        self._clock: Any = self._mcu.clock
        fixes.apply(self._mcu, self._device.cdc)
        if not usb_host:
            self._device.cdc.usb.on_usb_enabled = lambda: None

        self._keep = Path(keep_flash) if keep_flash else None
        kept = self._keep.read_bytes() if self._keep and self._keep.exists() else None
        if files is not None:
            kept = flash.write(files, kept)
        if kept is not None:
            if len(kept) != flash.SIZE:
                raise EmulatorError(f"{self._keep} is not a flash image of {flash.SIZE} bytes")
            self._mcu.flash[flash.START : flash.START + flash.SIZE] = kept

        self.speed = speed
        self.console = Console(self._device.cdc, self._clock)
        self.resets: list[float] = []
        self.usb_up_us: float | None = None
        self._device.cdc.on_device_connected = self._usb_up
        self.on_reset: Callable[[], None] | None = None
        self.wall_s = 0.0
        self._wiring = Wiring(self._mcu, truck, inputs, quiet)
        self._device.mcu.watchdog.on_watchdog_trigger = self._chip_reset
        self._mcu.core.pc = FLASH_START_ADDRESS
        self._end: Callable[[], bool] | None = None
        self._ended = False
        self._wall_start = self._emulated_start = 0.0
        self._end_alarm = self._clock.create_alarm(self._stop)
        self._beat_alarm = self._clock.create_alarm(self._beat)
        self._beat_alarm.schedule(_BEAT_NS)

    # -- looking -----------------------------------------------------------------------------

    @property
    def now_us(self) -> float:
        """Emulated time since power-on in us."""
        return float(self._clock.nanos) / 1000

    @property
    def edges(self) -> list[Edge]:
        """Every change that the chip made to a pin that is not `quiet`, in order."""
        return self._wiring.edges

    @property
    def conversions(self) -> int:
        """How many times the converter was started."""
        return self._wiring.conversions

    def level(self, gpio: int) -> int | None:
        """What the chip puts onto a pin now: 1, 0, or None when it is an input."""
        return self._wiring.level(gpio)

    def on_edge(self, call: Callable[[Edge], None] | None) -> None:
        """Have `call(edge)` called at each edge, at its exact emulated time."""
        self._wiring.on_edge = call

    def flash_image(self) -> bytes:
        """The file system's part of the flash as it is now."""
        return bytes(self._mcu.flash[flash.START : flash.START + flash.SIZE])

    def files(self) -> dict[str, bytes]:
        """Contents of all files on the chip by path, without a leading slash."""
        return flash.read(self.flash_image())

    @property
    def flash_cells(self) -> bytearray:
        """All of the flash chip, for changing it (see torn.py)."""
        cells: bytearray = self._mcu.flash
        return cells

    @property
    def flash_port(self) -> Any:
        """The peripheral through which the chip sends commands to its flash."""
        return self._mcu.ssi

    def stack_used(self) -> int:
        """Most bytes of C stack in use since mark_stack()."""
        memory = self._mcu.sram
        at = _STACK
        while memory[at] == _STACK_MARK:
            at += 1
        return _STACK + STACK_BYTES - at

    # -- acting ------------------------------------------------------------------------------

    def mark_stack(self) -> None:
        """Fill what is free of the C stack, for stack_used()."""
        free = self._mcu.core.sp - _RAM - _STACK
        if not 0 < free < STACK_BYTES:
            raise EmulatorError("the chip's stack is not where it is looked for")
        self._mcu.sram[_STACK : _STACK + free] = bytes([_STACK_MARK]) * free

    def drive(self, gpio: int, level: int | None) -> None:
        """Put a level onto a pin from outside; None lets go of it."""
        self._wiring.drive(gpio, level)

    def send(self, text: str | bytes) -> None:
        """Type to the console; a line ends with a carriage return."""
        self.console.send(text)

    def connect(self, link: Link) -> None:
        """Let another program use the console as well."""
        self.console.links.append(link)

    def at(self, seconds: float, call: Callable[[], object]) -> None:
        """Have `call()` called at that emulated time (s since power-on), exactly."""
        alarm = self._clock.create_alarm(lambda: call() and None)
        alarm.schedule(max(0.0, seconds * 1e9 - self._clock.nanos))

    def reset(self) -> None:
        """Press the reset button (RUN pin): RAM stays as it is, files stay, time goes on."""
        self._device.hard_reset(cause=ResetCause.RUN_PIN)
        self._after_reset()

    def power_cycle(self) -> None:
        """Cut the power and restore it at once: RAM is lost, files stay, time goes on."""
        self._device.hard_reset(cause=ResetCause.POWER_ON)
        memory = self._mcu.sram
        memory[:] = bytes([_POWER_ON_RAM]) * len(memory)
        self._after_reset()

    def _chip_reset(self) -> None:
        self.resets.append(self.now_us)
        self._device.hard_reset(cause=ResetCause.WATCHDOG)
        self._after_reset()

    def _usb_up(self) -> None:
        self.usb_up_us = self.now_us

    def _after_reset(self) -> None:
        self.usb_up_us = None
        self.console.drop_queue()
        self._wiring.released()
        if self.on_reset is not None:
            self.on_reset()

    def close(self) -> None:
        """Close the links and keep the file system where `keep_flash` says."""
        self.console.close()
        if self._keep is not None:
            self._keep.write_bytes(self.flash_image())

    def __enter__(self) -> EmulatedPico:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- running -----------------------------------------------------------------------------

    def run(self, seconds: float) -> None:
        """Run for so many emulated seconds, exactly."""
        self._end = None
        self._drive(seconds)

    def run_until(self, true: Callable[[], bool], timeout: float = 10.0) -> float:
        """Run until `true()`, asked each emulated ms and whenever something is printed.

        Returns the emulated seconds it took; NotSeen after `timeout` emulated seconds.
        """
        start = self._clock.nanos
        self._end = true
        try:
            if not true():
                self._drive(timeout)
            if not true():
                raise NotSeen(f"not so within {timeout:g} emulated s{self._tail()}")
        finally:
            self._end = None
        return float(self._clock.nanos - start) / 1e9

    def expect(self, text: str | bytes, timeout: float = 5.0) -> str:
        """Run until `text` is printed; NotSeen after `timeout` emulated seconds.

        Returns what was printed since the previous `expect` up to and with `text`; the next one
        looks behind it.
        """
        wanted = text.encode() if isinstance(text, str) else text
        console = self.console
        try:
            self.run_until(lambda: console.data.find(wanted, console.seen) >= 0, timeout)
        except NotSeen:
            raise NotSeen(
                f"{wanted.decode(errors='replace')!r} was not printed within {timeout:g} "
                f"emulated s{self._tail()}"
            ) from None
        start, console.seen = console.seen, console.data.find(wanted, console.seen) + len(wanted)
        return console.data[start : console.seen].decode(errors="replace")

    def execute(self, code: str, timeout: float = 10.0) -> str:
        """Run Python code on the chip through its raw REPL, which interrupts the firmware.

        Returns what it printed; EmulatorError with its traceback when it raised.
        """
        self.send(b"\r\x03\x03\r\x01")
        self.expect(b"raw REPL; CTRL-B to exit\r\n>", timeout)
        self.send(code.encode() + b"\x04")
        self.expect(b"OK", timeout)
        output = self.expect(b"\x04", timeout)[:-1]
        error = self.expect(b"\x04", timeout)[:-1]
        self.send(b"\x02")
        self.run(0.002)
        if error:
            raise EmulatorError(f"on the chip: {error.strip()}")
        return output.replace("\r\n", "\n")

    def _tail(self) -> str:
        last = bytes(self.console.data[-300:]).decode(errors="replace")
        return f"; the console ended with {last!r}"

    def stop(self) -> None:
        """Have the run that is under way end here."""
        self._stop()

    def _stop(self) -> None:
        self._ended = True
        self._batch.stopped = True  # ends the batch of instructions right here

    def _beat(self) -> None:
        """Each emulated ms: is the condition true, and are we too fast?"""
        if self._end is not None and self._end():
            self._stop()
        elif self.speed and self._ahead() > _AHEAD_S:
            self._batch.stopped = True
        self._beat_alarm.schedule(_BEAT_NS)

    def _printed(self) -> None:
        if self._end is not None and self._end():
            self._stop()

    def _ahead(self) -> float:
        """Wall seconds by which emulated time is ahead of `speed`."""
        assert self.speed is not None
        emulated = float(self._clock.nanos) / 1e9 - self._emulated_start
        return emulated / self.speed - (time.monotonic() - self._wall_start)

    def _drive(self, seconds: float) -> None:
        """Run batches of instructions (some 5 ms of wall time each) until told to end."""
        console, batch = self.console, self._batch
        start = self._wall_start = time.monotonic()
        self._emulated_start = float(self._clock.nanos) / 1e9
        self._ended = False
        console.on_data = self._printed
        self._end_alarm.schedule(seconds * 1e9)
        try:
            while not self._ended:
                batch.stopped = False
                execute_batch(batch, 1)
                delay = 0.0
                if self.speed:
                    delay = self._ahead()
                    if delay < -10 * _AHEAD_S:  # slower than real time: do not catch up later
                        self._wall_start = time.monotonic()
                        self._emulated_start = float(self._clock.nanos) / 1e9
                if console.links:
                    select.select(console.descriptors(), [], [], max(0.0, delay))
                    console.take_input()
                elif delay > 0:
                    time.sleep(delay)
        finally:
            self._end_alarm.cancel()
            batch.stopped = True
            console.on_data = None
            self.wall_s += time.monotonic() - start

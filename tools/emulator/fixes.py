"""Where rp2040py 0.3.6 differs from the chip in ways that matter here, and what is done about it.

Each function corrects one thing on one emulated chip (or, the first, in the class). All were found
by comparing figures with the data sheet; latencies measured without them are worth nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rp2040py import sio
from rp2040py.peripherals import adc, sysinfo, uart

_CHIP_ID_B2 = 0x20002927
_WORD = 0xFFFFFFFF


def apply(mcu: Any, cdc: Any) -> None:
    """Correct one chip `mcu` (RP2040) and its USB console `cdc` (USBCDC)."""
    adc_round_robin()
    usb_host_holds_empty_transfers(cdc)
    uart_transmit_interrupt(mcu)
    chip_revision(mcu)
    outputs_read_back(mcu)
    quick_divider(mcu)
    idle_pio_costs_nothing(mcu)


def adc_round_robin() -> None:
    """Round robin masks the channel with a shift count (12) and so never leaves channel 0."""

    def get(self: Any) -> int:
        return (self.cs >> adc.CS_AINSEL_SHIFT) & adc.CS_AINSEL_MASK

    def put(self: Any, channel: int) -> None:
        kept = self.cs & ~(adc.CS_AINSEL_MASK << adc.CS_AINSEL_SHIFT)
        self.cs = kept | (channel & adc.CS_AINSEL_MASK) << adc.CS_AINSEL_SHIFT

    adc.RPADC._active_channel = property(get, put)


def usb_host_holds_empty_transfers(cdc: Any) -> None:
    """Its USB host answers each armed OUT endpoint at once, with an empty packet if need be.

    TinyUSB then arms the endpoint again, some 36 times per millisecond: nearly the whole CPU. A
    real host lets the device wait (NAK) until it has data. So does this: the transfer is held, and
    answered when bytes are queued.
    """
    usb = cdc.usb
    answer: Callable[[int, int], None] = usb.on_endpoint_read
    queue: Callable[[int], None] = cdc.send_serial_byte
    cleared: Callable[[], None] = usb.on_reset
    waiting: list[tuple[int, int]] = []

    def on_read(endpoint: int, size: int) -> None:
        if endpoint and endpoint == cdc._out_endpoint and cdc.tx_fifo.item_count == 0:
            waiting.append((endpoint, size))
        else:
            answer(endpoint, size)

    def deliver() -> None:
        if waiting and cdc.tx_fifo.item_count:
            answer(*waiting.pop(0))

    later = usb.rp2040.clock.create_alarm(deliver)

    def send(byte: int) -> None:
        queue(byte)
        if waiting:
            later.schedule(1000)  # 1 us: bytes queued together travel together

    def on_reset() -> None:
        waiting.clear()
        cleared()

    usb.on_endpoint_read, cdc.send_serial_byte, usb.on_reset = on_read, send, on_reset


def uart_transmit_interrupt(mcu: Any) -> None:
    """The transmit interrupt stays asserted, so `machine.UART()` never leaves its handler.

    It is raised when a byte was written, which is when the (instantly emptied) buffer passes the
    level that raises it on the chip.
    """

    def correct(port: Any) -> None:
        write = port.write_uint32

        def check() -> None:
            mcu.set_interrupt(port.irq, bool(port._interrupt_status & port._interrupt_mask))

        def write_uint32(offset: int, value: int) -> None:
            write(offset, value)
            if offset == uart.UARTDR:
                port._interrupt_status |= uart.UARTTXINTR
                port.check_interrupts()

        port.check_interrupts, port.write_uint32 = check, write_uint32

    for port in mcu.uart:
        correct(port)


def chip_revision(mcu: Any) -> None:
    """It reports silicon B0/B1, on which the SDK takes over GPIO15 for 1 ms (erratum RP2040-E5).

    Picos have been sold with B2 since 2021: no workaround, no glitch on the pin.
    """
    block = mcu.peripherals[0x40000]
    read = block.read_uint32

    def read_uint32(offset: int) -> int:
        return _CHIP_ID_B2 if offset == sysinfo.CHIP_ID else int(read(offset))

    block.read_uint32 = read_uint32


def outputs_read_back(mcu: Any) -> None:
    """An output's level never reaches its own input, so `Pin.value()` of an output reads 0."""
    block = mcu.sio
    read = block.read_uint32

    def read_uint32(offset: int) -> int | float:
        value: int | float = read(offset)
        if offset == sio.GPIO_IN:
            driven = block.gpio_output_enable
            return int(value) & ~driven | block.gpio_value & driven
        return value

    block.read_uint32 = read_uint32


def quick_divider(mcu: Any) -> None:
    """The divider and the core's number are found last, after dozens of comparisons.

    The C library divides with it, a hundred thousand times a second. Same results, in whole
    numbers, found first. Where the emulator's core is compiled with quick.py's changes, that has
    done the same already, except for signed numbers and a divisor of zero.
    """
    block = mcu.sio
    core = mcu.core
    read, write = block.read_uint32, block.write_uint32

    def read_uint32(offset: int) -> int | float:
        if offset == sio.DIV_CSR:
            return int(block.div_csr)
        if offset == sio.DIV_QUOTIENT:
            block.div_csr &= ~0b10
            return int(block.div_quotient)
        if offset == sio.DIV_REMAINDER:
            return int(block.div_remainder)
        if offset == sio.CPUID:
            return 0
        value: int | float = read(offset)
        return value

    def write_uint32(offset: int, value: int) -> None:
        if offset == sio.DIV_UDIVIDEND:
            block.div_dividend = value
        elif offset == sio.DIV_UDIVISOR:
            block.div_divisor = value
        else:
            write(offset, value)
            return
        dividend, divisor = block.div_dividend & _WORD, block.div_divisor & _WORD
        if divisor:
            block.div_quotient, block.div_remainder = divmod(dividend, divisor)
            block.div_csr = 0b11
            core.cycles += 8
        else:
            block.update_hardware_divider(False)

    block.read_uint32, block.write_uint32 = read_uint32, write_uint32


class _SleepingBlock:
    """Stands for a peripheral block on the bus and calls `wake()` when it is written to."""

    def __init__(self, block: Any, wake: Callable[[], None]) -> None:
        self._block = block
        self._wake = wake
        self.read_uint32 = block.read_uint32

    def write_uint32_atomic(self, offset: int, value: int, kind: int) -> None:
        self._wake()
        self._block.write_uint32_atomic(offset, value, kind)


def idle_pio_costs_nothing(mcu: Any) -> None:
    """Both PIO blocks are looked at after every instruction: a quarter of the run time.

    They are left out until the firmware writes to one of them.
    """
    blocks = list(mcu.pio)
    shown: list[Any] = []
    addresses = [key for key, block in mcu.peripherals.items() if block in blocks]
    reset = mcu.reset

    def sleep() -> None:
        shown.clear()
        for key, block in zip(addresses, blocks, strict=True):
            mcu.peripherals[key] = _SleepingBlock(block, wake)

    def wake() -> None:
        shown[:] = blocks
        for key, block in zip(addresses, blocks, strict=True):
            mcu.peripherals[key] = block

    def whole_reset(**options: bool) -> None:
        wake()  # the chip's reset reaches them by index
        reset(**options)
        sleep()

    mcu.pio = shown
    mcu.reset = whole_reset
    sleep()

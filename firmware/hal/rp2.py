# Sampler for the RP2040: a hard timer interrupt runs the viper kernel, which works the
# converter, the multiplexer and the relay pins by register. It runs during garbage collection
# and while Python is inside C code (TLS, DNS); only a flash erase or program stops it.
# Called by: boot (start, stop).

import gc
import time
from array import array

import machine
from micropython import const

from firmware.hal.fastlane import FastLane
from firmware.sensing import kernel_viper

# RP2040 data sheet: 4.9.6 (ADC) and 2.3.1.7 (SIO)
_ADC_CS = const(0x4004C000)
_ADC_RESULT = const(0x4004C004)
_GPIO_IN = const(0xD0000004)  # GPIO_OUT_SET and GPIO_OUT_CLR are the fourth and fifth after it
_CS_EN = const(0x001)
_CS_START_ONCE = const(0x004)
_CS_AINSEL_SHIFT = const(12)
_FIRST_ADC_GPIO = const(26)
_SENSOR = 4  # input of the converter: the chip's own temperature
# 2.15.7: the frequency counter, FC0_REF_KHZ to FC0_RESULT, and its source 3, the ring oscillator
_FC0 = const(0x40008080)
_RING = const(3)
_FC0_DONE = const(0x10)


class Sampler(FastLane):
    """FastLane with a hard timer. Nothing else may use the converter while it runs
    (ADC.read_u16() re-selects the channel)."""

    reads_pins = True

    def __init__(self, board):  # on demand
        FastLane.__init__(self, board)
        adc = board.channels[0].adc
        for channel in board.channels:
            if channel.adc != adc or channel.mux is None:
                raise ValueError("RP2040 sampler: all channels must share one multiplexed ADC pin")
        machine.ADC(machine.Pin(adc))  # powers the converter, takes the pad's digital side off
        sensor = machine.ADC(_SENSOR)
        sensor.read_u16()  # it has just been switched on
        self.reference = sensor.read_u16() >> 4
        mux_all = 0
        for bit, pin in enumerate(board.mux_address):
            machine.Pin(pin, machine.Pin.OUT, value=board.channels[0].mux >> bit & 1)
            mux_all |= 1 << pin
        start = _CS_EN | _CS_START_ONCE | (adc - _FIRST_ADC_GPIO) << _CS_AINSEL_SHIFT
        regs = [_ADC_CS, _ADC_RESULT, _GPIO_IN, start, 0, mux_all]
        self._regs = array("I", regs)
        kernel_viper.attach(self.st, self.ring, self.wave, self._regs)
        self._timer = None

    def ring_khz(self) -> int:  # on demand
        mem = machine.mem32
        mem[_FC0] = 12_000  # the crystal, which counts
        mem[_FC0 + 4] = 0  # no bounds
        mem[_FC0 + 8] = 0x1FFFFFF
        mem[_FC0 + 16] = 9  # for 0.5 ms: +-2 kHz
        mem[_FC0 + 20] = _RING
        for _ in range(100):  # 2 ms
            if mem[_FC0 + 24] & _FC0_DONE:
                khz = mem[_FC0 + 28] >> 5 & 0x1FFFFFF
                return khz if 1000 < khz < 20_000 else 0  # 1.8 to 12 MHz
        return 0

    def start(self):
        """Start scanning. The lease is not held: relays stay open until the control lane runs."""
        gc.collect()
        self._timer = machine.Timer(  # type: ignore[call-overload]  # period and tick_hz
            period=self.period_us, tick_hz=1_000_000, callback=kernel_viper.scan, hard=True
        )

    def revive(self) -> bool:
        """Start the scan again if it stands still: MicroPython stops a timer for good when there
        is no C stack left for what it calls. Whether it stood still."""
        scan = self.now()
        time.sleep_us(3 * self.period_us)
        if self.now() != scan:
            return False
        self.stop()
        self.start()
        return True

    def stop(self):
        """Open everything and stop scanning."""
        self.open_all()
        if self._timer is not None:
            self._timer.deinit()
            self._timer = None

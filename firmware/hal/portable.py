# Sampler for chips without hard timers (ESP32) and for the unix port: a soft timer reads the
# converter through machine.ADC, then the common kernel does the arithmetic. The viper kernel
# is used where the port has a native emitter; its "registers" are then words in RAM.
# Called by: the soft timer (scan), boot (start, stop).

import gc
from array import array
from time import ticks_diff, ticks_us

import machine
from micropython import const

from firmware.hal import kernels
from firmware.hal.fastlane import FastLane

_OPENED = const(14)  # kernel.OPENED and so on
_SILENT = const(32)
_OVERRUNS = const(33)
_WAITING = const(39)
_CLOSED = const(40)
_COUNT_MASK = const(0x1FFFFFFF)
_NO_ANSWER = const(4095)
_START = 0x105  # as the RP2040's: enable, start once, and "ready" so that nobody waits


class Sampler(FastLane):
    """FastLane with a soft timer and machine.ADC."""

    def __init__(self, board):  # on demand: boot
        FastLane.__init__(self, board)
        self.codes = array("i", bytes(4 * self.n_ch))
        self._reads = []  # bound once each: a bound method is an allocation
        # uV above the middle -> counts: x 2048 / span, in steps that fit a small int
        self._mid_uv = board.adc_mid_uv
        self._uv_scale = (2048 << 20) // board.adc_span_uv if board.adc_span_uv else 0
        known = {}
        for channel in board.channels:
            if channel.adc not in known:
                known[channel.adc] = adc = machine.ADC(machine.Pin(channel.adc))
                if hasattr(machine.ADC, "ATTN_11DB"):
                    adc.atten(machine.ADC.ATTN_11DB)  # ESP32: its default ends at 1 V
            adc = known[channel.adc]
            # the ESP32's only
            self._reads.append(
                adc.read_u16 if self._mid_uv is None else adc.read_uv  # type: ignore[attr-defined]
            )
        self._mux = [machine.Pin(pin, machine.Pin.OUT, value=0) for pin in board.mux_address]
        self._mux_steps = self._plan_mux()
        self._timer = None
        self._kernel = self._attach()
        self._callback = self._scan
        self._late_us = self.period_us + self.period_us // 2
        self._last_us = 0

    def _plan_mux(self):  # on demand: boot
        """Per channel: the (pin, level) pairs that change its address from the one before."""
        steps = []
        n_bits = len(self._mux)
        address = self.board.channels[-1].mux
        for channel in self.board.channels:
            row = []
            for bit in range(n_bits):
                level = channel.mux >> bit & 1
                if level != address >> bit & 1:
                    row.append((self._mux[bit], level))
            steps.append(tuple(row))
            address = channel.mux
        return tuple(steps)

    def _attach(self):  # on demand: boot
        if not kernels.VIPER:
            from firmware.sensing import kernel

            kernel.attach(self.st, self.ring, self.wave, self.codes)
            return kernel.scan
        import uctypes

        from firmware.sensing import kernel_viper

        self._scratch = array("I", bytes(28))
        at = uctypes.addressof(self._scratch)
        regs = [at, uctypes.addressof(self.codes), at + 4, _START, 4, 0]
        self._regs = array("I", regs)
        kernel_viper.attach(self.st, self.ring, self.wave, self._regs)
        return kernel_viper.scan

    def start(self):
        """Start scanning. The lease is not held: relays stay open until the control lane runs."""
        # the address that the first scan changes from
        last = self.board.channels[-1].mux
        for bit, pin in enumerate(self._mux):
            pin.value(last >> bit & 1)
        gc.collect()
        self._last_us = ticks_us()
        self._timer = machine.Timer(0)
        self._timer.init(  # type: ignore[call-overload]  # period and tick_hz
            period=self.period_us, tick_hz=1_000_000, callback=self._callback
        )

    def stop(self):
        """Open everything and stop scanning."""
        self.open_all()
        if self._timer is not None:
            self._timer.deinit()
            self._timer = None

    def _scan(self, _timer):
        st = self.st
        now = ticks_us()
        if ticks_diff(now, self._last_us) > self._late_us:
            st[_OVERRUNS] = (st[_OVERRUNS] + 1) & _COUNT_MASK
        self._last_us = now
        codes = self.codes
        reads = self._reads
        mid_uv = self._mid_uv
        i = 0
        try:
            for step in self._mux_steps:
                for pin, level in step:
                    pin.value(level)
                code = reads[i]()
                if mid_uv is None:
                    code >>= 4
                else:
                    code = 2048 + ((code - mid_uv >> 3) * self._uv_scale + 65536 >> 17)
                    if code > 4095:
                        code = 4095
                    elif code < 0:
                        code = 0
                codes[i] = code
                i += 1
        except OSError:  # no answer: the rest of this scan is nothing that could be believed
            st[_SILENT] = (st[_SILENT] + 1) & _COUNT_MASK
            while i < self.n_ch:
                codes[i] = _NO_ANSWER
                i += 1
        self._kernel(None)
        closed = st[_CLOSED]
        if closed:
            st[_CLOSED] = 0
            for pin in self._pins:
                if closed & 1:
                    pin.value(1)
                closed >>= 1
        opened = st[_OPENED]
        if (opened | st[_WAITING]) & self._path:
            self._permit.value(0)
        if opened:
            st[_OPENED] = 0
            for pin in self._pins:
                if opened & 1:
                    pin.value(0)
                opened >>= 1

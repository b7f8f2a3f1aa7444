# Sampler for chips without hard timers (ESP32) and for the unix port: a soft timer reads the
# converter through machine.ADC, then the common kernel does the arithmetic. The viper kernel
# is used where the port has a native emitter; its "registers" are then words in RAM.
# Called by: the soft timer (scan), boot (start, stop).

import gc
from array import array

import machine
from micropython import const

from firmware.hal import kernels
from firmware.hal.fastlane import FastLane

_OPENED = const(14)  # kernel.OPENED
_START = 0x105  # as the RP2040's: enable, start once, and "ready" so that nobody waits


class Sampler(FastLane):
    """FastLane with a soft timer and machine.ADC."""

    def __init__(self, board):
        FastLane.__init__(self, board)
        self.codes = array("i", bytes(4 * self.n_ch))
        self._adcs = []
        known = {}
        for channel in board.channels:
            if channel.adc not in known:
                known[channel.adc] = adc = machine.ADC(machine.Pin(channel.adc))
                if hasattr(machine.ADC, "ATTN_11DB"):
                    adc.atten(machine.ADC.ATTN_11DB)  # ESP32: its default ends at 1 V
            self._adcs.append(known[channel.adc])
        self._mux = [machine.Pin(pin, machine.Pin.OUT, value=0) for pin in board.mux_address]
        self._mux_steps = self._plan_mux()
        self._timer = None
        self.overruns = 0
        self._kernel = self._attach()
        self._callback = self._scan  # bound once: a bound method is an allocation

    def _plan_mux(self):
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

    def _attach(self):
        if not kernels.VIPER:
            from firmware.sensing import kernel

            kernel.attach(self.st, self.ring, self.wave, self.codes)
            return kernel.scan
        import uctypes

        from firmware.sensing import kernel_viper

        self._scratch = array("I", [0, 0, 0])
        at = uctypes.addressof(self._scratch)
        regs = [at, uctypes.addressof(self.codes), at + 4, at + 8, _START, 1, 0]
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
        codes = self.codes
        adcs = self._adcs
        i = 0
        for step in self._mux_steps:
            for pin, level in step:
                pin.value(level)
            codes[i] = adcs[i].read_u16() >> 4
            i += 1
        self._kernel(None)
        st = self.st
        opened = st[_OPENED]
        if opened:
            st[_OPENED] = 0
            for pin in self._pins:
                if opened & 1:
                    pin.value(0)
                opened >>= 1

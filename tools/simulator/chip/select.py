# MicroPython's `select` on the simulated chip's clock: poll() is where asyncio idles, so it is
# where most of the virtual time passes. See machine.py.
# ruff: noqa: F401

import io

import machine
import micropython
import uselect
from micropython import const
from uselect import POLLERR, POLLHUP, POLLIN, POLLOUT

_POLL = const(3)  # MP_STREAM_POLL
_TURN_US = const(100)  # what a turn of the scheduler costs on a chip, roughly


def _give_room():
    # Asyncio starts: everything is loaded. The code, which a chip has in flash, lies above what
    # becomes free here, so that an allocation need not search through it each time. That was a
    # third of all computing.
    import gc

    machine._room = None
    gc.collect()


class poll:
    # Objects written in Python (asyncio's ThreadSafeFlag) are asked here, not by the real poll():
    # with one of them it would wait a real millisecond at each call.

    def __init__(self):
        self._real = uselect.poll()
        self._any = False
        self._own = []  # [object, wanted events, [object, events]]
        self._out = []

    def register(self, obj, events=POLLIN | POLLOUT):
        if not isinstance(obj, io.IOBase):
            self._any = True
            self._real.register(obj, events)
            return
        for entry in self._own:
            if entry[0] is obj:
                entry[1] = events
                return
        self._own.append([obj, events, [obj, 0]])

    modify = register

    def unregister(self, obj):
        if not isinstance(obj, io.IOBase):
            self._real.unregister(obj)
            return
        for entry in self._own:
            if entry[0] is obj:
                self._own.remove(entry)
                return

    @micropython.native
    def _ready(self):
        out = None
        for entry in self._own:
            events = entry[0].ioctl(_POLL, entry[1])
            if events:
                if out is None:
                    out = self._out
                    while out:
                        out.pop()
                entry[2][1] = events
                out.append(entry[2])
        if self._any:
            if out is None:
                for _ in self._real.ipoll(0):
                    return self._real.ipoll(0)
            else:
                for obj, events in self._real.ipoll(0):
                    out.append([obj, events])
        return out

    @micropython.native
    def ipoll(self, timeout=-1, flags=0):
        # Like the chip's: until the millisecond counter has advanced by `timeout`.
        if machine._room is not None:
            _give_room()
        if timeout is None or timeout < 0:
            timeout = 1 << 29
        epoch = machine._epoch
        end = (machine._now // 1000 + timeout) * 1000
        machine._wait(machine._now + _TURN_US)
        if machine._epoch != epoch:
            end -= machine.EPOCH_US
        return machine._wait(end, self) or self._ready() or ()

    def poll(self, timeout=-1, flags=0):
        return [(obj, events) for obj, events in self.ipoll(timeout, flags)]

# The simulated chip: MicroPython's `machine` for the unix port, and the virtual clock behind it.
# First in sys.path, so that the firmware's own files run unmodified; `time` and `select` beside
# this file take their clock from here. The truck lives in the host process, see ../link.py for
# what goes over the two pipes.
#
# Time advances only in sleep_*, in poll(), and by 1 us for each ticks_*() call. Timer callbacks
# run while it advances, each at its own instant. It never passes `_limit`, up to which the host
# has allowed it to run: there the host is asked, and until it answers, time stands still.
#
# Nothing here allocates after start-up, because the firmware runs parts of itself with the heap
# locked. That is why the clock is a pair (epoch, microseconds in the epoch): microseconds alone
# would outgrow the 31-bit small integers after 18 minutes. What runs for each scan is machine
# code: a quarter of all computing in the chip's process.

import io
import os
import sys
from array import array

import micropython
import uselect
import utime
from micropython import const

EPOCH_US = const(500_000_000)  # whole milliseconds and seconds, and twice it still fits
_CHUNK_US = const(1 << 28)  # longest stretch that is waited for at once

# operations, as in ../link.py
_HELLO = const(1)
_IDLE = const(2)
_SCAN = const(3)
_ADC = const(4)
_PIN_IN = const(5)
_PIN_OUT = const(6)
_RESET = const(7)
_WATCHDOG = const(8)

_HEAD = const(4)  # words before the rows of an answer
_NO_CHANNEL = const(255)

PWRON_RESET = 1
HARD_RESET = 2
WDT_RESET = 3
DEEPSLEEP_RESET = 4
SOFT_RESET = 5

_MASK = sys.maxsize >> 1  # of ticks: 2**30 - 1 where small integers have the chip's size

_now = 0  # us since the epoch's start
_epoch = 0
_us0 = 0  # ticks_us() at the epoch's start
_ms0 = 0
_unix0 = 0  # seconds since 1970 at the epoch's start, less what _epoch counts
_wake = 0  # the next instant at which something is to be done
_limit = 0  # the host has to be asked before time passes this
_busy = 0  # above 0 in a timer's callback and with interrupts off
_timer = None  # the timer whose callback runs
_timers = []

_req = array("I", [0, 0, 0, 0])
_rep = array("H", [0] * _HEAD)
_rep_bytes = 8
_to_host = None
_from_host = None

# The block of scans that came with the last answer: row k is the instant _blk + k * _blk_step.
_width = 0  # channels
_row = -1  # where this instant's row starts in _rep, -1: not fetched yet
_blk = 0
_blk_step = 0
_blk_n = 0
_blk_timer = None

_mux = 0  # the multiplexer's address as its pins stand
_mux_bit = bytearray(64)  # of each GPIO: which address bit it is
_level = bytearray(64)  # 0, 1; 2 = released
_output = bytearray(64)
_input_bit = bytearray(64)  # 1 + its place in the answer's word of inputs
_inputs = 0
_irq_pins = []
_mid_uv = 0  # at a pin whose code is 2048
_span_uv = 0  # and so much more at 4096
_tables = {}  # ADC pin -> channel by multiplexer address
_cause = PWRON_RESET
_id = b""
_room = None  # see start.py


# -- the link --------------------------------------------------------------------------------


def _die():
    # The host is gone. SystemExit might be caught by the firmware, a signal is not.
    os.system("kill -9 $PPID")


@micropython.native
def _tell(op, arg):
    _req[0] = op
    _req[1] = _epoch
    _req[2] = _now
    _req[3] = arg
    _to_host.write(_req)


@micropython.native
def _ask(op, at, arg, size=8):
    global _limit, _inputs
    _req[0] = op
    _req[1] = _epoch
    _req[2] = at
    _req[3] = arg
    _to_host.write(_req)
    if _from_host.readinto(_rep, size) != size:
        _die()
    _limit = at + (_rep[0] | _rep[1] << 16)
    _plan()
    value = _rep[2]
    changed = _inputs ^ _rep[3]
    _inputs = _rep[3]
    if changed and _irq_pins:
        _edges(changed)
    return value


def _edges(changed):
    global _busy
    _busy += 1
    for pin in _irq_pins:
        bit = 1 << _input_bit[pin._n] - 1
        if changed & bit and pin._trigger & (Pin.IRQ_RISING if _inputs & bit else Pin.IRQ_FALLING):
            _call(pin._handler, pin)
    _busy -= 1


def _connect(from_host, to_host):
    # Shake hands; called once by start.py before any of the firmware runs.
    global _from_host, _to_host, _rep, _rep_bytes, _width, _cause, _id
    global _us0, _ms0, _unix0, _limit, _mid_uv, _span_uv
    _from_host = open(from_host, "rb")
    _to_host = open(to_host, "wb")
    _tell(_HELLO, 0)
    size = array("H", [0])
    _from_host.readinto(size)
    h = array("H", bytes(2 * size[0]))
    _from_host.readinto(h)
    _limit = h[0] | h[1] << 16
    _us0 = (h[2] | h[3] << 16) & _MASK
    _unix0 = h[4] | h[5] << 16
    seed = h[6] | h[7] << 16
    _cause = h[8]
    _id = bytes(memoryview(h)[9:13])
    rows = h[13]
    _width = h[14]
    i = 15
    for channel in range(_width):
        if h[i] not in _tables:
            _tables[h[i]] = bytearray(b"\xff" * 16)
        table = _tables[h[i]]
        for address in range(16):
            if h[i + 1] in (address, _NO_CHANNEL):
                table[address] = channel
        i += 2
    n = h[i]
    for bit in range(n):
        _mux_bit[h[i + 1 + bit]] = 1 << bit
    i += 1 + n
    for bit in range(h[i]):
        _input_bit[h[i + 1 + bit]] = 1 + bit
    i += 1 + h[i]
    _mid_uv = h[i] * 100
    _span_uv = h[i + 1] * 100
    _rep_bytes = 8 + 2 * rows * _width
    _rep = array("H", bytes(_rep_bytes))
    for n in range(64):
        _level[n] = 2
    # asyncio's own queue takes the real clock for tasks that are due at once. Virtual milliseconds
    # stay ahead of it by 1.5 to 2.3 days (2 to 3 times 2**26), so such tasks are due, and before
    # all that wait for an instant. Half of the period of ticks is 6.2 days: a run may simulate up
    # to 3.8 days more, or 1.5 days less, than the real time it takes.
    _ms0 = ((utime.ticks_ms() >> 26) + 3 << 26) & _MASK
    _plan()
    return seed


# -- the clock -------------------------------------------------------------------------------


@micropython.native
def _plan():
    global _wake
    wake = _limit if _limit < EPOCH_US else EPOCH_US
    for timer in _timers:
        if timer._due < wake:
            wake = timer._due
    _wake = wake


def _next_epoch():
    global _now, _epoch, _us0, _ms0, _limit, _blk
    _now -= EPOCH_US
    _limit -= EPOCH_US
    _blk -= EPOCH_US
    _epoch += 1
    _us0 = (_us0 + EPOCH_US) & _MASK
    _ms0 = (_ms0 + EPOCH_US // 1000) & _MASK
    for timer in _timers:
        timer._due -= EPOCH_US


@micropython.native
def _wait(target, poller=None):
    # Let time pass until `target`, or until the poller has something (which is returned).
    global _now
    if _busy:  # a callback, or interrupts off: time passes, and nothing else runs
        if target > _now:
            _now = target
        return None
    while True:
        if _now >= EPOCH_US:
            _next_epoch()
            target -= EPOCH_US
        if poller is not None:
            ready = poller._ready()
            if ready is not None:
                _plan()
                return ready
        first = None
        due = target + 1
        for timer in _timers:
            if timer._due < due:
                due = timer._due
                first = timer
        if first is not None and due <= _limit:
            _fire(first)
        elif target <= _limit:
            if target > _now:
                _now = target
            _plan()
            return None
        else:
            if _limit > _now:
                _now = _limit
            _ask(_IDLE, _now, 0)


@micropython.native
def _fire(timer):
    global _now, _busy, _timer, _row
    due = timer._due
    if due > _now:
        _now = due
    if timer._chunks:
        timer._chunks -= 1
        timer._due = due + _CHUNK_US
        return
    if timer._periodic:
        timer._due = due + timer._rest
        timer._chunks = timer._all_chunks
    else:
        _timers.remove(timer)
    timer._at = due
    _timer = timer
    _row = -1
    _busy += 1
    _call(timer._callback, timer)
    _busy -= 1
    _timer = None
    _row = -1


@micropython.native
def _call(function, arg):
    try:
        function(arg)
    except BaseException as e:
        print("uncaught exception in callback")
        sys.print_exception(e)


@micropython.native
def ticks_us():
    global _now
    _now += 1
    if _now >= _wake and not _busy:
        _wait(_now)
    return (_now + _us0) & _MASK


@micropython.native
def ticks_ms():
    global _now
    _now += 1
    if _now >= _wake and not _busy:
        _wait(_now)
    return (_now // 1000 + _ms0) & _MASK


def sleep_us(us):
    if us > 0:
        _wait(_now + us)


def sleep_ms(ms):
    sleep_us(ms * 1000)


def sleep(seconds):
    sleep_ms(int(seconds * 1000))


def time():
    return _unix0 + _epoch * 500 + _now // 1_000_000


def time_ns():
    return ((_unix0 + _epoch * 500) * 1_000_000 + _now) * 1000


def gmtime(seconds=None):
    return utime.gmtime(time() if seconds is None else seconds)[:8]


# -- machine ---------------------------------------------------------------------------------


class Pin:
    IN = 0
    OUT = 1
    OPEN_DRAIN = 2
    PULL_UP = 1
    PULL_DOWN = 2
    IRQ_FALLING = 4
    IRQ_RISING = 8

    def __init__(self, id, mode=-1, pull=-1, *, value=None, **_):
        if isinstance(id, str):
            id = 63 if id == "LED" else int(id[2:])
        if not 0 <= id < 64:
            raise ValueError("invalid pin")
        self._n = id
        self._pull = 0
        self._handler = None
        self._trigger = 0
        self.init(mode, pull, value=value)

    def init(self, mode=-1, pull=-1, *, value=None, **_):
        n = self._n
        if pull is not None and pull >= 0:
            self._pull = pull
        if mode == Pin.IN:
            if _output[n]:
                _output[n] = 0
                _level[n] = 2
                _tell(_PIN_OUT, n | 2 << 8)
        elif mode > 0:
            if value is None:
                value = _level[n] == 1
            _output[n] = 1
            _level[n] = 2
        if value is not None:
            self.value(value)

    @micropython.native
    def value(self, x=None):
        global _mux
        n = self._n
        if x is None:
            return _pin_in(n, self._pull)
        bit = _mux_bit[n]
        if bit:
            _mux = _mux | bit if x else _mux & ~bit
            _level[n] = 1 if x else 0
            return
        level = 1 if x else 0
        if _level[n] != level:
            _level[n] = level
            if _output[n]:
                _tell(_PIN_OUT, n | level << 8)

    __call__ = value

    def on(self):
        self.value(1)

    def off(self):
        self.value(0)

    high = on
    low = off

    def toggle(self):
        self.value(not self.value())

    def irq(self, handler=None, trigger=12, **_):
        # Edges are seen when the host answers, at the latest every few milliseconds.
        if not _input_bit[self._n]:
            raise ValueError("no interrupt on this pin: the board table has no such input")
        self._handler = handler
        self._trigger = trigger
        if self in _irq_pins:
            _irq_pins.remove(self)
        if handler is not None:
            _irq_pins.append(self)
        return self

    def __repr__(self):
        return "Pin(%d, mode=%s)" % (self._n, "OUT" if _output[self._n] else "IN")


def _pin_in(n, pull):
    if _output[n]:
        return _level[n]
    if _timer is not None and _input_bit[n]:  # in a callback: as of the last answer
        return _inputs >> (_input_bit[n] - 1) & 1
    return _ask(_PIN_IN, _now, n | pull << 8)


def __getattr__(name):
    # In a file of its own, because few boards have any, and this one is in every heap.
    if name != "PWM":
        raise AttributeError(name)
    from pulses import PWM

    return PWM


class ADC:
    ATTN_0DB = 0
    ATTN_2_5DB = 1
    ATTN_6DB = 2
    ATTN_11DB = 3
    CORE_TEMP = 4

    def __init__(self, pin, *, atten=None):
        n = pin._n if isinstance(pin, Pin) else pin
        if n < 5:  # RP2040: converter inputs 0 to 4 by number
            n += 26
        self._n = n
        self._table = _tables.get(n)

    @micropython.native
    def read_u16(self):
        row = _row
        if row < 0:
            row = _fetch()
        if self._table is not None:
            channel = self._table[_mux]
            if channel != _NO_CHANNEL:
                return _rep[row + channel]
        return _ask(_ADC, _now, self._n | _mux << 8)

    def read_uv(self):
        # in mV as the ESP32's, whose sensors do not fill its range; elsewhere that of the code
        code = (self.read_u16() >> 4) - 2048
        uv = _mid_uv + (code * (_span_uv // 100) * 25 + 511 >> 9)
        return uv if _mid_uv == _span_uv else (uv + 500) // 1000 * 1000

    def read(self):
        return self.read_u16() >> 4

    def atten(self, _=None):
        pass

    width = atten


@micropython.native
def _fetch():
    # Where in _rep the row of this instant starts; rows of instants to come may be there already.
    global _row, _blk, _blk_step, _blk_n, _blk_timer
    at = _now if _timer is None else _timer._at
    k = at - _blk
    if 0 <= k < _blk_n * _blk_step:
        if _timer is None:
            return _HEAD + k // _blk_step * _width
        if k % _blk_step == 0:
            _row = _HEAD + k // _blk_step * _width
            return _row
    # Rows ahead only for a timer that asked before: two timers would spoil each other's.
    step = 0
    if _timer is not None:
        if _timer is _blk_timer and _timer._periodic and not _timer._all_chunks:
            step = _timer._rest
        _blk_timer = _timer
    _blk_n = _ask(_SCAN, at, step, _rep_bytes)
    _blk = at
    _blk_step = step or 1
    if not _blk_n:
        raise OSError(110)  # ETIMEDOUT: the converter does not answer
    if _timer is not None:
        _row = _HEAD
    return _HEAD


class Timer:
    ONE_SHOT = 0
    PERIODIC = 1

    def __init__(self, id=-1, **how):
        self._due = self._at = self._rest = 0
        self._chunks = self._all_chunks = 0
        self._periodic = False
        self._callback = None
        if how:
            self.init(**how)

    def init(self, *, mode=1, period=-1, freq=None, tick_hz=1000, callback=None, hard=False):
        if hard:
            raise ValueError("hard Timers are not implemented")
        if freq is not None:
            us = int(1_000_000 / freq + 0.5)
        else:
            us = period * 1_000_000 // tick_hz
        if us < 1:
            us = 1
        self.deinit()
        self._all_chunks = us >> 28
        self._rest = us & _CHUNK_US - 1
        self._chunks = self._all_chunks
        self._periodic = mode == Timer.PERIODIC
        self._callback = callback or _nothing
        self._due = _now + self._rest
        _timers.append(self)
        _plan()

    def deinit(self):
        if self in _timers:
            _timers.remove(self)


def _nothing(_):
    pass


class UART(io.IOBase):
    # Its wires end in the terminal that $SIMULATED_UART names: the slave side of a pty, mostly.
    # Sends as fast as its baud rate lets it, from a buffer of `txbuf` bytes; write() never waits,
    # and what nobody takes at the other end is lost.
    def __init__(self, id, baudrate=9600, tx=None, rx=None, txbuf=256, rxbuf=256, **_):
        path = os.getenv("SIMULATED_UART")
        if not path:
            raise OSError(19)  # ENODEV
        self._file = open(path, "r+b")
        self._poll = uselect.poll()
        self._poll.register(self._file, uselect.POLLIN)
        self._wire = uselect.poll()
        self._wire.register(self._file, uselect.POLLOUT)
        self._us = 10_000_000 // baudrate  # a byte
        self._size = txbuf
        self._epoch = _epoch
        self._sent = _now  # when all that was written is on the wire

    def _room(self):
        # Bytes that fit into the buffer now.
        if self._epoch != _epoch:
            self._sent -= EPOCH_US
            self._epoch = _epoch
        if self._sent < _now:
            self._sent = _now
        return self._size - (self._sent - _now) // self._us

    def ioctl(self, request, arg):
        if request != 3:  # MP_STREAM_POLL
            return 0
        got = 0
        if arg & uselect.POLLIN:
            for _, flags in self._poll.ipoll(0):
                got = flags & uselect.POLLIN
        if arg & uselect.POLLOUT and self._room() > 0:
            got |= uselect.POLLOUT
        return got

    def any(self):
        return self.ioctl(3, uselect.POLLIN)

    def read(self, size):
        return self._file.read(size) if self.any() else None

    def readinto(self, data, size=-1):
        return self._file.readinto(data) if self.any() else None

    def write(self, data):
        size = min(len(data), self._room())
        if size <= 0:
            return None
        self._sent += size * self._us
        for i in range(size):
            for _ in self._wire.ipoll(0):
                self._file.write(bytes(data[i : i + 1]))
        return size


class I2C:
    # With the FRAM that lies in `fram.bin` beside the flash's files, if it does.

    def __init__(self, id=-1, *, scl=None, sda=None, freq=400000):
        pass

    def readfrom_mem(self, addr, memaddr, nbytes, *, addrsize=8):
        with self._open(addr) as chip:
            chip.seek(memaddr)
            return chip.read(nbytes)

    def writeto_mem(self, addr, memaddr, buf, *, addrsize=8):
        with self._open(addr) as chip:
            chip.seek(memaddr)
            chip.write(buf)

    def _open(self, addr):
        if addr != 0x50:
            raise OSError(5)
        try:
            return open("fram.bin", "r+b")
        except OSError:
            raise OSError(5)  # EIO: nobody answers


class WDT:
    def __init__(self, id=0, timeout=5000):
        global _watchdog
        if not 1 <= timeout <= 8388:
            raise ValueError("timeout exceeds 8388")
        _tell(_WATCHDOG, timeout)
        self._us = timeout * 1000
        if _watchdog is None:
            _watchdog = Timer()
        _watchdog.init(mode=Timer.ONE_SHOT, period=timeout, callback=_bite)

    def feed(self):
        _watchdog._due = _now + self._us
        _plan()


_watchdog = None


def _bite(_):
    _reset(WDT_RESET)


def _reset(cause):
    _tell(_RESET, cause)
    while _from_host.readinto(_rep, 2):  # the host ends this process
        pass
    _die()


def reset():
    _reset(HARD_RESET)


def soft_reset():
    _reset(SOFT_RESET)


def reset_cause():
    return _cause


def unique_id():
    return _id


def freq(_=None):
    return 125_000_000


def idle():
    _wait(_now + 1)


def disable_irq():
    global _busy
    _busy += 1
    return _busy - 1


def enable_irq(state=0):
    global _busy
    _busy = state


class RTC:
    def datetime(self, now=None):
        global _unix0
        if now is None:
            t = gmtime()
            return (t[0], t[1], t[2], t[6], t[3], t[4], t[5], 0)
        y, mo, d, _, h, mi, s, _ = now
        # days since 1970, from the day of the year that MicroPython has no function for
        days = (y - 1970) * 365 + (y - 1969) // 4
        days += (0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334)[mo - 1] + d - 1
        if mo > 2 and y % 4 == 0:
            days += 1
        _unix0 += days * 86400 + h * 3600 + mi * 60 + s - time()

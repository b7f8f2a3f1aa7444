"""The simulated chip by itself: a toy firmware on real MicroPython against a toy truck.

The toy truck's codes are a known function of channel and time, so what the chip reads proves both
the instant and the channel to the microsecond.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tools.simulator import bytecode, link
from tools.simulator.device import (
    ROOT,
    DeviceError,
    SimulatedDevice,
    find_interpreter,
    load_board,
    make_truck,
)

PERIOD_US = 416


def toy_board(muxed: bool = True) -> SimpleNamespace:
    """Three channels behind a multiplexer on GP26 and one directly on GP27."""
    channels = [SimpleNamespace(adc=26, mux=m if muxed else None) for m in (0, 2, 3)]
    channels.append(SimpleNamespace(adc=27, mux=None))
    return SimpleNamespace(
        channels=tuple(channels), mux_address=(18, 19), inputs={"gfci": 8, "grid": 9}
    )


class ToyTruck:
    """Codes that say when and where they were taken; notes what the chip does to its pins."""

    def __init__(self) -> None:
        self.pins: list[tuple[int, int, int | None]] = []
        self.pulses: list[tuple[int, int, int | None, int | None]] = []
        self.inputs = {8: 0, 9: 1}
        self.scans: list[int] = []
        self.t_us = 0

    @staticmethod
    def code(channel: int, t_us: int) -> int:
        return (t_us // 8 * 13 + channel * 977) % 4096

    def certain_us(self, t_us: int) -> int:
        return 4000

    def _advance(self, t_us: int) -> None:
        assert t_us >= self.t_us, "the truck's time never goes back"
        self.t_us = t_us

    def scan(self, t_us: int) -> list[int]:
        self._advance(t_us)
        self.scans.append(t_us)
        return [self.code(channel, t_us) for channel in range(4)]

    def adc(self, gpio: int, t_us: int) -> int:
        self._advance(t_us)
        return gpio

    def set_pin(self, gpio: int, level: int | None, t_us: int) -> None:
        self.pins.append((t_us, gpio, level))

    def set_pulses(
        self, gpio: int, t_us: int, hz: int | None = None, duty_u16: int | None = None
    ) -> None:
        self._advance(t_us)
        self.pulses.append((t_us, gpio, hz, duty_u16))

    def read_pin(self, gpio: int, t_us: int) -> int:
        self._advance(t_us)
        return self.inputs[gpio]


Make = Callable[..., SimulatedDevice]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes devices that run the given main.py; all are stopped at the end."""
    made: list[SimulatedDevice] = []

    def device(main: str, boot: str = "", board: Any = None, **how: Any) -> SimulatedDevice:
        root = tmp_path / f"root{len(made)}"
        root.mkdir()
        (root / "boot.py").write_text(boot)
        (root / "main.py").write_text(main)
        how.setdefault("truck", ToyTruck())
        new = SimulatedDevice(board or toy_board(), root=root, heap=190_000, **how)
        made.append(new)
        new.start()
        return new

    yield device
    for each in made:
        each.stop()


def printed(device: SimulatedDevice) -> list[str]:
    return [line.text for line in device.lines]


def test_sleep_takes_exactly_its_time(make: Make) -> None:
    device = make(
        """
import time
a = time.ticks_us(); time.sleep_ms(250); b = time.ticks_us()
print(time.ticks_diff(b, a))
a = time.ticks_us(); time.sleep_us(7); b = time.ticks_us()
print(time.ticks_diff(b, a))
a = time.ticks_ms(); time.sleep(1.5); print(time.ticks_diff(time.ticks_ms(), a))
t = time.time(); time.sleep(100); print(time.time() - t, time.gmtime()[:5])
"""
    )
    device.run(120)
    # the call of ticks_us() itself takes 1 us
    assert printed(device)[:4] == ["250001", "8", "1500", "100 (2026, 1, 1, 0, 1)"]
    assert device.now_us == 120_000_000


def test_a_busy_wait_ends_and_timers_run_meanwhile(make: Make) -> None:
    device = make(
        """
import time
from machine import Timer
ran = []
Timer(period=1, callback=lambda t: ran.append(time.ticks_us()))
start = time.ticks_us()
while time.ticks_diff(time.ticks_us(), start) < 5000:
    pass
print([time.ticks_diff(t, start) for t in ran])
"""
    )
    device.run(1)
    gaps = json.loads(printed(device)[0])
    assert len(gaps) == 5
    assert all(abs(gap - 1000 * (k + 1)) <= 2 for k, gap in enumerate(gaps))


def test_time_goes_on_across_the_wraps_of_both_ticks(make: Make) -> None:
    device = make(
        """
import time
from machine import Timer
n = [0]
def tick(_): n[0] += 1
Timer(period=100, callback=tick)
us, ms = time.ticks_us(), time.ticks_ms()
for _ in range(3):
    time.sleep(500)
    u, m = time.ticks_us(), time.ticks_ms()
    print(time.ticks_diff(u, us), time.ticks_diff(m, ms), u < us, n[0])
    us, ms = u, m
""",
        ticks_us=(1 << 30) - 20_000_000,
    )
    device.run(1600)
    like_the_chip = bytecode.architecture(find_interpreter())[1] == 1
    assert printed(device)[:3] == [
        f"500000002 500000 {like_the_chip} 5000",
        "500000002 500000 False 10000",
        f"500000002 500000 {like_the_chip} 15000",
    ]


def test_timers_run_at_their_instants_and_in_order(make: Make) -> None:
    device = make(
        f"""
import time
from machine import Timer
log = []
start = time.ticks_us()
def note(name):
    return lambda t: log.append((name, time.ticks_diff(time.ticks_us(), start)))
Timer(period=3, callback=note("a"))
Timer(mode=Timer.ONE_SHOT, period=5, callback=note("b"))
Timer(freq=1e6 / {PERIOD_US}, mode=Timer.PERIODIC, callback=note("c"))
long = Timer(-1); long.init(period=1100000, callback=note("d"))
time.sleep_us(9000)
print([t for n, t in log if n == "a"], [t for n, t in log if n == "b"])
print([t for n, t in log if n == "c"][:3], len([t for n, t in log if n == "c"]))
print(log == sorted(log, key=lambda entry: entry[1]))
log.clear()
try:
    Timer(period=1, hard=True)
except ValueError as e:
    print(e)
"""
    )
    device.run(1)
    # a callback's ticks_us() reads 1 us after its instant, and the timers were made after `start`
    assert printed(device) == [
        "[3001, 6001, 9001] [5001]",
        "[417, 833, 1249] 21",
        "True",
        "hard Timers are not implemented",
        "main.py has ended; the chip would show its prompt now",
    ]


def test_a_long_period_is_kept(make: Make) -> None:
    device = make(
        """
import time
from machine import Timer
start = time.time()
Timer(period=1_100_000, callback=lambda t: print(time.time() - start))
"""
    )
    device.run(3500)
    assert printed(device)[1:] == ["1100", "2200", "3300"]


def test_a_failing_callback_is_printed_and_its_timer_goes_on(make: Make) -> None:
    device = make(
        """
import time
from machine import Timer
n = 0
def tick(t):
    global n
    n += 1
    if n == 2:
        raise ValueError("second")
t = Timer(period=10, callback=tick)
time.sleep_ms(55)
t.deinit()
time.sleep_ms(50)
print("ran", n)
"""
    )
    device.run(1)
    assert "ValueError: second" in printed(device)
    assert "ran 5" in printed(device)


PULSES = """
import machine, time
from micropython import heap_lock, heap_unlock
pwm = machine.PWM(machine.Pin(22), freq=1000, duty_u16=65535)
time.sleep_ms(10)
heap_lock()
pwm.duty_u16(34952)
time.sleep_ms(5)
pwm.duty_u16(0)
heap_unlock()
pwm.freq(2000)
print(pwm.freq(), pwm.duty_u16())
try:
    pwm.freq(1)
except ValueError as e:
    print("ValueError", e)
try:
    machine.DAC
except AttributeError:
    print("no DAC")
time.sleep_ms(1)
machine.Pin(22, machine.Pin.OUT, value=1)
time.sleep_ms(1)
machine.reset()
"""


def test_pulses_reach_the_truck_with_their_instants_and_end_with_the_chip(make: Make) -> None:
    truck = ToyTruck()
    device = make(PULSES, truck=truck)
    device.run(0.0174)
    start = truck.pulses[0][0]
    assert [(t - start, *what) for t, *what in truck.pulses] == [
        (0, 22, 1000, None),
        (0, 22, None, 65535),
        (10_000, 22, None, 34_952),
        (15_000, 22, None, 0),
        (15_000, 22, 2000, None),
    ]
    assert printed(device) == ["2000 0", "ValueError freq", "no DAC"]
    # the pin as a pin again, and then let go by the reset
    assert [(t - start, level) for t, gpio, level in truck.pins if gpio == 22] == [
        (16_000, 1),
        (17_000, None),
    ]


def test_a_multiplexer_of_sixteen_and_the_auxiliary_contacts_are_read(make: Make) -> None:
    board = SimpleNamespace(
        channels=tuple(SimpleNamespace(adc=26, mux=m) for m in (0, 7, 8, 13)),
        mux_address=(18, 19, 20, 21),
        inputs={"gfci": 8},
        power={"seen": (15, 14)},
    )
    truck = ToyTruck()
    truck.inputs |= {15: 0, 14: 1}
    device = make(
        """
import time
from machine import ADC, Pin
mux = [Pin(n, Pin.OUT, value=0) for n in (18, 19, 20, 21)]
adc = ADC(26)
seen = [Pin(n, Pin.IN, Pin.PULL_UP) for n in (15, 14)]
for address in (0, 7, 8, 13):
    for bit in range(4):
        mux[bit](address >> bit & 1)
    print(address, adc.read())
print([pin() for pin in seen], Pin(3, Pin.IN, Pin.PULL_UP)(), Pin(4, Pin.IN)())
""",
        board=board,
        truck=truck,
    )
    device.run(0.01)
    at = truck.scans[0]
    assert printed(device)[:5] == [
        *(f"{mux} {ToyTruck.code(k, at)}" for k, mux in enumerate((0, 7, 8, 13))),
        "[0, 1] 1 0",
    ]


def test_interrupts_off_hold_timers_back(make: Make) -> None:
    device = make(
        """
import time, machine
ran = []
machine.Timer(period=1, callback=lambda t: ran.append(1))
time.sleep_us(100)
state = machine.disable_irq()
time.sleep_us(2500)
print(len(ran))
machine.enable_irq(state)
time.sleep_us(1)
print(len(ran))
"""
    )
    device.run(1)
    assert printed(device)[:2] == ["0", "2"]


ASYNC = """
import asyncio, time
from machine import Timer
start = time.ticks_ms()
log = []
def note(name):
    log.append((name, time.ticks_diff(time.ticks_ms(), start)))
async def every(name, ms, n):
    at = start
    for _ in range(n):
        at = time.ticks_add(at, ms)
        await asyncio.sleep_ms(time.ticks_diff(at, time.ticks_ms()))
        note(name)
async def waiter(event):
    await event.wait()
    note("event")
async def flagged(flag):
    for _ in range(3):
        await flag.wait()
        note("flag")
async def spin():
    while True:
        await asyncio.sleep_ms(0)
async def cancelled():
    try:
        await asyncio.sleep(100)
    except asyncio.CancelledError:
        note("cancel")
        raise
async def sleeper():
    await asyncio.sleep(5)
async def main():
    event, flag = asyncio.Event(), asyncio.ThreadSafeFlag()
    Timer(period=40, callback=lambda t: flag.set())
    asyncio.create_task(waiter(event))
    asyncio.create_task(flagged(flag))
    asyncio.create_task(every("seven", 7, 10))
    asyncio.create_task(every("thirty", 30, 3))
    long = asyncio.create_task(cancelled())
    if SPIN:
        asyncio.create_task(spin())
    await asyncio.sleep_ms(50)
    event.set()
    await asyncio.sleep_ms(5)
    long.cancel()
    await asyncio.sleep_ms(100)
    try:
        await asyncio.wait_for_ms(sleeper(), 20)
    except asyncio.TimeoutError:
        note("timeout")
    print(log)
asyncio.run(main())
"""


@pytest.mark.parametrize("spin", [False, True])
def test_asyncio_tasks_wake_in_order_and_on_time(make: Make, spin: bool) -> None:
    device = make(ASYNC.replace("SPIN", str(spin)))
    device.run(1)
    assert not printed(device)[0].startswith("Traceback"), "\n".join(printed(device))
    log = eval(printed(device)[0])
    due = [("seven", 7 * k) for k in range(1, 11)] + [("thirty", 30 * k) for k in range(1, 4)]
    due += [("event", 50), ("cancel", 55), ("timeout", 175)]
    due += [("flag", 40), ("flag", 80), ("flag", 120)]
    assert sorted(name for name, _ in log) == sorted(name for name, _ in due)
    assert log == sorted(log, key=lambda entry: entry[1])
    for name, at in due:
        found = [t for n, t in log if n == name and 0 <= t - at <= 1]
        assert found, f"{name} at {at} ms: {log}"


SAMPLER = f"""
import time
from machine import ADC, Pin, Timer
mux = (Pin(18, Pin.OUT, value=0), Pin(19, Pin.OUT, value=0))
muxed, direct = ADC(Pin(26)), ADC(27)
rows = []
def scan(t):
    row = []
    for address in (0, 2, 3):
        mux[0](address & 1)
        mux[1].value(address >> 1)
        row.append(muxed.read_u16())
    row.append(direct.read_u16())
    rows.append(row)
timer = Timer(freq=1e6 / {PERIOD_US}, callback=scan)
start = time.ticks_us()
time.sleep_us({PERIOD_US} * 40 + 50)
timer.deinit()
print(start)
for row in rows:
    print(row)
"""


@pytest.mark.parametrize("block", [1, 10])
def test_the_adc_gives_the_plants_codes_of_each_instant(make: Make, block: int) -> None:
    device = make(SAMPLER, block=block)
    device.run(1)
    # ticks_us() began at 0, and counted itself
    lines = [json.loads(text) for text in printed(device)[:41]]
    first = lines[0] - 1 + PERIOD_US
    for k, row in enumerate(lines[1:]):
        instant = first + k * PERIOD_US
        assert row == [link.u16(ToyTruck.code(c, instant)) for c in range(4)], (k, instant)
    assert device.truck.scans[:40] == [first + k * PERIOD_US for k in range(40)]


def test_adc_reads_outside_a_timer(make: Make) -> None:
    device = make(
        """
import time
from machine import ADC, Pin
a = ADC(27)
t = time.ticks_us(); x = a.read_u16()
time.sleep_us(1000)
u = time.ticks_us(); y = a.read_u16()
print(t, x, u, y, ADC(28).read_u16() >> 4, a.read_uv() * 4096 // 3300000 - (y >> 4), a.read())
"""
    )
    device.run(1)
    t, x, u, y, other, off, code = (int(word) for word in printed(device)[0].split())
    assert (x, y) == (link.u16(ToyTruck.code(3, t)), link.u16(ToyTruck.code(3, u)))
    assert other == 28
    assert abs(off) <= 1
    assert code == y >> 4


def test_pins_reach_the_truck_at_their_instants(make: Make) -> None:
    device = make(
        """
import time
from machine import Pin, Timer
relay = Pin(2, Pin.OUT, value=0)
time.sleep_ms(3)
relay.on(); relay.value(1); relay(1)
print(relay.value(), Pin(2).value())
time.sleep_ms(1)
Timer(mode=Timer.ONE_SHOT, period=6, callback=lambda t: relay.off())
print(Pin(8, Pin.IN).value(), Pin(9, Pin.IN, Pin.PULL_UP)(), Pin(12, Pin.IN, Pin.PULL_UP).value())
time.sleep_ms(20)
Pin(2, Pin.IN)
"""
    )
    device.run(1)
    assert printed(device)[:2] == ["1 1", "0 1 1"]
    assert device.truck.pins == [
        (0, 2, 0),
        (3000, 2, 1),
        (10_000, 2, 0),
        (24_000, 2, None),
    ]


def test_inputs_are_seen_and_raise_interrupts(make: Make) -> None:
    device = make(
        """
import time
from machine import ADC, Pin, Timer
gfci = Pin(8, Pin.IN)
gfci.irq(lambda p: print("edge", p.value()), Pin.IRQ_RISING | Pin.IRQ_FALLING)
a = ADC(27)
timer = Timer(freq=2400, callback=lambda t: a.read_u16())
"""
    )
    device.run(0.1)
    device.truck.inputs[8] = 1
    device.run(0.1)
    device.truck.inputs[8] = 0
    device.run(0.1)
    assert [text for text in printed(device) if text.startswith("edge")] == ["edge 1", "edge 0"]


def test_the_scan_allocates_nothing(make: Make) -> None:
    device = make(
        """
import micropython, time
from machine import ADC, Pin, Timer, disable_irq, enable_irq, WDT
a, relay, gfci = ADC(27), Pin(2, Pin.OUT), Pin(8, Pin.IN)
level = 0
def scan(t):
    global level
    level = 1 - level
    a.read_u16(); relay.value(level); gfci.value()
timer = Timer(freq=2400, callback=scan)
wdt = WDT(timeout=5000)
time.sleep_ms(5)
micropython.heap_lock()
for _ in range(20):
    time.sleep_ms(500)
    time.ticks_us(); time.ticks_ms(); wdt.feed(); gfci.value(); enable_irq(disable_irq())
micropython.heap_unlock()
print("done")
"""
    )
    device.run(11)
    assert printed(device)[0] == "done"


def test_a_reset_releases_pins_keeps_flash_and_starts_again(make: Make) -> None:
    device = make(
        """
import machine, time
from machine import Pin
print("cause", machine.reset_cause(), machine.unique_id().hex())
Pin(2, Pin.OUT, value=1)
time.sleep_ms(100)
if machine.reset_cause() == machine.PWRON_RESET:
    with open("note", "w") as f:
        f.write("kept")
    machine.reset()
print(open("note").read(), time.ticks_us() < 200_000)
wdt = machine.WDT(timeout=300)
for _ in range(4):
    time.sleep_ms(200)
    wdt.feed()
time.sleep(9)
""",
        boot_us=5000,
    )
    device.run(1.35)
    assert printed(device) == [
        "cause 1 e661640843210b2f",
        "cause 2 e661640843210b2f",
        "kept True",
        "cause 3 e661640843210b2f",
    ]
    # one ticks_us() lies between the second start and its last feed
    assert device.resets == [(100_000, link.HARD_RESET), (1_305_001, link.WDT_RESET)]
    assert (100_000, 2, None) in device.truck.pins
    assert (105_000, 2, 1) in device.truck.pins


def test_a_power_cut_is_a_power_on_reset(make: Make) -> None:
    device = make(
        "import machine\nmachine.Pin(2, machine.Pin.OUT, value=1)\nprint(machine.reset_cause())"
    )
    device.run(0.5)
    device.power_cut()
    device.run(2)
    assert device.truck.pins[-1] == (500_000, 2, None)
    assert device.pid is None
    device.power_on()
    device.run(0.5)
    assert printed(device).count("1") == 2
    assert device.truck.pins[-1] == (2_505_000, 2, 1)


def test_errors_of_boot_and_main_are_survived(make: Make) -> None:
    device = make("print('main runs')\n1 / 0", boot="print('boot')\nnothing")
    device.run(1)
    text = "\n".join(printed(device))
    assert text.index("boot") < text.index("NameError") < text.index("main runs")
    assert "ZeroDivisionError" in text
    assert "its prompt" in text


def test_sys_exit_is_a_soft_reset(make: Make) -> None:
    device = make(
        "import machine as m, sys\nprint(m.reset_cause())\nif m.reset_cause() == 1: sys.exit()"
    )
    device.run(1)
    assert printed(device)[:2] == ["1", str(link.SOFT_RESET)]


CONSOLE = """
import asyncio, sys, time, random
from machine import ADC, Timer
a = ADC(27)
last = 0
def scan(t):
    global last
    last = a.read_u16()
async def noisy():
    while True:
        await asyncio.sleep_ms(random.getrandbits(5))
        print("event", time.ticks_us(), last, random.getrandbits(16))
async def main():
    Timer(freq=2400, callback=scan)
    asyncio.create_task(noisy())
    reader = asyncio.StreamReader(sys.stdin.buffer)
    line = b""
    while True:
        c = await reader.read(1)
        if c in b"\\r\\n":
            print("ok", line, time.ticks_us(), last)
            line = b""
        else:
            line += c
asyncio.run(main())
"""


def transcript(device: SimulatedDevice) -> list[Any]:
    for k in range(20):
        device.run(0.037)
        device.type(f"status {k}")
    device.run(0.1)
    return list(device.lines)


def test_two_runs_give_the_same_transcript(make: Make) -> None:
    first, second = (transcript(make(CONSOLE)) for _ in range(2))
    assert len(first) > 40
    assert sum(line.text.startswith("ok b'status") for line in first) == 20
    assert first == second


def test_typed_input_is_answered_at_once(make: Make) -> None:
    device = make(CONSOLE)
    device.run(0.5)
    device.type("hello")
    match = device.expect(r"^ok b'hello' (\d+)", within=0.1)
    assert 0 <= int(match.group(1)) - 500_000 < 5000
    with pytest.raises(DeviceError, match="no line matched 'nobody says this'"):
        device.expect("nobody says this", within=0.05)


def test_much_output_does_not_block(make: Make) -> None:
    device = make("for i in range(5000):\n    print('x' * 60)\nprint('end')")
    device.run(0.1)
    assert len(device.lines) > 5000


def test_a_hang_is_ended_by_the_watchdog_or_reported(make: Make) -> None:
    hang = """
import machine
if machine.reset_cause() == 1:
    %s
    while True:
        pass
print("again")
"""
    device = make(hang % "machine.WDT(timeout=2000)", stall_s=0.5)
    device.run(3)
    assert device.resets == [(2_000_000, link.WDT_RESET)]
    assert "again" in printed(device)
    device = make(hang % "print('hangs')", stall_s=0.5)
    with pytest.raises(DeviceError, match=r"without letting time pass(.|\n)*hangs"):
        device.run(3)
    assert device.pid is None


def test_a_dead_interpreter_is_reported(make: Make) -> None:
    device = make("import os\nprint('last words')\nos.system('kill -9 $PPID')")
    with pytest.raises(DeviceError, match=r"MicroPython ended(.|\n)*last words"):
        device.run(1)


def test_no_process_is_left_behind(make: Make) -> None:
    device = make(CONSOLE)
    device.run(0.1)
    pid = device.pid
    assert pid is not None
    device.stop()
    assert not Path(f"/proc/{pid}").exists() or not Path("/proc/self").exists()


def test_paced_time_follows_the_wall_clock(make: Make) -> None:
    device = make(CONSOLE)
    device.run(0.1)
    start = time.monotonic()
    device.run_paced(600_000, speed=2.0)
    assert 0.2 <= time.monotonic() - start <= 5  # 0.25 s, unless the machine is busy
    assert device.now_us >= 600_000


def test_the_constants_of_both_ends_agree() -> None:
    text = (Path(link.__file__).parent / "chip" / "machine.py").read_text()
    pulses = (Path(link.__file__).parent / "chip" / "pulses.py").read_text()
    for name in ("PULSES", "PULSE_HZ"):
        assert f"_{name} = const({getattr(link, name)})" in pulses
    for name in ("HELLO", "IDLE", "SCAN", "ADC", "PIN_IN", "PIN_OUT", "RESET", "WATCHDOG"):
        assert f"_{name} = const({getattr(link, name)})" in text
    assert f"EPOCH_US = const({link.EPOCH_US:_})" in text
    for name in ("PWRON_RESET", "HARD_RESET", "WDT_RESET", "SOFT_RESET"):
        assert f"\n{name} = {getattr(link, name)}\n" in text


def test_what_the_chips_own_modules_take_of_the_heap_is_added_to_it() -> None:
    interpreter = find_interpreter()
    (chip,) = bytecode.build(interpreter).path
    script = (
        "import gc, sys; sys.path.insert(0, %r); gc.collect(); a = gc.mem_free(); "
        "import machine, time, select; gc.collect(); print(a - gc.mem_free())"
    )
    done = subprocess.run(
        [str(interpreter), "-X", "heapsize=190000", "-c", script % str(chip)],
        capture_output=True,
        text=True,
        check=True,
    )
    size = int(done.stdout) // bytecode.architecture(interpreter)[1]
    assert bytecode.CHIP_BYTES // 2 < size <= bytecode.CHIP_BYTES


def test_a_module_that_does_not_compile_is_named(tmp_path: Path) -> None:
    (tmp_path / "firmware").mkdir()
    (tmp_path / "firmware" / "broken.py").write_text("x = = 1\n")
    with pytest.raises(bytecode.CompileError, match=r"firmware/broken\.py"):
        bytecode.build(find_interpreter(), tmp_path)


TOGGLING = f"""
import time
from machine import ADC, Pin, Timer
from firmware.board import load
board = load("simulated")
mux = [Pin(pin, Pin.OUT, value=0) for pin in board.mux_address]
adc = ADC(Pin(26))
relays = [Pin(outlet.relay, Pin.OUT, value=0) for outlet in board.outlets]
Pin(board.contactor, Pin.OUT, value=1)
count = total = 0
def scan(t):
    global count, total
    for channel in range(8):
        for bit in range(3):
            mux[bit](channel >> bit & 1)
        total = (total * 31 + adc.read_u16()) & 0xffffff
    count += 1
    if count % 97 == 0:
        relays[count // 97 % 5].toggle()
Timer(period={PERIOD_US}, tick_hz=1000000, callback=scan)
while True:
    time.sleep_ms(50)
    print(count, total)
"""


def test_scans_fetched_ahead_are_those_of_one_at_a_time(make: Make, tmp_path: Path) -> None:
    runs = []
    for block in (1, 10):
        board = load_board("simulated")
        device = make(TOGGLING, board=board, truck=make_truck(board), block=block)
        (device.root / "firmware").symlink_to(ROOT / "firmware")
        (device.root / "lib").symlink_to(ROOT / "lib")
        device.run(0.1)
        for line in ("plug cabin1 circular_saw", "plug bed1 microwave", "plug bed240 ev_charger"):
            device.sim(line)
        device.run(2)
        truck = device.truck
        runs.append((printed(device), truck.edges, truck.contacts, device.truth()["outlets"]))
    assert len(runs[0][0]) > 40
    assert len(runs[0][2]) > 40
    assert runs[0] == runs[1]


def test_both_ticks_may_wrap_under_the_firmware(make: Make, tmp_path: Path) -> None:
    device = SimulatedDevice("simulated", ticks_us=(1 << 30) - 3_000_000)
    with device:
        device.run(2)
        assert device.command("on bed1") == "ok bed1"
        device.sim("plug bed1 resistive amps=10")
        device.run(4)
        assert device.truck.relays["bed1"].closed
        assert not device.resets

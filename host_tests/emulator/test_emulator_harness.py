"""The emulated chip itself: converter, interrupts, console, resets, flash, time."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import pytest

from host_tests.emulator.conftest import Bench
from tools.emulator import EmulatedPico, EmulatorError, NotSeen, native
from tools.emulator.console import PtyLink, TcpLink

_TIMER = """\
from machine import ADC, Pin, Timer
import array, time
a = ADC(26)
relay = Pin(2, Pin.OUT, value=1)
seen = array.array("i", [0, 0])
def scan(_):
    seen[0] += 1
    code = a.read_u16() >> 4
    if code > 3000 and not seen[1]:
        seen[1] = code
        relay.value(0)
Timer(freq=2400, callback=scan, hard=True)
print("scanning")
"""


def test_hard_timer_reads_the_plant_and_opens_a_pin(stock_image: Path) -> None:
    step_us = 200_000
    bench = Bench(lambda _, t_us: 3500 if t_us >= step_us else 2048)
    with EmulatedPico(stock_image, bench, {"main.py": _TIMER}) as pico:
        pico.expect("scanning")
        pico.run(0.3 - pico.now_us / 1e6)
        ours = [edge for edge in pico.edges if edge.gpio == 2]
        assert [edge.level for edge in ours] == [1, 0]
        # one period of 417 us, and the interpreted handler
        assert 0 < ours[1].t_us - step_us < 700
        assert bench.pins == [(int(t_us), gpio, level) for t_us, gpio, level in pico.edges]
    times = [t for t, gpio in bench.conversions if gpio == 26]
    periods = [b - a for a, b in itertools.pairwise(times[50:])]
    assert sum(periods) / len(periods) == pytest.approx(1e6 / 2400, rel=0.002)
    assert max(periods) < 430 and min(periods) > 400


def test_conversions_name_their_pin(stock_image: Path) -> None:
    bench = Bench(lambda gpio, _: gpio * 100)
    code = "from machine import ADC\nprint([ADC(n).read_u16() >> 4 for n in (26, 27, 28)])"
    with EmulatedPico(stock_image, bench, {}) as pico:
        assert pico.execute(code).strip() == "[2600, 2700, 2800]"


def test_round_robin_visits_each_channel(stock_image: Path) -> None:
    bench = Bench()
    code = """\
from machine import ADC, mem32
for n in (26, 27, 28):
    ADC(n)
mem32[0x4004C000] = 7 << 16 | 1
for _ in range(6):
    mem32[0x4004C000] = mem32[0x4004C000] | 4
    while not mem32[0x4004C000] & 0x100:
        pass
"""
    with EmulatedPico(stock_image, bench, {}) as pico:
        pico.execute(code)
    assert sorted(gpio for _, gpio in bench.conversions) == [26, 26, 27, 27, 28, 28]


def test_outputs_read_back_and_inputs_follow_the_plant(stock_image: Path) -> None:
    bench = Bench()
    with EmulatedPico(stock_image, bench, {}, inputs=[9]) as pico:
        read = "print(Pin(8, Pin.OUT, value=1).value(), Pin(9, Pin.IN).value())"
        assert pico.execute("from machine import Pin\n" + read).strip() == "1 0"
        bench.inputs[9] = 1
        assert pico.execute(read).strip() == "1 1"
        assert pico.level(8) == 1 and pico.level(9) is None


def test_console_carries_both_ways_and_waiting_has_an_end(stock_image: Path) -> None:
    echo = "while True:\n    print('got', input())\n"
    with EmulatedPico(stock_image, files={"main.py": echo}) as pico:
        pico.run(0.1)
        pico.send("one\rtwo\r")
        assert pico.expect("got one").endswith("got one")
        assert "got two" in pico.expect("got two")
        before = pico.now_us
        with pytest.raises(NotSeen, match=r"'three' was not printed within 0\.5 emulated s"):
            pico.expect("three", timeout=0.5)
        assert pico.now_us - before == pytest.approx(500_000, abs=2000)
        assert "got two" in pico.console


def test_long_input_is_not_lost(stock_image: Path) -> None:
    count = "import sys\nn = 0\nwhile n < 5000:\n    n += len(sys.stdin.read(100))\n"
    with EmulatedPico(stock_image, files={"main.py": count + "print('all', n)\n"}) as pico:
        pico.run_until(lambda: pico.usb_up_us is not None)
        pico.send("x" * 5000)
        pico.expect("all 5000")


def test_watchdog_resets_once_and_says_so(stock_image: Path) -> None:
    program = """\
import machine, time
machine.Pin(2, machine.Pin.OUT, value=1)
time.sleep_ms(100)  # until the console is there
print("cause", machine.reset_cause())
if machine.reset_cause() != machine.WDT_RESET:
    machine.WDT(timeout=300)
    while True:
        pass
"""
    with EmulatedPico(stock_image, files={"main.py": program}) as pico:
        pico.expect("cause 1")
        armed = pico.now_us
        pico.expect("cause 3")
        assert len(pico.resets) == 1
        assert pico.resets[0] - armed == pytest.approx(300_000, rel=0.05)
        pico.run(2.0)
        assert len(pico.resets) == 1
        levels = [edge.level for edge in pico.edges if edge.gpio == 2]
        assert levels == [1, None, 1]
        assert pico.edges[1].t_us == pytest.approx(pico.resets[0])


def test_files_outlast_resets_power_cycles_and_the_emulator(
    stock_image: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "flash.img"
    with EmulatedPico(stock_image, files={"a/b.txt": b"\0\xff"}, keep_flash=kept) as pico:
        pico.execute("with open('new.txt', 'w') as f:\n    f.write('written')")
        pico.execute("import machine; machine.mem32[0x20030000] = 1234")
        pico.power_cycle()
        gone = "import machine; print(machine.mem32[0x20030000] != 1234, open('new.txt').read())"
        assert pico.execute(gone).strip() == "True written"
        pico.reset()
        assert pico.execute("print(open('a/b.txt', 'rb').read())").strip() == "b'\\x00\\xff'"
        assert pico.files() == {"a/b.txt": b"\0\xff", "new.txt": b"written"}
    with EmulatedPico(stock_image, files={"third": "3"}, keep_flash=kept) as pico:
        listing = pico.execute("import os; print(sorted(os.listdir()))")
        assert listing.strip() == "['a', 'new.txt', 'third']"


def test_blank_flash_is_formatted(stock_image: Path) -> None:
    with EmulatedPico(stock_image) as pico:
        assert pico.execute("import os; print(os.listdir())", timeout=30).strip() == "[]"


def test_scheduled_calls_come_at_their_instant(stock_image: Path) -> None:
    with EmulatedPico(stock_image, files={}) as pico:
        seen: list[float] = []
        pico.at(0.123456, lambda: seen.append(pico.now_us))
        pico.at(0.05, lambda: seen.append(pico.now_us))
        pico.run(0.2)
        assert seen == pytest.approx([50_000, 123_456], abs=0.1)
        assert pico.now_us == pytest.approx(200_000, abs=1)


def test_errors_on_the_chip_and_in_the_plant_are_reported(stock_image: Path) -> None:
    def broken(_gpio: int, _t_us: int) -> int:
        raise ValueError("the plant broke")

    with EmulatedPico(stock_image, Bench(broken), {}) as pico:
        with pytest.raises(EmulatorError, match="ZeroDivisionError"):
            pico.execute("1 / 0")
        with pytest.raises(ValueError, match="the plant broke"):
            pico.execute("from machine import ADC\nADC(26).read_u16()")


def test_without_a_usb_host_the_chip_runs_all_the_same(stock_image: Path) -> None:
    program = "from machine import Pin\nPin(2, Pin.OUT, value=1)\nprint('nobody reads this')\n"
    with EmulatedPico(stock_image, files={"main.py": program}, usb_host=False) as pico:
        pico.run(0.2)
        assert pico.level(2) == 1
        assert pico.console.text == ""


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(None, "there is no firmware image"), (b"no image" * 64, "not a UF2 image")],
)
def test_bad_image_is_refused(tmp_path: Path, content: bytes | None, complaint: str) -> None:
    image = tmp_path / "image.uf2"
    if content is not None:
        image.write_bytes(content)
    with pytest.raises(EmulatorError, match=complaint):
        EmulatedPico(image)


@pytest.mark.parametrize("kind", [PtyLink, TcpLink])
def test_mpremote_works_over_a_link(
    stock_image: Path, tmp_path: Path, kind: type[PtyLink] | type[TcpLink]
) -> None:
    local = tmp_path / "data.bin"
    local.write_bytes(bytes(range(256)) * 4)
    link = kind()
    port = link.path if isinstance(link, PtyLink) else f"socket://127.0.0.1:{link.port}"
    with EmulatedPico(stock_image, files={}, speed=1.0) as pico:
        pico.connect(link)
        pico.run(0.3)
        command = [sys.executable, "-m", "mpremote", "connect", port]
        command += ["fs", "cp", str(local), ":data.bin", "+", "eval", "6 * 7"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            pico.run_until(lambda: process.poll() is not None, timeout=60)
            assert process.stdout is not None
            output = process.stdout.read()
        assert process.returncode == 0, output
        assert "42" in output
        assert pico.files() == {"data.bin": local.read_bytes()}


def test_compiled_core_is_used_where_there_is_one() -> None:
    import rp2040py.native._simulator as used

    built = (native.folder() / f"complete{native._SUFFIX}").exists()
    assert (str(native.folder()) in str(used.__file__)) == built


_MIXED = """
import array, machine, random, time
heard = array.array("i", [0, 0])
def tick(timer):
    heard[0] += machine.ADC(26).read_u16()
    heard[1] += 1
machine.Timer(period=2, callback=tick, hard=False)
pin = machine.Pin(2, machine.Pin.OUT)
random.seed(4)
x, words = 1.0, {}
for n in range(-40, 120):
    pin.value(n & 1)
    x = (x * 1.37 + n / 7) % 991
    words[str(n)] = [n * n // 3, -n >> 2, n % 7 - 3, n < 60, round(x, 2), random.getrandbits(30)]
print("sum", sum(sum(row) for row in words.values()), sorted(words)[:9], hash("x" * 90))
time.sleep_ms(12)
print("heard", heard)
"""
# A process that imports the emulator first has the wheel's own modules.
_STATE = """
import sys, zlib
if sys.argv[1] == "wheel":
    import rp2040py
from host_tests.emulator.conftest import Bench
from tools.emulator import EmulatedPico
import rp2040py.native._simulator as used
bench = Bench(lambda gpio, t_us: 1500 + t_us % 1000)
with EmulatedPico(sys.argv[2], bench, {"main.py": sys.argv[3]}) as pico:
    pico.expect("heard", 2.0)
    pico.run(0.005)
    mcu = pico._mcu
    print(used.__file__)
    print(mcu.core.cycles, pico.now_us, zlib.crc32(bytes(mcu.sram)), pico.edges, bench.conversions)
    print(pico.console.text)
"""


def test_the_quicker_core_gives_the_very_same_run(stock_image: Path) -> None:
    shown = []
    for which in ("wheel", "compiled"):
        command = [sys.executable, "-c", _STATE, which, str(stock_image), _MIXED]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=native.ROOT)
        shown.append(done.stdout.split("\n", 1))
    assert shown[0][0] != shown[1][0] or not native.install(), "both runs had the same modules"
    assert "heard" in shown[0][1]
    assert shown[0][1] == shown[1][1]

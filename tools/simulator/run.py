"""`make run`: the real firmware on real MicroPython, against a simulated truck, in the terminal.

Keys go to the firmware's console, byte for byte, so its own line editing works. A line that
begins with `sim` goes to the truck: with `sim ` typed, the prompt changes to `truck>`. Without a
terminal, lines are read from standard input until it ends. With --scenario, a scenario is played
instead.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import shutil
import signal
import sys
import termios
import time
import tty
from collections.abc import Iterator
from pathlib import Path

from tools.progress import ToolError, fail
from tools.simulator import bytecode, link, scenario
from tools.simulator.device import (
    DeviceError,
    SimulatedDevice,
    find_interpreter,
    load_board,
    read_settings,
    write_settings,
)

ROOT = Path(__file__).resolve().parents[2]
FLASH = ROOT / "build" / "simulator" / "flash"
MQTT_PORT = 1883
_LOOPBACK = "127.0.0.1"
_READY_US = 1_000_000  # piped lines wait for the firmware to be up
_ANSWER_US = 2_000_000  # and each for the answer to the one before it
_PAUSE_US = 50_000  # of an answer of several lines: it is complete
_LINGER_US = 500_000

_TRUCK = "\x1b[36m"
_ERROR = "\x1b[31m"
_DIM = "\x1b[2m"
_PLAIN = "\x1b[0m"

_HOST_COMMANDS = (
    ("sim power off|on", "the chip's own supply: RAM is lost, flash is kept"),
    ("sim speed <factor>", "of real time; 0 = as fast as possible"),
    ("sim wait <seconds>", "before the next line (of piped input)"),
    ("sim quit", "end everything; so does Ctrl-C"),
)


class Quit(Exception):
    """The person at the terminal wants to leave."""


# -- the broker ----------------------------------------------------------------------------------


def parse_broker(text: str) -> tuple[str, int] | None:
    """HOST:PORT or HOST of `--broker`; None for `none`. ToolError when it is neither."""
    if text == "none":
        return None
    host, colon, port = text.rpartition(":")
    if not colon:
        host, port = text, str(MQTT_PORT)
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ToolError(f"--broker: expected HOST:PORT or none, not '{text}'")
    return host, int(port)


def provide_broker(option: str | None, flash: Path, keep: contextlib.ExitStack) -> list[str]:
    """See to a broker and tell the firmware's settings of it; lines that say what was done."""
    if option is not None:
        chosen = parse_broker(option)
        if chosen is None:
            write_settings(flash, {"mqtt.host": ""})
            return ["none, as asked. The firmware protects all the same."]
        write_settings(flash, {"mqtt.host": chosen[0], "mqtt.port": chosen[1]})
        return _watch_lines(*chosen)
    stored = read_settings(flash)
    host = stored.get("mqtt.host", "")
    if host and host != _LOOPBACK:
        port = stored.get("mqtt.port", MQTT_PORT)
        return ["as the device's settings say", *_watch_lines(host, port)]
    try:
        port = _embedded(keep)
    except ToolError as error:
        write_settings(flash, {"mqtt.host": ""})
        return [f"none ({error}).", "The firmware protects all the same, it is only not heard of."]
    write_settings(flash, {"mqtt.host": _LOOPBACK, "mqtt.port": port})
    return _watch_lines(_LOOPBACK, port)


def _embedded(keep: contextlib.ExitStack) -> int:
    """Start a broker of our own: on the usual port, or on any free one when that is taken."""
    from tools.simulator.broker import EmbeddedBroker

    try:
        broker = EmbeddedBroker(MQTT_PORT)
    except ToolError as error:
        if "amqtt is not installed" in str(error):
            raise
        broker = EmbeddedBroker(0)
    keep.callback(broker.stop)
    return broker.port


def _watch_lines(host: str, port: int) -> list[str]:
    return [f"{host}:{port}", f"mosquitto_sub -h {host} -p {port} -v -t 'tailgate/#'"]


# -- the first screen ----------------------------------------------------------------------------


def first_screen(device: SimulatedDevice, broker: list[str], speed: float) -> None:
    """What a newcomer needs to know."""
    outlet = device.board.outlets[2 % len(device.board.outlets)].name
    last = [o.name for o in device.board.outlets if not o.gang][-1]
    rows = [
        ("help", "what the firmware can be asked"),
        (f"on {outlet}", "switch an outlet on"),
        (f"sim plug {outlet} circular_saw", "plug something in (sim loads: what there is)"),
        ("status", "what the firmware makes of it (watch: refreshed)"),
        (f"sim plug {outlet} resistive amps=45", "too much: it trips in half a minute"),
        (f"sim short {last}", "a short circuit, once it is on"),
        ("sim help", "what else can happen to the truck"),
    ]
    if device.board.power is not None:
        rows[-1:-1] = [
            ("set home.mode auto", "the vehicle takes over the home when the grid fails"),
            ("sim home load central_ac_240", "something to be fed (sim loads: what there is)"),
            ("sim grid off", "the grid fails; sim state: who feeds the home"),
            ("sim car plug", "a car at the 240 V outlet"),
        ]
    flash = device.flash
    shown = str(flash.relative_to(ROOT)) if flash.is_relative_to(ROOT) else str(flash)
    notes = [
        ("MQTT", broker[0]),
        *[("", line) for line in broker[1:]],
        ("flash", f"{shown} (kept: settings, energy, latched trips)"),
        ("speed", f"{speed:g} x real time" if speed else "as fast as possible"),
        ("leave", "Ctrl-C"),
    ]
    if sys.stdout.isatty():
        _pretty_screen(rows, notes)
        return
    print("Tailgate: the firmware on real MicroPython, protecting a simulated truck")
    print("What you type goes to the firmware; lines that begin with `sim` go to the truck. Try:")
    for what, why in rows:
        print(f"  {what:36} {why}")
    for name, text in notes:
        print(f"{name:7} {text}")
    print(flush=True)


def _pretty_screen(rows: list[tuple[str, str]], notes: list[tuple[str, str]]) -> None:
    from rich.console import Console, Group
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    commands = Table.grid(padding=(0, 2))
    for what, why in rows:
        style = "cyan" if what.startswith("sim") else "bold green"
        commands.add_row(Text("  " + what, style=style), Text(why))
    facts = Table.grid(padding=(0, 2))
    for name, text in notes:
        facts.add_row(Text(name, style="dim"), Text(text, style="dim"))
    intro = Text.assemble(
        "What you type goes to the ",
        ("firmware", "bold green"),
        "; lines that begin with ",
        ("sim", "cyan"),
        " go to the ",
        ("truck", "cyan"),
        ". Try:",
    )
    title = "Tailgate: the firmware on real MicroPython, protecting a simulated truck"
    body = Group(intro, "", commands, "", facts)
    Console().print(Panel(body, title=title, border_style="green", expand=False))


# -- the truck's side ----------------------------------------------------------------------------


class Session:
    """One interactive run: the device, and what `sim` lines may do besides truck commands."""

    def __init__(self, device: SimulatedDevice, speed: float) -> None:
        self.device = device
        self.speed = speed
        self.not_before_us = 0  # of the next piped line
        self.resets_seen = 0

    def sim(self, line: str) -> str:
        """Obey a line after `sim`; raises SimError with a sentence, or Quit."""
        from tools.simulator.truck import SimError

        words = line.split()
        verb = words[0] if words else "help"
        if verb in ("quit", "exit"):
            raise Quit
        if verb == "power" and words[1:] in (["on"], ["off"]):
            if words[1] == "off":
                self.device.power_cut()
            else:
                self.device.power_on()
            return f"the chip's supply is {words[1]}"
        if verb in ("speed", "wait"):
            try:
                (number,) = (float(word) for word in words[1:])
                if not 0 <= number <= 1e6:
                    raise ValueError
            except ValueError:
                raise SimError(f"usage: sim {verb} <number>") from None
            if verb == "wait":
                self.not_before_us = self.device.now_us + round(number * 1e6)
                return f"{number:g} s"
            self.speed = number
            return f"{number:g} x real time" if number else "as fast as possible"
        if verb == "power":
            raise SimError("usage: sim power off|on")
        answer = self.device.sim(line)
        if verb == "help":
            width = max(
                [len(text) for text, _ in _HOST_COMMANDS]
                + [len(row) - len(row.lstrip()) for row in answer.splitlines()]
            )
            answer += "".join(f"\n  {usage:{width}}  {why}" for usage, why in _HOST_COMMANDS)
        return answer

    def answer(self, line: str) -> tuple[str, bool]:
        """The answer to a `sim` line, and whether it is an error."""
        from tools.simulator.truck import SimError

        try:
            return self.sim(line), False
        except SimError as error:
            return f"error: {error}", True

    def notices(self) -> list[str]:
        """What the host has to say since the last call: restarts of the chip."""
        new = self.device.resets[self.resets_seen :]
        self.resets_seen = len(self.device.resets)
        return [
            f"the chip restarts at {t_us / 1e6:.3f} s ({link.CAUSES.get(cause, cause)})"
            for t_us, cause in new
        ]

    def completions(self, line: str) -> list[str]:
        """Words that the last one of a `sim` line may become."""
        from tools.simulator import commands, loads, recordings

        words = line.split(" ")
        truck = self.device.truck
        outlets = list(truck.wiring.outlet_names)
        relays = list(truck.relays)
        channels = list(truck.wiring.channel_names)
        home_loads = ["day", *loads.APPLIANCES, *loads.KINDS]
        if len(words) == 1:
            options = [*commands.table(truck), *(row[0].split()[1] for row in _HOST_COMMANDS)]
        else:
            second = {
                "plug": outlets,
                "play": outlets,
                "unplug": outlets,
                "short": outlets,
                "unshort": outlets,
                "weld": relays,
                "stick": relays,
                "relay": relays,
                "sensor": channels,
                "supply": ["on", "off", "volts=", "hz=", "sag=", "swell=", "thd=", "ohms="],
                "input": list(truck.wiring.inputs),
                "power": ["on", "off"],
            }
            second.update(commands.words(truck))
            third = {
                "plug": [*loads.APPLIANCES, *loads.KINDS],
                "play": recordings.available(),
                "relay": ["ok", "welded", "stuck"],
                "sensor": ["ok", "open", "short", "frozen"],
                "input": ["0", "1"],
                "home": home_loads if words[1:2] == ["load"] else [],
                "lie": ["open", "closed", "no"],
            }
            options = {2: second, 3: third}.get(len(words), {}).get(words[0], [])
        return sorted(word for word in options if word.startswith(words[-1]))


def _common(words: list[str]) -> str:
    """What all words begin with."""
    for length, letters in enumerate(zip(*words, strict=False)):
        if len(set(letters)) > 1:
            return words[0][:length]
    return min(words, key=len, default="")


# -- with a terminal -----------------------------------------------------------------------------


class Terminal:
    """Keys to the firmware or to the truck, output of both without a muddle."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.typed: bytes | None = b""  # of the firmware's line; None: no longer known
        self.truck_line: bytearray | None = None  # the line at `truck>`, when that is the prompt
        self.held = b""  # firmware output that waits for the truck's line to end
        self.history: list[str] = []
        self.recalled = 0
        self.escape = b""
        session.device.on_output = self.output

    # -- output ------------------------------------------------------------------------------

    @staticmethod
    def write(data: bytes) -> None:
        while data:
            try:
                data = data[os.write(sys.stdout.fileno(), data) :]
            except BlockingIOError:
                time.sleep(0.01)

    def output(self, data: bytes) -> None:
        """Bytes of the firmware's console."""
        if self.truck_line is None:
            self.write(data)
            return
        complete, newline, self.held = (self.held + data).rpartition(b"\n")
        if newline:
            self.write(b"\r\x1b[K" + complete + newline)
            self.draw()

    def say(self, text: str, colour: str) -> None:
        """Lines of ours, told from the firmware's by their colour and prefix."""
        self.write(b"\r\x1b[K")
        for line in text.splitlines():
            self.write(f"{colour}truck: {line}{_PLAIN}\n".encode())

    def draw(self) -> None:
        assert self.truck_line is not None
        self.write(f"\r\x1b[K{_TRUCK}truck> {_PLAIN}".encode() + bytes(self.truck_line))

    # -- keys --------------------------------------------------------------------------------

    def keys(self, data: bytes) -> None:
        """What was typed: to the firmware as it is, except for lines that begin with `sim`."""
        forward = bytearray()
        for value in data:
            byte = bytes([value])
            if value == 3:  # Ctrl-C
                raise Quit
            if self.truck_line is not None:
                self.truck_key(byte)
            elif value == 4 and not self.typed:  # Ctrl-D on an empty line
                raise Quit
            elif value in (10, 13) and self.typed == b"sim":
                forward += b"\x15"
                self.typed = b""
                self.run("help")
            elif byte == b" " and self.typed == b"sim":
                forward += b"\x15"  # the firmware has echoed `sim`: its line is cleared
                self.typed = b""
                self.truck_line = bytearray()
                self.recalled = len(self.history)
                self.draw()
            else:
                forward.append(value)
                self.track(value)
        if forward:
            self.session.device.write(bytes(forward))

    def track(self, value: int) -> None:
        """Keep in mind what stands on the firmware's line, as long as that is plain."""
        if value in (10, 13, 21):
            self.typed = b""
        elif self.typed is None:
            return
        elif value in (8, 127):
            self.typed = self.typed[:-1]
        elif value < 32:
            self.typed = None
        else:
            self.typed += bytes([value])

    def truck_key(self, byte: bytes) -> None:
        line = self.truck_line
        assert line is not None
        if self.escape:
            self.escape += byte
            if len(self.escape) >= 3:
                self.recall({b"\x1b[A": -1, b"\x1b[B": 1}.get(self.escape, 0))
                self.escape = b""
            elif self.escape != b"\x1b[":
                self.escape = b""
        elif byte == b"\x1b":
            self.escape = byte
        elif byte in b"\r\n":
            text = line.decode(errors="replace").strip()
            self.write(b"\n")
            if text:
                self.history = [old for old in self.history if old != text] + [text]
                self.run(text)
            self.leave()
        elif byte in b"\x7f\x08":
            if not line:
                self.leave()
                return
            while line and line[-1] & 0xC0 == 0x80:
                line.pop()
            line.pop()
            self.draw()
        elif byte == b"\x15":
            self.leave()
        elif byte == b"\x04" and not line:
            raise Quit
        elif byte == b"\t":
            self.complete()
        elif byte >= b" ":
            line += byte
            self.draw()

    def recall(self, move: int) -> None:
        self.recalled = max(0, min(len(self.history), self.recalled + move))
        past = [*self.history, ""][self.recalled] if move else None
        if past is not None:
            self.truck_line = bytearray(past.encode())
        self.draw()

    def complete(self) -> None:
        line = self.truck_line
        assert line is not None
        text = line.decode(errors="replace")
        options = self.session.completions(text)
        last = text.split(" ")[-1]
        common = _common(options)
        if len(options) == 1 and not common.endswith("="):
            common += " "
        line += common[len(last) :].encode()
        if len(options) > 1 and len(common) == len(last):
            self.say("  ".join(options), _DIM)
        self.draw()

    def leave(self) -> None:
        """Back to the firmware's line, with what it has said meanwhile."""
        self.truck_line = None
        held, self.held = self.held, b""
        self.write(b"\r\x1b[K" + held)

    def run(self, line: str) -> None:
        text, failed = self.session.answer(line)
        self.say(text, _ERROR if failed else _TRUCK)

    # -- the loop ----------------------------------------------------------------------------

    def wait(self, seconds: float) -> bool:
        """Watch the keyboard for a while; True when the pace has changed."""
        speed = self.session.speed
        readable, _, _ = select.select([sys.stdin], [], [], seconds)
        if readable:
            data = os.read(sys.stdin.fileno(), 1024)
            if not data:
                raise Quit
            self.keys(data)
        for notice in self.session.notices():
            self.say(notice, _DIM)
            if self.truck_line is not None:
                self.draw()
        return self.session.speed != speed

    def loop(self) -> None:
        device = self.session.device
        while True:
            device.run_paced(device.now_us + 10**12, self.session.speed, self.wait)


@contextlib.contextmanager
def key_by_key() -> Iterator[None]:
    """The terminal hands over each key at once and shows none; as it was afterwards.

    Ctrl-C too is a key then: as a signal it would reach `make` as well, which would call it an
    error. Ctrl-Z is none: it would leave the terminal key by key.
    """
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    try:
        tty.setcbreak(fd)
        mode = termios.tcgetattr(fd)
        mode[3] &= ~termios.ISIG
        termios.tcsetattr(fd, termios.TCSANOW, mode)
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
        sys.stdout.write(_PLAIN + "\n")
        sys.stdout.flush()


# -- without one ---------------------------------------------------------------------------------


class Pipe:
    """Lines of standard input, each after the answer to the one before it, until it ends."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.pending = b""
        self.lines: list[str] = []
        self.ended = False
        self.quit_us = 0
        self.asked: int | None = None  # console lines before the answer that is waited for
        self.asked_us = 0
        self.said_us = 0  # when the firmware last wrote something
        self.cut = False  # in the middle of a line
        session.not_before_us = _READY_US
        session.device.on_output = self.output

    def output(self, data: bytes) -> None:
        self.said_us = self.session.device.now_us
        self.cut = not data.endswith(b"\n")
        sys.stdout.write(data.replace(b"\r\n", b"\n").decode(errors="replace"))
        sys.stdout.flush()

    def read(self, seconds: float) -> None:
        """What is there now; waits for more only when the chip is ahead anyway."""
        if self.ended:
            time.sleep(seconds)
            return
        readable, _, _ = select.select([sys.stdin], [], [], seconds)
        if readable:
            data = os.read(sys.stdin.fileno(), 65536)
            self.ended = not data
            *lines, self.pending = (self.pending + data).split(b"\n")
            if self.ended and self.pending:
                lines.append(self.pending)
            self.lines += [line.decode(errors="replace").strip() for line in lines]

    def wait(self, seconds: float) -> bool:
        speed = self.session.speed
        self.read(seconds)
        device = self.session.device
        for notice in self.session.notices():
            print(f"truck: {notice}", flush=True)
        if self.asked is not None:
            answered = any(
                line.text.startswith(("ok", "error:", "{")) for line in device.lines[self.asked :]
            )
            said = answered and not self.cut and device.now_us > self.said_us + _PAUSE_US
            if not said and device.now_us < self.asked_us + _ANSWER_US:
                return False
            self.asked = None
        if device.now_us < self.session.not_before_us:
            return False
        if self.lines:
            self.obey(self.lines.pop(0))
        elif self.ended:
            self.quit_us = self.quit_us or device.now_us + _LINGER_US
            if device.now_us >= self.quit_us:
                raise Quit
        return self.session.speed != speed

    def obey(self, line: str) -> None:
        if line.split(" ")[0] == "sim":
            text, _ = self.session.answer(line[3:].strip())
            for row in text.splitlines():
                print(f"truck: {row}", flush=True)
        elif line:
            print(f"> {line}", flush=True)
            device = self.session.device
            self.asked, self.asked_us = len(device.lines), device.now_us
            device.type(line)

    def loop(self) -> None:
        device = self.session.device
        while True:
            device.run_paced(device.now_us + 10**12, self.session.speed, self.wait)


# -- putting it together -------------------------------------------------------------------------


def flash_folder(asked: str | None, board: str, fresh: bool) -> Path:
    """Where the device's files are. Only a folder of our own is ever emptied."""
    if asked and fresh:
        raise ToolError("--fresh empties the simulator's own flash: it does not go with --flash")
    if asked:
        return Path(asked)
    # of each board its own: what is latched and counted goes by the number of the outlet
    own = FLASH if board == "simulated" else FLASH.with_name(f"flash-{board}")
    if fresh and own.is_dir():
        shutil.rmtree(own)
    return own


def interactive(options: argparse.Namespace) -> int:
    """Run until the person leaves or the input ends."""
    flash = flash_folder(options.flash, options.board, options.fresh)
    board = load_board(options.board)
    with contextlib.ExitStack() as keep:
        signal.signal(signal.SIGTERM, _leave)
        signal.signal(signal.SIGHUP, _leave)
        find_interpreter()  # says what it does when it has to fetch one
        flash.mkdir(parents=True, exist_ok=True)
        broker = provide_broker(options.broker, flash, keep)
        device = SimulatedDevice(board, flash=flash, seed=options.seed, unix_time=int(time.time()))
        # Interrupts during the end would leave half of it undone.
        keep.callback(signal.signal, signal.SIGINT, signal.default_int_handler)
        keep.callback(device.stop)
        keep.callback(signal.signal, signal.SIGINT, signal.SIG_IGN)
        session = Session(device, options.speed)
        first_screen(device, broker, options.speed)
        device.start()
        try:
            if sys.stdin.isatty() and sys.stdout.isatty():
                with key_by_key():
                    Terminal(session).loop()
            else:
                Pipe(session).loop()
        except (Quit, KeyboardInterrupt):
            return 0
    return 0


def _leave(*_: object) -> None:
    raise Quit


def _speed(text: str) -> float:
    try:
        value = {"fast": 0.0, "paced": 1.0}.get(text)
        value = float(text) if value is None else value
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1000:
        raise argparse.ArgumentTypeError(f"'{text}' is no factor from 0 to 1000")
    return value


def list_scenarios() -> None:
    """Names and titles."""
    names = scenario.available()
    width = max((len(name) for name in names), default=0)
    for name in names:
        print(f"  {name:{width}}  {scenario.parse(scenario.find(name)).title}")
    sys.stdout.flush()


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.simulator.run", description=__doc__, add_help=True
    )
    parser.add_argument("--scenario", metavar="NAME|FILE", help="play a scenario and judge it")
    parser.add_argument("--list", action="store_true", help="list the scenarios there are")
    parser.add_argument(
        "--speed",
        type=_speed,
        metavar="X",
        help="times real time; 0 or fast: no limit (default: 1, a scenario's as it says)",
    )
    boards = "a board with soft timer; simulated_home: with home, car and grid"
    parser.add_argument("--board", default="simulated", help=boards)
    parser.add_argument("--flash", metavar="DIR", help="the device's flash (default: in build/)")
    parser.add_argument("--fresh", action="store_true", help="empty that flash first")
    parser.add_argument("--broker", metavar="HOST:PORT|none", help="default: one of our own")
    parser.add_argument("--seed", type=int, default=0, help="of noise and sensor tolerances")
    options = parser.parse_args(argv)
    try:
        if options.list:
            list_scenarios()
            return 0
        if options.scenario:
            return scenario.run(options.scenario, options.speed)
        if options.speed is None:
            options.speed = 1.0
        return interactive(options)
    except (ToolError, DeviceError, scenario.ScenarioError, bytecode.CompileError) as error:
        return fail(error)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if type(error).__name__ == "BoardError":  # the firmware's own, known only once loaded
            return fail(error)
        raise


if __name__ == "__main__":
    sys.exit(main())

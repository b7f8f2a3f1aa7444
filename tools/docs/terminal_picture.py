"""`python -m tools.docs.terminal_picture`: docs/img/session.png, a real session of `make run`.

Starts the simulator on a pseudo-terminal, types commands key by key as a person does, and draws
what the terminal shows. The figures in it are whatever the firmware said.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

from tools.docs.blocks import IMAGES, ROOT
from tools.progress import ToolError, fail, step

PICTURE = IMAGES / "session.png"
COLUMNS = 84
ROWS = 200  # nothing scrolls away
_KEY_S = 0.06

# (what is typed, what must show up, seconds to watch afterwards)
SCRIPT = (
    ("on bed1", "ok bed1", 0.6),
    ("sim plug bed1 circular_saw", "plugged in", 2.5),
    ("status", "last ", 1.0),
    ("sim short bed1", "tripped peak", 1.0),
    ("on bed1", "error: bed1: tripped", 1.0),
    ("sim unshort bed1", "removed", 0.5),
    ("reset bed1", "ok bed1", 1.0),
)

# foreground colours by SGR number, on the background below
_BACK = (24, 26, 31)
_PLAIN = (214, 216, 220)
_COLOURS = {
    31: (235, 110, 110),
    32: (130, 200, 120),
    33: (225, 190, 100),
    36: (110, 190, 215),
}
_ESCAPE = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])")


class Screen:
    """As much of a terminal as the simulator and the firmware's line editor use."""

    def __init__(self, columns: int = COLUMNS) -> None:
        self.columns = columns
        self.rows: list[list[tuple[str, int, bool, bool]]] = [[]]
        self.at = 0
        self.colour = 0
        self.bold = False
        self.dim = False
        self._rest = ""

    def feed(self, text: str) -> None:
        """Show text; an escape sequence that is cut off waits for its end."""
        text = self._rest + text
        self._rest = ""
        i = 0
        while i < len(text):
            char = text[i]
            if char == "\x1b":
                match = _ESCAPE.match(text, i)
                if match is None:
                    self._rest = text[i:]
                    return
                self._escape(match.group(1), match.group(2))
                i = match.end()
                continue
            if char == "\r":
                self.at = 0
            elif char == "\n":
                self.rows.append([])
                self.at = 0
            elif char == "\b":
                self.at = max(0, self.at - 1)
            elif char >= " ":
                self._put(char)
            i += 1

    def _put(self, char: str) -> None:
        if self.at >= self.columns:
            self.rows.append([])
            self.at = 0
        row = self.rows[-1]
        while len(row) <= self.at:
            row.append((" ", 0, False, False))
        row[self.at] = (char, self.colour, self.bold, self.dim)
        self.at += 1

    def _escape(self, numbers: str, letter: str) -> None:
        if letter == "K":
            del self.rows[-1][self.at :]
        elif letter == "D":
            self.at = max(0, self.at - int(numbers or 1))
        elif letter == "m":
            for number in (int(n or 0) for n in numbers.split(";")):
                if number == 0:
                    self.colour, self.bold, self.dim = 0, False, False
                elif number == 1:
                    self.bold = True
                elif number == 2:
                    self.dim = True
                elif 30 <= number <= 37:
                    self.colour = number
                elif number == 39:
                    self.colour = 0

    def text(self) -> list[str]:
        """The rows without colours."""
        return ["".join(cell[0] for cell in row).rstrip() for row in self.rows]


def start(
    words: list[str], rows: int, columns: int, term: str
) -> tuple[subprocess.Popen[bytes], int]:
    """`python -m` these words on a pseudo-terminal of its own; the process, and our end of it."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    environment = {**os.environ, "TERM": term, "COLUMNS": str(columns), "LINES": str(rows)}
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen(
        [sys.executable, "-m", *words],
        cwd=ROOT,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environment,
        start_new_session=True,
    )
    os.close(slave)
    return process, master


class Session:
    """The simulator on a pseudo-terminal."""

    def __init__(self, flash: str) -> None:
        self.screen = Screen()
        self._said = ""
        words = ["tools.simulator.run", "--flash", flash]
        self._process, self._terminal = start(words, ROWS, COLUMNS, "xterm-256color")

    def watch(self, seconds: float, until: str = "") -> bool:
        """Read for so long, or until the text shows up (then: True)."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if until and until in self._said:
                return True
            readable, _, _ = select.select([self._terminal], [], [], 0.05)
            if not readable:
                continue
            try:
                data = os.read(self._terminal, 65536)
            except OSError as error:
                raise ToolError("the simulator ended: " + self._said[-200:]) from error
            text = data.decode(errors="replace")
            self._said += text
            self.screen.feed(text)
        return bool(until) and until in self._said

    def type(self, line: str, expect: str, seconds: float) -> None:
        """Type a line key by key; ToolError when what is expected does not come."""
        for key in line + "\r":
            if key == "\r":
                self._said = ""
            os.write(self._terminal, key.encode())
            self.watch(_KEY_S)
        if not self.watch(10.0, expect):
            raise ToolError(f"after `{line}`, {expect!r} did not show up: {self._said[-300:]!r}")
        self.watch(seconds)

    def end(self) -> None:
        """Ctrl-C, as a person leaves; firmly when that does not help."""
        try:
            os.write(self._terminal, b"\x03")
            self._process.wait(timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        os.close(self._terminal)


def draw(screen: Screen, first: int, path: Path, size: int = 22) -> None:
    """The screen's rows from number `first` on as a PNG of few colours."""
    import matplotlib
    from PIL import Image, ImageDraw, ImageFont

    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    plain = ImageFont.truetype(str(fonts / "DejaVuSansMono.ttf"), size)
    bold = ImageFont.truetype(str(fonts / "DejaVuSansMono-Bold.ttf"), size)
    rows = screen.rows[first:]
    while rows and not any(cell[0].strip() for cell in rows[-1]):
        rows.pop()
    width = plain.getlength("M")
    height = round(size * 1.32)
    margin = size
    image = Image.new(
        "RGB",
        (round(screen.columns * width) + 2 * margin, len(rows) * height + 2 * margin),
        _BACK,
    )
    pen = ImageDraw.Draw(image)
    for y, row in enumerate(rows):
        for x, (char, colour, is_bold, is_dim) in enumerate(row):
            shade = _COLOURS.get(colour, _PLAIN)
            if is_dim:
                shade = (shade[0] * 6 // 10, shade[1] * 6 // 10, shade[2] * 6 // 10)
            at = (margin + x * width, margin + y * height)
            pen.text(at, char, font=bold if is_bold else plain, fill=shade)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.quantize(32).save(path, optimize=True)


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.docs.terminal_picture", description=__doc__
    )
    parser.add_argument("--output", type=Path, default=PICTURE)
    options = parser.parse_args(argv)
    try:
        with tempfile.TemporaryDirectory(prefix="tailgate-") as flash:
            step("starting the simulator on a terminal of its own")
            session = Session(flash)
            try:
                if not session.watch(120.0, "link broker_up"):
                    session.watch(1.0, "boot power_on")
                session.watch(1.5)
                first = len(session.screen.rows)
                session.screen.rows.append([])
                for line, expect, seconds in SCRIPT:
                    step(line)
                    session.type(line, expect, seconds)
            finally:
                session.end()
        while first and not session.screen.text()[first - 1].startswith("event: 1 "):
            first -= 1
        draw(session.screen, max(0, first - 1), options.output)
    except (ToolError, OSError) as error:
        return fail(error)
    print("\n".join(session.screen.text()[max(0, first - 1) :]))
    step(f"{options.output.name} is drawn")
    return 0


if __name__ == "__main__":
    sys.exit(main())

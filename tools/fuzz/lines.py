"""Lines for the console as nobody should type them, and a judge of what they may switch.

`Lines(seed)` makes pieces of input: commands with right and wrong arguments, commands with
typing errors, binary junk, cut-off UTF-8, lines that are far too long, control sequences, JSON,
quotes, floods. `understood()` is a second reading of the console's language, written apart from
the firmware's: it says what a line means, so that a test can tell which outlets it may switch.
Called by run.py and by tests.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator

from firmware import events
from firmware.interfaces import commands
from firmware.storage import settings

OUTLETS = ("cabin1", "cabin2", "bed1", "bed2", "bed240")
LINE_MAX = 512
# What may be changed: nothing that protects `bed1` and `cabin1`, and no broker, whose client would
# count as a leak.
_FREE: tuple[str, ...] = (
    "device.",
    "wifi.",
    "mqtt.a",
    "mqtt.user",
    "mqtt.pass",
    "bed2.",
    "bed240.",
    "shed.",
)
_FREE += ("events.", "console.e")

_SETTINGS = [row[0] for row in settings.SCHEMA] + [
    f"{outlet}.{row[0]}" for outlet in OUTLETS for row in settings.OUTLET_SCHEMA
]
_NAMES = [row[0] for row in commands.TABLE]
_VALUES = (
    "on", "off", "yes", "no", "auto", "none", "high", "low", "fast", "slow", "motor", "zero",
    "last", "open", "wait", "read", "all", "0", "1", "-1", "5", "10", "16", "20.5", "40", "60",
    "100", "120", "9600", "1e3", "1e999", "-1e999", "nan", "inf", "0x10", "1_000", "00", ".5",
    "5.", "1,5", "20A", "20", "°C", "%", "'", "`",
)  # fmt: skip
_ODD = ("", " ", '""', '"a b"', "--force", "--json", "--all", "-", "--", "yes", "{", "}", "\\")
_TEXTS = ("Süd-Ost", "客廳", "крыша", "🚐", "e\u0301", "\u202eabc", "a\u0000b", "\u00a0", "\ufeff")
_KEYS = (
    b"\x1b[A", b"\x1b[B", b"\x1b[C", b"\x1b[D", b"\x1b[H", b"\x1b[F", b"\x1b[3~", b"\x1b[1;5D",
    b"\x1bOA", b"\x1bOP", b"\x1b", b"\x1b[", b"\x1b[99999999999", b"\x1b[200~", b"\x1b[201~",
    b"\x1b]0;t\x07", b"\x01", b"\x02", b"\x03", b"\x04", b"\x05", b"\x08", b"\x09", b"\x0b",
    b"\x0c", b"\x11", b"\x12", b"\x13", b"\x15", b"\x16", b"\x17", b"\x1a", b"\x1c", b"\x7f",
)  # fmt: skip
_ENDS = (b"\n", b"\n", b"\r", b"\r\n", b"\r\n", b"\n\n", b"\n\r")
_BUSY = ("cal", "settings", "fram", "selftest")  # seconds long, or able to change everything


def understood(line: bytes) -> list[str] | None:
    """The words of a whole line without its end, `--json` left out; None when it is refused
    before anybody looks at its words."""
    if len(line) > LINE_MAX or re.search(rb"[\x00-\x1f\x7f]", line.replace(b"\t", b" ")):
        return None
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return None
    tail = ""
    brace = re.search(r"(^|[ \t])\{", text)
    found: list[str] = []
    if brace and "}" in text[brace.start() :]:
        found.append("{")  # what stands in braces switches nothing
        last = text.rindex("}")
        text, tail = text[: brace.start()], text[last + 1 :]
        if tail.strip() == "" and '"' not in text:
            tail = ""
    words = [word.replace('"', "") for word in re.findall(r'(?:"[^"]*(?:"|$)|[^ \t"])+', text)]
    words += [*found, *filter(None, re.split("[ \t]", tail))]
    return [word for word in words if word != "--json"]


def may_close(line: bytes) -> set[str]:
    """Outlets that one line of input may close. A line with control bytes or braces could have
    been edited into anything that its letters, or the history, allow."""
    words = understood(line)
    if words is not None and "{" not in words:
        if len(words) < 2 or words[0] != "on":
            return set()
        if b"\t" in line:  # typed, it may be completed
            return set(OUTLETS)
        rest = [word for word in words[1:] if word != "--force"]
        if rest == ["all"]:
            return set(OUTLETS)
        return set(rest) & set(OUTLETS) if len(rest) == 1 else set()
    letters = re.sub(rb"\x1b\[?[0-9;]*[A-Za-z~]?|[^ -~]", b"", line).decode()
    if not {"o", "n"} <= set(letters):
        return set()
    if "all" in letters:
        return set(OUTLETS)
    return {name for name in OUTLETS if set(name) <= set(letters)}


class Lines:
    """Input without end. `next()` gives a piece: one line with its end, mostly.

    `keep`: outlets that no line may switch; `canary`: an outlet that no line may close."""

    def __init__(self, seed: int, canary: str = "") -> None:
        self.rng = random.Random(seed)
        self.canary = canary
        self.keep: frozenset[str] = frozenset()
        self.lines = 0  # made so far, without those of nothing but spaces
        self._open = b""  # a line that has no end yet
        self._kinds: tuple[tuple[int, Callable[[], bytes]], ...] = (
            (16, self._reading),
            (10, self._switching),
            (14, self._setting),
            (26, self._mistyped),
            (9, self._binary),
            (6, self._cut_utf8),
            (1, self._long),
            (7, self._typed),
            (5, self._json),
            (4, self._quotes),
            (1, self._flood),
            (1, self._slow),
        )
        self._weights = [weight for weight, _ in self._kinds]

    def next(self) -> bytes:
        """A piece of input that leaves alone what has to be left alone."""
        while True:
            (_, make) = self.rng.choices(self._kinds, self._weights)[0]
            piece = make()
            lines = re.split(rb"[\r\n]", self._open + piece)
            if all(self._harmless(line) for line in lines):
                self.lines += sum(1 for line in lines[:-1] if line.strip())
                self._open = lines[-1]
                return piece

    def __iter__(self) -> Iterator[bytes]:
        while True:
            yield self.next()

    # -- what must not be sent ---------------------------------------------------------------

    def _harmless(self, line: bytes) -> bool:
        if self.canary in may_close(line) or self.keep & may_close(line):
            return False
        words = understood(line)
        if words is None:
            # edited into a command that ends or changes everything? not with these letters gone
            bare = line.translate(None, bytes(set(range(256)) - set(range(97, 123))))
            return not re.search(rb"reboot|exit|default|set|watch|off|cal", bare)
        name = words[0] if words else ""
        if words[1:] == ["yes"] and name in ("reboot", "exit", "defaults"):
            return False
        if name == "set" and len(words) > 2:
            return words[1].startswith(_FREE)
        if name in ("off", "reset") and self.keep & {*words, *(OUTLETS if "all" in words else ())}:
            return False
        if name in _BUSY:
            return len(words) < 3 or (words[1] == "import" and "{" in words)
        return name != "watch"

    # -- kinds -------------------------------------------------------------------------------

    def _end(self) -> bytes:
        return self.rng.choice(_ENDS)

    def _line(self, *words: str) -> bytes:
        data = " ".join(word for word in words if word).encode()
        return data + self._end()

    def _often(self, percent: int) -> bool:
        return self.rng.randrange(100) < percent

    def _reading(self) -> bytes:
        rng = self.rng
        count = rng.choice(("", "1", "5", "20", "64", "0", "65", "99999999999999999999", "-5"))
        line = rng.choice(
            (
                "status", "outlets", "energy", "version", "mqtt", "wifi", "mode", "help",
                "capture", "selftest", "cal", "get", f"get {rng.choice(_SETTINGS)}", "get bed",
                "get x.y",
                f"get {rng.choice(_SETTINGS)}", f"help {rng.choice(_NAMES)}", f"events {count}",
                f"events {rng.choice(events.KINDS)} {rng.choice(OUTLETS)} {count}",
                f"events since {count}", f"capture {rng.choice(OUTLETS)}", "cal export",
                "energy days", "energy hours", "energy months", "mqtt forget", "settings export",
                "time", "time set yesterday", "reboot", "reboot no", "exit", "exit now",
                "defaults", "settings", "settings export --changed", "battery", "battery soc 200",
                "battery soc", "storm", "storm on", "home", "home start", "vehicle",
                "vehicle start", "grid", "grid set -1", "mode night", "mode camp outlets",
            )
        )  # fmt: skip
        if line in ("get", "selftest", "cal", "help") and self._often(80):
            line = "version"  # long answers cost the time of a hundred lines
        return self._line(line, "--json" if self._often(25) else "")

    def _switching(self) -> bytes:
        rng = self.rng
        verb = rng.choice(("on", "off", "off", "reset"))
        where = rng.choice((*OUTLETS, *OUTLETS, *OUTLETS, "all"))
        tail = rng.choice(("", "", "", "--force", "--json"))
        return self._line(verb, where, tail)

    def _setting(self) -> bytes:
        rng = self.rng
        value = rng.choice((*_VALUES, *_ODD, *_TEXTS, "x" * rng.randrange(140)))
        kind = rng.randrange(20)
        if kind == 0:
            return self._line("save")
        if kind == 1:
            return self._line("wifi", "set", rng.choice(_TEXTS), value)
        return self._line("set", rng.choice(_SETTINGS), value, "--json" if kind == 2 else "")

    def _mistyped(self) -> bytes:
        """A good line with one to four typing errors."""
        rng = self.rng
        good = rng.choice((self._reading, self._switching, self._switching, self._setting))()
        line = bytearray(good.rstrip(b"\r\n"))
        for _ in range(rng.randrange(1, 5)):
            at = rng.randrange(len(line) + 1)
            what = rng.randrange(9)
            if what == 0:
                del line[at : at + 1]
            elif what == 1:
                line[at:at] = bytes([rng.randrange(32, 127)])
            elif what == 2:
                line[at : at + 2] = line[at : at + 2][::-1]
            elif what == 3:
                line[at:at] = line[: rng.randrange(12)]
            elif what == 4:
                line[at : at + 1] = line[at : at + 1].swapcase()
            elif what == 5:
                line[at:at] = rng.choice((b" ", b"\t", b"  ", b'"', b"{", b"}", b"--", b"'"))
            elif what == 6:
                line[at:at] = rng.choice((*_TEXTS, *_ODD)).encode()
            elif what == 7:
                line = line[:at]
            else:
                line += b" " + rng.choice((*_NAMES, *OUTLETS, *_VALUES)).encode()
        return bytes(line) + self._end()

    def _binary(self) -> bytes:
        data = self.rng.randbytes(self.rng.randrange(70))
        return data + self._end()

    def _cut_utf8(self) -> bytes:
        rng = self.rng
        whole = rng.choice(_TEXTS).encode()
        cut = whole[: rng.randrange(len(whole) + 1)]
        head = rng.choice((b"", b"set device.name ", b"get ", b'"', b"o", b"help "))
        tail = rng.choice((b"", b" ", b"\x80", b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"abc"))
        return head + cut + tail + self._end()

    def _long(self) -> bytes:
        rng = self.rng
        size = rng.choice((255, 256, 257, 511, 512, 513, 514, 600, 1024, 2000))
        head = rng.choice((b"", b"on ", b"set device.name ", b'"', b"{", "ü".encode() * 90))
        return (head + b"z" * size)[: max(size, len(head))] + self._end()

    def _typed(self) -> bytes:
        """Keys of a terminal between the letters."""
        rng = self.rng
        parts: list[bytes] = []
        for _ in range(rng.randrange(1, 9)):
            parts.append(rng.choice(_KEYS))
            parts.append(rng.choice((b"", b"a", b"get ", b"st", b"ver", b"x y", "ä".encode())))
        return b"".join(parts) + self._end()

    def _json(self) -> bytes:
        rng = self.rng
        text = rng.choice(
            (
                "{}", "[]", "null", '{"a":', '{"bed2":[1,2,3]}', "{" * 60, "[" * 200,
                '{"a":1e999}', '{"bed2.limit_a":5}', '{"bed2.limit_a":99}',
                '{"board":"simulated"}', '{"board":"pico_w","bed1":[9]}', '{"bed2": "x", "y": {}}',
                '{"\\ud800": 1}', '{"a":"\\u0000"}', '{"a":1,"a":2}', "{'a': 1}", '{"a":1}}',
                '{"id":1,"cmd":"on","args":["cabin2"]}', "{on cabin2}", '{"on": "cabin2"}',
            )
        )  # fmt: skip
        head = rng.choice(
            ("", "cal import ", "settings import ", "set device.name ", "get ", "--json ", "help ")
        )
        return self._line(head + text)

    def _quotes(self) -> bytes:
        rng = self.rng
        parts = ('"', "'", " ", "on", "cabin2", "bed2", "\t", "\\", "a")
        return "".join(rng.choices(parts, k=8)).encode() + self._end()

    def _flood(self) -> bytes:
        rng = self.rng
        line = rng.choice((b"\n", b"\r\n", b"mode\n", b"x\r", b"--json\n", b"off bed2\n", b"\x03"))
        return line * rng.randrange(2, 150)

    def _slow(self) -> bytes:
        """A beginning, whose end is whatever comes next."""
        return self.rng.choice((b"", b" ", b"get", b"\xe2\x82", b"\x1b[", b'"', b"--"))

"""The console's byte stream cut into what a program wants to know. Pure: bytes in, items out.

The contract of the other side is in firmware/interfaces/console.py: an answer to `... --json` is
one JSON object on a line of its own; events (`event: `) and remarks (`# `) come between answers.
Everything else that a serial line carries (echo, prompts, redrawn lines, a boot loader's chatter,
halves of characters, noise) must do no harm. Called by serial_link.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tools.client.errors import ClientError

LINE_LIMIT = 1 << 18  # bytes; no answer is nearly as long, so it is noise without an end
# Before each line: takes away what somebody left half typed, without running it. No Ctrl-C: while
# a board starts it would stop the firmware; no Ctrl-E: in MicroPython's prompt it begins a paste.
CLEAR = b"\x15\x0b"

_ENDS = re.compile(rb"[\r\n]")
_ESCAPE = re.compile(r"\x1b(\[[0-9;?]*[ -/]*[@-~]|O.|[^\[O])?")
_EVENT = re.compile(r"event: (\d{1,10}) (\d+):(\d\d):(\d\d)\.(\d{3}) (\S+) (\S+) (\S+) (.+)")
_BEGINNINGS = ("event: ", "# ", "> ", "{")  # what may follow an answer whose newline was lost


@dataclass(frozen=True)
class Answer:
    """The JSON object of an answer; `body["ok"]` is a bool."""

    body: dict[str, Any]


@dataclass(frozen=True)
class Refusal:
    """A line refused before it was read as a command (too long, no text): no JSON then."""

    reason: str


@dataclass(frozen=True)
class EventLine:
    """An event as the console announces it."""

    seq: int
    uptime_s: float
    outlet: str | None
    kind: str
    reason: str
    value: str


@dataclass(frozen=True)
class Remark:
    """A remark of the firmware, without its `# `."""

    text: str


@dataclass(frozen=True)
class Damaged:
    """A line that began as an answer and is none."""

    text: str


@dataclass(frozen=True)
class PythonPrompt:
    """MicroPython's own prompt: the firmware is not running."""


@dataclass(frozen=True)
class Other:
    """Echo, prompts, anything else."""

    text: str


Item = Answer | Refusal | EventLine | Remark | Damaged | PythonPrompt | Other


class Framer:
    """Collects bytes; whole lines come out as items."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Item]:
        """What became complete with these bytes, in order."""
        *lines, self._rest = _ENDS.split(self._rest + data)
        items: list[Item] = []
        for line in lines:
            if line:
                items += read_line(line)
        if len(self._rest) > LINE_LIMIT:
            items.append(Other(f"({len(self._rest)} bytes without a line's end)"))
            self._rest = b""
        return items

    def forget(self) -> None:
        """Drop an unfinished line (the port was closed)."""
        self._rest = b""

    @property
    def unfinished(self) -> str:
        """The line that has not ended yet, escape sequences removed."""
        return _plain(self._rest[-200:].decode(errors="replace"))


def _plain(text: str) -> str:
    return _ESCAPE.sub("", text)


def read_line(line: bytes) -> list[Item]:
    """The items of one line; more than one when a newline was lost between them."""
    text = _plain(line.decode(errors="replace"))
    items: list[Item] = []
    while text.strip():
        item, text = _first(text)
        items.append(item)
    return items


def _first(text: str) -> tuple[Item, str]:
    """The item that a line begins with, and what is left of the line."""
    if text.startswith("{"):
        return _answer(text)
    if text.startswith("error: "):
        return Refusal(text[7:].strip()), ""
    if text.startswith("# "):
        return Remark(text[2:].strip()), ""
    match = _EVENT.fullmatch(text.rstrip())
    if match:
        seq, hours, minutes, seconds, ms, outlet, kind, reason, value = match.groups()
        uptime_s = int(hours) * 3600 + int(minutes) * 60 + int(seconds) + int(ms) / 1000
        where = None if outlet == "-" else outlet
        return EventLine(int(seq), uptime_s, where, kind, reason, value), ""
    if text.startswith(">>> "):
        return PythonPrompt(), ""
    return Other(text.strip()), ""


def _answer(text: str) -> tuple[Item, str]:
    try:
        body, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return Damaged(text), ""
    rest = text[end:].lstrip()
    # A replaced character means that bytes were lost; more text means that the brace was not the
    # object's last one. Half an answer is none.
    if (
        not isinstance(body, dict)
        or not isinstance(body.get("ok"), bool)
        or "\ufffd" in text[:end]
        or (rest and not rest.startswith(_BEGINNINGS))
    ):
        return Damaged(text), ""
    return Answer(body), rest


def word(value: object) -> str:
    """A value as the console reads it: `on` and `off` for booleans."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


def line(name: str, args: Sequence[str]) -> bytes:
    """One command line that asks for JSON; ClientError for what cannot be said on a console."""
    words = []
    for text in (name, *args):
        if any(ord(char) < 32 or ord(char) == 127 for char in text):
            raise ClientError(f"{text!r} cannot be sent: it has control characters")
        if text.startswith("{") and text.endswith("}"):
            words.append(text)  # JSON is one word as it stands
            continue
        if text.startswith("{") and text.endswith("}"):
            words.append(text)  # JSON: the console takes it as it stands
            continue
        if '"' in text:
            raise ClientError(f'{text!r} cannot be sent: the console has no way to write a "')
        if text == "--json":
            raise ClientError("--json cannot be an argument: every answer is asked for as JSON")
        quoted = " " in text or "{" in text or not text
        words.append(f'"{text}"' if quoted else text)
    try:
        return (" ".join([*words, "--json"]) + "\r").encode()
    except UnicodeEncodeError:
        raise ClientError(f"{' '.join(words)!r} cannot be sent: it is no valid text") from None

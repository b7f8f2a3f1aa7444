"""The fuzz's own judge: what a line means, and that no line is sent which would spoil the run."""

from __future__ import annotations

import re
from itertools import islice

import pytest

from firmware.interfaces import console
from firmware.interfaces.commands import TABLE
from tools.fuzz.lines import OUTLETS, Lines, may_close, understood


def _stream(lines: Lines, pieces: int) -> list[bytes]:
    """So many pieces as the console sees them: one stream, cut into lines."""
    return re.split(rb"[\r\n]", b"".join(islice(lines, pieces)))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"on bed1", ["on", "bed1"]),
        (b"  on\tbed1 --json ", ["on", "bed1"]),
        (b'set device.name "a  b" c', ["set", "device.name", "a  b", "c"]),
        (b'o"n" bed1', ["on", "bed1"]),
        (b'"on bed1"', ["on bed1"]),
        (b'on "bed1', ["on", "bed1"]),
        (b"cal import {a b}", ["cal", "import", "{"]),
        (b"on bed1\x00", None),
        (b"on \xc3", None),
        (b"x" * 513, None),
        (b"", []),
    ],
)
def test_understood(line: bytes, words: list[str] | None) -> None:
    assert understood(line) == words


@pytest.mark.parametrize(
    ("line", "outlets"),
    [
        (b"on bed1", {"bed1"}),
        (b"--force on bed1", set()),
        (b"on bed1 --force", {"bed1"}),
        (b"on all --json", set(OUTLETS)),
        (b"on bed1 bed2", set()),
        (b"On bed1", set()),
        (b"off bed1", set()),
        (b"on be\td1", set(OUTLETS)),
        (b"on bedx\x7f1", {"bed1"}),
        (b"\x1b[Aon bed2", {"bed2"}),
        (b"status", set()),
    ],
)
def test_may_close(line: bytes, outlets: set[str]) -> None:
    assert may_close(line) == outlets


def test_two_readings_of_the_language_agree() -> None:
    """The judge and the firmware were written apart: they must find the same words."""
    compared = 0
    for line in _stream(Lines(5), 6000):
        words = understood(line)
        if words is None or "{" in words:
            continue
        found = [word for word in console.split(line.decode()) if word != "--json"]
        assert found == words, line
        compared += 1
    assert compared > 3000


def test_what_is_to_be_left_alone_is() -> None:
    lines = Lines(3, canary="cabin2")
    lines.keep = frozenset({"bed1", "cabin1"})
    switched = set()
    names = set()
    for line in _stream(lines, 20_000):
        assert not may_close(line) & {"cabin2", "bed1", "cabin1"}
        switched |= may_close(line)
        words = understood(line) or [""]
        assert words[1:] != ["yes"] or words[0] not in ("reboot", "exit", "defaults")
        if words[0] in ("off", "reset") and len(words) > 1:
            assert words[1] not in ("bed1", "cabin1", "all")
        if words[0] == "set" and len(words) > 2:
            assert not words[1].startswith(("bed1.", "cabin1.", "supply.", "leg.", "total."))
        if words and words[0] in {row[0] for row in TABLE}:
            names.add(words[0])
    assert switched == {"bed2", "bed240"}, "the others are switched all the time"
    assert names >= {row[0] for row in TABLE} - {"watch"}, "every command is among them"


def test_the_same_seed_gives_the_same_lines() -> None:
    assert list(islice(Lines(9), 300)) == list(islice(Lines(9), 300))
    assert list(islice(Lines(9), 300)) != list(islice(Lines(10), 300))

"""The client's framing: what a console sends, cut up and mixed with whatever a line may carry."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.client import framing
from tools.client.errors import ClientError
from tools.client.framing import (
    Answer,
    Damaged,
    EventLine,
    Framer,
    Other,
    PythonPrompt,
    Refusal,
    Remark,
)

EVENT = b"event: 12 1:02:03.045 bed1 tripped peak 250.0 A\r\n"
EVENT_ITEM = EventLine(12, 3723.045, "bed1", "tripped", "peak", "250.0 A")


def items(data: bytes) -> list[framing.Item]:
    return Framer().feed(data)


def test_the_lines_of_a_session() -> None:
    data = (
        b"\r> status --json\x1b[K\r\n"  # an echo
        b'{"ok": true, "uptime_s": 4}\r\n'
        b"# 3 events not shown; see: events\r\n"
        b"\r\x1b[Kevent: 7 0:00:01.000 - boot power_on 1\r\n> half a li\x1b[K"  # drawn again
        b"\r\nerror: the line is longer than 200 bytes\r\n"
    )
    assert items(data) == [
        Other("> status --json"),
        Answer({"ok": True, "uptime_s": 4}),
        Remark("3 events not shown; see: events"),
        EventLine(7, 1.0, None, "boot", "power_on", "1"),
        Other("> half a li"),
        Refusal("the line is longer than 200 bytes"),
    ]


def test_newlines_that_were_lost() -> None:
    assert items(b'{"ok": true}' + EVENT) == [Answer({"ok": True}), EVENT_ITEM]
    assert items(b'{"ok": true}{"ok": false, "error": "no"}\r\n') == [
        Answer({"ok": True}),
        Answer({"ok": False, "error": "no"}),
    ]


@pytest.mark.parametrize(
    "line",
    [
        b'{"ok": true, "settings": {"bed1.limit_a": 1',
        b'{"name": "ram", "text": "good"}, {"name": "flash", "ok": true}]}',
        b'{"ok": true}, "events": []}',  # more of it follows: the brace was not the last one
        b'{"ok": "yes"}',
        b'{"on": true}',
        b'{"ok": tr\xffue}',
        b'{"ok": true, "name": "caf\xc3"}',  # half a character
        b"{" * 5000,
        b'{"ok": true, "n": nan}',
    ],
)
def test_half_an_answer_is_none(line: bytes) -> None:
    found = items(line + b"\r\n")
    assert [type(item) for item in found] == [Damaged]


def test_the_end_of_an_answer_is_none() -> None:
    tail = b'"text": "good", "ok": true}]}'
    assert items(tail + b"\r\n") == [Other(tail.decode())]


def test_micropythons_prompt_is_told() -> None:
    assert PythonPrompt() in items(b">>> help sync-1 --json\r\nTraceback\r\n")


def test_a_stream_without_lines_is_not_kept() -> None:
    framer = Framer()
    for _ in range(80):
        framer.feed(b"x" * 4096)
    assert len(framer._rest) <= framing.LINE_LIMIT
    found = framer.feed(b'\r\n{"ok": true}\r\n')
    assert found[-1] == Answer({"ok": True})


_WHOLE = st.one_of(
    st.sampled_from(
        [
            b'{"ok": true, "a": "b\\u00e9"}\r\n',
            '{"ok": false, "error": "Größe × 2"}\r\n'.encode(),
            EVENT,
            b"# remark\r\n",
            b"error: no\r\n",
            b"\r> on bed1\x1b[K\r\n",
        ]
    ),
    st.binary(max_size=40).map(lambda noise: noise.replace(b"{", b"") + b"\r\n"),
)


@given(st.lists(_WHOLE, max_size=8), st.lists(st.integers(0, 400), max_size=12))
def test_pieces_do_not_matter(lines: list[bytes], cuts: list[int]) -> None:
    data = b"".join(lines)
    framer = Framer()
    found = []
    edges = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    for start, end in itertools.pairwise(edges):
        found += framer.feed(data[start:end])
    assert found == items(data)


@given(st.lists(st.binary(max_size=60), max_size=6), st.dictionaries(st.text(), st.integers()))
def test_an_answer_is_found_between_any_noise(noise: list[bytes], body: dict[str, int]) -> None:
    answer = {"ok": True, **{key: value for key, value in body.items() if key != "ok"}}
    line = json.dumps(answer).encode() + b"\r\n"
    found = items(b"\r\n".join([*noise, b""]) + line + EVENT)
    assert Answer(answer) in found
    assert found[-1] == EVENT_ITEM


@given(st.binary(max_size=300))
def test_noise_alone_is_no_answer(noise: bytes) -> None:
    for item in items(noise.replace(b'"ok"', b"") + b"\n"):
        assert not isinstance(item, Answer)


# an answer cannot be told from a shorter one when digits are lost in its middle, but its end can
@given(st.integers(0, 400))
def test_an_answer_that_was_cut_off_is_never_taken(cut: int) -> None:
    tests = [{"name": f"t{i}", "ok": True, "text": "good"} for i in range(6)]
    line = json.dumps({"ok": True, "passed": True, "tests": tests}).encode()
    cut = min(cut, len(line) - 1)
    for part in (line[:cut], line[cut + 1 :] if cut else b""):
        assert not any(isinstance(item, Answer) for item in items(part + b"\r\n"))


def test_words_of_a_command() -> None:
    assert (
        framing.line("set", ["device.name", "My truck"]) == b'set device.name "My truck" --json\r'
    )
    assert framing.line("set", ["device.name", ""]) == b'set device.name "" --json\r'
    assert framing.line("cal", ["import", '{"a": 1}']) == b'cal import {"a": 1} --json\r'
    assert [framing.word(value) for value in (True, False, 15, 0.5)] == ["on", "off", "15", "0.5"]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["a\rreboot yes"], "control characters"),
        (["a\x7f"], "control characters"),
        (['5" pipe'], "no way to write"),
        (["--json"], "asked for as JSON"),
        (["\ud800"], "no valid text"),
    ],
)
def test_what_cannot_be_said_is_not_sent(args: list[str], says: str) -> None:
    with pytest.raises(ClientError, match=says):
        framing.line("set", ["device.name", *args])


@given(st.text(max_size=30))
def test_a_word_stays_one_line(text: str) -> None:
    try:
        line = framing.line("set", ["device.name", text])
    except ClientError:
        return
    assert line.count(b"\r") == 1 and line.endswith(b" --json\r") and b"\n" not in line

"""The client on a bad serial line: never a wrong answer, never a command twice, always an end."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from host_tests.fakes.serial_board import OUTLETS, FakeBoard, FakeClock, FakePort, Fault
from tools.client import Board
from tools.client.errors import (
    BadAnswer,
    ClientError,
    CommandRefused,
    LinkError,
    NoAnswer,
    NotConnected,
)
from tools.client.serial_link import SerialLink


class Bench:
    """A client, a bad line and a board."""

    def __init__(self, *faults: Fault, half_typed: bytes = b"") -> None:
        self.clock = FakeClock()
        self.board = FakeBoard()
        self.board.line = half_typed
        self.port = FakePort(self.board, self.clock, faults)
        self.link = SerialLink("/dev/fake", opener=self.port, clock=self.clock)
        self.client = Board(self.link)

    def limit(self, name: str = "bed1") -> Any:
        return self.client.settings[f"{name}.limit_a"]

    def times(self, command: str) -> int:
        return self.board.log.count(command)


def test_a_line_that_somebody_left_half_typed_is_not_run() -> None:
    bench = Bench(half_typed=b"on bed2")
    assert bench.limit() == 20
    assert not any(line.startswith("on") for line in bench.board.log)
    assert not bench.board.on["bed2"]


@pytest.mark.parametrize(
    "fault",
    [
        Fault(lost=(0, 5)),
        Fault(lost=(5, 200)),  # also its end: the board still waits for the rest
        Fault(cut=0),
        Fault(cut=25),
        Fault(cut=60),
        Fault(before=b"\xff\xfe\x00 half a l\xc3\r\n"),
        Fault(before=b"event: 1 0:00:00.000 - boot power_on 1\r\n"),  # of long ago, shown late
        Fault(glued_event=True),
        Fault(restart=True),
        Fault(unplug_s=3.0),
        Fault(late_s=7.0),
    ],
)
def test_a_question_gets_its_answer_all_the_same(fault: Fault) -> None:
    bench = Bench(fault)
    bench.board.settings["bed1.limit_a"] = 11
    assert bench.limit() == 11


def test_a_late_answer_is_not_taken_for_that_of_the_next_question() -> None:
    bench = Bench(Fault(late_s=5.5))
    bench.board.settings["bed2.limit_a"] = 7
    with pytest.raises(NoAnswer, match=r"`get bed1.limit_a` within 5 s.*not known"):
        bench.client.command("get", "bed1.limit_a", repeat=False)
    assert bench.limit("bed2") == 7


def test_a_line_that_arrives_as_another_one_is_sent_again() -> None:
    bench = Bench(Fault(lost=(0, 3)))  # with it, what takes away what stood there
    bench.board.line = b"st"
    bench.client.command("on", "bed1")
    assert (bench.times("on bed1"), bench.times("stn bed1")) == (1, 1)
    with pytest.raises(CommandRefused, match="unknown command 'fly'"):
        bench.client.command("fly")
    assert bench.times("fly") == 1
    with pytest.raises(CommandRefused, match="longer than 200 bytes"):
        bench.client.command("set", "x", "y" * 300)


def test_a_switching_command_is_sent_once() -> None:
    for fault in (Fault(cut=0), Fault(cut=10), Fault(restart=True), Fault(unplug_s=2)):
        bench = Bench(fault)
        with pytest.raises(LinkError):
            bench.client.command("on", "bed1")
        assert bench.limit() == 20  # the way is clear again
        assert bench.times("on bed1") <= 1


def test_a_port_that_goes_away_after_the_command_leaves_it_unknown() -> None:
    bench = Bench(Fault(unplug_after_s=2))
    with pytest.raises(NoAnswer, match=r"went away .* before it answered `on bed1`; .*not known"):
        bench.client.command("on", "bed1")
    assert bench.board.on["bed1"] and bench.limit() == 20
    assert bench.times("on bed1") == 1


def test_a_restart_is_said_and_not_waited_for() -> None:
    bench = Bench(Fault(restart=True))
    began = bench.clock.now
    with pytest.raises(NoAnswer, match="restarted before it answered `on bed1`"):
        bench.client.command("on", "bed1")
    assert bench.clock.now - began < 1.0


def test_another_outlet_than_the_one_that_was_meant_is_told() -> None:
    bench = Bench(Fault(lost=(9, 11)))  # on bed240
    bench.client.outlets._names = OUTLETS
    with pytest.raises(BadAnswer, match=r"asked to on bed240.*bed2"):
        bench.client.outlets["bed240"].on()


def test_a_port_that_is_gone_for_good_ends_in_a_sentence() -> None:
    bench = Bench(Fault(unplug_s=1e6))
    began = bench.clock.now
    with pytest.raises(NotConnected, match="no port /dev/fake"):
        bench.limit()
    assert bench.clock.now - began < 60


def test_a_port_without_a_board_is_told() -> None:
    clock = FakeClock()

    class Mute(FakePort):
        def write(self, data: bytes) -> int:
            self._put(b"AT command not understood\r\n")
            return len(data)

    with pytest.raises(NoAnswer, match="answers like Tailgate; it said: AT command"):
        SerialLink("/dev/fake", opener=Mute(FakeBoard(), clock), clock=clock)


def test_micropythons_prompt_is_told() -> None:
    clock = FakeClock()

    class Repl(FakePort):
        def write(self, data: bytes) -> int:
            self._put(data + b"\nTraceback (most recent call last):\r\nSyntaxError:\r\n>>> ")
            return len(data)

    with pytest.raises(NoAnswer, match="MicroPython's prompt: the firmware is not running"):
        SerialLink("/dev/fake", opener=Repl(FakeBoard(), clock), clock=clock)


def test_after_closing_nothing_is_sent() -> None:
    bench = Bench()
    bench.client.close()
    sent = len(bench.board.log)
    with pytest.raises(NotConnected, match="was closed"):
        bench.limit()
    assert len(bench.board.log) == sent


def test_events_come_once_and_in_order_however_they_are_announced() -> None:
    bench = Bench()
    stream = bench.client.events()
    for name in OUTLETS * 5:
        bench.client.command("on", name)
    found = [event for _ in range(4) for event in stream.poll()]
    assert [event.seq for event in found] == list(range(2, 27))
    assert [event.outlet for event in found] == list(OUTLETS) * 5
    assert stream.missed == 0


def test_numbers_that_were_used_again_after_a_power_cut() -> None:
    bench = Bench()
    for name in OUTLETS:
        bench.client.command("on", name)
    stream = bench.client.events()
    assert stream.poll() == []
    del bench.board.journal[3:]  # never written to the flash
    bench.board.restart()
    bench.board.journal[-1]["uptime_s"] = 0.0
    for name in OUTLETS:
        bench.client.command("off", name)
    found = stream.poll()
    assert [(event.seq, event.kind) for event in found][:2] == [(4, "boot"), (5, "off")]
    assert [event.seq for event in found] == list(range(4, 10))


_NOISE = st.one_of(
    st.binary(max_size=30).map(lambda noise: noise.replace(b"{", b"").replace(b"error:", b"")),
    st.sampled_from([b"> on bed1\x1b[K", b"# a remark", b"event: 1 0:00:00.000 - boot x 1"]),
).map(lambda noise: noise + b"\r\n")
_FAULTS = st.builds(
    Fault,
    cut=st.none() | st.integers(0, 120),
    before=st.just(b"") | _NOISE,
    after=st.just(b"") | _NOISE,
    glued_event=st.booleans(),
    late_s=st.sampled_from([0.0, 0.0, 0.5, 4.0, 6.0, 12.0]),
    restart=st.sampled_from([False, False, False, True]),
    unplug_s=st.sampled_from([0.0, 0.0, 0.0, 0.5, 30.0]),
    unplug_after_s=st.sampled_from([0.0, 0.0, 0.0, 0.5, 30.0]),
)
_CALLS = st.tuples(st.sampled_from(["get", "on", "off", "events"]), st.sampled_from(OUTLETS))


@settings(max_examples=300, deadline=None)
@given(st.lists(_CALLS, min_size=1, max_size=6), st.lists(_FAULTS, max_size=8))
def test_whatever_the_line_does(calls: list[tuple[str, str]], faults: list[Fault]) -> None:
    """An answer is always the one to the question; a switching command is obeyed at most once,
    and when the call says so it was; every call ends within its time."""
    bench = Bench(*faults)
    for i, name in enumerate(OUTLETS):
        bench.board.settings[f"{name}.limit_a"] = 10 + i
    for verb, name in calls:
        before = bench.times(f"{verb} {name}")
        began = bench.clock.now
        try:
            if verb == "get":
                assert bench.limit(name) == 10 + OUTLETS.index(name)
            elif verb == "events":
                newest = bench.client.recent_events(4)[-1].seq
                assert newest <= len(bench.board.journal)
            else:
                answer = bench.client.command(verb, name)
                assert answer == {"done": [name]}
                assert bench.board.on[name] == (verb == "on")
                assert bench.times(f"{verb} {name}") > before
        except NotConnected:
            if verb == "on":
                assert bench.times(f"on {name}") == before, "nothing was sent"
        except ClientError:
            pass  # it says so; a wrong answer would be an AssertionError
        if verb == "on":
            assert bench.times(f"on {name}") <= before + 1
        assert bench.clock.now - began < 120
    bench.port.faults.clear()
    bench.clock.now += 60
    assert bench.limit() == 12, "and when the line is good again, all is well"

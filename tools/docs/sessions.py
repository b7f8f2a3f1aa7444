"""Console sessions of the documents, from the real firmware on the simulated chip.

A block of a document that begins with `<!-- session: NAME -->` before its fence holds the session
NAME of `STORIES`. `python -m tools.docs.sessions` plays all stories and writes the blocks; a test
plays them again and compares, with figures left out (`plain`), because those may move.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tools.docs.blocks import ROOT
from tools.progress import ToolError, fail, step
from tools.simulator.device import DeviceError, SimulatedDevice

DOCUMENTS = ("README.md", "docs/console.md")
_BLOCK = re.compile(
    r"(<!-- session: (\S+) -->\n```[a-z]*\n)(.*?)(^```$)", re.DOTALL | re.MULTILINE
)
_ANSWER_S = 8.0
_QUIET_S = 0.15

# A story is one board from its start. A line: `sim …` for the truck, `wait <s>`, `- …` typed and
# not shown, `[name]` begins a session or goes on with one (`[]`: none), `> …` is typed and shown
# with its answer, `>> …` with the events after it, too, `>5 …` with five lines of the answer.
STORIES = (
    """
    sim plug bed1 resistive amps=12
    - on bed1
    wait 5
    [status]
    > status
    """,
    """
    [on]
    >> on bed1
    > on bed9
    wait 1
    sim short bed1
    wait 0.5
    > on bed1
    [outlets]
    > outlets
    [capture]
    > capture bed1
    > capture
    [reset]
    sim unshort bed1
    > reset bed1
    []
    sim plug bed2 resistive amps=38
    - set bed2.trip_class fast
    - on bed2
    wait 16
    [reset]
    > reset bed2
    [off]
    > off all
    """,
    """
    - set bed1.limit_a 16
    - set bed1.trip_class slow
    - set mqtt.host 192.168.1.10
    - set wifi.password secret-of-mine
    [get]
    > get --changed
    > get bed1.limit_a
    [save]
    > save
    [set]
    > set bed1.limit_a 18
    > set bed1.limit_a 25
    > set bed1.trip_class quick
    > set mqtt.host 192.168.1.11
    [defaults]
    > defaults
    [reboot]
    > reboot
    [version]
    > version
    [selftest]
    > selftest
    [help]
    > help on
    > help onn
    """,
    """
    - set bed1.trip_class slow
    - set mqtt.host 192.168.1.10
    - save
    - on bed1
    wait 1
    sim short bed1
    wait 1
    - on bed1
    sim unshort bed1
    - reset bed1
    [events]
    > events 8
    > events trips bed1
    """,
    """
    sim plug bed1 resistive amps=12
    - on bed1
    wait 5
    [cal]
    > cal bed1 12.04
    > cal bed1 18
    > cal
    """,
    """
    [readme]
    >> on bed1
    []
    sim plug bed1 circular_saw
    wait 5
    [readme]
    > status
    sim plug bed1 resistive amps=25
    wait 60
    > on bed1
    > events trips
    """,
)


class Player:
    """Plays stories; `sessions` are the texts by name."""

    def __init__(self) -> None:
        self.sessions: dict[str, str] = {}
        self._name = ""

    def play(self, story: str) -> None:
        """One board from its start."""
        self._name = ""
        with SimulatedDevice(seed=0) as device:
            device.run(1.2)
            for line in story.strip().splitlines():
                self._step(device, line.strip())

    def _step(self, device: SimulatedDevice, line: str) -> None:
        if line.startswith("["):
            self._name = line[1:-1]
            if self._name:
                self.sessions.setdefault(self._name, "")
            return
        verb, _, rest = line.partition(" ")
        if verb == "sim":
            first = len(device.lines)
            device.sim(rest)
            device.run(_QUIET_S)
            self._say(shown for shown in _texts(device, first) if shown.startswith("event: "))
        elif verb == "wait":
            first = len(device.lines)
            device.run(float(rest))
            self._say(shown for shown in _texts(device, first) if shown.startswith("event: "))
        elif verb == "-":
            device.command(rest, _ANSWER_S)
        elif verb.startswith(">"):
            self._ask(device, verb[1:], rest)
        else:
            raise ToolError(f"no such step in a story: {line}")

    def _ask(self, device: SimulatedDevice, how: str, line: str) -> None:
        first = len(device.lines)
        device.type(line)
        device.expect(r"^(ok\b|error:|\{)", _ANSWER_S, first)
        device.run(_QUIET_S)
        texts = list(_texts(device, first))
        events = [text for text in texts if text.startswith("event: ")]
        answer = [text for text in texts if text not in events]
        if how.isdigit() and len(answer) > int(how):
            answer = [*answer[: int(how)], "  …"]
        self._say([f"> {line}", *answer, *(events if how == ">" else [])])

    def _say(self, lines: Sequence[str] | Iterator[str]) -> None:
        if self._name:
            text = "".join(line.rstrip() + "\n" for line in lines)
            self.sessions[self._name] += text


def _texts(device: SimulatedDevice, first: int) -> Iterator[str]:
    for line in device.lines[first:]:
        yield line.text


def play() -> dict[str, str]:
    """All sessions by name."""
    player = Player()
    for story in STORIES:
        player.play(story)
    return player.sessions


def blocks(document: Path) -> dict[str, str]:
    """Sessions as a document has them, by name."""
    return {name: text for _, name, text, _ in _BLOCK.findall(document.read_text("utf-8"))}


def plain(text: str) -> str:
    """A session without what may differ from one time to the next: figures, bars, columns."""
    text = re.sub(r"\[[#.]*[!\]]", "[]", text)
    text = re.sub(r"^( +\S* *\S* *\|).*$", r"\1", text, flags=re.MULTILINE)  # waveforms
    return re.sub(r"[ \t]+", " ", re.sub(r"-?\d+(\.\d+)?", "0", text))


def put(document: Path, sessions: dict[str, str]) -> bool:
    """Write the blocks of a document; whether that changed anything."""
    old = document.read_text("utf-8")
    unknown = set(blocks(document)) - set(sessions)
    if unknown:
        raise ToolError(f"{document.name}: no story has the session {', '.join(sorted(unknown))}")
    new = _BLOCK.sub(lambda m: m[1] + sessions[m[2]] + m[4], old)
    document.write_text(new, "utf-8")
    return new != old


def main() -> int:
    """Command line."""
    try:
        sessions = play()
        for name in DOCUMENTS:
            changed = put(ROOT / name, sessions)
            step(f"{name}: sessions {'written' if changed else 'are current'}")
    except (ToolError, DeviceError, OSError) as error:
        return fail(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The control lane of a board with a stock image, whose modules are in the heap, on the emulated
chip; `python -m tools.bench.stock`.

A Pico W's radio is in no emulator, so this is a Pico with the same files, and with the broker of
busy_broker.py in its memory, which makes its heap about as tight. Figures of the last seconds:

- `windows_alone_percent`: windows that had a step of their own; others came together with the next
  one, because the control lane's turn came too late for that (nothing of them is lost).
- `step_us`, `step_us_max`: of a step with one window.
- `late_ms`: the longest that a finished window waited for the control lane, the storage task's own
  time apart; collections of the heap are in it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tools import stage
from tools.bench import image
from tools.bench.chip import Chip
from tools.image import build
from tools.progress import step

_HERE = Path(__file__).parent
_STARTED_S = 30.0


def files(words: tuple[str, ...] = ()) -> dict[str, bytes]:
    """The staged tree with a main.py that watches. `words`: of busy_broker.start(), if any."""
    tree = image.TREE.with_name("watched")
    image.mirror(tree)
    (tree / "lib" / "busy_broker.py").unlink()  # it goes into main.py
    text = (_HERE / "stock_main.py").read_text()
    for line, other in (
        ("from lib.busy_broker import count, start\n", (_HERE / "busy_broker.py").read_text()),
        ("WORDS = ()\n", f"WORDS = {words!r}\n"),
    ):
        assert line in text
        text = text.replace(line, other)
    (tree / "main.py").write_text(text)
    return stage.stage(tree)


def watched(words: tuple[str, ...], settled_s: float, seconds: int) -> list[dict[str, Any]]:
    """What each of the last `seconds` showed, `settled_s` after the board began to protect."""
    chip = Chip(seed=5, uf2=build.ensure_bare(), files=files(words))
    pico, contactor = chip.pico, chip.board.contactor
    assert contactor is not None
    pico.run_until(lambda: pico.level(contactor) == 1, _STARTED_S)
    pico.run(settled_s + seconds)
    lines = bytes(pico.console.data).decode(errors="replace").splitlines()
    rows = [json.loads(x.partition("watch ")[2]) for x in lines if "watch {" in x]
    return rows[-seconds:]


def measure(
    words: tuple[str, ...] = (), seconds: int = 5, settled_s: float = 13.0
) -> dict[str, float]:
    """The figures above."""
    rows = watched(words, settled_s, seconds)
    windows = sum(row["windows"] for row in rows)
    return {
        "windows_alone_percent": round(100 * sum(row["alone"] for row in rows) / windows, 1),
        "step_us": round(sum(row["step_us"] for row in rows) / len(rows)),
        "step_us_max": max(row["step_us_max"] for row in rows),
        "late_ms": round(max(row["late_us"] for row in rows) / 1000, 1),
        "messages": rows[-1]["messages"] - rows[0]["messages"],
    }


if __name__ == "__main__":
    for words in ((), ("on",), ("look",)):
        step("stock image, " + ("MQTT: " + words[0] if words else "nothing going on"))
        print(json.dumps(measure(words), indent=1))

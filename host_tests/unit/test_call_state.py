"""What the control lane calls with each window has its state on the C stack, not in the heap.

MicroPython keeps a call's variables and intermediate values on the C stack while they are no more
than eleven words (VM_MAX_STATE_ON_STACK in py/objfun.c, v1.26); else it asks the heap for them,
which on a chip costs more than the rest of a short function.
"""

from __future__ import annotations

import ast
import textwrap
from pathlib import Path

import pytest

from tools import pack, stage

ROOT = Path(__file__).parents[2]
WORDS = 11
HANDLER = 3  # words for each try that is open

EACH_WINDOW = [
    ("firmware/app.py", "_sweep"),
    ("firmware/clock.py", "update"),
    ("firmware/conditions.py", "window"),
    ("firmware/controller.py", "is_due"),
    ("firmware/controller.py", "looks"),
    ("firmware/controller.py", "pause_ms"),
    ("firmware/controller.py", "step"),
    ("firmware/hal/fastlane.py", "fast_trips"),
    ("firmware/hal/fastlane.py", "pause_ms"),
    ("firmware/hal/fastlane.py", "release_window"),
    ("firmware/hal/fastlane.py", "renew_lease"),
    ("firmware/hal/fastlane.py", "window"),
    ("firmware/protection/dispatch.py", "decide"),
    ("firmware/protection/dispatch.py", "note_demand"),
    ("firmware/protection/dispatch.py", "set_load"),
    ("firmware/pieces.py", "breathe"),
    ("firmware/sensing/metering.py", "take"),
    ("firmware/storage/journal.py", "tick"),
    ("firmware/supervisor.py", "beat"),
]


def words(function: str) -> int:
    """State of a function, words: by the first bytes of its code (py/bc.h,
    MP_BC_PRELUDE_SIG_ENCODE)."""
    compiled = stage.compiled(function, "firmware/f.py", "rp2040")
    code = pack._functions(compiled)[0]
    byte = code[0]
    state, handlers = byte >> 3 & 15, byte >> 2 & 1
    n = 0
    while byte & 128:
        byte = code[n + 1]
        state |= (byte & 0x30) << 2 * n
        handlers |= (byte & 2) << n
        n += 1
    return state + 1 + HANDLER * handlers


@pytest.mark.parametrize(("path", "name"), EACH_WINDOW)
def test_it_fits(path: str, name: str) -> None:
    text = (ROOT / path).read_text()
    found = [
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef) and node.name == name
    ]
    assert found, f"{path} has no {name}()"
    source = textwrap.dedent(ast.get_source_segment(text, found[-1], padded=True) or "")
    assert words(source) <= WORDS, f"{name}() has {words(source)} words of state"


def test_more_is_seen() -> None:
    names = [f"x{i}" for i in range(12)]
    body = "".join(f"    {name} = {i}\n" for i, name in enumerate(names))
    assert words(f"def f():\n{body}    return {names[-1]}\n") > WORDS
    assert words("def f(x):\n    return x\n") <= 2
    tried = "def f(x):\n    try:\n        x()\n    except OSError:\n        pass\n"
    assert words(tried) >= words("def f(x):\n    x()\n") + HANDLER

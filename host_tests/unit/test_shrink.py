"""tools/shrink.py: the same program in fewer bytes; and that nothing which must not wait is loaded
on demand. That the whole firmware behaves the same is the matter of scenarios/."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tools import pack, shrink, stage
from tools.progress import ToolError

MAIN = "from firmware import start\nstart.answer\n"  # what it names stays
PIECES = (stage.ROOT / "firmware" / "pieces.py").read_text()
ROWS = (stage.ROOT / "firmware" / "rows.py").read_text()
# tools/pack.py joins the pieces for the board; here CPython imports them as files
PIECES += """
def _read(number):
    name = "_%d" % number
    sys.path.insert(0, "lib/%d" % (number & 15))
    try:
        return __import__(name)
    finally:
        sys.path.pop(0)
        sys.modules.pop(name, None)
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """Shrink sources, then import the module `firmware.start` of the result."""
    before = set(sys.modules)
    kept = {name: m for name, m in sys.modules.items() if name.split(".")[0] == "firmware"}
    for name in kept:
        del sys.modules[name]

    def shrunk(**sources: str) -> ModuleType:
        tree = {"firmware/__init__.py": "", "firmware/pieces.py": PIECES, "main.py": MAIN}
        tree["firmware/rows.py"] = ROWS
        tree |= {f"firmware/{name}.py": "const = int\n" + text for name, text in sources.items()}
        for path, text in shrink.shrink(tree).items():
            text = text.replace("gc.threshold(2048)", "")  # CPython's has three figures
            text = text.replace("gc.mem_free()", "1 << 20")  # and none of these
            text = text.replace("array asyncio binascii io json machine os select", "json")
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(str(tmp_path / "lib"))
        monkeypatch.syspath_prepend(str(tmp_path))
        importlib.invalidate_caches()
        return importlib.import_module("firmware.start")

    yield shrunk
    for name in set(sys.modules) - before:
        del sys.modules[name]
    sys.modules.update(kept)


def _words(text: str) -> set[str]:
    return {n.id for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Name)} | {
        n.attr for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Attribute)
    }


def test_names_become_short_and_the_program_stays_the_same(run) -> None:  # type: ignore[no-untyped-def]
    module = run(
        part="""
class CounterOfOurs:
    def __init__(self, first_value):
        self._held_value = first_value
        self.untold = 0
    def count_up(self, by_how_much=2):
        held_value = self._held_value
        self._held_value = held_value + by_how_much
        return [self._held_value + other for other in range(by_how_much)]
def helper_of_many(x): return x * 3
""",
        start="""
from firmware import part
from firmware.part import helper_of_many
_made_of_them = part.CounterOfOurs(40)
def result(count_up=7):
    _made_of_them.count_up(by_how_much=1)
    def inner(value): return helper_of_many(value) + count_up
    return inner(_made_of_them.count_up()[0])
answer = result()
""",
    )
    assert module.answer == 3 * 43 + 7
    files = (module, sys.modules["firmware.part"])
    text = "\n".join(Path(str(file.__file__)).read_text() for file in files)
    assert not {"_held_value", "helper_of_many", "_made_of_them", "CounterOfOurs"} & _words(text)
    assert "untold" not in text, "what nobody reads is dropped"
    assert "by_how_much" in text, "a parameter that a call names keeps its name"


def test_constants_of_other_modules_are_put_in(run) -> None:  # type: ignore[no-untyped-def]
    module = run(
        events="TRIPPED = const(3)\n_BASE = 1 << 4\nWIDE = const(_BASE | 2)\nNAMED = const(9)\n",
        start="""
from firmware import events
from firmware.events import WIDE as wide
def both(TRIPPED): return TRIPPED + events.TRIPPED
answer = (both(10), wide, -events.TRIPPED ** 2, getattr(events, "NAMED"))
""",
    )
    assert module.answer == (13, 18, -9, 9)
    assert "events.TRIPPED" not in Path(str(module.__file__)).read_text()
    assert "TRIPPED" not in Path(str(sys.modules["firmware.events"].__file__)).read_text()


def test_names_reached_by_a_text_stay(run) -> None:  # type: ignore[no-untyped-def]
    module = run(
        start="""
class Commands:
    def _reset_all(self): return "reset"
    def parts(self): return ()
def run(name): return getattr(Commands(), "_" + name)()
words = ("reset_all",)
def answer(): return run(words[0]), hasattr(Commands(), "parts")
"""
    )
    assert module.answer() == ("reset", True)


def test_attributes_that_builtin_objects_have_stay() -> None:
    small = shrink.shrink(
        {
            "firmware/a.py": """
class Port:
    def readinto(self, data): return 0
    def isconnected(self): return True
    def _of_its_own(self): return self.isconnected()
def use(wlan, port): return wlan.isconnected() and port._of_its_own() and port.readinto(b"")
""",
            "main.py": "from firmware.a import use, Port",
        }
    )["firmware/a.py"]
    assert "readinto" in small and "isconnected" in small and "_of_its_own" not in small


def test_a_name_given_from_outside_is_nobody_elses(run) -> None:  # type: ignore[no-untyped-def]
    """`.hook_of` is set from outside: it may be a new attribute of any object, so its new name
    must not be that of an attribute of another class."""
    module = run(
        start="""
class One:
    def __init__(self): self.alpha_one = 1; self.alpha_two = 2; self.hook_of = 0
    def total(self): return self.alpha_one + self.alpha_two + self.hook_of
class Two:
    def __init__(self): self.beta_one = 10; self.beta_two = 20
    def total(self): return self.beta_one + self.beta_two
one, two = One(), Two()
two.hook_of = 99
one.hook_of = 5
answer = (one.total(), two.total())
"""
    )
    assert module.answer == (8, 30)


def test_a_word_that_is_put_together_is_refused() -> None:
    with pytest.raises(ToolError, match=r"cannot shrink getattr\(x, y \+ '_z'\)"):
        shrink.shrink({"firmware/a.py": "def f(x, y): return getattr(x, y + '_z')\n"})


def test_what_is_marked_is_loaded_when_it_is_called(run) -> None:  # type: ignore[no-untyped-def]
    module = run(
        part="""
import json
TABLE = (  # on demand: words
    "one", "two",
)
_LIMIT = 3
def _twice(text): return text * 2
class Rare:
    def __init__(self, first, *more, last=_LIMIT):  # on demand
        self._first = first
        self._more = more
        self._last = last
    def word(self, at):  # on demand: words
        return self._again(TABLE[at])
    def _again(self, text):  # on demand: words
        return _twice(text) + json.dumps([self._first, self._last]) + str(len(self._more))
    def each(self):  # on demand
        for text in TABLE:
            yield text
    @property
    def size(  # on demand
        self,
    ): return len(TABLE)
""",
        start="""
from firmware.part import Rare
def answer():
    rare = Rare(7, 8, 9, last=4)
    return rare.word(1), list(rare.each()), rare.size, Rare(1).word(0)
""",
    )
    part = sys.modules["firmware.part"]
    text = Path(str(part.__file__)).read_text()
    assert "'two'" not in text and "dumps" not in text
    assert module.answer() == ("twotwo[7, 4]2", ["one", "two"], 2, "oneone[1, 3]0")
    assert not [name for name in sys.modules if name.startswith("_") and name[1:].isdigit()]


def test_long_tables_become_texts_and_many_methods_a_table(run) -> None:  # type: ignore[no-untyped-def]
    methods = "".join(
        f"    def method_{i}(self, more=1):  # on demand\n        return self.base + {i} + more\n"
        for i in range(5)
    )
    rows = "".join(f'    ("row.{i}", {i}, None, True),\n' for i in range(9))
    module = run(
        part="ROWS = (  # on demand\n"
        + rows
        + ")\nWORDS = ('a1', 'b2', 'c3', 'd4', 'e5', 'f6', 'g7', 'h8')  # on demand\n"
        + "class Many:\n    def __init__(self): self.base = 10\n"
        + methods,
        start="""
from firmware import part
from firmware.part import ROWS, Many
def answer():
    many = Many()
    found = [many.method_0(), many.method_4(more=5), many.method_1() + many.method_2()]
    found.append(many.method_3(2))
    return found, [row[0] for row in ROWS][-1], part.WORDS[2], hasattr(many, "nothing")
""",
    )
    assert module.answer() == ([11, 19, 25, 15], "row.8", "c3", False)
    text = Path(str(sys.modules["firmware.part"].__file__)).read_text()
    assert "__getattr__" in text and "row.3" not in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("class A(B):\n def f(self):  # on demand\n  return super().f()\n", "super"),
        ("def f():  # on demand\n globals().pop('x')\n", "must stay where it is"),
        ("_n = 0\ndef g():\n global _n\n _n = 1\ndef f():  # on demand\n return _n\n", "change"),
    ],
)
def test_what_cannot_be_moved_is_refused(text: str, message: str) -> None:
    tree = {"firmware/pieces.py": PIECES, "firmware/a.py": "class B:\n pass\n" + text}
    tree["main.py"] = "from firmware.a import A, f, g"
    with pytest.raises(ToolError, match=message):
        shrink.shrink(tree)


def test_the_same_tree_gives_the_same_result() -> None:
    # The other one is of another process, mostly: there, sets have another order.
    assert shrink.cached(stage.sources(), pack.packed) == pack.packed(stage.sources())


def test_a_traceback_is_told_in_the_names_of_the_sources() -> None:
    real = shrink.names(stage.sources())
    labels = pack.labels(stage.sources())
    piece, path, short = next(
        (path, labels[path], short)
        for path, known in real.items()
        for short, old in known.items()
        if shrink.is_piece(path) and old == ["status of firmware.interfaces.screens"]
    )
    method = next(s for s, old in real["firmware/controller.py"].items() if old == ["_shed"])
    lanes = labels["firmware/controller.py"]
    text = f'  File "{path}", line 1, in {short}\n'
    text += f'  File "{lanes}", line 1, in {method}\nMemoryError: \n'
    assert stage.explain(text).splitlines() == [
        f'  File "{pack.label(piece)}", line 1, in status of firmware.interfaces.screens',
        '  File "firmware.controller", line 1, in _shed',
        "MemoryError: ",
    ]


# What lanes 1 and 2 are made of. Of the journal, the class that they write to.
_LANES = (
    "firmware/controller.py",
    "firmware/conditions.py",
    "firmware/switching.py",
    "firmware/clock.py",
    "firmware/hal/fastlane.py",
    "firmware/hal/portable.py",
    "firmware/hal/rp2.py",
    "firmware/hal/inputs.py",
    "firmware/sensing/",
    "firmware/protection/",
    "firmware/storage/retained.py",
    "firmware/storage/journal.py:Journal",
)
# Where they begin: the control task's step, the interrupt, and what opens relays.
_BEGIN = ("step", "_scan", "scan", "open", "open_all", "stop", "relay_pins", "beat", "turn")


def test_nothing_that_lanes_1_and_2_may_call_is_loaded_on_demand() -> None:
    """By name, so more than they really call: loading allocates, waits for the flash and fails
    when the memory is short."""
    calls: dict[str, set[str]] = {}
    marked: dict[str, str] = {}
    for path, text in stage.sources().items():
        tree = ast.parse(text)
        lines = shrink._marked(text, tree)
        for owner in ast.walk(tree):
            name = f"{path}:{owner.name}" if isinstance(owner, ast.ClassDef) else path
            if not isinstance(owner, (ast.ClassDef, ast.Module)):
                continue
            if not {path, path.rpartition("/")[0] + "/", name} & set(_LANES):
                continue
            for function in owner.body:
                if isinstance(function, ast.FunctionDef):
                    if function.lineno in lines:
                        marked[function.name] = name
                    found = calls.setdefault(function.name, set())
                    for node in ast.walk(function):
                        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                            found.add(node.func.attr)
                        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                            found.add(node.func.id)
    reached: dict[str, str] = dict.fromkeys(_BEGIN, "")
    todo = list(_BEGIN)
    while todo:
        name = todo.pop()
        for called in calls.get(name, ()):
            if called not in reached:
                reached[called] = name
                todo.append(called)
    assert "_window" in reached and "_fast_trips" in reached  # it does follow the calls
    assert len(marked) > 10  # and there is something that it could meet
    wrong = {f"{marked[n]}.{n}, called by {reached[n]}" for n in set(marked) & set(reached)}
    assert not wrong

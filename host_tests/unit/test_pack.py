"""tools/pack.py: modules by numbers, and all of them in one file. That the result runs is shown by
the scenarios on the small tree and by test_small_heap.py."""

from __future__ import annotations

import ast
import io
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from littlefs import LittleFS

from firmware import pieces, rows
from tools import pack, stage
from tools.progress import ToolError

LOADER = (stage.ROOT / "firmware" / "pieces.py").read_text()
ROWS = (stage.ROOT / "firmware" / "rows.py").read_text()


def _packed(**sources: str) -> dict[str, str]:
    tree = {"firmware/__init__.py": "", "firmware/pieces.py": LOADER, "firmware/rows.py": ROWS}
    tree["main.py"] = "from firmware.start import answer\n"
    tree |= {f"firmware/{name}.py": text for name, text in sources.items()}
    return pack.packed(tree)


def _placed(monkeypatch: pytest.MonkeyPatch, path: Path, modules: dict[int, bytes]) -> None:
    path.write_bytes(pack.joined(modules))
    monkeypatch.setattr(pieces, "_MODULES", str(path))


def test_modules_have_numbers_and_what_main_imports_keeps_its_name() -> None:
    small = _packed(
        start="""
from firmware import other, pieces
from firmware.other import twice as double
def answer():
    from firmware import seldom
    pieces.drop("firmware.seldom")
    return double(seldom.three()), other.twice(2), pieces.once("firmware.seldom").three()
""",
        other="def twice(x): return 2 * x\n",
        seldom="def three(): return 3\n",
    )
    numbered = [path for path in small if pack.number(path) is not None]
    assert len(numbered) == 3, "other, seldom, rows"
    assert {"firmware/start.py", "firmware/pieces.py", "main.py"} <= set(small)
    text = small["firmware/start.py"]
    assert "firmware.seldom" not in text and "firmware.other" not in text
    calls = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Call)]
    given = {a.value for n in calls for a in n.args if isinstance(a, ast.Constant)}
    assert {pack.number(path) for path in numbered} >= {n for n in given if n != 2} != set()


def test_modules_that_load_each_other_are_refused() -> None:
    with pytest.raises(ToolError, match=r"firmware\.one -> firmware\.two -> firmware\.one"):
        _packed(
            start="from firmware.one import f\ndef answer(): return f()\n",
            one="from firmware.two import g\ndef f(): return g()\n",
            two="from firmware.one import f\ndef g(): return f\n",
        )


def test_modules_that_need_each_other_later_are_not() -> None:
    small = _packed(
        start="from firmware.one import f\ndef answer(): return f()\n",
        one="from firmware.two import g\ndef f(): return g()\n",
        two="def g():\n from firmware.one import f\n return f\n",
    )
    assert len([path for path in small if pack.number(path) is not None]) == 3


def test_each_module_is_found_where_the_file_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules = {1: b"first", 2: b"", 5: b"\0" * 300, 4: b"fourth"}
    _placed(monkeypatch, tmp_path / "modules.bin", modules)
    for number, data in modules.items():
        with pieces.place(number) as file:
            assert file.read(len(data)) == data


@pytest.mark.parametrize("of_outlets", [False, True])
@pytest.mark.parametrize("starts", [False, True])
def test_a_table_in_the_file_is_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of_outlets: bool, starts: bool
) -> None:
    """While the firmware starts it is read at once, later a part at a time."""
    from firmware.storage.settings import OUTLET_SCHEMA, SCHEMA

    table = OUTLET_SCHEMA if of_outlets else SCHEMA
    lines = [json.dumps(row, separators=(",", ":")) for row in table]
    text = "\n".join(lines) + "\n"
    parts = pack._parts(text)
    assert len(parts.split()) > 1
    _placed(monkeypatch, tmp_path / "modules.bin", {1: b"x", 7: text.encode()})
    threshold = SimpleNamespace(threshold=lambda: 2048 if starts else 4096)
    monkeypatch.setattr(rows, "gc", threshold)
    held = rows.Rows(7, parts)
    reads: list[int] = []

    def place(number: int) -> Any:
        reads.append(number)
        return pieces.place(number)

    monkeypatch.setattr(rows, "place", place)
    same = json.loads(json.dumps(table))
    assert list(held) == same
    assert bool(reads) != starts
    for wanted in [*same, *reversed(same)]:
        assert held.find(wanted[0]) == wanted
    each = iter(held)  # slowly, while others ask
    for wanted in same:
        assert next(each) == wanted
        assert held.find(same[0][0]) == same[0]
    for name in ("", "nope", "wifi.nope", 'wifi.ssid",4,"', "wifi.:0:99.ssid", ".", "\n"):
        assert held.find(name) is None


def test_a_part_of_a_table_is_small_whatever_the_table() -> None:
    table: list[tuple[Any, ...]] = [(f"group{i // 40}.name{i}", i, "x" * 30) for i in range(200)]
    text = "\n".join(json.dumps(row) for row in table) + "\n"
    data = io.BytesIO(text.encode())
    for part in pack._parts(text).split():
        first, begin, size = part.split(":")
        assert data.tell() == int(begin) and int(size) <= 700
        for line in data.read(int(size)).splitlines():
            assert json.loads(line)[0].startswith(first)
    assert not data.read()


def test_a_traceback_names_each_module_by_a_name_of_its_own() -> None:
    sources = stage.sources()
    labels = pack.labels(sources)
    assert len(set(labels.values())) == len(labels)
    assert "firmware/controller.py" in labels and "firmware/app.py" not in labels


def test_code_that_runs_from_flash_lies_in_one_block_and_is_the_modules_own(
    tmp_path: Path,
) -> None:
    """Against a littlefs of its own: what firmware/hal/inplace.py reads from the flash."""
    functions = "".join(f"def f{i}(a, b):\n    return [a, b, {i}] * {i}\n" for i in range(200))
    functions += "class C:\n" + "".join(
        f"    def m{i}(self):\n        yield self.x{i}, 'text of more than ten letters {i}'\n"
        for i in range(200)
    )
    viper = "import micropython\n@micropython.viper\ndef v(a: int) -> int:\n    return a * 3\n"
    modules = {
        2: stage.compiled(functions, "firmware/two.py", "rp2040"),
        3: b"",  # a module that stays in the heap
        5: stage.compiled(viper, "firmware/five.py", "rp2040"),
    }
    data = pack.code(modules)
    flash = LittleFS(block_size=4096, block_count=64)
    with flash.open("code.bin", "wb") as file:
        file.write(data)
    image = bytes(flash.context.buffer)
    blocks = [image.find(data[pack_at : pack_at + 64]) for pack_at in _begins(len(data))]
    assert -1 not in blocks and len(blocks) > 3
    blocks = [place >> 12 for place in blocks]
    assert struct.unpack_from("<6H", data)[3] == 0, "nothing of it runs from flash"
    moved = {}
    for number in (2, 5):
        at = struct.unpack_from("<H", data, 2 * number)[0]
        count = struct.unpack_from("<H", data, at)[0]
        for row in range(count):
            block, place, size = struct.unpack_from("<3H", data, at + 2 + 6 * row)
            assert place % 16 == 0 and place + size <= 4096
            code = image[(blocks[block] << 12) + place :][:size]
            assert code in modules[number]
            moved[number, row] = code
    assert len([key for key in moved if key[0] == 2]) == 401, "functions, methods, the class"
    assert sum(map(len, moved.values())) > 8000
    longest = [len(code) for key, code in moved.items() if key[0] == 2]
    assert longest == sorted(longest, reverse=True)


def _begins(size: int) -> Iterator[int]:
    """Where in a file of littlefs its blocks begin."""
    at, block = 0, 0
    while at < size:
        yield at
        at += 4096 - 4 * ((block & -block).bit_length() if block else 0)
        block += 1

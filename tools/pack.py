"""All modules in one file, known by numbers, for boards that keep the modules in their heap.

Each module that is imported leaves its full name, its last name and its path in the heap for ever,
80 bytes or so, a package some 130. So after shrink.py has made the program small, `packed()` gives
each module a number: `import`s of it become `load(number)` of firmware/pieces.py, and so do texts
that are a module's full name (what pieces.once() and pieces.drop() are told). `joined()` puts the
compiled modules into one file, firmware/modules.bin, where pieces.py finds them by number. That is
quicker as well: no folders are searched.

A table of rows, which shrink.py has made a text, becomes a part of that file, too, and is read a
few rows at a time (rows.py).

What boot.py and main.py import, their packages, and pieces.py stay files of their own.
Called by stage.py and by the simulator.
"""

from __future__ import annotations

import ast
import json
import struct
from collections.abc import Iterator
from functools import cache

from tools import shrink
from tools.progress import ToolError

FILE = "firmware/modules.bin"
CODE = "firmware/code.bin"
# What runs from the heap: the scan, which must be as quick as it can; what keeps the watchdog fed
# while new files are copied over the old ones; and what has the others run from flash.
_STAYS = ("firmware.sensing.kernel_viper", "firmware.hal.system", "firmware.hal.inplace")
_FOLDER = "packed/"
# of the .mpy format, version 6
_BYTECODE, _VIPER = 0, 2
_HAS_DATA = 0x70
_NO_DATA = (0, 1, 2, 3, 4)
_ENDED = (5, 6)
_TUPLE = 10
_LOADER = "firmware.pieces"
_ROWS = "firmware.rows"
_LONG = 500  # letters of a table that are worth a file access
_PART = 700  # most bytes of it at once
_ASKED = ("load", "demand", "late")  # of the loader, asked for by most modules


def packed(sources: dict[str, str]) -> dict[str, str]:
    """The program made small and numbered: texts by path; `packed/N.py` for what is to be compiled
    and joined, `packed/N.txt` for tables.

    Raises ToolError as shrink() does, and for modules that import each other at their start."""
    program = shrink.Program(sources)
    modules = program.run()
    if _LOADER not in program.by_name:
        return shrink.texts(modules, sources)
    kept = _kept(modules)
    numbers = {m.name: n for m, n in _numbered(modules, kept)}
    asked = {name: program.short.get(name, name) for name in _ASKED}
    builtin = _builtin_names(modules, list(asked.values()))
    tables = _Tables(max(numbers.values()) + 1)
    for module in modules:
        if not module.fixed and module.name != _LOADER:
            tables.take_out(module.tree)
            _Numbers(numbers, builtin).visit(module.tree)
        elif module.name == _LOADER:
            _Texts(numbers).visit(module.tree)
        ast.fix_missing_locations(module.tree)
    _no_circle({m.name: m.tree for m in modules if m.name in numbers}, numbers, builtin)
    loader = program.by_name[_LOADER].tree
    loader.body += ast.parse(
        "import builtins\n" + "".join(f"builtins.{new} = {old}\n" for old, new in builtin.items())
    ).body
    found = tables.found
    for module in modules:
        if module.name in numbers:
            stays = "_" if shrink.is_piece(module.path) or module.name in _STAYS else ""
            found[f"{_FOLDER}{stays}{numbers[module.name]}.py"] = ast.unparse(module.tree)
        elif module.fixed:
            found[module.path] = sources[module.path]
        elif module.tree.body or module.name in kept:
            found[module.path] = ast.unparse(module.tree)
    return found


def number(path: str) -> int | None:
    """The number of a module that is to be joined, or None for other paths."""
    if not path.startswith(_FOLDER):
        return None
    return int(path.removeprefix(_FOLDER).removeprefix("_").partition(".")[0])


def runs_from_flash(path: str) -> bool:
    """Whether a module that is to be joined is one that stays loaded, and may run from flash."""
    return path.endswith(".py") and path.startswith(_FOLDER) and "_" not in path


def label(path: str) -> str:
    """What a traceback calls a module: of a numbered one, a name that is in the heap anyway."""
    found = number(path)
    if found is not None:
        return _labels()[found]
    return path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")


@cache
def _labels() -> list[str]:
    return list(shrink.short_names())


def labels(sources: dict[str, str]) -> dict[str, str]:
    """Path that shrink.names() tells of -> what a traceback calls it."""
    modules = shrink.Program(sources).run()
    numbers = {m.path: n for m, n in _numbered(modules, _kept(modules))}
    return {m.path: label(f"{_FOLDER}{numbers[m.path]}.py") for m in modules if m.path in numbers}


def joined(modules: dict[int, bytes]) -> bytes:
    """The file of all compiled modules: where each begins (4 bytes, by number), then they."""
    size = 4 * (max(modules) + 1)
    places = [0] * (max(modules) + 1)
    for n, data in sorted(modules.items()):
        places[n] = size
        size += len(data)
    head = struct.pack(f"<{len(places)}I", *places)
    return head + b"".join(data for _, data in sorted(modules.items()))


_BLOCK = 4096  # of littlefs
_ALIGN = 16  # as in the heap: machine code has words among its instructions


def code(modules: dict[int, bytes]) -> bytes:
    """The file `code.bin` of compiled modules, by number: the code of their functions once more,
    placed so that none lies in two blocks of the file system. It begins with numbers of
    two bytes: for each module where its table is (0: it has none), and the tables: how many
    functions, and for each the file's block, the place in it, and the size, longest first.
    See firmware/hal/inplace.py."""
    functions = {n: sorted(_functions(data), key=len, reverse=True) for n, data in modules.items()}
    functions = {n: [f for f in found if len(f) <= _BLOCK // 2] for n, found in functions.items()}
    index = [0] * (max(functions, default=0) + 1)
    data = bytearray(
        2 * len(index) + sum(2 + 6 * len(found) for found in functions.values() if found)
    )
    head = len(data)
    table = bytearray()
    for n, found in sorted(functions.items()):
        if not found:
            continue
        index[n] = 2 * len(index) + len(table)
        table += struct.pack("<H", len(found))
        for function in found:
            block, at = _at(len(data))
            gap = -at % _ALIGN
            if at + gap + len(function) > _BLOCK:
                gap = _BLOCK - at
                gap += -(_at(len(data) + gap)[1]) % _ALIGN
            data += bytes(gap) + function
            block, at = _at(len(data) - len(function))
            table += struct.pack("<HHH", block, at, len(function))
    data[:head] = struct.pack(f"<{len(index)}H", *index) + table
    return bytes(data)


def _at(place: int) -> tuple[int, int]:
    """(block of a file, place in that block) of a byte: the blocks of littlefs' files, but the
    first, begin with as many words as their number has zeros at its end, and one."""
    block = 0
    while True:
        words = (block & -block).bit_length() if block else 0
        room = _BLOCK - 4 * words
        if place < room:
            return block, 4 * words + place
        place -= room
        block += 1


def _functions(data: bytes) -> list[bytes]:
    """The code of all functions of an .mpy file (version 6), but of the module itself."""
    at = 4

    def number() -> int:
        nonlocal at
        value = 0
        while True:
            byte = data[at]
            at += 1
            value = value << 7 | byte & 127
            if byte < 128:
                return value

    def constant() -> None:
        nonlocal at
        kind = data[at]
        at += 1
        if kind == _TUPLE:
            for _ in range(number()):
                constant()
        elif kind not in _NO_DATA:
            size = number()
            at += size + (kind in _ENDED)

    names, constants = (number(), number()) if data else (0, 0)
    for _ in range(names):
        size = number()
        if not size & 1:
            at += (size >> 1) + 1
    for _ in range(constants):
        constant()
    found: list[bytes] = []
    if not data:
        return found

    def function() -> None:
        nonlocal at
        kind = number()
        size = kind >> 3
        own = data[at : at + size]
        at += size
        if kind & 3 == _VIPER:
            if number() & _HAS_DATA:
                raise ToolError("machine code with data of its own: it cannot run from flash")
        elif kind & 3 != _BYTECODE:
            raise ToolError("only bytecode and viper can run from flash")
        if own:
            found.append(own)
        for _ in range(number() if kind & 4 else 0):
            function()

    function()
    return found[1:]


def _kept(modules: list[shrink.Module]) -> set[str]:
    """Names of the modules that stay files: the loader, what boot.py and main.py import, and the
    packages around these."""
    names = {module.name for module in modules}
    kept = {_LOADER}
    for module in modules:
        if not module.fixed:
            continue
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                kept |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
            elif isinstance(node, ast.Import):
                kept |= {alias.name for alias in node.names}
    for name in list(kept):
        while "." in name:
            name = name.rpartition(".")[0]
            kept.add(name)
    return kept & names


def _numbered(modules: list[shrink.Module], kept: set[str]) -> Iterator[tuple[shrink.Module, int]]:
    """(module, number) of those that are to be joined: pieces have theirs already."""
    after = 0
    for module in modules:
        if shrink.is_piece(module.path):
            own = int(module.name.rpartition("_")[2])
            after = max(after, own)
            yield module, own
    for module in modules:
        packages = module.path.endswith("/__init__.py") and not module.tree.body
        if shrink.is_piece(module.path) or module.fixed or module.name in kept or packages:
            continue
        after += 1
        yield module, after


def _builtin_names(modules: list[shrink.Module], asked: list[str]) -> dict[str, str]:
    """Name in the loader -> a name that no module uses, under which it becomes a builtin: to have
    it among the globals of each module would cost eight bytes and more each time."""
    used = {
        getattr(node, key)
        for module in modules
        for node in ast.walk(module.tree)
        for key in ("id", "attr", "arg", "name", "asname")
        if isinstance(getattr(node, key, None), str)
    }
    free = (name for name in shrink.short_names() if name not in used | shrink.known())
    return {name: next(free) for name in asked}


class _Texts(ast.NodeTransformer):
    """Puts numbers in the place of texts that are the names of modules."""

    def __init__(self, numbers: dict[str, int]) -> None:
        self.numbers = numbers

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if isinstance(node.value, str) and node.value in self.numbers:
            return ast.Constant(self.numbers[node.value])
        return node


class _Numbers(_Texts):
    """Puts numbers in the place of modules, and builtins in that of the loader's functions."""

    def __init__(self, numbers: dict[str, int], builtin: dict[str, str]) -> None:
        super().__init__(numbers)
        self.builtin = builtin
        self.aliases: dict[str, str] = {}  # what they are called here -> builtin

    def visit_Module(self, node: ast.Module) -> ast.AST:
        for inner in ast.walk(node):
            if isinstance(inner, ast.ImportFrom) and inner.module == _LOADER:
                for alias in inner.names:
                    if alias.name in self.builtin:
                        self.aliases[alias.asname or alias.name] = self.builtin[alias.name]
        return self.generic_visit(node)

    def _load(self, name: str) -> ast.expr:
        load = ast.Name(next(iter(self.builtin.values())), ast.Load())
        return ast.Call(load, [ast.Constant(self.numbers[name])], [])

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | list[ast.stmt]:
        if node.module == _LOADER:
            node.names = [a for a in node.names if a.name not in self.builtin]
            return [node] if node.names else []
        body: list[ast.stmt] = []
        rest: list[ast.alias] = []
        for alias in node.names:
            full = f"{node.module}.{alias.name}"
            if full in self.numbers:
                value = self._load(full)
            elif node.module in self.numbers:
                value = ast.Attribute(self._load(node.module), alias.name, ast.Load())
            else:
                rest.append(alias)
                continue
            body.append(ast.Assign([ast.Name(alias.asname or alias.name, ast.Store())], value))
        node.names = rest
        return [node, *body] if rest else body

    def visit_Import(self, node: ast.Import) -> ast.AST:
        for alias in node.names:
            if alias.name in self.numbers:
                raise ToolError(f"import {alias.name}: write `from … import …` instead")
        return node

    def visit_Name(self, node: ast.Name) -> ast.AST:
        node.id = self.aliases.get(node.id, node.id)
        return node


class _Tables(ast.NodeTransformer):
    """Takes the texts of long tables out, and puts their numbers and parts in."""

    def __init__(self, first: int) -> None:
        self.first = first  # number that is free
        self.found: dict[str, str] = {}
        self.called: set[str] = set()  # what Rows is called in this module

    def take_out(self, tree: ast.Module) -> None:
        """Do so in a module."""
        self.called = {
            alias.asname or alias.name
            for node in tree.body
            if isinstance(node, ast.ImportFrom) and node.module == _ROWS
            for alias in node.names
        }
        self.visit(tree)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if not isinstance(node.func, ast.Name) or node.func.id not in self.called:
            return node
        text = node.args[0].value if isinstance(node.args[0], ast.Constant) else None
        if not isinstance(text, str) or len(text) < _LONG:
            return node
        number = self.first + len(self.found)
        self.found[f"{_FOLDER}{number}.txt"] = text
        node.args = [ast.Constant(number), ast.Constant(_parts(text))]
        return node


def _parts(text: str) -> str:
    """Words of `first:begin:size` for rows whose names begin alike up to their dot (`first`)."""
    parts: list[tuple[str, int, int]] = []
    begin = 0
    for line in text.splitlines(keepends=True):
        name = json.loads(line)[0]
        first = name[: name.find(".") + 1]
        size = len(line.encode())
        if parts and parts[-1][0] == first and parts[-1][2] + size <= _PART:
            parts[-1] = (first, parts[-1][1], parts[-1][2] + size)
        else:
            parts.append((first, begin, size))
        begin += size
    return " ".join(f"{first}:{begin}:{size}" for first, begin, size in parts)


def _no_circle(
    trees: dict[str, ast.Module], numbers: dict[str, int], builtin: dict[str, str]
) -> None:
    """ToolError when a module at its start loads one that loads it: load() would not end."""
    load = next(iter(builtin.values()))
    name_of = {n: name for name, n in numbers.items()}

    def loads(name: str) -> Iterator[str]:
        for node in shrink.at_start(trees[name]):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == load:
                number = node.args[0].value  # type: ignore[attr-defined]
                yield name_of[number]

    done: set[str] = set()

    def look(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            raise ToolError("modules import each other: " + " -> ".join([*path, name]))
        if name not in done:
            for other in loads(name):
                look(other, (*path, name))
            done.add(name)

    for name in trees:
        look(name, ())

"""The firmware in fewer bytes, for boards that keep the modules in their heap.

What a name costs there: every name that the chip's MicroPython does not have in its own flash is
kept in the heap for ever, some eight bytes and its letters, even when its module is dropped. So
`shrink()` takes all modules together and gives the same program with

- numbers in the place of constants of other modules (`events.TRIPPED`), and no annotations;
- nothing that is used nowhere in the program (what only tests or host tools call);
- attributes, functions and parameters called by names that MicroPython has in flash anyway, or by
  one or two letters; a name is used again wherever the two cannot meet.

What it relies on, and checks where it can: a name that is reached through a text keeps its own
(any name that stands in the program as a text does); a name that MicroPython or a board's modules
have keeps its own, as a builtin object may be meant; so does what boot.py and main.py use. A name
that is only ever given to a class's own `self` gets its short name for those classes alone,
any other one for the whole program. Words that somebody reads (JSON, errors) are texts, and no
text is changed.

Called by stage.py. `names()` tells which function a traceback's short name stands for.
"""

from __future__ import annotations

import ast
import builtins
import copy
import hashlib
import itertools
import json
import keyword
import os
import re
import string
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from tools.progress import ToolError

ROOT = Path(__file__).resolve().parents[1]
STUBS = ROOT / ".venv" / "stubs"
# What stands for a board's modules in the simulation has names of its own.
CHIP = ROOT / "tools" / "simulator" / "chip"

CACHE = ROOT / "build" / "shrunk"
_KEPT = 8

# Names that every MicroPython has in flash, because the format of .mpy files numbers them: the
# cheapest ones to have. For parameters first, and those for everything else.
_FOR_PARAMETERS = ("self", "value", "key", "index", "args", "count", "end", "start", "stop")
# fmt: off
_IN_FLASH = (
    "append", "close", "clear", "copy", "endswith", "extend", "find", "format", "from_bytes",
    "get", "insert", "isalpha", "isdigit", "islower", "isspace", "isupper", "items", "join",
    "keys", "lower", "lstrip", "main", "pop", "popitem", "read", "readinto", "readline",
    "remove", "replace", "rfind", "rindex", "rsplit", "rstrip", "send", "setdefault", "sort",
    "split", "startswith", "strip", "throw", "to_bytes", "update", "upper", "values", "write",
)
# fmt: on
# `def f():  # on demand` or `# on demand: group`; `TABLE = (  # on demand`
_MARK = "# on demand"
_PACKAGE = "firmware"
# The pieces lie in folders of lib/ which firmware/pieces.py puts into sys.path: a name without a
# package costs less, and littlefs reads all of a folder, with the small files in it, to find one.
_PIECES = "lib"
_FOLDERS = 16
_DEMAND = "firmware.pieces"
_LOAD = "demand"
_LOAD_ANY = "load"
_ROWS = "Rows"
_TABLES = "firmware.rows"
_LATE = "late"
_MANY = 4  # methods of a class that are worth a table
_LONG = 8  # words or rows that are worth a text
# Code, garbage and data lie side by side as they come, so a collection that waits until the heap
# is full leaves holes that no buffer fits: 7 KB less were needed than with one each 4 KB. It makes
# the start half a second longer. firmware/app.py chooses what holds afterwards.
_COLLECT = """
import gc
gc.threshold(2048)
"""
# Files may take the place of these, so MicroPython looks for such on the flash at each import, for
# some milliseconds, unless they stand in sys.modules.
_BUILTIN = """
import sys
for name in "array asyncio binascii io json machine os select struct time".split():
    sys.modules[name] = __import__(name)
"""
_SUFFIXES = string.ascii_lowercase + string.ascii_uppercase + string.digits
_LETTERS = string.ascii_lowercase + string.ascii_uppercase + "_"
_EMITTERS = ("viper", "native", "asm_thumb")
# Stubs of what MicroPython does not have; their many names need no regard.
_NOT_THERE = {
    "_ast",
    "_codecs",
    "_decimal",
    "_typeshed",
    "abc",
    "enum",
    "mypy_extensions",
    "typing",
}
_NOT_THERE |= {"sre_compile", "sre_constants", "sre_parse", "typing_extensions", "mip", "requests"}

_Function = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_Defs = (ast.FunctionDef, ast.AsyncFunctionDef)
_Named = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_Comprehension = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


# What of a node's fields is never a node, or (`ctx`) one that says nothing.
_PLAIN = {"arg", "asname", "attr", "ctx", "id", "kind", "level", "lineno", "module", "name"}
_PLAIN |= {"simple", "type_comment"}
_NO_NODES = (ast.Constant, ast.alias, ast.Global, ast.Nonlocal)
_FIELDS: dict[type[ast.AST], tuple[str, ...]] = {}


def _fields(kind: type[ast.AST]) -> tuple[str, ...]:
    names = () if kind in _NO_NODES else kind._fields
    return _FIELDS.setdefault(kind, tuple(name for name in names if name not in _PLAIN))


def _children(node: ast.AST) -> list[ast.AST]:
    """As ast.iter_child_nodes(), without `ctx`."""
    found: list[ast.AST] = []
    kind = node.__class__
    for name in _FIELDS[kind] if kind in _FIELDS else _fields(kind):
        value = getattr(node, name, None)
        if value.__class__ is list:
            found += [item for item in value if isinstance(item, ast.AST)]
        elif isinstance(value, ast.AST):
            found.append(value)
    return found


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    """As ast.walk(), in the same order, but without `ctx`: most of shrink()'s time was that."""
    todo = [node]
    for each in todo:  # which grows
        kind = each.__class__
        for name in _FIELDS[kind] if kind in _FIELDS else _fields(kind):
            value = getattr(each, name, None)
            if value.__class__ is list:
                todo += [item for item in value if isinstance(item, ast.AST)]
            elif value is not None and isinstance(value, ast.AST):
                todo.append(value)
        yield each


@cache
def known(stubs: Path = STUBS) -> frozenset[str]:
    """Names that MicroPython, its library or a board's modules have; from the type stubs."""
    if not stubs.is_dir():
        raise ToolError("MicroPython's type stubs are missing: run `make setup`")
    found = set(dir(builtins)) | set(keyword.kwlist) | set(_IN_FLASH) | set(_FOR_PARAMETERS)
    for folder in (stubs, CHIP):
        for path in [*folder.rglob("*.pyi"), *folder.rglob("*.py")]:
            if not _NOT_THERE & {path.stem, path.parent.name}:
                for node in _walk(ast.parse(path.read_text())):
                    found.update(_defined(node))
    return frozenset(found)


def _defined(node: ast.AST) -> Iterator[str]:
    """Public names that a stub's module or class defines, if `node` is one."""
    if isinstance(node, (ast.Module, ast.ClassDef)):
        for name in _bound(node):
            if not name.startswith("_"):
                yield name
        if isinstance(node, ast.ClassDef):
            yield from (name for name in _through_self(node) if not name.startswith("_"))


@dataclass
class Module:
    """One file of the program. `fixed`: stays as it is (boot.py and main.py)."""

    path: str
    tree: ast.Module
    fixed: bool = False
    name: str = field(init=False)
    bound: set[str] = field(init=False, default_factory=set)

    def __post_init__(self) -> None:
        self.name = self.path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")


def shrink(sources: dict[str, str], stubs: Path = STUBS) -> dict[str, str]:
    """The sources by path, smaller; those without a folder (boot.py, main.py) unchanged.

    Raises ToolError for a file that is no Python."""
    return texts(Program(sources, stubs).run(), sources)


def texts(modules: Iterable[Module], sources: dict[str, str]) -> dict[str, str]:
    """The program as texts by path."""
    return {m.path: ast.unparse(m.tree) for m in modules if not m.fixed} | {
        path: text for path, text in sources.items() if "/" not in path
    }


def cached(
    sources: dict[str, str],
    make: Callable[[dict[str, str]], dict[str, str]] = shrink,
    folder: Path = CACHE,
) -> dict[str, str]:
    """As shrink(), which takes some seconds, or as what calls it (`make`), unless `folder` holds
    the result of these sources."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    digest.update(Path(make.__code__.co_filename).read_bytes())
    digest.update(json.dumps(sources, sort_keys=True).encode())
    path = folder / f"{digest.hexdigest()[:20]}.json"
    if path.exists():
        path.touch()
        result: dict[str, str] = json.loads(path.read_text())
        return result
    result = make(sources)
    folder.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(f".{os.getpid()}.new")
    new.write_text(json.dumps(result))
    new.replace(path)  # at once: another process may be doing the same
    for old in sorted(folder.glob("*.json"), key=lambda p: p.stat().st_mtime)[:-_KEPT]:
        old.unlink(missing_ok=True)
    return result


def is_piece(path: str) -> bool:
    """Whether a file is one that shrink() made of functions loaded on demand."""
    return re.fullmatch(rf"{_PIECES}/\d+/_\d+\.py", path) is not None


def names(sources: dict[str, str], stubs: Path = STUBS) -> dict[str, dict[str, list[str]]]:
    """For each module's path: which functions a short name may stand for there (of two classes
    of one module, perhaps one each)."""
    program = Program(sources, stubs)
    found: dict[str, dict[str, list[str]]] = {}
    functions = {
        module.path: {n.name for n in _walk(module.tree) if isinstance(n, _Named)}
        for module in program.modules
    }
    program.run()
    for path, own in functions.items():
        for name in sorted(own & set(program.short)):
            found.setdefault(path, {}).setdefault(program.short[name], []).append(name)
    for path, moved in program.origin.items():
        for name, origin in moved.items():
            found.setdefault(path, {})[program.short.get(name, name)] = [origin]
    return found


class Program:
    """All modules together, on their way to become small."""

    def __init__(self, sources: dict[str, str], stubs: Path = STUBS) -> None:
        self.known = known(stubs)
        self.short: dict[str, str] = {}
        self.origin: dict[str, dict[str, str]] = {}  # of what was moved, by group, then by path
        self.kept: set[str] = set()  # groups of pieces
        self.calls: dict[str, list[ast.Constant]] = {}
        self.rare: dict[str, dict[int, str]] = {}  # lines with the mark, by path
        self.modules: list[Module] = []
        for path, text in sorted(sources.items()):
            try:
                tree = ast.parse(text, path)
            except SyntaxError as error:
                raise ToolError(f"{path} does not compile: SyntaxError: {error}") from None
            self.modules.append(Module(path, tree, "/" not in path))
            self.rare[path] = _marked(text, tree)
        self.by_name = {module.name: module for module in self.modules}
        self.prefixed = {
            "_" + text
            for module in self.modules
            if any(_puts_underscore(node) for node in _walk(module.tree))
            for text in _texts(module.tree)
        }

    def run(self) -> list[Module]:
        """The modules, made small."""
        for module in self._own():
            module.tree = _Bare().visit(module.tree)
        self._fold()
        while self._prune():
            pass
        self._outline()
        while self._prune():
            pass
        tables = [found for module in self._own() for found in self._by_table(module)]
        if _PACKAGE in self.by_name:
            self.by_name[_PACKAGE].tree.body[:0] = ast.parse(_COLLECT + _BUILTIN).body
        self._parameters()
        self._rename()
        for text, rows in tables:
            words = [(self.short.get(a, a), n.value, self.short.get(b, b)) for a, n, b in rows]
            cells = [f"{a}:{n!r}" if a == b else f"{a}:{n!r}:{b}" for a, n, b in words]
            text.value = " ".join(["", *cells, ""])
        for module in self.modules:
            ast.fix_missing_locations(module.tree)
        return self.modules

    def _own(self) -> Iterator[Module]:
        return (module for module in self.modules if not module.fixed)

    def _spelled(self) -> set[str]:
        """Names that stand somewhere as a text, so that something may be reached by them.

        Where getattr() puts a "_" before a word, the module's words with that, too."""
        found = set(self.prefixed)
        for module in self.modules:
            found.update(_texts(module.tree))
        return found

    # -- constants -----------------------------------------------------------------------------

    def _fold(self) -> None:
        """Constants of a module are put in where they are used, in other modules, too."""
        stored = {
            node.attr
            for module in self.modules
            for node in _walk(module.tree)
            if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load)
        }
        constants = {m.name: _constants(m.tree, stored) for m in self._own()}
        for module in self._own():
            module.tree = _Fold(module, constants, self.by_name).visit(module.tree)

    # -- what is loaded when it is called ------------------------------------------------------

    def _outline(self) -> None:
        """Move the functions that are marked so into modules of their own."""
        if any(self.rare.values()) and _DEMAND not in self.by_name:
            raise ToolError(f"something is marked '{_MARK}' and there is no {_DEMAND}")
        pieces: dict[str, list[ast.stmt]] = {}
        for module in self._own():
            for statement in list(module.tree.body):
                if not isinstance(statement, ast.Assign):
                    continue
                group = self.rare[module.path].get(statement.lineno)
                if group is not None:
                    self._move_table(module, statement, group, pieces)
        for module in list(self._own()):
            for line, group in self.rare[module.path].items():
                for owner in _walk(module.tree):
                    for function in list(getattr(owner, "body", ())) if _holds(owner) else ():
                        if isinstance(function, _Defs) and function.lineno == line:
                            self._move(module, owner, function, group, pieces)
        trees = [*(module.tree for module in self.modules), *itertools.chain(*pieces.values())]
        nodes = [node for tree in trees for node in _walk(tree)]
        reached = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
        reached |= self._spelled()
        imported = {
            (node.module or "", alias.name)
            for module in self.modules
            for node in _walk(module.tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        while any(self._follow(m, pieces, reached, imported) for m in list(self._own())):
            pass
        for number, group in enumerate(sorted(pieces), 1):
            path = f"{_PIECES}/{number % _FOLDERS}/_{number}.py"
            tree = ast.Module(pieces[group], [])
            self.modules.append(Module(path, tree))
            self.by_name[self.modules[-1].name] = self.modules[-1]
            self.origin[path] = self.origin.pop(group, {})
            for node in self.calls[group]:
                node.value = -number if group in self.kept else number

    def _move(
        self,
        module: Module,
        owner: ast.AST,
        function: ast.FunctionDef | ast.AsyncFunctionDef,
        group: str,
        pieces: dict[str, list[ast.stmt]],
    ) -> None:
        """Move a function of `owner` (a module or class); a call of it stays in its place."""
        where = f"{module.path}: {function.name}"
        uses = {n.id for n in _walk(function) if isinstance(n, ast.Name)}
        if uses & {"super", "__class__", "globals", "locals"} or function.args.kwarg:
            raise ToolError(f"{where} uses super(), globals() or **: it must stay where it is")
        named = group
        group = module.path + ":" + (group or f"{function.name}:{function.lineno}")
        if named:
            self.kept.add(group)
        body = pieces.setdefault(group, [])
        name = function.name
        taken = _bound(module.tree) | {f.name for f in body if isinstance(f, _Named)}
        while name in taken and (owner is not module.tree or name != function.name):
            name += "_"
        moved = type(function)(
            name=name,
            args=copy.deepcopy(function.args),
            body=function.body,
            decorator_list=[],
            lineno=function.lineno,
        )
        if isinstance(owner, ast.ClassDef):
            moved.of_class = owner.name  # type: ignore[union-attr]
        _OwnTable({id(word) for word in self.calls.get(group, ())}).visit(moved)
        body[:0] = _imports_for(module, moved, where)
        body.append(moved)
        self.origin.setdefault(group, {})[name] = f"{function.name} of {module.name}"
        word = ast.Constant(-1)
        self.calls.setdefault(group, []).append(word)
        demand = ast.Call(ast.Name("_demand", ast.Load()), [word], [])
        call = ast.Call(
            ast.Attribute(demand, name, ast.Load()),
            _passed_on(function.args),
            [ast.keyword(a.arg, ast.Name(a.arg, ast.Load())) for a in function.args.kwonlyargs],
        )
        stub = ast.FunctionDef(
            name=function.name,
            args=function.args,
            body=[ast.Return(call)],
            decorator_list=function.decorator_list,
            lineno=function.lineno,
        )
        owner.body[owner.body.index(function)] = stub  # type: ignore[attr-defined]
        _load_demand(module)

    def _by_table(
        self, module: Module
    ) -> Iterator[tuple[ast.Constant, list[tuple[str, ast.Constant, str]]]]:
        """Have the classes of a module find their moved methods by a table, because the call that
        stays costs 110 bytes and a word of the table 10: (the table's text, its rows of method,
        number of the piece, name there)."""
        if is_piece(module.path) or _DEMAND not in self.by_name:
            return
        for owner in _walk(module.tree):
            if not isinstance(owner, ast.ClassDef) or owner.bases:
                continue
            calls = [(f, _moved_to(f)) for f in owner.body]
            rows = [(f.name, *to) for f, to in calls if to and isinstance(f, _Defs)]
            if len(rows) < _MANY or "__getattr__" in _bound(owner):
                continue
            owner.body = [f for f, to in calls if not to]
            text = ast.Constant("")
            words = [ast.Name("self", ast.Load()), ast.Name("name", ast.Load()), text]
            found = ast.parse("def __getattr__(self, name): pass").body[0]
            assert isinstance(found, ast.FunctionDef)
            found.body = [ast.Return(ast.Call(ast.Name("_late", ast.Load()), words, []))]
            owner.body.append(found)
            owner.by_table = [name for name, _, _ in rows]  # type: ignore[attr-defined]
            if "_late" not in _bound(module.tree):
                load = ast.ImportFrom(_DEMAND, [ast.alias(_LATE, "_late")], 0)
                module.tree.body.insert(1, load)
            yield text, rows

    def _follow(
        self,
        module: Module,
        pieces: dict[str, list[ast.stmt]],
        reached: set[str],
        imported: set[tuple[str, str]],
    ) -> bool:
        """Move functions and tables of a module that only one of its pieces uses into that piece;
        whether there was one. `reached`: names that stand as attributes or texts, `imported`:
        (module, name) of all imports but the pieces'."""
        users: dict[str, list[list[ast.stmt]]] = {}
        for body in pieces.values():
            for node in body:
                if isinstance(node, ast.ImportFrom) and node.module == module.name:
                    for alias in node.names:
                        users.setdefault(alias.name, []).append(body)
        if not users:
            return False
        moved = False
        for statement in list(module.tree.body):
            name = _plain_name(statement)
            bodies = users.get(name, [])
            if len(bodies) != 1 or name in reached or (module.name, name) in imported:
                continue
            used = [n.id for n in _walk(module.tree) if isinstance(n, ast.Name)]
            inside = [n.id for n in _walk(statement) if isinstance(n, ast.Name)]
            body = bodies[0]
            if used.count(name) > inside.count(name) or any(
                isinstance(n, _Named) and n.name == name for n in body
            ):
                continue
            try:
                imports = _imports_for(module, statement, name)
            except ToolError:
                continue
            module.tree.body.remove(statement)
            for node in list(body):
                if isinstance(node, ast.ImportFrom) and node.module == module.name:
                    node.names = [alias for alias in node.names if alias.name != name]
                    if not node.names:
                        body.remove(node)
            own = [n for n in imports if not _imports(n, module.name, name)]
            at = sum(isinstance(n, (ast.Import, ast.ImportFrom)) for n in body)
            body[at:at] = [*own, statement]
            moved = True
        return moved

    def _move_table(
        self,
        module: Module,
        statement: ast.Assign,
        group: str,
        pieces: dict[str, list[ast.stmt]],
    ) -> None:
        """Move what a global holds, which is never changed; each use asks for it."""
        target = statement.targets[0]
        assert isinstance(target, ast.Name)
        name = target.id
        where = f"{module.path}: {name}"
        group = module.path + ":" + (group or name)
        body = pieces.setdefault(group, [])
        body[:0] = _imports_for(module, statement.value, where)
        statement.value, rows = _compact(statement.value)
        if rows:
            body.insert(0, ast.ImportFrom(_TABLES, [ast.alias(_ROWS)], 0))
        body.append(statement)
        module.tree.body.remove(statement)
        words = self.calls.setdefault(group, [])
        for other in self._own():
            uses = other is module
            called = {
                alias.asname or alias.name: f"{node.module}.{alias.name}"
                for node in _walk(other.tree)
                if isinstance(node, ast.ImportFrom)
                for alias in node.names
            }
            aliases = {alias for alias, full in called.items() if full == module.name}
            for node in _walk(other.tree):
                if isinstance(node, ast.ImportFrom) and node.module == module.name:
                    kept = [alias for alias in node.names if alias.name != name]
                    uses |= len(kept) < len(node.names)
                    node.names = kept
                elif isinstance(node, ast.Attribute) and node.attr == name:
                    of = node.value.id if isinstance(node.value, ast.Name) else ""
                    if called.get(of) not in self.by_name:
                        raise ToolError(
                            f"{where} is used in {other.path}: import it by its name there"
                        )
                    uses |= of in aliases
            if uses:
                for holder in _walk(other.tree):
                    if isinstance(getattr(holder, "body", None), list):
                        holder.body = [  # type: ignore[attr-defined]
                            n
                            for n in holder.body  # type: ignore[attr-defined]
                            if not isinstance(n, ast.ImportFrom) or n.names
                        ]
                other.tree = _Table(name, words, aliases).visit(other.tree)
                _load_demand(other)

    # -- what nobody uses ----------------------------------------------------------------------

    def _used(self) -> tuple[set[str], dict[str, set[str]]]:
        """(words by which something may be reached from anywhere, those by module)."""
        # of these the calls are yet to come
        everywhere = self._spelled() | {_LOAD, _LOAD_ANY, _ROWS, _LATE}
        here: dict[str, set[str]] = {module.name: set() for module in self.modules}
        for module in self.modules:
            own = here[module.name]
            for node in _walk(module.tree):
                if isinstance(node, ast.Name) and (module.fixed or _loads(node)):
                    own.add(node.id)
                elif isinstance(node, ast.Attribute) and (module.fixed or _loads(node)):
                    everywhere.add(node.attr)
                elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Attribute):
                    everywhere.add(node.target.attr)
                elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
                    own.add(node.target.id)
                elif isinstance(node, ast.ImportFrom) and node.module in here:
                    here[node.module].update(alias.name for alias in node.names)
                elif isinstance(node, (ast.Global, ast.Nonlocal)):
                    own.update(node.names)
        return everywhere, here

    def _prune(self) -> bool:
        """Drop what is used nowhere; whether there was something."""
        everywhere, here = self._used()
        changed = False
        for module in self._own():
            used = everywhere | here[module.name]
            pruning = _Prune(used, everywhere | self.known)
            module.tree = pruning.visit(module.tree)
            changed |= pruning.changed
            body: list[ast.stmt] = []
            for statement in module.tree.body:
                if isinstance(statement, ast.ImportFrom) and (
                    statement.module in self.by_name or statement.module == "micropython"
                ):
                    kept = [a for a in statement.names if (a.asname or a.name) in used]
                    changed |= len(kept) < len(statement.names)
                    statement.names = kept
                    if not kept:
                        continue
                body.append(statement)
            module.tree.body = body
        return changed

    # -- parameters ----------------------------------------------------------------------------

    def _parameters(self) -> None:
        """Parameters that no call names get names from flash; a place in the list, a name."""
        named = {
            node.arg
            for module in self.modules
            for node in _walk(module.tree)
            if isinstance(node, ast.keyword) and node.arg
        }
        for module in self._own():
            _each_function(module.tree, named)

    # -- names ---------------------------------------------------------------------------------

    def _rename(self) -> None:
        candidates = self._candidates()
        spaces, everywhere, blocked = self._spaces(candidates)
        taken: dict[str, set[str]] = {space: set(names) for space, names in blocked.items()}
        texts = self._spelled()
        foreign = {space for space in taken if space.startswith("!")}
        short = [name for name in short_names() if name not in self.known | texts]
        flash = [name for name in _IN_FLASH if name not in texts]
        # Names with many meetings first; the alphabet decides between equals: same tree, same map.
        for name in sorted(spaces, key=lambda n: (-len(spaces[n]), n)):
            if name in everywhere:
                continue
            pool = short if spaces[name] & foreign else itertools.chain(flash, short)
            for new in pool:
                if not any(new in taken[space] for space in spaces[name]):
                    break
            for space in spaces[name]:
                taken[space].add(new)
            self.short[name] = new
        used = set(self.short.values()) | {n for names in blocked.values() for n in names}
        free = (name for name in short if name not in used)
        for name in sorted(everywhere):
            self.short[name] = next(free)
        for module in self._own():
            module.tree = _Rename(module, self.short, self.by_name).visit(module.tree)

    def _candidates(self) -> set[str]:
        """Names that the program itself gives, and that nobody reaches in another way."""
        found: set[str] = set()
        pinned = {*self.known, *self._spelled()}
        for module in self.modules:
            pinned.update(module.name.split("."))
            module.bound = _bound(module.tree)
            if not module.fixed:
                found |= module.bound
            for node in _walk(module.tree):
                if module.fixed:
                    pinned.update(_identifiers(node))
                if isinstance(node, ast.ClassDef):
                    found |= _bound(node)
                    if _is_error(node):
                        pinned.add(node.name)  # shown to people
                elif isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load):
                    found.add(node.attr)
                elif isinstance(node, ast.Import):
                    pinned.update((a.asname or a.name).split(".")[0] for a in node.names)
                elif isinstance(node, ast.ImportFrom):
                    for alias in node.names:
                        bare = f"{node.module}.{alias.name}"
                        if node.module not in self.by_name or bare in self.by_name:
                            pinned.update((alias.name, alias.asname or alias.name))
        return {n for n in found - pinned if not n.startswith("__")}

    def _spaces(
        self, candidates: set[str]
    ) -> tuple[dict[str, set[str]], set[str], dict[str, set[str]]]:
        """(where each candidate lives, candidates that live everywhere, other names by place).

        A place is a module's globals, or the attributes of a family of classes."""
        spaces: dict[str, set[str]] = {}
        blocked: dict[str, set[str]] = {}
        everywhere: set[str] = set()

        def put(name: str, space: str) -> None:
            if name in candidates:
                spaces.setdefault(name, set()).add(space)
            else:
                blocked[space].add(name)

        families = _families(self.modules)
        for module in self._own():
            space = module.path
            blocked[space] = set()
            for name in module.bound:
                put(name, space)
            local = _locals(module.tree)
            for node in _walk(module.tree):
                if isinstance(node, ast.Name):
                    # A local may hide a global of its name only if it did so before.
                    if node.id in local or node.id not in module.bound:
                        blocked[space].add(node.id)
                elif isinstance(node, ast.arg):
                    blocked[space].add(node.arg)
            blocked[space] |= local
            for node in _walk(module.tree):
                if not isinstance(node, ast.ClassDef):
                    continue
                family = families[node.name]
                blocked.setdefault(family, set())
                for name in _bound(node):
                    put(name, family)
                for name in _through_self(node):
                    put(name, family)
                for name in getattr(node, "by_table", ()):
                    put(name, family)
            for node in module.tree.body:
                if isinstance(node, _Named) and hasattr(node, "of_class"):
                    for name in {n.attr for n in _attributes_of_first(node)}:
                        put(name, families[node.of_class])
            for node, own in _stores(module.tree):
                if not own and node.attr in candidates:
                    everywhere.add(node.attr)
        for name in candidates - set(spaces):
            everywhere.add(name)
        for name in everywhere:
            spaces.setdefault(name, set())
        return spaces, everywhere, blocked


# -- reading the tree --------------------------------------------------------------------------


def _marked(text: str, tree: ast.AST) -> dict[int, str]:
    """First line -> group, of the functions and tables with the mark."""
    lines = text.splitlines()
    found: dict[int, str] = {}
    for node in _walk(tree):
        if isinstance(node, _Defs):
            last = max(node.lineno, node.body[0].lineno - 1)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            last = node.lineno
        else:
            continue
        for line in lines[node.lineno - 1 : last]:
            _, mark, group = line.partition(_MARK)
            if mark:
                found[node.lineno] = group.removeprefix(":").strip()
    return found


def _load_demand(module: Module) -> None:
    """Have a module import what loads the others."""
    first = module.tree.body[0]
    if not (isinstance(first, ast.ImportFrom) and first.names[0].asname == "_demand"):
        load = ast.alias(_LOAD, "_demand")
        module.tree.body.insert(0, ast.ImportFrom(_DEMAND, [load], 0))


def _moved_to(node: ast.stmt) -> tuple[ast.Constant, str] | None:
    """(number of the piece, name there) of a method that only calls a moved one."""
    if not isinstance(node, _Defs) or node.decorator_list or node.name.startswith("__"):
        return None
    last = node.body[0]
    if not isinstance(last, ast.Return) or not isinstance(last.value, ast.Call):
        return None
    function = last.value.func
    if not isinstance(function, ast.Attribute) or not isinstance(function.value, ast.Call):
        return None
    load = function.value
    if not isinstance(load.func, ast.Name) or load.func.id != "_demand":
        return None
    number = load.args[0]
    assert isinstance(number, ast.Constant)
    return number, function.attr


def _plain_name(node: ast.stmt) -> str:
    """The name that a statement of a module gives to a function or to what never changes."""
    if isinstance(node, _Defs) and not node.decorator_list:
        return node.name
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
        target = node.targets[0]
        if isinstance(target, ast.Name):
            try:
                hash(ast.literal_eval(node.value))
            except (ValueError, TypeError):
                return ""
            return target.id
    return ""


def _imports(node: ast.stmt, module: str, name: str) -> bool:
    """Whether a statement imports a name of a module, and nothing else."""
    return (
        isinstance(node, ast.ImportFrom)
        and node.module == module
        and [alias.name for alias in node.names] == [name]
    )


def _holds(node: ast.AST) -> bool:
    return isinstance(node, (ast.Module, ast.ClassDef))


def _passed_on(args: ast.arguments) -> list[ast.expr]:
    given: list[ast.expr] = [ast.Name(a.arg, ast.Load()) for a in [*args.posonlyargs, *args.args]]
    if args.vararg:
        given.append(ast.Starred(ast.Name(args.vararg.arg, ast.Load()), ast.Load()))
    return given


def _imports_for(module: Module, function: ast.AST, where: str) -> list[ast.stmt]:
    """What the function's new module imports, so that its globals mean what they meant."""
    bound = _bound(module.tree)
    shared = _shared(module.tree)
    mine: set[str] = set()

    class Globals(_Scoped):
        """Collects the names that are not local."""

        def visit_Name(self, node: ast.Name) -> ast.AST:
            if not self.is_local(node.id):
                mine.add(node.id)
            return node

    Globals().visit(function)
    needed = mine & bound
    if needed & shared:
        raise ToolError(f"{where} uses globals that change: it cannot be loaded on demand")
    found: list[ast.stmt] = []
    for statement in module.tree.body:
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            for alias in statement.names:
                name = alias.asname or alias.name
                if name in needed:
                    needed.discard(name)
                    same = ast.alias(alias.name, alias.asname)
                    if isinstance(statement, ast.Import):
                        found.append(ast.Import([same]))
                    else:
                        found.append(ast.ImportFrom(statement.module, [same], 0))
    if needed:
        names = [ast.alias(name) for name in sorted(needed)]
        found.append(ast.ImportFrom(module.name, names, 0))
    return found


def _texts(tree: ast.AST) -> Iterator[str]:
    for node in _walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _puts_underscore(node: ast.AST) -> bool:
    """Whether a call reaches for an attribute by a word that is put together; anything but "_"
    and a word is refused, because then nobody can say which names it may reach."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
        return False
    if node.func.id not in ("getattr", "setattr", "hasattr", "delattr"):
        return False
    word = node.args[1]
    if isinstance(word, (ast.Name, ast.Constant)):
        return False
    if isinstance(word, ast.BinOp) and ast.unparse(word.left) == "'_'":
        return True
    raise ToolError(f"cannot shrink {ast.unparse(node)}: which attributes can that be?")


def _loads(node: ast.Name | ast.Attribute) -> bool:
    return not isinstance(node.ctx, ast.Store)


def _identifiers(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Name):
        yield node.id
    elif isinstance(node, ast.Attribute):
        yield node.attr
    elif isinstance(node, ast.alias):
        yield from node.name.split(".")
    elif isinstance(node, ast.keyword) and node.arg:
        yield node.arg


def _is_error(node: ast.ClassDef) -> bool:
    return any("Error" in ast.unparse(b) or "Exception" in ast.unparse(b) for b in node.bases)


def at_start(scope: ast.AST) -> Iterator[ast.AST]:
    """Nodes of one scope, without those of the scopes in it (but with their names)."""
    todo: list[ast.AST] = list(_children(scope))
    while todo:
        node = todo.pop()
        yield node
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            todo += [*node.decorator_list, *node.args.defaults]
            todo += [d for d in node.args.kw_defaults if d is not None]
        elif isinstance(node, ast.Lambda):
            todo += [*node.args.defaults]
        elif isinstance(node, ast.ClassDef):
            todo += [*node.decorator_list, *node.bases]
        elif isinstance(node, _Comprehension):
            todo.append(node.generators[0].iter)
        else:
            todo += _children(node)


def _bound(scope: ast.AST) -> set[str]:
    """Names that a scope binds: parameters, assignments, imports, definitions."""
    names: set[str] = set()
    out: set[str] = set()
    if isinstance(scope, _Function):
        names |= {a.arg for a in _arguments(scope.args)}
        if isinstance(scope, ast.Lambda):
            return names
    if isinstance(scope, _Comprehension):
        for part in scope.generators:
            names |= {n.id for n in _walk(part.target) if isinstance(n, ast.Name)}
        return names
    for node in at_start(scope):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            names.add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {(a.asname or a.name).split(".")[0] for a in node.names}
        elif isinstance(node, ast.ExceptHandler) and node.name:
            names.add(node.name)
        elif isinstance(node, (ast.Global, ast.Nonlocal)):
            out |= set(node.names)
    if isinstance(scope, ast.Module):
        return names | _shared(scope)
    return names - out


def _arguments(args: ast.arguments) -> list[ast.arg]:
    found = [*args.posonlyargs, *args.args, *args.kwonlyargs]
    return found + [a for a in (args.vararg, args.kwarg) if a is not None]


def _locals(tree: ast.AST) -> set[str]:
    """Names that any function of a module binds for itself."""
    found: set[str] = set()
    for node in _walk(tree):
        if isinstance(node, (*_Function, *_Comprehension)):
            found |= _bound(node)
    return found


def _own_methods(tree: ast.AST) -> Iterator[ast.AST]:
    """The methods of a tree's classes, also those that were moved out of their class."""
    for node in _walk(tree):
        if isinstance(node, ast.ClassDef):
            yield from (m for m in node.body if isinstance(m, _Defs))
        elif isinstance(node, _Defs) and hasattr(node, "of_class"):
            yield node


def _attributes_of_first(method: ast.AST) -> Iterator[ast.Attribute]:
    """What a method uses of its first parameter."""
    parameters = method.args.args  # type: ignore[attr-defined]
    for node in _walk(method):
        if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name):
            continue
        if parameters and node.value.id == parameters[0].arg:
            yield node


def _through_self(node: ast.ClassDef) -> set[str]:
    """Attributes that the methods of a class use of their first parameter."""
    methods = [m for m in node.body if isinstance(m, _Defs)]
    return {n.attr for m in methods for n in _attributes_of_first(m)}


def _stores(tree: ast.AST) -> Iterator[tuple[ast.Attribute, bool]]:
    """(attribute that is assigned to, whether it is one of a method's own object)."""
    own = {id(n) for m in _own_methods(tree) for n in _attributes_of_first(m)}
    for node in _walk(tree):
        if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load):
            yield node, id(node) in own


def _families(modules: Iterable[Module]) -> dict[str, str]:
    """Class name -> the family it belongs to: classes that inherit from each other. Those that
    inherit from a class of MicroPython begin with "!". Classes of one name are one family."""
    bases: dict[str, set[str]] = {}
    for module in modules:
        for node in _walk(module.tree):
            if isinstance(node, ast.ClassDef):
                found = {
                    b.attr if isinstance(b, ast.Attribute) else ast.unparse(b) for b in node.bases
                }
                bases.setdefault(node.name, set()).update(found - {"object"})
    parent = {name: name for name in bases}

    def root(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    for name, found in sorted(bases.items()):
        for base in found & set(bases):
            one, two = sorted((root(name), root(base)))
            parent[two] = one
    alien = {root(n) for n, found in bases.items() if found - set(bases)}
    return {n: ("!" if root(n) in alien else "class ") + root(n) for n in bases}


def _constants(tree: ast.Module, stored: set[str]) -> dict[str, int]:
    """Numbers that a module calls const(), and that never change."""
    times: dict[str, int] = {}
    for node in at_start(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            times[node.id] = times.get(node.id, 0) + 1
    shared = _shared(tree)
    found: dict[str, int] = {}
    for node in tree.body:
        if not isinstance(node, ast.Assign) or len(node.targets) > 1:
            continue
        target, value = node.targets[0], node.value
        if not isinstance(target, ast.Name) or times[target.id] > 1:
            continue
        if isinstance(value, ast.Call) and ast.unparse(value.func) == "const":
            value = value.args[0]
        elif not target.id.startswith("_"):
            continue
        number = _value(value, found)
        if number is not None and target.id not in stored | shared:
            found[target.id] = number
    return found


def _shared(tree: ast.AST) -> set[str]:
    """Names that functions declare global."""
    return {n for node in _walk(tree) if isinstance(node, ast.Global) for n in node.names}


def _value(node: ast.expr, constants: dict[str, int]) -> int | None:
    """The whole number that an expression of constants stands for."""
    for part in _walk(node):
        if isinstance(part, ast.Name) and part.id not in constants:
            return None
        if isinstance(part, ast.Constant) and type(part.value) is not int:
            return None
        if not isinstance(
            part,
            (ast.Name, ast.Constant, ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop, ast.Load),
        ):
            return None
    value = eval(compile(ast.Expression(node), "const", "eval"), {"__builtins__": {}}, constants)
    return value if type(value) is int else None


def short_names() -> Iterator[str]:
    """Names of one and of two letters."""
    for one in _LETTERS:
        yield one
    for one, two in itertools.product(_LETTERS, _SUFFIXES):
        yield one + two


# -- changing the tree -------------------------------------------------------------------------


class _Bare(ast.NodeTransformer):
    """Without docstrings and annotations (but for machine code, which needs them)."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        return None if isinstance(node.value, ast.Constant) else self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        self.generic_visit(node)
        if node.value is None:
            return None
        return ast.copy_location(ast.Assign([node.target], node.value), node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        if not any(name in ast.unparse(d) for d in node.decorator_list for name in _EMITTERS):
            node.returns = None
            for argument in _arguments(node.args):
                argument.annotation = None
            self.generic_visit(node)
        node.body = node.body or [ast.Pass()]
        return node

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self.visit_FunctionDef(node)  # type: ignore[arg-type]

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        self.generic_visit(node)
        node.body = node.body or [ast.Pass()]
        return node


def _compact(value: ast.expr) -> tuple[ast.expr, bool]:
    """A table as one text, where it is a tuple of words or of rows, because each short text of a
    table is kept for ever, and a row costs 50 bytes beside them. True: it needs Rows."""
    try:
        table = ast.literal_eval(value)
    except ValueError:
        return value, False
    if not isinstance(table, tuple) or len(table) < _LONG:
        return value, False
    if all(isinstance(word, str) and word.split() == [word] for word in table):
        words = ast.Call(ast.Attribute(ast.Constant(" ".join(table)), "split", ast.Load()), [], [])
        return ast.Call(ast.Name("tuple", ast.Load()), [words], []), False
    if all(isinstance(row, tuple) and len(row) > 1 for row in table):
        # a list where there was a tuple: it is only looked at
        lines = [json.dumps(row, separators=(",", ":"), ensure_ascii=False) for row in table]
        text = ast.Constant("\n".join(lines) + "\n")
        return ast.Call(ast.Name(_ROWS, ast.Load()), [text], []), True
    return value, False


class _Scoped(ast.NodeTransformer):
    """A visitor that knows which names are local where it is."""

    def __init__(self) -> None:
        self.scopes: list[set[str]] = []

    def is_local(self, name: str) -> bool:
        """Whether a name is one of the functions around this place."""
        return any(name in scope for scope in self.scopes)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        node.decorator_list = [self.visit(d) for d in node.decorator_list]
        node.args = self.visit(node.args)
        self.scopes.append(_bound(node))
        node.body = self._block(node.body)
        self.scopes.pop()
        return node

    def _block(self, body: list[ast.stmt]) -> list[ast.stmt]:
        out: list[ast.stmt] = []
        for statement in body:
            new = self.visit(statement)
            if isinstance(new, list):
                out += new
            elif new is not None:
                out.append(new)
        return out or [ast.Pass()]

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._function(node)

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        node.args = self.visit(node.args)
        self.scopes.append(_bound(node))
        node.body = self.visit(node.body)
        self.scopes.pop()
        return node

    def _comprehension(self, node: ast.AST) -> ast.AST:
        self.scopes.append(_bound(node))
        self.generic_visit(node)
        self.scopes.pop()
        return node

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension


class _Table(_Scoped):
    """Puts in the place of a global what asks for it."""

    def __init__(self, name: str, words: list[ast.Constant], aliases: set[str]) -> None:
        super().__init__()
        self.name = name
        self.words = words
        self.aliases = aliases  # of its module

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id != self.name or self.is_local(node.id):
            return node
        return self._demanded()

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        value = node.value
        if node.attr == self.name and isinstance(value, ast.Name) and value.id in self.aliases:
            return self._demanded()
        return self.generic_visit(node)

    def _demanded(self) -> ast.AST:
        word = ast.Constant(-1)
        self.words.append(word)
        demand = ast.Call(ast.Name("_demand", ast.Load()), [word], [])
        return ast.Attribute(demand, self.name, ast.Load())


class _OwnTable(ast.NodeTransformer):
    """A table that is in the same piece needs no asking for."""

    def __init__(self, words: set[int]) -> None:
        self.words = words

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.value, ast.Call) and any(id(a) in self.words for a in node.value.args):
            return ast.Name(node.attr, ast.Load())
        return node


class _Fold(_Scoped):
    """Puts constants in where they are used."""

    def __init__(
        self, module: Module, constants: dict[str, dict[str, int]], modules: dict[str, Module]
    ) -> None:
        super().__init__()
        self.constants = constants
        self.modules = modules
        self.own = dict(constants[module.name])  # name -> number, here
        self.aliases: dict[str, str] = {}  # name of a module here -> its full name
        times: dict[str, int] = {}
        for node in at_start(module.tree):
            if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
                times[node.id] = times.get(node.id, 0) + 1
            elif isinstance(node, (ast.Import, ast.ImportFrom)):
                for alias in node.names:
                    name = alias.asname or alias.name
                    times[name] = times.get(name, 0) + 1
        shared = _shared(module.tree)
        for node in module.tree.body:
            if not isinstance(node, ast.ImportFrom):
                continue
            for alias in node.names:
                name = alias.asname or alias.name
                full = f"{node.module}.{alias.name}"
                if times[name] != 1 or name in shared:
                    continue
                if full in modules:
                    self.aliases[name] = full
                elif alias.name in constants.get(node.module or "", {}):
                    self.own[name] = constants[node.module or ""][alias.name]

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if isinstance(node.ctx, ast.Load) and node.id in self.own and not self.is_local(node.id):
            return _number(self.own[node.id])
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if isinstance(node.value, ast.Name) and isinstance(node.ctx, ast.Load):
            name = node.value.id
            if name in self.aliases and not self.is_local(name):
                value = self.constants[self.aliases[name]].get(node.attr)
                if value is not None:
                    return _number(value)
        self.generic_visit(node)
        return node


def _number(value: int) -> ast.expr:
    if value < 0:
        return ast.UnaryOp(ast.USub(), ast.Constant(-value))
    return ast.Constant(value)


def _is_pure(node: ast.expr) -> bool:
    """Whether nothing happens when an expression is computed (and it is not missed)."""
    if isinstance(node, (ast.Tuple, ast.List)):
        return all(_is_pure(x) for x in node.elts)
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id == "const"
    if isinstance(node, ast.UnaryOp):
        return _is_pure(node.operand)
    return isinstance(node, (ast.Constant, ast.Name))


class _Prune(ast.NodeTransformer):
    """Drops what has a name that is not in `used`, of a module, or in `methods`, of a class."""

    def __init__(self, used: set[str], methods: set[str]) -> None:
        self.used = used
        self.methods = methods
        self.changed = False
        self.depth = 0  # of functions
        self.classes = 0

    def _drop(self, name: str, attribute: bool = False) -> bool:
        used = self.methods if attribute or self.classes else self.used
        if name in used or name.startswith("__"):
            return False
        self.changed = True
        return True

    def _body(self, node: ast.AST) -> ast.AST:
        self.generic_visit(node)
        if not node.body:  # type: ignore[attr-defined]
            node.body = [ast.Pass()]  # type: ignore[attr-defined]
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST | None:
        if self.depth == 0 and self._drop(node.name):
            return None
        self.depth += 1
        self._body(node)
        self.depth -= 1
        return node

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST | None:
        return self.visit_FunctionDef(node)  # type: ignore[arg-type]

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST | None:
        if self.depth == 0 and self._drop(node.name):
            return None
        self.classes += 1
        self._body(node)
        self.classes -= 1
        return node

    def _compound(self, node: ast.AST) -> ast.AST:
        return self._body(node)

    visit_If = visit_For = visit_While = visit_With = visit_AsyncWith = _compound
    visit_ExceptHandler = visit_AsyncFor = visit_Try = _compound

    def visit_Assign(self, node: ast.Assign) -> ast.AST | None:
        target = node.targets[0]
        if len(node.targets) == 1 and _is_pure(node.value):
            if isinstance(target, ast.Name) and self.depth == 0 and self._drop(target.id):
                return None
            plain = isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name)
            if plain and self._drop(target.attr, True):  # type: ignore[attr-defined]
                return None
        self.generic_visit(node)
        return node


def _each_function(tree: ast.AST, named: set[str]) -> None:
    """Give the parameters of every function names by their places."""
    for node in _walk(tree):
        if not isinstance(node, _Function):
            continue
        taken = {n.id for n in _walk(node) if isinstance(n, ast.Name)}
        taken |= {
            n.name
            for n in _walk(node)
            if isinstance(
                n, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.ExceptHandler)
            )
            and n.name
        }
        taken |= {n.arg for n in _walk(node) if isinstance(n, ast.arg)}
        for n in _walk(node):
            if isinstance(n, (ast.Import, ast.ImportFrom)):
                taken |= {(a.asname or a.name).split(".")[0] for a in n.names}
            elif isinstance(n, (ast.Global, ast.Nonlocal)):
                taken |= set(n.names)
        change: dict[str, str] = {}
        arguments = _arguments(node.args)
        free = [name for name in _FOR_PARAMETERS if name not in taken]
        for argument in arguments:
            old = argument.arg
            if old in named or old in _FOR_PARAMETERS or not free or _is_rebound(node, old):
                continue
            change[old] = free.pop(0)
        if change:
            _Substitute(change).apply(node)


def _is_rebound(function: ast.AST, name: str) -> bool:
    """Whether a scope within a function has a name of its own that is spelled the same."""
    for node in _walk(function):
        own: set[str | None] = set()
        if node is not function and isinstance(node, (*_Function, *_Comprehension, ast.ClassDef)):
            own |= _bound(node)
        elif isinstance(node, (ast.Global, ast.Nonlocal)):
            own |= set(node.names)
        elif isinstance(node, ast.ExceptHandler):
            own.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            own |= {(a.asname or a.name).split(".")[0] for a in node.names}
        if name in own:
            return True
    return False


class _Substitute(ast.NodeTransformer):
    """Other names for parameters of one function."""

    def __init__(self, change: dict[str, str]) -> None:
        self.change = change

    def apply(self, function: ast.AST) -> None:
        """Rename them in the function's own scope and in those within."""
        arguments = function.args  # type: ignore[attr-defined]
        for argument in _arguments(arguments):
            argument.arg = self.change.get(argument.arg, argument.arg)
        body = function.body  # type: ignore[attr-defined]
        for statement in body if isinstance(body, list) else [body]:
            self.visit(statement)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        node.id = self.change.get(node.id, node.id)
        return node


class _Rename(_Scoped):
    """Puts the short names in."""

    def __init__(self, module: Module, short: dict[str, str], modules: dict[str, Module]) -> None:
        super().__init__()
        self.module = module
        self.short = short
        self.modules = modules

    def _new(self, name: str) -> str:
        """The name that a global or class name has now."""
        return self.short.get(name, name)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if not self.is_local(node.id):
            node.id = self._new(node.id)
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        self.generic_visit(node)
        node.attr = self.short.get(node.attr, node.attr)
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        if not self.is_local(node.name):
            node.name = self._new(node.name)
        return self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self.visit_FunctionDef(node)  # type: ignore[arg-type]

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        if not self.is_local(node.name):
            node.name = self._new(node.name)
        self.generic_visit(node)
        return node

    def visit_Global(self, node: ast.Global) -> ast.AST:
        node.names = [self._new(name) for name in node.names]
        return node

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> ast.AST:
        if node.name and not self.is_local(node.name):
            node.name = self._new(node.name)
        self.generic_visit(node)
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        for alias in node.names:
            if node.module in self.modules:
                bound = alias.asname or alias.name
                local = self.is_local(bound)
                alias.name = self._new(alias.name)
                bound = bound if local else self._new(bound)
                alias.asname = bound if bound != alias.name else None
        return node

"""What differs between the staged tree and a board, and making the board equal to it.

Nothing on the board is believed but the contents of its files: it computes their SHA-256 itself,
before and after. While files change there is no main.py, so a copy that is interrupted leaves a
board that opens its relays (boot.py, pull-downs) and waits; the next deploy repairs it.
"""

from __future__ import annotations

import ast
import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from tools.deploy.board import Board
from tools.progress import ToolError
from tools.stage import PACKAGES, TOP

_MAIN = "main.py"
_CHUNK = 2048  # bytes written at a time: fits the memory that a stopped firmware leaves
_RESERVE = 8  # blocks that stay free for settings and journal
_TEMPORARY = "deploy.tmp"

_LIST = """\
import os, hashlib, binascii
_b = bytearray(1024)
_v = memoryview(_b)
def _one(path):
    h = hashlib.sha256()
    size = 0
    with open(path, 'rb') as f:
        while True:
            n = f.readinto(_b)
            if not n:
                break
            size += n
            h.update(_v[:n])
    print(repr((path, size, binascii.hexlify(h.digest()).decode())))
def _all(path):
    try:
        entries = list(os.ilistdir(path))
    except OSError:
        return
    for e in entries:
        p = path + '/' + e[0]
        if e[1] & 0x4000:
            _all(p)
        else:
            _one(p)
for _n in {top!r}:
    try:
        os.stat(_n)
    except OSError:
        continue
    _one(_n)
for _n in {packages!r}:
    _all(_n)
"""

_OPEN = """\
import os
from binascii import a2b_base64 as _d
def _dirs(path):
    at = ''
    for part in path.split('/')[:-1]:
        at = at + '/' + part if at else part
        try:
            os.mkdir(at)
        except OSError:
            pass
"""

Progress = Callable[[str, int], None]


@dataclass(frozen=True)
class Held:
    """One file on the board."""

    size: int
    sha256: str


@dataclass
class Plan:
    """What has to change on a board."""

    copy: dict[str, bytes] = field(default_factory=dict)
    remove: list[str] = field(default_factory=list)
    same: int = 0

    @property
    def nothing(self) -> bool:
        """Whether the board has it all."""
        return not self.copy and not self.remove

    @property
    def size(self) -> int:
        """Bytes to copy."""
        return sum(map(len, self.copy.values()))


def held(board: Board) -> dict[str, Held]:
    """Files of the firmware that are on the board, with hashes that it computes now."""
    output = board.run(_LIST.format(top=TOP, packages=PACKAGES))
    found = {}
    for line in output.splitlines():
        path, size, digest = ast.literal_eval(line)
        found[path] = Held(size, digest)
    return found


def plan(wanted: dict[str, bytes], there: dict[str, Held]) -> Plan:
    """Compare the staged tree with what is on the board."""
    result = Plan()
    for path, data in wanted.items():
        on_board = there.get(path)
        if on_board and on_board.sha256 == hashlib.sha256(data).hexdigest():
            result.same += 1
        else:
            result.copy[path] = data
    stems = {str(PurePosixPath(path).with_suffix("")) for path in wanted}
    for path in there:
        if path in wanted:
            continue
        # In lib/ other people's modules may live: only other forms of our own must go (a .py
        # goes before a .mpy of the same name). In firmware/ everything is ours.
        ours = path.startswith("firmware/") or path in TOP
        if ours or str(PurePosixPath(path).with_suffix("")) in stems:
            result.remove.append(path)
    return result


def check_room(todo: Plan, there: dict[str, Held], block: int, free: int) -> None:
    """ToolError when the flash cannot take it; `block` bytes each, `free` blocks are free."""

    def blocks(size: int) -> int:
        return -(-size // block) + 1  # one for the file's entry, on the safe side

    needed = sum(blocks(len(data)) for data in todo.copy.values())
    given = sum(blocks(there[path].size) for path in todo.remove)
    given += sum(blocks(there[path].size) for path in todo.copy if path in there)
    # each file is written beside the old one before that goes
    largest = max((blocks(len(data)) for data in todo.copy.values()), default=0)
    missing = needed + largest + _RESERVE - given - free
    if missing > 0:
        raise ToolError(
            f"the board's flash is too full: {(needed - given) * block // 1024} KiB more are "
            f"needed, {free * block // 1024} KiB are free and {_RESERVE * block // 1024} KiB stay "
            "for settings. Nothing was changed; remove files of your own with `mpremote fs rm`"
        )


def apply(board: Board, todo: Plan, there: dict[str, Held], progress: Progress) -> None:
    """Make the changes, main.py last; `progress(path, bytes)` is called as it goes on."""
    board.run(_OPEN)
    if _MAIN in there:
        board.run(f"os.remove({_MAIN!r})")
    for path in todo.remove:
        if path != _MAIN:
            board.run(f"os.remove({path!r})")
    order = sorted(todo.copy, key=lambda path: (path == _MAIN, path))
    for path in order:
        _write(board, path, todo.copy[path], progress)


def _write(board: Board, path: str, data: bytes, progress: Progress) -> None:
    board.run(f"_dirs({path!r})\n_f = open({_TEMPORARY!r}, 'wb')\n_w = _f.write")
    progress(path, 0)
    for start in range(0, len(data), _CHUNK):
        chunk = data[start : start + _CHUNK]
        board.run(f"_w(_d({base64.b64encode(chunk)!r}))")
        progress(path, len(chunk))
    board.run(f"_f.close()\nos.rename({_TEMPORARY!r}, {path!r})")


def verify(board: Board, wanted: dict[str, bytes]) -> None:
    """ToolError when the board does not hold exactly what it should."""
    left = plan(wanted, held(board))
    if not left.nothing:
        names = ", ".join(sorted([*left.copy, *left.remove])[:5])
        raise ToolError(f"after copying the board still differs in {names}: run deploy again")

"""Terminal programs for tests: `screen`, `minicom` and `tio`, from the PATH or Debian's packages.

`python -m tools.runtime.terminals` fetches all three into build/runtime and says how each is
started. Nothing is installed and no root is needed. Called by tests of the console.
"""

from __future__ import annotations

import fcntl
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from tools.progress import ToolError, fail, step
from tools.runtime import apt

ROOT = Path(__file__).resolve().parents[2]
RUNTIME = ROOT / "build" / "runtime"
PROGRAMS = ("screen", "minicom", "tio")
_FALLBACK_SUITES = ("trixie", "bookworm", "forky")


def ensure(
    name: str, folder: Path = RUNTIME, say: Callable[[str], None] = step
) -> tuple[list[str], dict[str, str]]:
    """The words that start a program, and what its environment needs; ToolError without one."""
    if name not in PROGRAMS:
        raise ToolError(f"no such terminal program: {name} (there are: {' '.join(PROGRAMS)})")
    root = folder / f"root-{name}"
    if not (root / ".ok").exists():
        found = shutil.which(name)
        if found:
            return [found], {}
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f".lock-{name}").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (root / ".ok").exists():
                _fetch(name, folder, say)
    return _command(name, root)


def _fetch(name: str, folder: Path, say: Callable[[str], None]) -> None:
    own = apt.machine_release()
    suites = [own, *(suite for suite in _FALLBACK_SUITES if suite != own)]
    # and the terminal descriptions, on which none of these depends
    more = ["ncurses-base"]
    apt.unpack_program(name, folder, suites, say, lambda root: _command(name, root), more)


def _command(name: str, root: Path) -> tuple[list[str], dict[str, str]]:
    """Start the unpacked program with its own loader and C library."""
    words = apt.own_loader(root, root / "usr" / "bin" / name)
    places = [root / "lib" / "terminfo", root / "usr" / "lib" / "terminfo"]
    places += [root / "usr" / "share" / "terminfo", Path("/lib/terminfo")]
    return words, {"TERMINFO_DIRS": ":".join(str(place) for place in places)}


def main() -> int:
    """Command line: make sure of all of them."""
    try:
        for name in PROGRAMS:
            words, _ = ensure(name)
            print(f"{name}: {' '.join(words)}")
    except ToolError as error:
        return fail(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())

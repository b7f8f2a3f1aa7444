"""Terminal programs for tests: `screen`, `minicom` and `tio`, from the PATH or Debian's packages.

`python -m tools.runtime.terminals` fetches all three into build/runtime and says how each is
started. Nothing is installed and no root is needed. Called by tests of the console.
"""

from __future__ import annotations

import fcntl
import os
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
                _fetch(name, folder, root, say)
    return _command(name, root)


def _fetch(name: str, folder: Path, root: Path, say: Callable[[str], None]) -> None:
    private = apt.PrivateApt(folder / f"apt-{name}")
    reasons = []
    try:
        own = [apt.machine_release()]
        for suite in own + [suite for suite in _FALLBACK_SUITES if suite not in own]:
            shutil.rmtree(root, ignore_errors=True)
            try:
                say(f"fetching {name} and its libraries from Debian {suite}")
                private.update([("deb", suite)])
                for deb in private.download_closure(name):
                    apt.unpack(deb, root)
                # the terminal descriptions, on which none of these depends
                private.download(["ncurses-base"], folder / f"apt-{name}")
                for deb in (folder / f"apt-{name}").glob("ncurses-base*.deb"):
                    apt.unpack(deb, root)
                _command(name, root)
            except ToolError as error:
                reasons.append(f"{suite}: {error}")
                continue
            (root / ".ok").touch()
            return
    finally:
        private.close()
    raise ToolError(f"{name} cannot be had here: " + "; ".join(reasons))


def _command(name: str, root: Path) -> tuple[list[str], dict[str, str]]:
    """Start the unpacked program with its own loader and C library."""
    program = root / "usr" / "bin" / name
    loaders = sorted(root.rglob("ld-linux*.so*")) or sorted(root.rglob("ld-*.so*"))
    if not loaders or not program.exists():
        raise ToolError(f"the unpacked packages lack {name} or its loader")
    folders = sorted({str(p.parent) for p in root.rglob("*.so*") if "/lib" in str(p.parent)})
    words = [str(loaders[0]), "--library-path", os.pathsep.join(folders), str(program)]
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

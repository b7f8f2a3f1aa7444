"""The emulator's own C sources, compiled for exactly this Python: 4 times as fast as its wheel.

The wheel of rp2040py carries C sources together with extensions for Python's *limited* interface,
which serve every Python version and are slow. `python -m tools.emulator.prepare` compiles the same
sources, with the lines that quick.py changes, against the full interface into build/emulator;
`install()` makes `import rp2040py` find those. Where there is no C compiler everything works as
before, only slower.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.metadata
import importlib.util
import shutil
import subprocess
import sys
import sysconfig
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

from tools.emulator import quick
from tools.locking import alone
from tools.progress import ToolError, step
from tools.runtime import apt

ROOT = Path(__file__).resolve().parents[2]
_PACKAGE = "rp2040py.native"
_SUFFIX = sysconfig.get_config_var("EXT_SUFFIX") or ".so"
_FLAGS = ("-O2", "-fPIC", "-shared", "-fno-strict-aliasing", "-DNDEBUG", "-w")


def folder() -> Path:
    """Where the compiled modules of this emulator version, with these changes, belong."""
    changes = zlib.crc32(repr(quick.CHANGES).encode())
    name = f"native-{importlib.metadata.version('rp2040py')}-{changes:08x}"
    return ROOT / "build" / "emulator" / name


def _sources() -> list[Path]:
    spec = importlib.util.find_spec("rp2040py")
    if spec is None or spec.origin is None:
        raise ToolError("rp2040py is not installed: run `make setup`")
    return sorted((Path(spec.origin).parent / "native").glob("_*.c"))


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the compiled modules before Python finds those of the wheel."""

    def __init__(self, where: Path) -> None:
        self.where = where

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        package, _, module = name.rpartition(".")
        file = self.where / f"{module}{_SUFFIX}"
        if package != _PACKAGE or not file.exists():
            return None
        return importlib.util.spec_from_file_location(name, file)


def install() -> bool:
    """Have `import rp2040py` use the compiled modules; False when there are none.

    Must come before the first import of rp2040py; it mixes nothing: the modules refer to each
    other's types, so either all of them are used or none.
    """
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return True
    where = folder()
    if not (where / f"complete{_SUFFIX}").exists() or "rp2040py" in sys.modules:
        return False
    sys.meta_path.insert(0, _Finder(where))
    return True


def _headers(work: Path, say: Callable[[str], None]) -> list[str]:
    """Folders with Python.h and pyconfig.h; from the distribution's package when not installed."""
    own = [sysconfig.get_path("include"), sysconfig.get_path("platinclude")]
    if (Path(own[0]) / "Python.h").exists():
        return own
    say("no Python headers here: unpacking the distribution's")
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    release = apt.machine_release()
    private = apt.PrivateApt(work / "apt")
    private.update([("deb", release)])
    for deb in private.download([f"lib{version}-dev"], work / "debs"):
        apt.unpack(deb, work / "root")
    found = sorted({p.parent for p in (work / "root").rglob("Python.h")})
    if not found:
        raise ToolError(f"lib{version}-dev holds no Python.h")
    # pyconfig.h there only names the machine's one as <x86_64-linux-gnu/python3.11/pyconfig.h>
    return [str(p) for p in found] + [str(work / "root" / "usr" / "include")]


def prepare(say: Callable[[str], None] = step) -> bool:
    """Compile the modules unless that was done; False when this machine cannot.

    Takes about 20 s on two cores the first time, nothing afterwards.
    """
    where = folder()
    stamp = where / f"complete{_SUFFIX}"
    if stamp.exists():
        return True
    with alone(where.parent):
        return stamp.exists() or _compile(where, stamp, say)


def _compile(where: Path, stamp: Path, say: Callable[[str], None]) -> bool:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    sources = _sources()
    if compiler is None or not sources:
        say("no C compiler here: the emulated chip will run at a quarter of its speed")
        return False
    shutil.rmtree(where, ignore_errors=True)
    work = where / "work"
    work.mkdir(parents=True)
    try:
        include = [f"-I{path}" for path in _headers(work, say)]
        say("compiling the emulator's core for this Python (20 s, once)")
        texts = {source: source.read_text() for source in sources}
        better = {source: quick.improved(source.name, text) for source, text in texts.items()}
        if None in better.values():  # all or none
            say("the emulator's core is another than quick.py knows: it will be slower")
            better.update(texts)

        def build(source: Path) -> str:
            target = where / f"{source.stem}{_SUFFIX}"
            changed = work / source.name
            changed.write_text(better[source] or "")
            done = subprocess.run(
                [str(compiler), *_FLAGS, *include, str(changed), "-o", str(target)],
                capture_output=True,
                text=True,
                check=False,
            )
            return "" if done.returncode == 0 else (done.stderr.splitlines() or ["?"])[0]

        with ThreadPoolExecutor(2) as pool:
            errors = [error for error in pool.map(build, sources) if error]
        if errors:
            raise ToolError(errors[0])
        stamp.touch()
        _try_out(where)
    except ToolError as error:
        say(f"the emulator's core was not compiled ({error}): it will run at a quarter of that")
        shutil.rmtree(where, ignore_errors=True)
        return False
    shutil.rmtree(work)
    return True


def _try_out(where: Path) -> None:
    """See that a process of its own loads what was compiled, and not what the wheel has."""
    script = (
        "import tools.emulator, rp2040py.native._simulator as used;"
        f"assert used.__file__.startswith({str(where)!r}), used.__file__"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise ToolError((done.stderr.strip().splitlines() or ["it does not load"])[-1])

"""A real MicroPython (unix port, at least 1.26) for tests and the simulator.

`python -m tools.runtime.unix` makes sure that there is one; `ensure()` does the same from Python
and returns its path. In this order:

1. `$MICROPYTHON`, when set: that one or an error, nothing else is tried.
2. One that was unpacked into build/runtime before.
3. Debian's package with its libraries, unpacked into build/runtime: i386 first, because its
   objects and 31-bit small integers have the sizes of the RP2040's; the machine's own
   architecture where a 32-bit program does not run.
4. A `micropython` on the PATH.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tools.locking import alone
from tools.progress import ToolError, fail, step
from tools.runtime import apt

ROOT = Path(__file__).resolve().parents[2]
RUNTIME = ROOT / "build" / "runtime"
MINIMUM = (1, 26)

# Debian releases whose MicroPython may be new enough; Debian 12 and 13 have 1.19 and 1.24.
_SUITES = ("forky", "sid")

# Run by the candidate itself. Prints "ok VERSION BITS", or dies with the reason in its last line.
_CHECK = """\
import sys
v = sys.implementation.version
if v < {minimum}:
    print("no: it is version", ".".join(str(x) for x in v[:3]), "and {text} is needed")
    sys.exit(1)
import asyncio, tls, socket, select, vfs, micropython
@micropython.viper
def f(a: int) -> int:
    return a * 2
assert f(21) == 42
# A small int is stored in the reference itself; anything larger takes heap.
import gc
def small(bits):
    x = 1 << (bits - 2)
    gc.collect()
    gc.disable()
    a = gc.mem_alloc()
    y = x + 1
    b = gc.mem_alloc()
    gc.enable()
    return a == b
print("ok", ".".join(str(x) for x in v[:3]), 63 if small(40) else 31)
"""


@dataclass(frozen=True)
class Runtime:
    """One usable MicroPython: where it is, its version, and the bits of its small integers."""

    path: Path
    version: str
    small_int_bits: int

    @property
    def like_the_chip(self) -> bool:
        """Whether objects and integers have the sizes that they have on the RP2040."""
        return self.small_int_bits == 31

    def __str__(self) -> str:
        sizes = "as on the RP2040" if self.like_the_chip else "unlike the RP2040's 31"
        return f"MicroPython {self.version}, {self.small_int_bits}-bit small ints ({sizes})"


def check(path: str | Path) -> Runtime:
    """Run the candidate at `path` and return what it is; ToolError says what it lacks."""
    text = ".".join(str(x) for x in MINIMUM)
    try:
        done = subprocess.run(
            [str(path), "-c", _CHECK.format(minimum=MINIMUM, text=text)],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolError(f"{path} does not run ({error})") from error
    words = done.stdout.split()
    if done.returncode == 0 and len(words) == 3 and words[0] == "ok":
        return Runtime(Path(path), words[1], int(words[2]))
    lines = (done.stdout + done.stderr).strip().splitlines()
    reason = lines[-1].removeprefix("no: ") if lines else f"exit code {done.returncode}"
    raise ToolError(f"{path} will not do: {reason}")


def ensure(folder: Path = RUNTIME, say: Callable[[str], None] = step) -> Path:
    """Path of a good MicroPython, fetched into `folder` if need be; `say` gets a line per step.

    Takes a few milliseconds when `folder` holds one already, some ten seconds when it is fetched.
    Raises ToolError with one paragraph when there is no way to get one.
    """
    chosen = os.environ.get("MICROPYTHON")
    if chosen:
        return check(shutil.which(chosen) or chosen).path
    for arch in _architectures():
        if _ready(folder, arch):
            return _wrapper(folder, arch)
    reasons = []
    if apt.available():
        for arch in _architectures():
            try:
                with alone(folder):
                    if _ready(folder, arch):  # another process was fetching it until now
                        return _wrapper(folder, arch)
                    return _fetch(folder, arch, say).path
            except ToolError as error:
                say(f"no MicroPython for {arch} from Debian's packages")
                reasons.append(f"Debian's package for {arch}: {error}")
    else:
        reasons.append("no apt-get and dpkg-deb here to unpack Debian's package with")
    on_path = shutil.which("micropython")
    if on_path:
        try:
            found = check(on_path)
            say(f"using {found.path}: {found}")
            return found.path
        except ToolError as error:
            reasons.append(str(error))
    else:
        reasons.append("no micropython on the PATH")
    raise ToolError(
        f"No MicroPython unix port {'.'.join(map(str, MINIMUM))} or newer can be had here: "
        + "; ".join(reasons)
        + ". Install one with the system's package manager, or build the unix port from source, "
        "and put it on the PATH or name it in the environment variable MICROPYTHON."
    )


def _architectures() -> list[str]:
    """Debian architectures that this machine might run, the one most like the chip first."""
    machine = platform.machine().lower()
    if machine in ("x86_64", "amd64"):
        return ["i386", "amd64"]
    own = {"aarch64": "arm64", "armv7l": "armhf", "i686": "i386", "i586": "i386"}
    return [own.get(machine, machine)]


def _wrapper(folder: Path, arch: str) -> Path:
    return folder / "bin" / f"micropython-{arch}"


def _ready(folder: Path, arch: str) -> bool:
    """Whether it was fetched before. The stamp comes after the checks: no need to repeat them."""
    stamp = folder / f"root-{arch}" / ".ok"
    return stamp.exists() and os.access(_wrapper(folder, arch), os.X_OK)


def _fetch(folder: Path, arch: str, say: Callable[[str], None]) -> Runtime:
    """Unpack Debian's package for `arch` into `folder` and check it."""
    root = folder / f"root-{arch}"
    private = apt.PrivateApt(folder / f"apt-{arch}", arch)
    try:
        reasons = []
        for suite in _SUITES:
            shutil.rmtree(root, ignore_errors=True)
            try:
                say(f"fetching the package lists of Debian {suite} for {arch}")
                private.update([("deb", suite)])
                say(f"fetching MicroPython and its libraries for {arch}")
                packages = private.download_closure("micropython")
                for deb in packages:
                    apt.unpack(deb, root)
                script = _write_wrapper(folder, arch, root)
                say(f"unpacked {len(packages)} packages; checking that it runs")
                found = check(script)
            except ToolError as error:
                reasons.append(str(error))
                continue
            (root / ".ok").touch()
            say(f"ready: {found}")
            return found
        raise ToolError(reasons[0])
    finally:
        private.close()


def _write_wrapper(folder: Path, arch: str, root: Path) -> Path:
    """A script that starts the unpacked program with its own loader and C library.

    It finds everything relative to itself, so the project's folder may be moved.
    """
    program = root / "usr/bin/micropython"
    loader = _interpreter(program).lstrip("/")
    for prefix in ("", "usr"):
        if (root / prefix / loader).exists():
            loader = str(Path(prefix) / loader)
            break
    else:
        raise ToolError(f"the unpacked packages lack /{loader}")
    libraries = sorted({p.parent.relative_to(root) for p in root.rglob("libc.so.6")})
    if not libraries:
        raise ToolError("the unpacked packages lack the C library")
    script = _wrapper(folder, arch)
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(
        "#!/bin/sh\n"
        f'r="${{0%/*}}/../{root.name}"\n'
        f'exec "$r/{loader}" --argv0 "$0" --library-path "$r/{libraries[0]}" '
        '"$r/usr/bin/micropython" "$@"\n'
    )
    script.chmod(0o755)
    return script


def _interpreter(program: Path) -> str:
    """The loader that an ELF program names (program header PT_INTERP)."""
    try:
        data = program.read_bytes()
    except OSError as error:
        raise ToolError(f"the unpacked packages lack {program.name}") from error
    wide = data[4] == 2
    order = "<" if data[5] == 1 else ">"
    if wide:
        (start,) = struct.unpack_from(order + "Q", data, 32)
        size, count = struct.unpack_from(order + "HH", data, 54)
    else:
        (start,) = struct.unpack_from(order + "I", data, 28)
        size, count = struct.unpack_from(order + "HH", data, 42)
    for i in range(count):
        at = start + i * size
        (kind,) = struct.unpack_from(order + "I", data, at)
        if kind == 3:
            if wide:
                offset, _, _, length = struct.unpack_from(order + "4Q", data, at + 8)
            else:
                offset, _, _, length = struct.unpack_from(order + "4I", data, at + 4)
            return data[offset : offset + length].rstrip(b"\0").decode()
    raise ToolError(f"{program.name} is not a dynamically linked program")


def main(argv: list[str] | None = None) -> int:
    """Command line: make sure of a runtime, and say which."""
    parser = argparse.ArgumentParser(prog="python -m tools.runtime.unix", description=__doc__)
    parser.add_argument("--print", action="store_true", help="print its path and nothing else")
    parser.add_argument("--check", metavar="PATH", help="check that one and say what it is")
    options = parser.parse_args(argv)
    try:
        if options.check:
            print(check(options.check))
            return 0
        path = ensure()
        print(path if options.print else f"{path}: {check(path)}")
        return 0
    except ToolError as error:
        return fail(error)


if __name__ == "__main__":
    sys.exit(main())

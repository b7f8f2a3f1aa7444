"""Scripts of device/ on the real unix port, and whole trees of the firmware with a defect.

Used by the tests of this folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DEVICE = Path(__file__).with_name("device")


def environment(*before: str | Path) -> dict[str, str]:
    """Modules come from the folders `before`, then from the repository."""
    return {**os.environ, "MICROPYPATH": ":".join([*map(str, before), str(ROOT), ".frozen"])}


def lines(
    micropython: str,
    script: str,
    *args: str,
    heap: str = "1m",
    timeout_s: float = 120.0,
    before: Path | None = None,
) -> list[str]:
    """What a script prints; fails with the end of it when the script ends badly."""
    done = subprocess.run(
        [micropython, "-X", f"heapsize={heap}", str(DEVICE / script), *args],
        cwd=ROOT,
        env=environment(before) if before else environment(),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout.strip().splitlines()


def answer(micropython: str, script: str, *args: str, **more: Any) -> dict[str, Any]:
    """The JSON object that a script prints last; `more` as for `lines`."""
    result: dict[str, Any] = json.loads(lines(micropython, script, *args, **more)[-1])
    return result


def close(process: subprocess.Popen[Any]) -> None:
    """End it as a power cut would, and let go of its pipes."""
    if process.poll() is None:
        process.kill()
    process.wait(timeout=5)
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()


def make_tree(folder: Path) -> Path:
    """The repository's tree in `folder`, with room for a main.py of the test's own."""
    root = folder / f"tree-{folder.name}"
    root.mkdir()
    for name in ("firmware", "lib", "boot.py"):
        (root / name).symlink_to(ROOT / name)
    return root


def plant(tree: Path, *parts: str) -> None:
    """A main.py that makes these changes to the firmware and goes on as the real one does."""
    (tree / "main.py").write_text("".join(parts) + (ROOT / "main.py").read_text())

"""`python -m tools.lint`: ruff over everything, mypy over host code, mypy over the firmware.

The firmware has a pass of its own because it sees another standard library: MicroPython's, from
the stubs that the set-up put into .venv/stubs. All checks run even when an early one fails.
"""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tools.progress import fail, step

ROOT = Path(__file__).resolve().parents[2]
STUBS = ROOT / ".venv" / "stubs"
HOST = ("tools", "host_tests")
DEVICE = ("boot.py", "main.py", "firmware", "lib")


def _python_files(names: tuple[str, ...]) -> list[str]:
    """Those of `names` that exist and are, or hold, a Python file."""
    kept = []
    for name in names:
        path = ROOT / name
        if path.is_file() or (path.is_dir() and next(path.rglob("*.py"), None)):
            kept.append(name)
    return kept


def _run(text: str, *command: str, extra: dict[str, str] | None = None) -> bool:
    step(text)
    environment = {**os.environ, **(extra or {})}
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        env=environment,
    )
    # in one piece: others run beside it
    sys.stdout.write(done.stdout.decode(errors="replace"))
    sys.stdout.flush()
    return done.returncode == 0


def main() -> int:
    """Run every check, side by side; 1 if one of them found something."""
    stubs = STUBS / "rp2"
    host, device = _python_files(HOST), _python_files(DEVICE)
    if device and not stubs.is_dir():
        return fail("MicroPython's type stubs are missing: run `make setup`")
    with ThreadPoolExecutor() as pool:
        style = ("ruff", "check", "--quiet", "--output-format=concise", ".")
        checks = [pool.submit(_run, "ruff: style of everything", *style)]
        if host:
            words = ("mypy", "--no-error-summary", *host)
            checks.append(pool.submit(_run, "mypy: types of host code", *words))
        if device:
            # what only the ESP32 has is found after what both ports have
            places = (ROOT, stubs, STUBS / "esp32")
            checks.append(
                pool.submit(
                    _run,
                    "mypy: types of the firmware, against MicroPython's stubs",
                    "mypy",
                    "--no-error-summary",
                    "--config-file",
                    "tools/lint/firmware.ini",
                    "--custom-typeshed-dir",
                    str(stubs),
                    *device,
                    extra={"MYPYPATH": os.pathsep.join(map(str, places))},
                )
            )
        good = all(check.result() for check in checks)
    if not good:
        return fail("see the messages above")
    step("no complaints")
    return 0


if __name__ == "__main__":
    sys.exit(main())

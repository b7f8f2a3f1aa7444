"""A real Home Assistant for tests: its core and its MQTT integration, in build/runtime.

`python -m tools.runtime.homeassistant` makes sure that there is one and prints the path of its
Python. It needs Python 3.13, as that release of Home Assistant does (python313.py gets one). The
packages are pinned in homeassistant.txt and come from the package index; without those that only
other integrations need, it takes about a minute. No service is started here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from tools.locking import alone
from tools.progress import ToolError, fail, step
from tools.runtime import python313

ROOT = Path(__file__).resolve().parents[2]
RUNTIME = ROOT / "build" / "runtime"
PINS = Path(__file__).with_suffix(".txt")


def ensure(folder: Path = RUNTIME, say: Callable[[str], None] = step) -> Path:
    """The Python that has Home Assistant; ToolError when there is no way."""
    root = folder / "homeassistant"
    python = root / "bin" / "python"
    done = root / ".pins"
    pins = PINS.read_text()
    with alone(folder / "lock-homeassistant"):  # parallel tests install it once
        if done.exists() and done.read_text() == pins and python313.works(python):
            return python
        base = python313.ensure(folder, say)
        say(f"installing Home Assistant into {root} (about a minute)")
        python313.make_environment(base, root)
        words = ["install", "-q", "--disable-pip-version-check", "--no-deps", "-r", str(PINS)]
        python313.call([str(python), "-m", "pip", *words])
        done.write_text(pins)
    return python


def main() -> int:
    try:
        print(ensure())
    except (ToolError, OSError) as error:
        return fail(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())

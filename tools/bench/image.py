"""The instrumented image: the firmware frozen as it is, under another main.py.

Called by the bench and by the tests on the emulated chip.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from tools.image import build
from tools.progress import step

ROOT = Path(__file__).resolve().parents[2]
TREE = ROOT / "build" / "instrumented"
IMAGE = ROOT / "build" / "tailgate-instrumented.uf2"
_MAIN = Path(__file__).with_name("instrumented_main.py")
_BROKER = Path(__file__).with_name("busy_broker.py")


def ensure(say: Callable[[str], None] = step) -> Path:
    """The image, built when firmware or instrumentation changed since."""
    mirror()
    if not build.up_to_date(IMAGE, TREE):
        build.build(TREE, IMAGE, say=say, leave_out=build.WITH_MQTT)
    return IMAGE


def mirror(tree: Path = TREE) -> None:
    """Bring a tree, from which such images are built, up to date."""
    for folder in ("firmware", "lib"):
        _mirror(ROOT / folder, tree / folder)
    sources = ((ROOT / "boot.py", "boot.py"), (_MAIN, "main.py"), (_BROKER, "lib/busy_broker.py"))
    for source, name in sources:
        shutil.copy2(source, tree / name)


def _mirror(source: Path, target: Path) -> None:
    """Copy with the times of the originals, and remove what is no longer there."""
    wanted = {path.relative_to(source) for path in source.rglob("*.py")}
    for old in target.rglob("*.py"):
        if old.relative_to(target) not in wanted:
            old.unlink()
    for name in wanted:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source / name, target / name)

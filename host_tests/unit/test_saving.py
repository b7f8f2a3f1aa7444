"""A backup that cannot be written leaves the one before it as it was."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# the system itself refuses a file of more than 300 bytes, after it has taken so many
_SAVE = """
import resource, signal, sys
from pathlib import Path
from tools.calibrate import backup as calibration
from tools.progress import ToolError
from tools.settings import backup as settings

class Board:
    def command(self, name, *args, repeat=False):
        if name == "cal":
            return {"export": {"board": "pico", "bed1": [1.01] * 100}}
        if name == "settings":
            return {"export": {"board": "pico", "settings": {"bed1.name": "x" * 400}}}
        return {"device": "tg-1"}

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))
what, path = sys.argv[1:]
try:
    {"settings": settings, "calibration": calibration}[what].save(Board(), Path(path))
except ToolError as error:
    print(error)
"""
_OLD = {
    "settings": '{"format": "tailgate-settings-1", "settings": {"bed1.limit_a": 12}}\n',
    "calibration": '{"board": "pico", "bed1": [1.02]}\n',
}


@pytest.mark.parametrize("what", _OLD)
def test_an_older_backup_survives_a_full_disk(what: str, tmp_path: Path) -> None:
    path = tmp_path / "backup.json"
    path.write_text(_OLD[what])
    done = subprocess.run(
        [sys.executable, "-c", _SAVE, what, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"cannot write {path}: File too large\n"
    assert path.read_text() == _OLD[what]
    assert [file.name for file in tmp_path.iterdir()] == ["backup.json"]

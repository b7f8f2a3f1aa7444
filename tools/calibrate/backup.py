"""A board's calibration in a file, and back. Called by __main__.py."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tools import saving
from tools.client import Board
from tools.progress import ToolError

FORMAT = "tailgate-calibration-1"


def export(board: Board) -> dict[str, Any]:
    """What `cal export` says: {"board": name, channel: [gain, phase, when, reference, ...]}."""
    found = board.command("cal", "export", repeat=True).get("export")
    if not isinstance(found, dict):
        raise ToolError("the board's answer to `cal export` is no calibration")
    return found


def save(board: Board, path: Path) -> dict[str, Any]:
    """Write the calibration into a new file, or over an old one of ours; what was written."""
    if path.exists():
        read(path)  # raises for a file that is something else
    calibration = export(board)
    device = board.command("status").get("device")
    content = {
        "format": FORMAT,
        "device": device,
        "saved": datetime.now(UTC).isoformat(timespec="seconds"),
        "calibration": calibration,
    }
    saving.save(path, json.dumps(content, indent=1) + "\n")
    return calibration


def read(path: Path) -> dict[str, Any]:
    """The calibration in a file: one of save(), or the bare line of `cal export`."""
    try:
        content = json.loads(path.read_text())
    except OSError as error:
        raise ToolError(f"cannot read {path}: {error.strerror}") from None
    except ValueError:
        raise ToolError(f"{path} is no JSON file") from None
    if isinstance(content, dict) and content.get("format") == FORMAT:
        content = content.get("calibration")
    if not isinstance(content, dict) or not isinstance(content.get("board"), str):
        raise ToolError(f"{path} holds no calibration of a board")
    return content


def restore(board: Board, path: Path) -> list[str]:
    """Put a saved calibration back and check it; the channels that it names."""
    wanted = read(path)
    text = json.dumps(wanted, separators=(",", ":"))
    done = board.command("cal", "import", text, repeat=True).get("imported")
    there = export(board)
    for name, row in wanted.items():
        if name == "board":
            continue
        # what is nominal is not exported
        found = there.get(name, [1.0, 0.0])
        row = row if isinstance(row, list) else [row]
        if any(abs(x - y) > 1e-4 for x, y in zip(row[:2], found, strict=False)):
            raise ToolError(f"{name} did not come out as it went in: {row}, now {found}")
    return list(done or ())

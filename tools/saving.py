"""Writing a file that people count on later: whole, or the one before it stays."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from tools.progress import ToolError


def save(path: Path, text: str) -> None:
    """Write `text` beside `path`, then in its place. ToolError; what was there is intact then."""
    path = path.resolve()  # the place of a link stays one
    new = path.with_name(path.name + ".new")
    try:
        with new.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            new.unlink()
        raise ToolError(f"cannot write {path}: {error.strerror}") from None

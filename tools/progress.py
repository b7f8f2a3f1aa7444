"""Progress lines that every tool prints the same way, one line per step."""

from __future__ import annotations

import sys


class ToolError(Exception):
    """A tool cannot go on; the text is one paragraph for the person at the terminal."""


def step(text: str) -> None:
    """Print one line about what happens now, at once. On stderr: stdout is for results."""
    print(f"- {text}", file=sys.stderr, flush=True)


def fail(error: BaseException | str) -> int:
    """Print an error the way all tools do and return the exit code for it."""
    print(f"error: {error}", file=sys.stderr, flush=True)
    return 1

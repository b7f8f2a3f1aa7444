"""Generated blocks of the documents: text between two comments that Markdown does not show."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from tools.progress import ToolError

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "docs" / "img"


def _pattern(name: str) -> re.Pattern[str]:
    begin = re.escape(f"<!-- begin {name}")
    end = re.escape(f"<!-- end {name} -->")
    return re.compile(f"({begin}[^\n]*-->\n)(.*?)({end})", re.DOTALL)


def find(document: str, name: str) -> str:
    """What the block `name` of a document holds now; ToolError when it has no such block."""
    match = _pattern(name).search((ROOT / document).read_text(encoding="utf-8"))
    if match is None:
        raise ToolError(f"{document} has no block between `begin {name}` and `end {name}`")
    return match.group(2)


def put(document: str, name: str, text: str) -> bool:
    """Write the block `name` of a document; whether that changed anything."""
    if find(document, name) == text:
        return False
    path = ROOT / document
    old = path.read_text(encoding="utf-8")
    new = _pattern(name).sub(lambda m: m.group(1) + text + m.group(3), old, count=1)
    path.write_text(new, encoding="utf-8")
    return True


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table with its final newline."""
    lines = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    for row in rows:
        cells = [str(cell).replace("|", "\\|") for cell in row]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"

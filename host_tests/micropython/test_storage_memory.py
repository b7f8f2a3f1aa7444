"""Files on flash that are not what they say, with little memory left to find that out."""

from __future__ import annotations

from pathlib import Path

from host_tests.micropython.running import lines


def test_a_damaged_header_asks_for_no_memory(micropython: str, tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    (said,) = lines(micropython, "files_memory.py", str(path), heap="120k")
    note = f"{path} is damaged (wrong length); its previous version is used"
    assert said == repr((b'{"a": 1}', "previous", note))

"""Settings of a board as a file, and from a file into a board. Called by __main__.py.

A board takes them a few at a time (its console lines are short), so the tool makes one of it: what
was changed already is put back when something is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tools import saving
from tools.client import Board, CommandRefused
from tools.progress import ToolError

FORMAT = "tailgate-settings-1"
# A console line of 512 bytes, less the command and `--json`.
_LONG = 480

Values = dict[str, Any]


@dataclass
class Outcome:
    """What restore() did. `changed`: name -> (before, now); `unknown`: left out."""

    changed: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    needs_reboot: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def export(board: Board, changed: bool = False) -> dict[str, Any]:
    """What `settings export` says: board, version, settings, secrets (names that were left out).

    `changed`: only settings that differ from their default or are not saved."""
    words = ["export"] + ["--changed"] * changed
    found = board.command("settings", *words, repeat=True).get("export")
    if not isinstance(found, dict) or not isinstance(found.get("settings"), dict):
        raise ToolError("the board's answer to `settings export` holds no settings")
    return found


def save(board: Board, path: Path, changed: bool = False) -> dict[str, Any]:
    """Write the settings into a new file, or over an old one of ours; what was written."""
    if path.exists():
        read(path)  # raises for a file that is something else
    content = {
        "format": FORMAT,
        "device": board.command("status").get("device"),
        "saved": datetime.now(UTC).isoformat(timespec="seconds"),
        **export(board, changed),
    }
    saving.save(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return content


def read(path: Path) -> Values:
    """The settings in a file: one of save(), the line of `settings export --json`, or a bare
    table of names and values."""
    try:
        content = json.loads(path.read_text())
    except OSError as error:
        raise ToolError(f"cannot read {path}: {error.strerror}") from None
    except ValueError:
        raise ToolError(f"{path} is no JSON file") from None
    for key in ("export", "settings"):
        if isinstance(content, dict) and key in content:
            content = content[key]
    if (
        not isinstance(content, dict)
        or not content
        or not all("." in name and not isinstance(content[name], (dict, list)) for name in content)
    ):
        raise ToolError(f"{path} holds no settings")
    return content


def lines(values: Values) -> Iterator[Values]:
    """The values in tables that fit a console line each. What begins alike may have to go with
    each other, so it stays together as long as it fits."""
    groups: dict[str, Values] = {}
    for name in sorted(values, key=lambda name: (name.partition(".")[0], name)):
        groups.setdefault(name.partition(".")[0], {})[name] = values[name]
    table: Values = {}
    for name in [name for group in groups.values() for name in group]:
        group = groups[name.partition(".")[0]]
        more = table | {name: values[name]}
        begins = name == next(iter(group)) and _length(table | group) > _LONG
        if table and (_length(more) > _LONG or begins):
            yield table
            more = {name: values[name]}
        table = more
    if table:
        yield table


def _text(values: Values) -> str:
    return json.dumps(values, separators=(",", ":"), ensure_ascii=False)


def _length(values: Values) -> int:
    return len(_text(values).encode())


def restore(board: Board, path: Path, skip_unknown: bool = False, dry: bool = False) -> Outcome:
    """Put the settings of a file in force, all or none; they last only after a save.

    `skip_unknown`: leave out those that this board does not have, instead of refusing them.
    `dry`: change nothing, only say what would change."""
    wanted = read(path)
    there = export(board)
    before: Values = there["settings"]
    secret = [name for name in wanted if name not in before and _is_secret(board, name)]
    outcome = Outcome()
    outcome.unknown = sorted(n for n in wanted if n not in before and n not in secret)
    if outcome.unknown and not skip_unknown:
        raise ToolError(
            f"the board has no setting {', '.join(outcome.unknown)}"
            " (--skip-unknown leaves them out); nothing was changed"
        )
    fresh = {
        n: wanted[n] for n in wanted if n in secret or (n in before and wanted[n] != before[n])
    }
    if dry:
        outcome.changed = {name: (before.get(name), fresh[name]) for name in fresh}
        return outcome
    done: list[str] = []
    try:
        for table in lines(fresh):
            answer = board.command("settings", "import", _text(table), repeat=True)
            done += table
            outcome.needs_reboot = [str(name) for name in answer.get("needs_reboot", ())]
            outcome.notes += [str(note) for note in answer.get("notes", ())]
    except CommandRefused as error:
        back = {name: before[name] for name in done if name in before}
        for table in lines(back):
            board.command("settings", "import", _text(table), repeat=True)
        kept = [name for name in done if name not in before]
        also = f"; set already: {', '.join(kept)}" if kept else "; nothing was changed"
        raise ToolError(f"{error.reason}{also}") from None
    now = export(board)["settings"]
    for name in fresh:
        if name in secret:
            outcome.changed[name] = ("(secret)", "(secret)")
        elif now.get(name) != before.get(name):
            outcome.changed[name] = (before.get(name), now.get(name))
        else:
            raise ToolError(f"{name} did not come out as it went in: {now.get(name)}")
    return outcome


def _is_secret(board: Board, name: str) -> bool:
    try:
        return board.settings[name] in ("(set)", "(not set)")
    except CommandRefused:
        return False

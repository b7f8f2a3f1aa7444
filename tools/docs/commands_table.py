"""The console's commands as a Markdown table, from firmware/interfaces/commands.py."""

from __future__ import annotations

from firmware.interfaces import commands as c
from tools.docs.blocks import table


def _allowed(need: int) -> str:
    """The words of mqtt.allow of which one is needed."""
    if need == 0:
        return "always"
    if need == 32:
        return "never"
    return ", ".join(f"`{word}`" for word in c.groups(need))


def commands() -> str:
    """One row a command: usage, what it does, what mqtt.allow must have for it over MQTT."""
    rows = []
    for entry in c.TABLE:
        name = entry[0]
        link = f"[`{c.usage(entry)}`](#{name})"
        rows.append((link, entry[2].replace("<", "&lt;"), _allowed(entry[3])))
    return table(("command", "what it does", "over MQTT"), rows)

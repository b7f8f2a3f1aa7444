"""The console's commands as a Markdown table, from firmware/interfaces/commands.py."""

from __future__ import annotations

from firmware.interfaces import commands as c
from tools.docs.blocks import table

# the table's levels, as the setting mqtt.allow names them
_MQTT = ("`read`", "`outlets`", "`all`", "never")


def commands() -> str:
    """One row a command: usage, what it does, what mqtt.allow must be for it over MQTT."""
    rows = []
    for entry in c.TABLE:
        name = entry[0]
        link = f"[`{c.usage(entry)}`](#{name})"
        rows.append((link, entry[2].replace("<", "&lt;"), _MQTT[entry[3]]))
    return table(("command", "what it does", "over MQTT from `mqtt.allow` ="), rows)

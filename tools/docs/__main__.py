"""`python -m tools.docs`: write every generated block of the documents afresh."""

from __future__ import annotations

import sys
from collections.abc import Callable

from tools.docs import (
    blocks,
    commands_table,
    fault_table,
    pin_tables,
    settings_table,
    state_diagram,
)
from tools.docs import trip_curves as curves
from tools.progress import ToolError, fail, step

# (document, name of the block, what makes its text)
BLOCKS: tuple[tuple[str, str, Callable[[], str]], ...] = (
    ("README.md", "trip-times", curves.time_table),
    ("README.md", "wiring", pin_tables.summary),
    ("docs/console.md", "commands", commands_table.commands),
    ("docs/console.md", "settings", settings_table.settings),
    ("docs/console.md", "outlet-settings", settings_table.outlet_settings),
    ("docs/hardware.md", "pins", pin_tables.pins),
    ("docs/hardware.md", "channels", pin_tables.channels),
    ("docs/hardware.md", "outlets", pin_tables.outlets),
    ("docs/hardware.md", "home-pins", pin_tables.home_pins),
    ("docs/hardware.md", "home-channels", pin_tables.home_channels),
    ("docs/protection.md", "trip-times", curves.time_table),
    ("docs/protection.md", "states", state_diagram.diagram),
    ("docs/protection.md", "faults", fault_table.faults),
)


def main() -> int:
    """Command line."""
    try:
        for document, name, make in BLOCKS:
            changed = blocks.put(document, name, make())
            step(f"{document}: {name} {'written' if changed else 'is current'}")
    except (ToolError, OSError) as error:
        return fail(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The table of sensor faults as a Markdown table, from firmware/sensing/plausibility.py."""

from __future__ import annotations

from firmware import events
from firmware.sensing import plausibility
from tools.docs.blocks import table

# what a row's word stands for
SEEN = {
    "welded": "alternating current above 3 % of the rating although the relay is open",
    "no voltage": "current above 1/8 of the rating while the voltage is below 1/16 of nominal",
    "clipped": "some codes at an end of the range, and the peak stage did not trip",
    "converter": "conversions that do not end",
    "sampler": "no cycle is delivered",
    "rail": "every code at one end of the range: sensor open or shorted",
    "frozen": "all codes equal",
    "zero": "far from the middle of the range: all codes, or at rest the middle of them",
    "noise": "noise above its bound",
}
_WHEN = ("always", "at rest", "while on")
_ACTION = ("main contactor opens", "what depends on it opens", "`on` is refused")
_SEVERITY = ("warning", "fault", "critical")
_SAMPLER = "80 ms"  # counted in time, by the controller


def faults() -> str:
    """One row a check."""
    rows = []
    for code, row in enumerate(plausibility.TABLE):
        word, seen, when, windows, reason, severity, latches, action = row
        if word not in SEEN:
            continue
        rows.append(
            (
                code,
                f"`{events.name(events.REASONS, reason)}`",
                word,
                SEEN[word],
                _WHEN[when],
                f"{windows} cycles" if seen else _SAMPLER,
                _SEVERITY[severity],
                "until `reset`" if latches else "no",
                _ACTION[action],
            )
        )
    return table(
        (
            "code",
            "reason",
            "check",
            "what is seen",
            "judged",
            "after",
            "severity",
            "latches",
            "action",
        ),
        rows,
    )

"""Results of `cal` as lines for people.

Role: formatting only. Called by: the outer lane (console task), which loads it when asked.
"""

import json

from firmware.interfaces.screens import number


def lines(app, result):
    """Generator of the lines: an export, or the table."""
    if "export" in result:
        yield json.dumps(result["export"], separators=(",", ":"))
        return
    form = "%-8s %7s %6s %8s %6s  %-17s %s"
    yield form % ("channel", "gain", "phase", "zero", "noise", "by", "date (UTC)")
    for channel in app.board.channels:
        row = result["channels"].get(channel.name)
        if row:
            unit = " A" if "phase_deg" in row else " V"
            yield form % (
                channel.name[:8],
                number(row["gain"], 4),
                number(row.get("phase_deg"), 2),
                number(row["zero_counts"], 1),
                number(row["noise_counts"], 2),
                ", ".join(["%g%s" % (value, unit) for value in row["points"]]) or "-",
                row["date"] or ("-" if row["gain"] != 1 or row.get("phase_deg") else "nominal"),
            )
    yield "zero and noise in counts, phase in degrees; how to: help cal"


def summary(result) -> str:
    """What follows `ok`, or "" when lines follow."""
    if "imported" in result:
        return "imported " + " ".join(result["imported"])
    if "channel" not in result:
        return ""
    name = result["channel"]
    if "cleared" in result:
        return name + " is nominal again"
    if "zero_counts" in result:
        return "%s zero %.2f counts (moved by %.2f), noise %s" % (
            name,
            result["zero_counts"],
            result["moved_counts"],
            number(result["noise_counts"], 2),
        )
    unit = result["unit"]
    if "point" in result:
        return "%s %s point: %g %s reads %.3f; then: cal %s %s <value>" % (
            name,
            result["point"],
            result["reference"],
            unit,
            result["reading"],
            name,
            result["next"],
        )
    text = "%s gain %.4f" % (name, result["gain"])
    if "power_factor" in result:
        text = "%s phase %.2f degrees" % (name, result["phase_deg"])
    text += ": reads %.3f %s (before: %.3f)" % (result["reading"], unit, result["before"])
    if "offset" in result:
        text += "; without load %.3f %s remain" % (result["offset"], unit)
    return text

"""The outlet's state diagram in Mermaid, from firmware/protection/outlet.py."""

from __future__ import annotations

from firmware.protection import outlet as o


def diagram() -> str:
    """A fenced block that code hosts draw; one arrow for each pair of states."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for state, event, new, _ in o.TRANSITIONS:
        if state == new:
            continue
        pair = (o.STATES[state], o.STATES[new])
        arrows.setdefault(pair, []).append(o.EVENTS[event])
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {o.STATES[o.OFF]}"]
    for (before, after), events in arrows.items():
        lines.append(f"    {before} --> {after}: {', '.join(events)}")
    lines.append("```")
    return "\n".join(lines) + "\n"

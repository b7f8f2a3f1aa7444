"""Small charts of block characters: figures in, lines of text out."""

from __future__ import annotations

import math
from collections.abc import Sequence

_BLOCKS = " ▁▂▃▄▅▆▇█"
_HOLD_S = 2.5  # a second without an answer is no gap yet
_PARTS = " ▏▎▍▌▋▊▉█"

Samples = Sequence[tuple[float, float]]  # (time in s, figure), oldest first


def buckets(samples: Samples, end: float, span_s: float, width: int) -> list[float | None]:
    """The highest figure of each of `width` equal parts of the `span_s` before `end`.

    None: nothing was measured then. The highest, so that a short peak is not lost; a reading
    holds until the next one, for a while.
    """
    found: list[float | None] = [None] * width
    step = span_s / width
    # parts are counted from time zero, so that a chart moves on without flickering
    shift = width - 1 - math.floor(end / step)
    stale: set[int] = set()
    for when, figure in samples:
        at = shift + math.floor(when / step)
        held = min(width - 1, shift + math.floor((when + _HOLD_S) / step))
        for i in range(max(0, at), held + 1):
            known = found[i]
            if i > at:
                found[i] = figure if known is None or i in stale else known
                stale.add(i)
            else:
                found[i] = figure if known is None or i in stale else max(known, figure)
                stale.discard(i)
    return found


def spark(figures: Sequence[float | None], top: float) -> str:
    """One line, `top` is a full block; a figure above zero shows at least a trace."""
    return rows(figures, top, 1)[0]


def rows(figures: Sequence[float | None], top: float, height: int) -> list[str]:
    """A column chart of `height` lines, highest line first."""
    eighths = []
    for figure in figures:
        share = 0.0 if figure is None or top <= 0 else max(0.0, min(1.0, figure / top))
        full = round(share * height * 8)
        eighths.append(max(full, 1) if figure else 0)
    lines = []
    for line in range(height - 1, -1, -1):
        lines.append("".join(_BLOCKS[max(0, min(8, n - 8 * line))] for n in eighths))
    return lines


def bar(percent: float, width: int) -> str:
    """A horizontal bar, full at 100 %."""
    n = round(max(0.0, min(1.0, percent / 100)) * width * 8)
    if percent > 0:
        n = max(n, 1)
    full, part = divmod(n, 8)
    return ("█" * full + (_PARTS[part] if part else "")).ljust(width)


def nice(top: float) -> float:
    """The next figure of 1, 2, 2.5, 5 × a power of ten: an axis' end."""
    if top <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(top))
    for step in (1, 2, 2.5, 5):
        if top <= step * power * 1.0001:
            return step * power
    return 10 * power

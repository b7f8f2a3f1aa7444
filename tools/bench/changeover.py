"""`python -m tools.bench.changeover [outages]`: how long a home is dark when the grid fails.

The firmware on real MicroPython, board simulated_home, in virtual time; outages at changing
instants of the mains' cycle and of the control task's turn. Prints, in ms since the grid failed
and without the debounce (`home.ride_ms`): when the grid's contact is told to open, when the
source's is told to close, when the home is fed again; and how long it is dark on its way back.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tools.simulator import scenario

_RIDE_MS = 100
_FIRST_S = 3.0
_EACH_S = 3.5


def story(outages: int) -> tuple[str, list[float]]:
    """The scenario, and when the grid fails."""
    times = [round(_FIRST_S + _EACH_S * n + 0.00137 * n, 5) for n in range(outages)]
    lines = [
        "title: outages at changing instants",
        "board: simulated_home",
        f"settings: home.mode=auto home.ride_ms={_RIDE_MS} home.stable_s=1",
        "at 1.5 sim home load lamp l1",
    ]
    for t in times:
        lines.append(f"at {t:.5f} sim grid off")
        lines.append(f"at {t + 1:.5f} sim grid on")
        lines.append(f"expect coil grid off within {t:.5f} {t + 0.9:.5f}")
        lines.append(f"expect coil source on within {t:.5f} {t + 0.9:.5f}")
        lines.append(f"expect feed vehicle within {t:.5f} {t + 0.9:.5f}")
        lines.append(f"expect feed dark within {t + 1:.5f} {t + 3:.5f}")
        lines.append(f"expect feed grid within {t + 1:.5f} {t + 3:.5f}")
    end = times[-1] + _EACH_S
    lines.append(f"expect truth home.both_closed 0 0 at {end:.1f}")
    lines.append(f"end {end:.1f}")
    return "\n".join(lines) + "\n", times


def measure(outages: int) -> dict[str, list[float]]:
    """{what: ms of each outage}; RuntimeError when the home was not fed."""
    text, times = story(outages)
    verdict = scenario.play(scenario.parse(Path("changeover.txt"), text))
    failed = [check for check in verdict.checks if not check.passed]
    if failed:
        raise RuntimeError(f"{failed[0].text}: {failed[0].actual}")
    found: dict[str, list[float]] = {
        "grid's contact told to open": [],
        "source's contact told to close": [],
        "home fed by the vehicle": [],
        "dark on the way back": [],
    }
    told, source, fed, back = found.values()
    checks = [check for check in verdict.checks if check.text.startswith(("coil", "feed"))]
    at = [float(check.actual.split()[1].rstrip(",:")) for check in checks]
    for n, t in enumerate(times):
        off, on, there, dark, again = at[5 * n : 5 * n + 5]
        told.append((off - t) * 1000 - _RIDE_MS)
        source.append((on - t) * 1000 - _RIDE_MS)
        fed.append((there - t) * 1000 - _RIDE_MS)
        back.append((again - dark) * 1000)
    return found


def main() -> int:
    """Print the table."""
    outages = int(sys.argv[1]) if len(sys.argv) > 1 else 24
    print(f"{outages} outages; ms after the grid's failure and the debounce")
    print(f"{'':34}{'least':>7}{'middle':>8}{'most':>7}")
    for what, values in measure(outages).items():
        values.sort()
        middle = values[len(values) // 2]
        print(f"{what:34}{values[0]:7.1f}{middle:8.1f}{values[-1]:7.1f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

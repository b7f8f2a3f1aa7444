"""What the dispatcher promises, for whatever loads, limits and priorities: hypothesis invents
them, and the bookkeeper of `host_tests/fakes/house.py` judges every window.

`EXAMPLES` runs each; TAILGATE_DISPATCH_EXAMPLES=2000 for a long one.
"""

from __future__ import annotations

import math
import os

from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from host_tests.fakes.house import NAMES, House

EXAMPLES = int(os.environ.get("TAILGATE_DISPATCH_EXAMPLES", "12"))

often = settings(
    max_examples=EXAMPLES * 12,
    deadline=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),  # to shrink a story of hours would take hours
    suppress_health_check=list(HealthCheck),
)
seldom = settings(often, max_examples=EXAMPLES)

five = st.lists(st.integers(1, 9), min_size=5, max_size=5)
loads = st.lists(
    st.one_of(
        st.sampled_from((0.0, 0.2, 20.0, 40.0, 42.5)), st.integers(0, 700).map(lambda x: x / 10)
    ),
    min_size=5,
    max_size=5,
)
limits = st.sampled_from((10.0, 15.0, 25.0, 40.0))
totals = st.sampled_from((1500, 4000, 9600))


@often
@given(loads, five, limits, totals, st.integers(0, 2))
def test_what_opens_suffices_and_hurts_least(
    amps: list[float], priorities: list[int], leg_a: float, total_w: int, residual: int
) -> None:
    """Against every other set that would have done (House.least_painful). Afterwards no limit
    asks any more."""
    house = House(priorities, leg_a=leg_a, total_w=total_w, restore_s=3600, min_off_s=1800)
    house.residual = residual
    house.run(2.1)  # so long it has been on
    house.preheat(0.9999)
    house.amps.update(zip(NAMES, amps, strict=True))
    house.run(5)
    for index, (limit, taken) in enumerate(house.limits()):
        assert sum(taken.values()) <= limit * 1.06, f"limit {index}: {taken}, {house.log}"
    if not house.log:
        return
    before = len(house.log)
    house.run(20)
    assert len(house.log) == before, "once was enough"


steps = st.lists(
    st.tuples(
        st.sampled_from(NAMES),
        st.sampled_from((0, 0.1, 3, 6, 12, 16, 20, 24, 35, 44, 70, 110)),
        st.sampled_from((0.1, 0.6, 1.9, 15, 70, 240)),
        st.sampled_from(("load", "load", "load", "off", "on", "force")),
    ),
    min_size=5,
    max_size=40,
)


@seldom
@given(steps, five, limits, totals, st.sampled_from((0, 20, 180)))
def test_no_story_passes_a_curve_or_brings_anything_back_without_room(
    story: list[tuple[str, float, float, str]],
    priorities: list[int],
    leg_a: float,
    total_w: int,
    min_off_s: int,
) -> None:
    """Loads come and go, an owner switches, inrushes included; what has tripped is repaired and
    comes on again."""
    house = House(priorities, leg_a, total_w, restore_s=10, min_off_s=min_off_s, cycles=3)
    for name, amps, seconds, what in story:
        i = NAMES.index(name)
        if what == "load":
            house.amps[name] = amps
        elif what == "off":
            house.open(name)
        elif (
            name not in house.on
            and (name not in house.shed or what == "force")
            and house.dispatch.refuses(i, what == "force") is None
        ):
            house.tripped.discard(name)
            house.close(name)
        house.run(seconds)


@seldom
@example(  # a window without room in which something opens
    priorities=[5, 3, 7, 8, 8],
    waves=[
        (25, 4, 0.99999, 0.8088169579252094, True),
        (15, 0, 4.9, 0.0, False),
        (25, 4, 0.99999, 0.8088169579252094, False),
        (25, 14, 4.238482490870645, 0.0, True),
        (15, 0, 4.9, 0.0, False),
    ],
    how=(10, 0, 0),
    cap=8,
    leg_a=40.0,
)
@given(
    five,
    st.lists(
        st.tuples(
            st.integers(0, 25),  # A, mean
            st.integers(0, 15),  # amplitude
            st.floats(math.log(2), math.log(1800)),  # period, s
            st.floats(0, 1),
            st.booleans(),
        ),
        min_size=5,
        max_size=5,
    ),
    st.sampled_from(((10, 0, 0), (60, 180, 200))),
    st.integers(0, 8),
    limits,
)
def test_loads_that_oscillate_do_not_make_relays_flap(
    priorities: list[int],
    waves: list[tuple[int, int, float, float, bool]],
    how: tuple[int, int, int],
    cap: int,
    leg_a: float,
) -> None:
    """Every outlet with a period of its own from 2 s to 30 min, square or sine, for 75 minutes.
    Also with an owner who wants neither pause nor margin. In no hour does an outlet come back
    more often than `shed.restarts` (the bookkeeper counts), so no relay moves more than twice
    that and once."""
    fastest = min(math.exp(x[2]) for x in waves)
    restore_s, min_off_s, margin_w = how
    house = House(
        priorities,
        leg_a,
        restore_s=restore_s,
        min_off_s=min_off_s,
        margin_w=margin_w,
        restarts=cap,
        cycles=max(6, min(60, int(fastest * 60 / 12))),
    )
    for name, (mean, amplitude, period, phase, square) in zip(NAMES, waves, strict=True):

        def wave(
            s: float,
            a: int = mean,
            b: int = amplitude,
            t: float = math.exp(period),
            at: float = phase,
            flat: bool = square,
        ) -> float:
            x = math.sin(2 * math.pi * (s / t + at))
            return max(0.0, a + b * (math.copysign(1, x) if flat else x))

        house.amps[name] = wave
    house.run(4500)
    for name in NAMES:
        moves = [s for s, _, who in house.log if who == name]
        for first in moves:
            within = [s for s in moves if first <= s < first + 3600]
            assert len(within) <= 2 * cap + 1, f"{name} moved {len(within)} times in an hour"
        assert house.names("trip").count(name) <= 1


@seldom
@given(five, st.integers(4, 400), st.integers(0, 400))
def test_the_same_on_one_leg_at_the_edge(priorities: list[int], period: int, tenths: int) -> None:
    """A load that swings around the limit on one leg, beside steady ones, for 75 minutes."""
    house = House(priorities, cycles=max(6, min(60, period * 4)))
    swing = tenths / 20
    house.amps.update(
        cabin1=17,
        bed1=13,
        bed240=lambda s: 10 + (swing if s % period < period / 2 else -swing / 2),
    )
    house.run(4500)
    assert max(house.names("restore").count(name) for name in NAMES) <= 6 * 2
    assert not {"cabin2", "bed2"} & {name for _, _, name in house.log}, "on the other leg"

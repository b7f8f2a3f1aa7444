"""The outlet's table of transitions: complete, consistent, and no way past a reset."""

from __future__ import annotations

import itertools

import pytest

from firmware.protection import outlet as o

STATES = range(len(o.STATES))
EVENTS = range(len(o.EVENTS))
LATCHED = (o.TRIPPED, o.LOCKOUT, o.FAULT)
CLOSED = (o.ON, o.CLOSING)


def step(state: int, event: int) -> tuple[int, int]:
    result = o.step(state, event)
    return result >> 4, result & 15


def test_names_fit_the_numbers() -> None:
    for table, names in ((o.STATES, STATES), (o.EVENTS, EVENTS)):
        assert len(set(table)) == len(names)
    assert o.STATES[o.LOCKOUT] == "lockout" and o.EVENTS[o.E_WELD] == "weld"
    assert o.ACTIONS[o.REFUSE] == "refuse"
    assert len(o.STATES) <= 16 and len(o.EVENTS) <= 16, "they are packed into four bits each"


def test_no_row_is_given_twice() -> None:
    pairs = [(state, event) for state, event, _, _ in o.TRANSITIONS]
    assert len(set(pairs)) == len(pairs)


@pytest.mark.parametrize(("state", "event"), list(itertools.product(STATES, EVENTS)))
def test_every_pair_has_a_defined_outcome(state: int, event: int) -> None:
    new, action = step(state, event)
    assert new in STATES and action in (o.KEEP, o.OPEN, o.CLOSE, o.REFUSE)
    if action == o.REFUSE:
        assert new == state
    elif o.energised(new) and not o.energised(state):
        assert action == o.CLOSE
    elif not o.energised(new):
        assert action == o.OPEN, "a state without current opens its relay, even when it was open"
    else:
        assert action == o.KEEP


def test_only_on_and_restore_close() -> None:
    closing = {(s, e) for s, e, _, action in o.TRANSITIONS if action == o.CLOSE}
    assert closing == {(o.OFF, o.E_ON), (o.SHED, o.E_RESTORE)}


@pytest.mark.parametrize("latched", LATCHED)
def test_without_reset_no_sequence_leaves_a_latched_state_towards_on(latched: int) -> None:
    """All sequences at once: the set of states that events other than a reset can reach."""
    reached = {latched}
    while True:
        more = {
            step(state, event)[0]
            for state in reached
            for event in EVENTS
            if event not in (o.E_RESET, o.E_FORCE)
        }
        if more <= reached:
            break
        reached |= more
    assert reached <= set(LATCHED)


def test_a_reset_leads_to_off_and_never_to_on() -> None:
    for state, event in itertools.product(STATES, (o.E_RESET, o.E_FORCE)):
        new, action = step(state, event)
        assert action == o.REFUSE or (new, action) == (o.OFF, o.OPEN)


def test_a_lockout_needs_force_whatever_happens_meanwhile() -> None:
    """A fault may be reset without force, so a sensor fault must not replace a lockout; a weld
    does, and needs force itself (see Controller._may_reset)."""
    for event in EVENTS:
        new, _ = step(o.LOCKOUT, event)
        if event == o.E_FORCE:
            assert new == o.OFF
        elif event == o.E_WELD:
            assert new == o.FAULT
        else:
            assert new == o.LOCKOUT


@pytest.mark.parametrize("state", STATES)
def test_every_state_can_weld_and_every_closed_one_can_trip_fault_shed_and_be_switched_off(
    state: int,
) -> None:
    assert step(state, o.E_WELD) == (o.FAULT, o.OPEN)
    if state in CLOSED:
        assert step(state, o.E_TRIP) == (o.TRIPPED, o.OPEN)
        assert step(state, o.E_FAULT) == (o.FAULT, o.OPEN)
        assert step(state, o.E_SHED) == (o.SHED, o.OPEN)
        assert step(state, o.E_OFF) == (o.OFF, o.OPEN)


@pytest.mark.parametrize("state", STATES)
def test_every_state_can_be_left_and_every_state_can_be_reached(state: int) -> None:
    assert any(step(state, event)[0] != state for event in EVENTS)
    reached = {o.OFF}
    for _ in STATES:
        reached |= {step(s, e)[0] for s in reached for e in EVENTS}
    assert state in reached

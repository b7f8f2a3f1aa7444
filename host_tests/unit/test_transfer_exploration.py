"""Every state that home backup can reach, with every single fault of its contacts: grid and source
are never closed together, and the neutral is bonded where it must be and nowhere else.

The real Interlock and Transfer run with times of a few turns, which keeps the number of states
finite; what the world does (grid, vehicle, how fast a contact moves, when the fault begins, what
people ask for) is tried in every combination at every turn. `EXPLORE=1` prints the numbers."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from firmware.power import interlock as il
from firmware.power import transfer as tr

TRAVEL = 2  # turns at most until a contact has moved
DEAD = 3
FOLLOW = 4
RIDE = 1
STABLE = 2
START = 3
LIMIT = 9
CAP = 10  # what a timer beyond all of these is taken for

GRID, SOURCE, BOND = il.CONTACTS
FAULTS = ("welded", "drops out", "seen open", "seen closed")


class World(NamedTuple):
    firmware: tuple[int, ...]
    closed: int  # where the contacts really are
    late: tuple[int, ...]  # turns for which each has not followed its command
    broken: bool
    bare: int  # turns for which the source has fed the home without its bond


def make(mode: int, bonds: bool) -> tr.Transfer:
    transfer = tr.Transfer() if mode >= 0 else Caller()
    transfer.configure(mode, RIDE, STABLE, START, LIMIT)
    transfer.lock.configure(DEAD, FOLLOW, bonds)
    return transfer


def save(t: tr.Transfer) -> tuple[int, ...]:
    k = t.lock
    return (
        t.state,
        t.reason,
        t.may_feed,
        min(t._ms, CAP) if t.mode >= 0 else 0,
        min(t._good_ms, 2) if t.mode >= 0 else 0,
        t._call,
        k.outputs,
        k.seen,
        k.welded,
        k.stuck,
        *k._open_ms,
        *k._wrong_ms,
    )


def load(t: tr.Transfer, state: tuple[int, ...]) -> None:
    k = t.lock
    t.state, t.reason, may_feed, t._ms, t._good_ms, t._call = state[:6]
    t.may_feed = bool(may_feed)
    k.outputs, k.seen, k.welded, k.stuck = state[6:10]
    k._open_ms[:] = state[10:13]
    k._wrong_ms[:] = state[13:16]


def moves(
    told: int, closed: int, late: tuple[int, ...], fault: str, at: int
) -> set[tuple[int, tuple[int, ...]]]:
    """Where the contacts may be after a turn: each moves now or later, until it has to."""
    choices = []
    for i, contact in enumerate(il.CONTACTS):
        is_closed = bool(closed & contact)
        wanted = bool(told & contact)
        if contact == at and fault == "welded" and is_closed:
            choices.append([(True, 0)])
        elif contact == at and fault == "drops out":
            choices.append([(False, 0)])
        elif wanted == is_closed:
            choices.append([(is_closed, 0)])
        elif late[i] + 1 >= TRAVEL:
            choices.append([(wanted, 0)])
        else:
            choices.append([(wanted, 0), (is_closed, late[i] + 1)])
    found = set()
    for combination in itertools.product(*choices):
        mask = sum(
            contact for (up, _), contact in zip(combination, il.CONTACTS, strict=True) if up
        )
        found.add((mask, tuple(n for _, n in combination)))
    return found


def feedback(closed: int, fault: str, at: int) -> int:
    if fault == "seen open":
        return closed & ~at
    if fault == "seen closed":
        return closed | at
    return closed


# `lost`: protection, or a hand, has opened the source's relay (the part that wires it to the
# controller says so); `back_fed`: the grid's side became live as the source closed
COMMANDS = (
    "",
    "back_up",
    "go_back",
    "dark",
    "reset",
    "feed",
    "restart",
    "lost",
    "back_fed",
)
CALLS = [(verb, contact) for verb in ("close", "open") for contact in il.CONTACTS]
ANY = -1  # in place of a mode
ANY_CALLS = ("", "restart", *itertools.product(CALLS), *itertools.product(CALLS, CALLS))
Check = Callable[[World], None]


def turn(t: tr.Transfer, command: Any, grid: int, source: int, aux: int) -> None:
    if command == "feed":
        t.may_feed = not t.may_feed
    elif command == "restart":  # of the chip: its outputs fall, and it knows nothing any more
        fresh = make(t.mode, t.lock.bonds)
        load(t, save(fresh))
    elif isinstance(command, tuple):
        call(t, command)
    elif command == "dark":
        t.go_back(True)
    elif command == "lost":
        t.lost(tr.BY_SOURCE)
    elif command:
        getattr(t, command)()
    t.step(bool(grid), bool(source), aux, 1)


class Caller(tr.Transfer):
    """Nobody's plan: any layer above may ask the interlock for anything, twice in one turn."""

    def step(self, grid: bool, source: bool, seen: int, ms: int) -> bool:
        self.lock.look(seen, ms)
        return False


def call(t: tr.Transfer, calls: tuple[tuple[str, int], ...]) -> None:
    for verb, contact in calls:
        getattr(t.lock, verb)(contact)


Outcomes = frozenset[tuple[tuple[int, ...], bool]]


class Stepper:
    """Turns of the firmware, each combination of state and input once."""

    def __init__(self, mode: int, bonds: bool) -> None:
        self.t = make(mode, bonds)
        self.commands: tuple[Any, ...] = COMMANDS if mode >= 0 else ANY_CALLS
        self.known: dict[tuple[tuple[int, ...], int], Outcomes] = {}

    def after(self, firmware: tuple[int, ...], aux: int) -> Outcomes:
        """Every state that a turn may lead to, whatever people and the two voltages do, and
        whether the chip has restarted."""
        key = (firmware, aux)
        found = self.known.get(key)
        if found is None:
            result = set()
            for grid, source, command in itertools.product((0, 1), (0, 1), self.commands):
                load(self.t, firmware)
                turn(self.t, command, grid, source, aux)
                result.add((save(self.t), command == "restart"))
            found = self.known[key] = frozenset(result)
        return found


def explore(mode: int, bonds: bool, fault: str, at: int, check: Check) -> set[World]:
    """Every reachable world, after `check(world)` of each. The fault may begin at any turn."""
    stepper = Stepper(mode, bonds)
    start = save(stepper.t)
    seen = set()
    for closed in (0, GRID, BOND if bonds else 0, SOURCE | (BOND if bonds else 0)):
        for broken in (False, True) if fault else (False,):
            seen.add(World(start, closed, (0, 0, 0), broken, 0))
    todo = list(seen)
    while todo:
        world = todo.pop()
        for broken in (world.broken,) if world.broken or not fault else (False, True):
            active = fault if broken else ""
            for closed, late in moves(world.firmware[6], world.closed, world.late, active, at):
                bare = bonds and closed & SOURCE and not closed & BOND
                bare = min(world.bare + 1, CAP) if bare else 0
                aux = feedback(closed, active, at)
                for firmware, restarted in stepper.after(world.firmware, aux):
                    after = World(firmware, closed, late, broken, 0 if restarted else bare)
                    if after not in seen:
                        check(after)
                        seen.add(after)
                        todo.append(after)
    return seen


def joined(world: World) -> bool:
    return world.closed & (GRID | SOURCE) == GRID | SOURCE


def check_contacts(world: World) -> None:
    assert not joined(world), ("grid and source", world)
    assert world.closed & (GRID | BOND) != GRID | BOND, ("bonded twice", world)
    # A bond that drops out is seen in the next turn, and the source takes its time to open. When
    # the chip restarts while the source is welded, the bond closes again after the dead time.
    assert world.bare <= 2 + DEAD + TRAVEL, ("fed without a bond", world)


ONE_FAULT = [("", 0)] + [(fault, at) for fault in FAULTS for at in il.CONTACTS]


NEVER: dict[int, set[int]] = {
    tr.M_AUTO: set(),
    tr.M_MANUAL: {tr.GRID_LOST},
    tr.M_OFF: {tr.GRID_LOST, *range(tr.BONDING, tr.GRID_BACK + 1)},
}


@pytest.mark.parametrize("bonds", [True, False])
def test_whatever_is_asked_the_interlock_alone_keeps_them_apart(bonds: bool) -> None:
    total = 0
    for fault, at in ONE_FAULT:
        if bonds or at != BOND:
            total += len(explore(ANY, bonds, fault, at, check_contacts))
    print(f"any calls, bonds {bonds}: {total} states")
    assert total > 500


def test_a_refusal_has_its_reason() -> None:
    lock = il.Interlock()
    lock.configure(DEAD, FOLLOW, True)
    assert lock.close(GRID) == il.OTHER  # nothing has been seen yet
    lock.look(0, 1)
    assert lock.close(GRID) == il.WAITS
    for _ in range(DEAD):
        lock.look(0, 1)
    assert lock.close(SOURCE) == il.UNBONDED
    assert lock.close(BOND) == il.FREE
    lock.look(BOND, 1)
    assert lock.close(GRID) == il.BONDED
    assert lock.close(SOURCE) == il.FREE
    lock.look(BOND | SOURCE, 1)
    assert lock.close(GRID) == il.OTHER
    assert lock.open(BOND) == il.LIVE and lock.outputs == BOND | SOURCE
    lock.open(SOURCE)
    for _ in range(FOLLOW):
        lock.look(BOND | SOURCE, 1)
    assert lock.welded == SOURCE and lock.close(SOURCE) == il.BROKEN
    assert lock.close(GRID) == il.OTHER
    assert lock.clear() == SOURCE
    lock.look(BOND, 1)
    assert lock.clear() == 0
    assert len(il.WHY) == il.BROKEN + 1


@pytest.mark.parametrize("bonds", [True, False])
@pytest.mark.parametrize("mode", [tr.M_AUTO, tr.M_MANUAL, tr.M_OFF])
def test_no_reachable_state_joins_what_must_stay_apart(mode: int, bonds: bool) -> None:
    total = 0
    visited = set()
    for fault, at in ONE_FAULT:
        if at == BOND and not bonds:
            continue
        worlds = explore(mode, bonds, fault, at, check_contacts)
        visited |= {world.firmware[0] for world in worlds}
        total += len(worlds)
        if os.environ.get("EXPLORE"):
            name = f"{il.NAMES[at >> 1]} {fault}" if fault else "no fault"
            print(f"{tr.MODES[mode]}, bonds {bonds}, {name}: {len(worlds)}")
    print(f"{tr.MODES[mode]}, bonds {bonds}: {total} states")
    assert visited == set(range(len(tr.STATES))) - NEVER[mode]


def test_a_contact_that_welds_and_lies_about_it_is_beyond_any_software() -> None:
    """Two faults of one contact at once: the exploration finds what must then happen, so it can
    find something."""

    def lying(closed: int, fault: str, at: int) -> int:
        return closed & ~at if fault == "welded" else closed

    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[__name__], "feedback", lying)
        explore(tr.M_AUTO, True, "welded", GRID, lambda w: found.append(w) if joined(w) else None)
    assert found


@pytest.mark.parametrize(("dead", "safe"), [(1, False), (8, True)])
def test_a_dead_time_shorter_than_a_contact_takes_is_found(dead: int, safe: bool) -> None:
    """With a feedback that says `open` too early, only the dead time keeps them apart."""
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[__name__], "DEAD", dead)
        patch.setattr(sys.modules[__name__], "TRAVEL", 8)
        patch.setattr(sys.modules[__name__], "LIMIT", 2 * CAP)
        patch.setattr(sys.modules[__name__], "CAP", 2 * CAP)
        for at in (GRID, SOURCE):
            explore(
                tr.M_AUTO, False, "seen open", at, lambda w: found.append(w) if joined(w) else None
            )
    assert (not found) == safe


@pytest.mark.parametrize("bonds", [True, False])
@pytest.mark.parametrize(("grid", "wanted"), [(1, GRID), (0, SOURCE)])
def test_from_every_sound_state_the_home_is_fed_again(
    bonds: bool, grid: int, wanted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tr, "_AGAIN_MS", 5)
    t = make(tr.M_AUTO, bonds)
    for world in explore(tr.M_AUTO, bonds, "", 0, lambda w: None):
        load(t, world.firmware)
        t.may_feed = True
        t._call = 0
        if t.state == tr.FAULT:
            t.reset()
        closed = world.closed
        late = world.late
        for _ in range(60):
            closed, late = min(moves(t.lock.outputs, closed, late, "", 0))
            turn(t, "", grid, 1, closed)
            if t.state == tr.FAULT:
                t.reset()
            if t.state == (tr.STANDBY if grid else tr.BACKUP):
                break
        assert closed & (GRID | SOURCE) == wanted, (world, tr.STATES[t.state])

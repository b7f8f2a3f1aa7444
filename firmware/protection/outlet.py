# The outlet's state machine: one state, one table, one event per transition.
# Called by the control task and, through controller.command(), by the outer lane.
# The table is the definition: docs/protection.md shows the diagram made from it.

from micropython import const

# states
OFF = const(0)
CLOSING = const(1)
ON = const(2)
TRIPPED = const(3)
LOCKOUT = const(4)
SHED = const(5)
FAULT = const(6)
STATES = ("off", "closing", "on", "tripped", "lockout", "shed", "fault")

# events
E_ON = const(0)  # asked for, and admitted
E_CLOSED = const(1)  # the relay's operate time has passed
E_OFF = const(2)
E_TRIP = const(3)
E_RESET = const(4)  # asked for, and the cause is gone
E_FORCE = const(5)  # reset --force
E_SHED = const(6)
E_RESTORE = const(7)
E_FAULT = const(8)
E_LOCK = const(9)  # too many trips
E_WELD = const(10)  # current flows although the relay is open
EVENTS = (
    "on",
    "closed",
    "off",
    "trip",
    "reset",
    "force",
    "shed",
    "restore",
    "fault",
    "lock",
    "weld",
)

# actions
KEEP = const(0)
OPEN = const(1)
CLOSE = const(2)
REFUSE = const(3)
ACTIONS = ("keep", "open", "close", "refuse")

# (state, event, new state, action); what is not listed changes nothing.
TRANSITIONS = (
    (OFF, E_ON, CLOSING, CLOSE),
    (CLOSING, E_CLOSED, ON, KEEP),
    (CLOSING, E_OFF, OFF, OPEN),
    (ON, E_OFF, OFF, OPEN),
    (SHED, E_OFF, OFF, OPEN),
    (OFF, E_TRIP, TRIPPED, OPEN),
    (CLOSING, E_TRIP, TRIPPED, OPEN),
    (ON, E_TRIP, TRIPPED, OPEN),
    (SHED, E_TRIP, TRIPPED, OPEN),
    (TRIPPED, E_RESET, OFF, OPEN),
    (TRIPPED, E_FORCE, OFF, OPEN),
    (TRIPPED, E_LOCK, LOCKOUT, OPEN),
    (LOCKOUT, E_FORCE, OFF, OPEN),
    (FAULT, E_RESET, OFF, OPEN),
    (FAULT, E_FORCE, OFF, OPEN),
    (CLOSING, E_SHED, SHED, OPEN),
    (ON, E_SHED, SHED, OPEN),
    (SHED, E_RESTORE, CLOSING, CLOSE),
    (OFF, E_FAULT, FAULT, OPEN),
    (CLOSING, E_FAULT, FAULT, OPEN),
    (ON, E_FAULT, FAULT, OPEN),
    (SHED, E_FAULT, FAULT, OPEN),
    # A sensor that breaks looks like a short circuit first. A lockout stays one, because a fault
    # may be reset without force.
    (TRIPPED, E_FAULT, FAULT, OPEN),
    # Relays weld where much current flows, so mostly in an outlet that has tripped already.
    (OFF, E_WELD, FAULT, OPEN),
    (CLOSING, E_WELD, FAULT, OPEN),
    (ON, E_WELD, FAULT, OPEN),
    (SHED, E_WELD, FAULT, OPEN),
    (TRIPPED, E_WELD, FAULT, OPEN),
    (LOCKOUT, E_WELD, FAULT, OPEN),
    (FAULT, E_WELD, FAULT, OPEN),
)

_TABLE = {state << 4 | event: new << 4 | action for state, event, new, action in TRANSITIONS}


def energised(state: int) -> bool:
    """Whether the relay is, or is about to be, closed in this state."""
    return state == ON or state == CLOSING


def step(state: int, event: int) -> int:
    """`new state << 4 | action`; REFUSE (and the same state) when the table has no such row."""
    return _TABLE.get(state << 4 | event, state << 4 | REFUSE)

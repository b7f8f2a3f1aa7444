# Charging another car from the 240 V outlet: the charger's side of SAE J1772. One state, one step
# a turn of the control task. Pure integers, allocates nothing. Which contactor closes, and that
# leg, total and outlet have their own limits, is the controller's business: this says only
# whether it may be closed, and what the pilot shows.

from micropython import const

from firmware.power import pilot

# states
EMPTY = const(0)  # no car
WAITING = const(1)  # a car, and no current to offer (or none wanted by the owner)
OFFERED = const(2)  # the wave says how much; the car has not asked
CHARGING = const(3)  # the contactor is closed
ENDING = const(4)  # no more is offered; the car has time to stop drawing
REFUSED = const(5)  # it wants ventilation, which we do not have
FAULT = const(6)  # pilot at -12 V until the car is gone, or for good
STATES = ("empty", "waiting", "offered", "charging", "ending", "refused", "fault")

# why it is in fault, or why it waits
NONE = const(0)
NO_ROOM = const(1)  # the other outlets leave less than 6 A
NOT_WANTED = const(2)  # switched off by the owner or the schedule
NO_DIODE = const(3)
SHORTED = const(4)  # pilot at 0 V
NOT_FOLLOWED = const(5)  # the car went on drawing more than was offered
GROUND = const(6)  # ground fault, or its self-test failed, or no protective earth
CONTACTOR = const(7)
WHY = (
    "",
    "the other outlets leave less than 6 A",
    "switched off",
    "no diode in the car's pilot",
    "pilot shorted to earth",
    "the car draws more than it was offered",
    "ground fault or no earth",
    "the contactor does not do as told",
)

_SURE_MS = const(60)  # a state of the pilot counts when it has lasted so long
_OPEN_MS = const(100)  # J1772: the contactor is open so long after the car was unplugged, most
_FOLLOW_MS = const(5_000)  # J1772: a car has so long to take less
_END_MS = const(6_000)  # and to stop altogether
_IDLE_MA = const(1_000)  # less is no charging current
_OVER_PERCENT = const(10)  # a car may draw so much more than was offered, for its meter's sake
_OVER_MA = const(500)
_RISE_MA = const(1_000)  # an offer grows in steps of so much,
_RISE_MS = const(5_000)  # each so long, and falls at once
_SPARE_MA = const(500)  # left free beside what is offered
_AGAIN_MS = const(60_000)  # room for 6 A must last so long before it is offered again
_TRIES = const(3)  # faults that the car can cause, until somebody has to look


class Evse:
    """`state`, `why`; `closed`: the contactor may be closed; `offer_ma`: what the pilot says, 0:
    steady +12 V; `pilot_down`: it stands at -12 V."""

    def __init__(self):
        self.state = EMPTY
        self.why = NONE
        self.closed = False
        self.offer_ma = 0
        self.pilot_down = False
        self.pilot = pilot.A
        self.faults = 0
        self.most_ma = 32_000
        self.wanted = True
        self._new = pilot.A  # state of the pilot that is not sure yet
        self._new_ms = 0
        self._ms = 0  # in this state
        self._over_ms = 0  # the car has drawn too much for so long
        self._bare_ms = 0  # the pilot's negative half has been loaded for so long
        self._may_ma = 0  # what the others leave, less the spare
        self._rise_ms = 0
        self._room_ms = 0  # there has been room for 6 A for so long

    def configure(self, most_ma: int, wanted: bool):
        """`most_ma`: what is ever offered, 6000 to 32 000 (80 % of the outlet: a car is a
        continuous load, NEC 625.41). `wanted`: the owner wants cars charged."""
        self.most_ma = most_ma
        self.wanted = wanted

    def reset(self) -> bool:
        """The owner has looked: leave a fault that stays; False when there is none."""
        if self.state != FAULT:
            return False
        self.faults = 0
        self._go(EMPTY, NONE)
        return True

    # -- control lane --------------------------------------------------------------------------

    def _go(self, state: int, why: int):
        self.state = state
        self.why = why
        self._ms = 0
        self._over_ms = 0
        self._bare_ms = 0
        self._rise_ms = 0
        self.closed = state == CHARGING or state == ENDING
        self.pilot_down = state == FAULT
        if state != OFFERED and state != CHARGING:
            self.offer_ma = 0
            self._room_ms = 0
        if state == FAULT:
            self.faults += 1

    def _look(self, high_mv: int, ms: int):
        """The pilot's state, when it is sure. Unplugging is believed at once."""
        seen = pilot.classify(high_mv, self.pilot)
        if seen == self.pilot:
            self._new_ms = 0
            self._new = seen
        else:
            if seen != self._new:
                self._new = seen
                self._new_ms = 0
            self._new_ms += ms
            if self._new_ms >= _SURE_MS or (self.closed and seen == pilot.A):
                self.pilot = seen
                self._new_ms = 0

    def step(self, high_mv: int, low_mv: int, ma: int, room_ma: int, earth: bool, ms: int) -> bool:
        """One turn; True when the state has changed. `high_mv`, `low_mv`: the halves of the
        pilot; `ma`: what the car draws; `room_ma`: what leg and total leave beside the other
        outlets; `earth`: no ground fault, and protective earth is there; `ms`: since the last
        turn."""
        was = self.state
        self._ms += ms
        if not self.pilot_down:
            self._look(high_mv, ms)
        if not earth and was != FAULT:
            self._go(FAULT, GROUND)
        elif was == FAULT:
            self._fault(earth)
        elif self.pilot == pilot.A or self.pilot == pilot.F:
            if was != EMPTY:
                self._go(EMPTY, NONE)
        elif self.pilot == pilot.E:
            self._go(FAULT, SHORTED)
        elif self.pilot == pilot.D:
            if was != REFUSED:
                self._go(REFUSED, NONE)
        else:
            self._room(room_ma, ms)
            self._car(ma, low_mv, ms)
        return self.state != was

    def _fault(self, earth):
        """What the car may have caused is over when it has been gone; not for ever."""
        if earth and self._ms >= _AGAIN_MS and self.faults < _TRIES:
            self.pilot = self._new = pilot.B  # to be seen afresh
            self._go(EMPTY, NONE)

    def _room(self, room_ma: int, ms: int):
        """Offer what the others leave: less at once, more slowly."""
        may = min(room_ma - _SPARE_MA, self.most_ma)
        if not self.wanted:
            may = 0
        self._may_ma = may
        if may < pilot.LEAST_MA:
            self._room_ms = 0
            if self.state == OFFERED:
                self._go(WAITING, NO_ROOM if self.wanted else NOT_WANTED)
            elif self.state == CHARGING:
                self._go(ENDING, NO_ROOM if self.wanted else NOT_WANTED)
            return
        if self._room_ms < _AGAIN_MS:
            self._room_ms += ms
        if not self.offer_ma:
            return
        if may < self.offer_ma:
            self.offer_ma = may
            self._rise_ms = 0
            self._over_ms = 0
            return
        self._rise_ms += ms
        if self._rise_ms >= _RISE_MS:
            self._rise_ms = 0
            self.offer_ma = min(may, self.offer_ma + _RISE_MA)

    def _car(self, ma: int, low_mv: int, ms: int):
        state = self.state
        if self.offer_ma and not pilot.has_diode(low_mv):
            self._bare_ms += ms
            if self._bare_ms >= _SURE_MS:
                self._go(FAULT, NO_DIODE)
                return
        else:
            self._bare_ms = 0
        if state == EMPTY or state == REFUSED:
            self._room_ms = _AGAIN_MS if state == EMPTY else 0  # a new car need not wait
            self._go_on_waiting()
        elif state == WAITING:
            if self._room_ms >= _AGAIN_MS:
                self._go(OFFERED, NONE)
                self.offer_ma = self._may_ma
        elif state == OFFERED:
            if self.pilot == pilot.C:
                offer = self.offer_ma
                self._go(CHARGING, NONE)
                self.offer_ma = offer
        elif state == CHARGING:
            if self.pilot != pilot.C:
                offer = self.offer_ma
                self._go(OFFERED, NONE)
                self.offer_ma = offer
                return
            if ma > self.offer_ma + self.offer_ma * _OVER_PERCENT // 100 + _OVER_MA:
                self._over_ms += ms
                if self._over_ms >= _FOLLOW_MS:
                    self._go(FAULT, NOT_FOLLOWED)
            else:
                self._over_ms = 0
        elif ma < _IDLE_MA or self.pilot != pilot.C or self._ms >= _END_MS:
            self._go(WAITING, self.why)

    def _go_on_waiting(self):
        room = self._room_ms
        self._go(WAITING, NONE if self.wanted else NOT_WANTED)
        self._room_ms = room

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
REFUSED = const(5)  # it wants ventilation, which we do not have; until it is gone
FAULT = const(6)  # pilot at -12 V; over when the car has been gone, or when somebody has looked
TESTING = const(7)  # the car asks; the ground-fault detector has to prove itself first
STATES = ("empty", "waiting", "offered", "charging", "ending", "refused", "fault", "testing")

# why it is in fault, or why it waits
NONE = const(0)
NO_ROOM = const(1)  # the other outlets leave less than 6 A
NOT_WANTED = const(2)  # switched off by the owner or the schedule
NO_DIODE = const(3)
SHORTED = const(4)  # pilot at 0 V
NOT_FOLLOWED = const(5)  # the car went on drawing more than was offered
GROUND = const(6)  # ground fault, or its self-test failed, or no protective earth
HOME = const(7)  # the home has just been taken over, and its inrush comes first
TRIPPED = const(8)  # the outlet has: its own reason says why
HELD = const(9)  # the outlet may not be switched on now: supply, heat, self-test
RESERVE = const(10)  # the battery
DONE = const(11)  # vehicle.energy_kwh
START = const(12)  # nobody has started it yet
DETECTOR = const(13)  # the ground-fault detector has not answered its test
VENTILATION = const(14)
WHY = (
    "",
    "the other outlets leave less than 6 A",
    "stopped",
    "no diode in the car's pilot",
    "pilot shorted to earth",
    "the car draws more than it was offered",
    "ground fault or no earth",
    "the home has just been taken over",
    "the outlet has tripped",
    "the outlet may not be switched on now",
    "the battery is down to its reserve",
    "the energy asked for is delivered",
    "it has to be started",
    "the ground-fault detector does not answer its test",
    "the car wants ventilation, which there is not",
)

_SURE_MS = const(60)  # a state of the pilot counts when it has lasted so long
_FOLLOW_MS = const(5_000)  # J1772: a car has so long to take less
_FOLLOW_ALL_MS = const(10_000)  # and no longer where the offer went on falling
_END_MS = const(6_000)  # and to stop altogether
_IDLE_MA = const(1_000)  # less is no charging current
_OVER_PERCENT = const(10)  # a car may draw so much more than was offered, for its meter's sake
_OVER_MA = const(500)
_RISE_MA = const(1_000)  # an offer grows in steps of so much,
_RISE_MS = const(5_000)  # each so long, and falls at once
_SPARE_MA = const(500)  # left free beside what is offered
_NOISE_MA = const(250)  # of the others: the offer does not follow that down
_ALONE_MS = const(200)  # so long without a car, and the next one has come just now
_REST_MS = const(5_000)  # a car that asks, stops and asks again does not wear out the contactor
_CALM_MS = const(600_000)  # who has charged so long is not the one that made the faults
_TEST_MS = const(500)  # in which the detector has to answer, and to fall silent again
_LONG_MS = const(1 << 28)
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
        self.hold = NONE  # why nothing is offered although there may be room
        self.tests = False  # the detector has a test input
        self.test_on = False  # which is to be driven now
        self._fresh = False  # the car has come while we were there: it need not wait
        self._new = pilot.A  # state of the pilot that is not sure yet
        self._new_ms = 0
        self._ms = 0  # in this state
        self._over_ms = 0  # the car has drawn too much for so long since the offer fell last
        self._over_all_ms = 0
        self._bare_ms = 0  # the pilot's negative half has been loaded for so long
        self._may_ma = 0  # what the others leave, less the spare
        self._rise_ms = 0
        self._room_ms = 0  # there has been room for 6 A for so long

    def configure(self, most_ma: int, hold: int = NONE):
        """`most_ma`: what is ever offered, up to 32 000 (80 % of the outlet: a car is a continuous
        load, NEC 625.41); below 6000 nothing is. `hold`: NONE, or why no car is to be charged."""
        self.most_ma = most_ma
        self.hold = hold

    def reset(self) -> bool:
        """The owner has looked: leave a fault or a refusal; False when there is none."""
        if self.state != FAULT and self.state != REFUSED:
            return False
        self.faults = 0
        self._afresh()
        return True

    # -- control lane --------------------------------------------------------------------------

    def fail(self, why: int):
        """Something outside is wrong: contactor open, pilot at -12 V."""
        if self.state != FAULT or self.why != why:
            self._go(FAULT, why)

    def cut(self, why: int):
        """Contactor open now, and nothing offered for a while: the others need the current within
        less time than a car has, or somebody has opened it."""
        if self.closed or self.offer_ma:
            self._go(WAITING, why)
            self._room_ms = 0

    def rests_ms(self) -> int:
        """For how long it has been in its state, up to three days."""
        return self._ms

    def ask(self):
        """Its owner asks for current now: what there is room for need not last a minute first."""
        self._room_ms = _AGAIN_MS

    def _afresh(self):
        """Out of a fault, as if a car had just come."""
        self.pilot = self._new = pilot.B
        self._gone()

    def _gone(self):
        self._go(EMPTY, NONE)
        self._fresh = True

    def _go(self, state: int, why: int):
        self.state = state
        self.why = why
        self._ms = 0
        self._over_ms = self._over_all_ms = 0
        self._bare_ms = 0
        self._rise_ms = 0
        self.test_on = state == TESTING
        self.closed = state == CHARGING or state == ENDING
        self.pilot_down = state == FAULT
        if state != OFFERED and state != CHARGING and state != TESTING:
            self.offer_ma = 0
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
        outlets, +-1 000 000; `earth`: no ground fault, and protective earth is there; `ms`: since
        the last turn."""
        was = self.state
        if self._ms < _LONG_MS:
            self._ms += ms
        if not self.pilot_down:
            self._look(high_mv, ms)
        if was == FAULT:
            self._fault(earth)
        elif not earth and was != TESTING:
            self._go(FAULT, GROUND)
        elif self.pilot == pilot.A or self.pilot == pilot.F:
            if was != EMPTY:
                self._gone()
            elif self._ms >= _ALONE_MS:
                self._fresh = True
        elif self.pilot == pilot.E:
            self._go(FAULT, SHORTED)
        elif self.pilot == pilot.D or was == REFUSED:
            if was != REFUSED:
                self._go(REFUSED, VENTILATION)
        else:
            self._room(room_ma, ms)
            self._car(ma, low_mv, earth, ms)
        return self.state != was

    def _fault(self, earth):
        """Nothing is switched on by itself after a fault. -12 V say so for a minute; then steady
        +12 V show whether the car is still there. When it has been gone, the next one has a
        chance; not for ever."""
        if not earth or self.why == TRIPPED:
            self.pilot_down = True
            self._ms = 0
        elif self.pilot_down:
            if self._ms >= _AGAIN_MS and self.faults < _TRIES:
                self.pilot = self._new = pilot.B  # to be seen afresh
                self._new_ms = 0
                self.pilot_down = False
        elif self.pilot == pilot.A:
            self._gone()

    def _room(self, room_ma: int, ms: int):
        """Offer what the others leave: less at once, more slowly."""
        may = min(room_ma - _SPARE_MA, self.most_ma)
        if may < pilot.LEAST_MA:
            self._room_ms = 0
        elif self._room_ms < _AGAIN_MS:
            self._room_ms += ms
        if self.hold:
            may = 0
        self._may_ma = may
        if may < pilot.LEAST_MA:
            why = self.hold or NO_ROOM
            if self.state == OFFERED or self.state == TESTING:
                self._go(WAITING, why)
            elif self.state == CHARGING:
                self._go(ENDING, why)
            elif self.state == WAITING or self.state == ENDING:
                self.why = why
            return
        if not self.offer_ma:
            return
        if may < self.offer_ma:
            if may < self.offer_ma - _NOISE_MA or self.offer_ma > self.most_ma:
                self.offer_ma = may
                self._rise_ms = 0
                self._over_ms = 0
            return
        self._rise_ms += ms
        if self._rise_ms >= _RISE_MS:
            self._rise_ms = 0
            self.offer_ma = min(may, self.offer_ma + _RISE_MA)

    def _car(self, ma: int, low_mv: int, earth: bool, ms: int):
        state = self.state
        if self.offer_ma and not pilot.has_diode(low_mv):
            self._bare_ms += ms
            if self._bare_ms >= _SURE_MS:
                self._go(FAULT, NO_DIODE)
                return
        else:
            self._bare_ms = 0
        if state == EMPTY:
            self._go(WAITING, self.hold)
            # One that was there before us has seen a power cut: not at once.
            self._room_ms = _AGAIN_MS if self._fresh and self._room_ms else 0
            self._fresh = False
        elif state == WAITING:
            if self._may_ma >= pilot.LEAST_MA and self._room_ms >= _AGAIN_MS:
                self._offer(self._may_ma, _REST_MS)
        elif state == OFFERED:
            if self.pilot == pilot.C and self._ms >= _REST_MS:
                offer = self.offer_ma
                self._go(TESTING if self.tests else CHARGING, NONE)
                self.offer_ma = offer
        elif state == TESTING:
            self._test(earth)
        elif state == CHARGING:
            self._charge(ma, ms)
        elif ma < _IDLE_MA or self.pilot != pilot.C or self._ms >= _END_MS:
            self._go(WAITING, self.why)

    def _offer(self, ma: int, rested_ms: int):
        """To OFFERED; `rested_ms`: for so long the contactor has been open."""
        self._go(OFFERED, NONE)
        self.offer_ma = ma
        self._ms = rested_ms

    def _test(self, earth: bool):
        """The detector is stimulated until it answers, and then has to fall silent."""
        if self.test_on:
            if not earth:
                self.test_on = False
                self._ms = 0
                return
        elif earth:
            offer = self.offer_ma
            if self.pilot == pilot.C:
                self._go(CHARGING, NONE)
                self.offer_ma = offer
            else:
                self._offer(offer, _REST_MS)
            return
        if self._ms >= _TEST_MS:
            self._go(FAULT, DETECTOR if self.test_on else GROUND)

    def _charge(self, ma: int, ms: int):
        if self.pilot != pilot.C:
            self._offer(self.offer_ma, 0)
            return
        if self._ms >= _CALM_MS:
            self.faults = 0
        if ma > self.offer_ma + self.offer_ma * _OVER_PERCENT // 100 + _OVER_MA:
            self._over_ms += ms
            self._over_all_ms += ms
            if self._over_ms >= _FOLLOW_MS or self._over_all_ms >= _FOLLOW_ALL_MS:
                self._go(FAULT, NOT_FOLLOWED)
        else:
            self._over_ms = self._over_all_ms = 0

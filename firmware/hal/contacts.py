# The outputs and inputs of power export that are no outlet's relay: the transfer switch's grid and
# bond contacts and all three auxiliary contacts, the control pilot, the inverter's set point. Made
# at boot where the board's table has `power`; driven by the control task.
#
# The source contact is the relay of the outlets of the gang `home`: the fast lane opens it, and
# takes the inverter's permissive away, too.

import machine
from micropython import const

_GRID = const(1)  # bits as in power/interlock.py
_SOURCE = const(2)
_BOND = const(4)
_HZ = const(1000)  # SAE J1772; the set point's filter wants no other
_FULL = const(65535)


class Contacts:
    """`wiring`: the board's `power`. Everything is open and at rest after this."""

    def __init__(self, wiring: dict):
        out = machine.Pin.OUT
        grid, _, bond = wiring["contacts"]
        self._grid = machine.Pin(grid, out, value=0)
        self._bond = machine.Pin(bond, out, value=0)
        # A broken wire reads as open, which the interlock does not take for an answer when it has
        # told the contact to close; a wire to ground reads as closed, and holds the others open.
        self._seen = [
            machine.Pin(gpio, machine.Pin.IN, machine.Pin.PULL_UP) for gpio in wiring["seen"]
        ]
        # of the charger's ground-fault detector, where it has an input for that; high: test
        test = wiring.get("ground_test")
        self._test = None if test is None else machine.Pin(test, out, value=0)
        self._pilot = machine.PWM(machine.Pin(wiring["pilot"]), freq=_HZ, duty_u16=_FULL)
        self._point = machine.PWM(machine.Pin(wiring["set_point"]), freq=_HZ, duty_u16=0)
        self.outputs = 0
        self._duty = 10_000
        self._permille = 0

    def drive(self, outputs: int):
        """Grid and bond to where the interlock has them; what opens goes first."""
        changed = outputs ^ self.outputs
        if not changed:
            return
        self.outputs = outputs
        opens = changed & ~outputs  # no loop over pairs: they would allocate
        if opens & _GRID:
            self._grid.value(0)
        if opens & _BOND:
            self._bond.value(0)
        changed &= outputs
        if changed & _GRID:
            self._grid.value(1)
        if changed & _BOND:
            self._bond.value(1)

    def seen(self) -> int:
        """Bits of the contacts that say they are closed."""
        grid, source, bond = self._seen  # asked each turn: a loop would take three times as long
        bits = 0
        if not grid.value():
            bits = _GRID
        if not source.value():
            bits |= _SOURCE
        if not bond.value():
            bits |= _BOND
        return bits

    def pilot(self, permyriad: int):
        """Duty of the pilot: 10 000 is steady +12 V, 0 steady -12 V, between them the wave."""
        if permyriad != self._duty:
            self._duty = permyriad
            self._pilot.duty_u16(permyriad * _FULL // 10_000)

    def ground_test(self, on: bool):
        """Whether the ground-fault detector has to show that it works."""
        if self._test is not None:
            self._test.value(1 if on else 0)

    def set_point(self, permille: int):
        """How much it exports, in permille of its rating."""
        if permille != self._permille:
            self._permille = permille
            self._point.duty_u16(permille * _FULL // 1000)

# The control pilot of SAE J1772: what a car says by loading it, and what the charger says by its
# duty cycle. Called by power/evse.py each turn of the control task. Pure integers, allocates
# nothing.
#
# The charger puts out +12 V, or a 1 kHz square wave of +-12 V, through 1 kOhm; the car loads the
# positive half through a diode: 9 V connected, 6 V it wants current, 3 V it wants ventilation too.

from micropython import const

# states of the pilot
A = const(0)  # +12 V: nothing is connected
B = const(1)  # 9 V: a car is
C = const(2)  # 6 V: it wants to charge
D = const(3)  # 3 V: and the room has to be ventilated
E = const(4)  # 0 V: pilot shorted to earth, or no power
F = const(5)  # -12 V: the charger says that it cannot
NAMES = "ABCDEF"

# Halfway between the nominal voltages, mV. The standard's bands are +-0.6 V and narrower, so that
# 0.9 V are left for the error of the measurement.
_EDGES = (10_500, 7_500, 4_500, 1_500, -6_000)
_SPREAD_MV = const(200)  # further on to leave a state than to stay in it
_DIODE_MV = const(-10_500)  # the negative half is not loaded: -12 V, whatever the car does

LEAST_MA = const(6_000)  # less cannot be said
MOST_MA = const(51_000)  # with the scale of 0.6 A a per cent


def classify(high_mv: int, last: int) -> int:
    """State of the pilot by the voltage of its positive half, mV; `last`: what it was."""
    state = A
    for edge in _EDGES:
        # the state just left and the one just entered share an edge: who is there stays
        if high_mv >= edge + (_SPREAD_MV if last > state else -_SPREAD_MV):
            return state
        state += 1
    return F


def has_diode(low_mv: int) -> bool:
    """Whether the negative half shows that a car's diode is there, while the wave is on: a
    resistor alone (a wet plug, a finger) loads it too."""
    return low_mv <= _DIODE_MV


def duty_permyriad(ma: int) -> int:
    """Duty cycle for an offered current of 6 to 51 A, in hundredths of a per cent: amperes / 0.6
    (SAE J1772, table 3). 32 A: 5333. Rounded down: never more than is meant."""
    if ma < LEAST_MA or ma > MOST_MA:
        raise ValueError("the pilot can offer 6 to 51 A")
    return ma // 6


def offered_ma(permyriad: int) -> int:
    """What a duty cycle says, mA; 0: nothing to be drawn. The other way round, for tests and
    for a car's side (10 to 85 %: 0.6 A a per cent; 85 to 96 %: 2.5 A a per cent less 64)."""
    if permyriad < 1000:
        return 0
    if permyriad <= 8500:
        return permyriad * 6
    if permyriad <= 9600:
        return (permyriad - 6400) * 25
    return 0

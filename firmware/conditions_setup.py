# Settings into the figures of conditions.py and its stages. Loaded at boot and for a change of
# settings, and dropped again: its 2 KB are worth more as heap. Called by Controller.configure().

from micropython import const

from firmware.protection import stages as st
from firmware.sensing import ntc

_M_RMS = const(4)  # reduce.M_RMS

_STEP_C = const(5)
_BACK_C = const(3)  # comes back so much cooler
_TRIP_BACK_C = const(5)
_HEAT_S = const(3)
_GROUND_TURNS = const(2)
_FOLLOW_TURNS = const(25)  # 0.2 s: a contactor releases within 0.1 s

_VOLTAGE = (
    (st.LOSS, "loss", -1),
    (st.UNDER, "under", -1),
    (st.OVER, "over", 1),
    (st.HIGH, "high", 1),
)
_INPUTS = (
    (st.GROUND, "gfci", "gfci.input", _GROUND_TURNS),
    (st.FOLLOW, "contactor_feedback", "contactor.feedback", _FOLLOW_TURNS),
)


def _wires(around):
    get = around.controller.settings.get
    stages = around.stages
    inputs = around.inputs
    for row, name, setting, turns in _INPUTS:
        if inputs is not None:
            inputs.configure(name, get(setting))
        if inputs is not None and inputs.has(name):
            stages.set(row, 0, 1, turns)
        else:
            stages.off(row)
    around.wired = inputs is not None and inputs.any


def outlet(around, i: int):
    """The outlet with the index `i`, into `around`, a Conditions."""
    controller = around.controller
    get = controller.settings.outlet
    stages = around.stages
    volts = controller.outlets[i].outlet.volts
    flags = [get(i, name) for name in ("voltage", "frequency", "temperature", "gfci")]
    around.masks[i] = rows_of(volts, len(controller.meter.volts), *flags)
    choice = get(i, "continuous")
    around.sheds &= ~(1 << i)
    if choice == "off":
        around.base_ma[i] = 0
        stages.off(st.CONTINUOUS + i)
        return
    if choice == "shed":
        around.sheds |= 1 << i
    around.base_ma[i] = int(controller.outlets[i].limit_ma * get(i, "continuous_x"))
    seconds = int(get(i, "continuous_h") * 3600)
    stages.set(st.CONTINUOUS + i, around.base_ma[i], 0, seconds)


def watch(around):
    """Last: the scan reads the ground-fault input too, where it can, as this lane may stand
    still."""
    controller = around.controller
    inputs = around.inputs
    wired = inputs is not None and inputs.has("gfci")
    gpio = controller.board.inputs["gfci"] if wired else -1
    high = controller.settings.get("gfci.input") == "high"
    ground = 0
    for i in range(len(around.masks)):
        ground |= (around.masks[i] >> st.GROUND & 1) << i
    controller.fast.watch(gpio, high, ground)


def _supply(around):
    controller = around.controller
    get = controller.settings.get
    stages = around.stages
    per_s = controller.scans_per_s
    nominal_mv = get("supply.nominal_v") * 1000
    band: list = []
    for leg, meter in enumerate(controller.meter.volts):
        around.mv_q8[leg] = int(meter.unit_per_count * 32 + 0.5)
        percent = nominal_mv / meter.unit_per_count * 8 / 100
        for row, name, sign in _VOLTAGE:
            pick = sign * get("supply.%s_percent" % name)
            delay = int(get("supply.%s_s" % name) * per_s)
            stages.set(row + 4 * leg, int(pick * percent), int((pick - 1) * percent), delay)
        under = int(get("supply.under_percent") * percent)
        band += [under, int(get("supply.over_percent") * percent), meter.at + _M_RMS]
    around.band = tuple((band + band)[:6])  # a board with one leg looks at it twice
    permille = int(get("supply.hz_percent") * 10)
    stages.set_hz(get("supply.hz") * 1000, permille, int(get("supply.hz_s") * per_s))


def _heat(around):
    get = around.controller.settings.get
    stages = around.stages
    around.sensor = get("temperature.sensor")
    around.acts = around.thermistor is not None and around.sensor != "no"
    if not around.acts:
        stages.off(st.HOT)
        for row in range(st.NO_SENSOR, st.CONTINUOUS):
            stages.off(row)
        return
    around.derate_c = get("temperature.derate_c")
    around.trip_c = trip = get("temperature.trip_c")
    stages.set(st.HOT, -ntc.code(trip), -ntc.code(trip - _TRIP_BACK_C), _HEAT_S)
    stages.set(st.NO_SENSOR, 0, 1, _HEAT_S)
    around.worst = 0
    for step in range(st.STEPS):
        at = around.derate_c + _STEP_C * step
        if at < trip:
            around.worst += 1
            stages.set(st.DERATE + step, -ntc.code(at), -ntc.code(at - _BACK_C), _HEAT_S)
        else:
            stages.off(st.DERATE + step)


# First these, with a Conditions, some ms each: in between the control lane may have its turn.
PARTS = (_supply, _heat, _wires)


def rows_of(
    volts: int, legs: int, voltage: bool, frequency: bool, temperature: bool, gfci: bool
) -> int:
    """Bits of the rows that open an outlet fed from `volts` (0: L1, 1: L2, 2: both), on a board
    that measures `legs` of them. Loss of the supply and the contactor concern every outlet."""
    rows = 15 if voltage else 1
    if legs > 1:
        if volts == 1:
            rows <<= 4
        elif volts == 2:
            rows |= rows << 4
    rows |= 1 << st.FOLLOW
    if frequency:
        rows |= 3 << st.LOW_HZ
    if temperature:
        rows |= 1 << st.HOT
    if gfci:
        rows |= 1 << st.GROUND
    return rows

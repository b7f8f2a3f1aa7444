# Pico W with all that exports power beside the outlets: home backup through the charge port, a
# charger on bed240, export to the grid. A multiplexer with 16 channels (74HC4067) instead of 8;
# its fourth address line is GP21. Needs the frozen image: the modules do not fit into the heap.

from firmware.board import pico_w


def _row(name, kind, mux, full_scale):
    return {"name": name, "kind": kind, "adc": 26, "mux": mux, "full_scale": full_scale}


def _pole(name, leg):
    return {
        "name": name,
        "relay": 12,  # the source contact of the transfer switch
        "rating_ma": 48_000,
        "legs": (leg,),
        "volts": leg,
        "priority": 3,
        "gang": "home",
    }


BOARD = dict(pico_w.BOARD)
BOARD["name"] = "pico_w_home"
BOARD["mux_address"] = (18, 19, 20, 21)
# measured on the emulated chip
BOARD["skew_us"] = (0, 8, 13, 17, 20, 23, 28, 32, 35, 38, 42, 45, 49)
BOARD["channels"] = pico_w.BOARD["channels"] + (  # type: ignore[operator]
    # of the charge port: what the vehicle gives counts positive, to home and grid alike
    _row("home_l1", "current", 8, 600_000),
    _row("home_l2", "current", 9, 600_000),
    # the grid's side of the transfer switch
    _row("grid_l1", "sense", 10, 250_000),
    _row("grid_l2", "sense", 11, 250_000),
    # of the control pilot behind its divider: 12 V are 1000 mV above mid-scale, -12 V as far below
    _row("pilot", "aux", 12, 1_650),
)
_POLES = (_pole("home_l1", 0), _pole("home_l2", 1))
BOARD["outlets"] = pico_w.BOARD["outlets"] + _POLES  # type: ignore[operator]
BOARD["leg_limit_ma"] = 48_000
BOARD["total_w"] = 11_500
BOARD["uart"] = None
BOARD["inputs"] = {"gfci": 8, "island": 9, "contactor_feedback": 10}
BOARD["power"] = {
    "contacts": (11, 12, 13),  # grid, source, bond: high closes
    "seen": (28, 14, 27),  # their auxiliary contacts: low is closed (to ground, pulled up)
    "pilot": 22,  # 1 kHz to the driver of the pilot: high is +12 V
    "permit": 1,  # high: the inverter may export
    # high: test of the charger's ground-fault detector. USB start-up of old silicon drives GPIO15
    # for 1 ms, which is no test yet; an auxiliary contact would short it to ground.
    "ground_test": 15,
    "set_point": 0,  # duty of 1 kHz: how much, 0 to 100 % of its rating
}

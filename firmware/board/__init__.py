# Board tables: what is wired where. Read at boot by app.py and by boot.py; on the host by the
# simulator. A table is plain data; load() validates it, so that a wiring mistake is a sentence
# at boot and not a relay that closes by surprise.

_BOARDS = ("pico_w", "pico", "esp32", "simulated")

# GPIOs that may carry an ADC input, and GPIOs that must not drive a relay, per chip.
# RP2040: GPIO15 is driven for about 1 ms by the SDK's RP2040-E5 workaround on B0/B1 silicon;
# 23, 24, 25 and 29 serve the radio or the regulator. ESP32: strapping pins glitch at reset,
# 6 to 11 belong to the flash, 34 to 39 are inputs only, 1 and 3 are the console.
_ADC_PINS = {
    "rp2040": (26, 27, 28),
    "esp32": (32, 33, 34, 35, 36, 39),
}
_NO_RELAY_PINS = {
    "rp2040": (15, 23, 24, 25, 29),
    "esp32": (0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 15, 34, 35, 36, 37, 38, 39),
}
_MAX_PIN = {"rp2040": 29, "esp32": 39}

KINDS = ("voltage", "current", "aux")


class BoardError(Exception):
    """A board's name or table is wrong; the text says what and what is allowed."""


class Channel:
    """One analogue input.

    `full_scale` is the instantaneous value at 2048 counts from mid-scale:
    mA (kind current), mV (kind voltage), mV at the pin (kind aux).
    """

    def __init__(self, index: int, row: dict):
        self.index = index
        self.name = row["name"]
        self.kind = row["kind"]
        self.adc = row["adc"]
        self.mux = row.get("mux")
        self.full_scale = row["full_scale"]


class Outlet:
    """One outlet: its relay (GPIO, active high), rating, legs, voltage source and priority.

    `volts`: 0 = L1 to neutral, 1 = L2 to neutral, 2 = L1 to L2. `legs`: indexes of the legs it
    loads. `priority`: 1 is kept longest, 9 is shed first. `channel`: index of its current channel.
    """

    def __init__(self, index: int, row: dict, channel: int):
        self.index = index
        self.name = row["name"]
        self.relay = row["relay"]
        self.rating_ma = row["rating_ma"]
        self.legs = tuple(row["legs"])
        self.volts = row["volts"]
        self.priority = row["priority"]
        self.channel = channel


class Board:
    """A validated board table."""

    def __init__(self, table: dict):
        self.name = table["name"]
        self.chip = table["chip"]
        self.hal = table["hal"]
        self.scan_period_us = table["scan_period_us"]
        self.adc_bits = 12
        self.mux_address = tuple(table["mux_address"])
        self.channels = tuple(Channel(i, row) for i, row in enumerate(table["channels"]))
        self.legs = tuple(table["legs"])
        self.leg_limit_ma = table["leg_limit_ma"]
        self.total_w = table["total_w"]
        self.contactor = table.get("contactor")
        self.inputs = table.get("inputs", {})
        self.heap_bytes = table.get("heap_bytes", 190_000)
        outlets = []
        for i, row in enumerate(table["outlets"]):
            outlets.append(Outlet(i, row, self.channel_index(row["name"])))
        self.outlets = tuple(outlets)
        self.voltages = sum(1 for c in self.channels if c.kind == "voltage")
        self.mux_adc = self.channels[0].adc if self.mux_address else None

    def channel_index(self, name: str) -> int:
        """Index of the channel called `name`; BoardError when there is none."""
        for channel in self.channels:
            if channel.name == name:
                return channel.index
        raise BoardError(
            "board %s: no channel called %s (there are: %s)"
            % (self.name, name, " ".join(c.name for c in self.channels))
        )

    def outlet_index(self, name: str) -> int:
        """Index of the outlet called `name`, or -1."""
        for outlet in self.outlets:
            if outlet.name == name:
                return outlet.index
        return -1

    def aux(self, name: str) -> int:
        """Index of the aux channel called `name`, or -1 when the board has none."""
        for channel in self.channels:
            if channel.kind == "aux" and channel.name == name:
                return channel.index
        return -1


def names() -> tuple:
    """The boards that exist."""
    return _BOARDS


def load(name: str) -> Board:
    """The board called `name`, validated; BoardError says what is wrong with name or table."""
    if name not in _BOARDS:
        raise BoardError("unknown board '%s' (there are: %s)" % (name, " ".join(_BOARDS)))
    module = __import__("firmware.board." + name, None, None, ("BOARD",))
    return check(module.BOARD)


def check(table: dict) -> Board:
    """Validate a table and build its Board; BoardError for the first mistake found."""
    where = "board %s: " % table.get("name", "?")
    for key in ("name", "chip", "hal", "scan_period_us", "mux_address", "channels", "outlets"):
        if key not in table:
            raise BoardError(where + "'%s' is missing" % key)
    chip = table["chip"]
    if chip not in _ADC_PINS:
        raise BoardError(where + "chip '%s' is not one of %s" % (chip, " ".join(_ADC_PINS)))
    used = {}

    def take(pin, what):
        if not isinstance(pin, int) or not 0 <= pin <= _MAX_PIN[chip]:
            raise BoardError(
                where + "%s: pin %s is not a GPIO from 0 to %d" % (what, pin, _MAX_PIN[chip])
            )
        if pin in used:
            raise BoardError(where + "pin %d is used by %s and by %s" % (pin, used[pin], what))
        used[pin] = what

    if not 200 <= table["scan_period_us"] <= 2000:
        raise BoardError(where + "scan_period_us must be 200 to 2000")
    for bit, pin in enumerate(table["mux_address"]):
        take(pin, "multiplexer address bit %d" % bit)
    _check_channels(table, where, chip, take)
    for name, pin in table.get("inputs", {}).items():
        take(pin, "input " + name)
    if table.get("contactor") is not None:
        _take_relay(table["contactor"], "main contactor", where, chip, take)
    _check_outlets(table, where, chip, take)
    return Board(table)


def _take_relay(pin, what, where, chip, take):
    if pin in _NO_RELAY_PINS[chip]:
        raise BoardError(where + "%s: pin %d may glitch or drive something else" % (what, pin))
    take(pin, what)


def _check_channels(table, where, chip, take):
    seen = {}
    analogue = set()
    kinds = [row["kind"] for row in table["channels"]]
    if not kinds or kinds[0] != "voltage":
        raise BoardError(where + "the first channel must be a voltage (the window locks to it)")
    n_volts = sum(1 for kind in kinds if kind == "voltage")
    if n_volts > 2 or "voltage" in kinds[n_volts:]:
        raise BoardError(where + "one or two voltage channels, before all others")
    for row in table["channels"]:
        name = row["name"]
        if row["kind"] not in KINDS:
            raise BoardError(where + "channel %s: kind is one of %s" % (name, " ".join(KINDS)))
        if name in seen:
            raise BoardError(where + "two channels are called %s" % name)
        seen[name] = True
        if row["adc"] not in _ADC_PINS[chip]:
            raise BoardError(
                where
                + "channel %s: pin %s has no usable ADC (there are: %s)"
                % (name, row["adc"], " ".join(str(p) for p in _ADC_PINS[chip]))
            )
        mux = row.get("mux")
        if mux is None:
            take(row["adc"], "channel " + name)
        else:
            if not 0 <= mux < 1 << len(table["mux_address"]):
                raise BoardError(where + "channel %s: no multiplexer address %d" % (name, mux))
            if (row["adc"], mux) in analogue:
                raise BoardError(where + "channel %s: address %d is taken" % (name, mux))
            if not analogue:
                take(row["adc"], "multiplexer output")
            analogue.add((row["adc"], mux))
        if row["full_scale"] <= 0:
            raise BoardError(where + "channel %s: full_scale must be positive" % name)


def _check_outlets(table, where, chip, take):
    legs = len(table["legs"])
    currents = {row["name"]: row for row in table["channels"] if row["kind"] == "current"}
    for row in table["outlets"]:
        name = row["name"]
        _take_relay(row["relay"], "relay of " + name, where, chip, take)
        if name not in currents:
            raise BoardError(where + "outlet %s has no current channel of that name" % name)
        if row["volts"] not in (0, 1, 2):
            raise BoardError(where + "outlet %s: volts is 0 (L1), 1 (L2) or 2 (L1-L2)" % name)
        if not row["legs"] or min(row["legs"]) < 0 or max(row["legs"]) >= legs:
            raise BoardError(where + "outlet %s: legs are 0 to %d" % (name, legs - 1))
        if not 1 <= row["priority"] <= 9:
            raise BoardError(where + "outlet %s: priority is 1 to 9" % name)
        # The peak stage (8 x sqrt 2) must lie inside what the sensor can show.
        if currents[name]["full_scale"] * 10 < row["rating_ma"] * 115:
            raise BoardError(
                where + "outlet %s: its sensor must reach 11.5 times the rating" % name
            )


# What MicroPython calls the machine -> our board. The longer text first: "Pico" is in "Pico W".
_MACHINES = (("Pico W", "pico_w"), ("Pico", "pico"), ("ESP32", "esp32"), ("linux", "simulated"))
_CHOICE_FILE = "board.txt"


def detect() -> str:
    """Name of this machine's board: the word in `board.txt`, else by MicroPython's own name."""
    try:
        with open(_CHOICE_FILE) as file:
            return file.read().strip()
    except OSError:
        pass
    import sys

    machine_name = getattr(sys.implementation, "_machine", sys.platform)
    for text, name in _MACHINES:
        if text in machine_name:
            return name
    return "simulated"


def relay_pins() -> list:
    """GPIOs of all relays and the contactor of this machine's board, unvalidated: for boot.py,
    which must be quick, and for whoever has to open everything when the rest is broken."""
    name = detect()
    if name not in _BOARDS:
        raise BoardError("board.txt: unknown board '%s' (there are: %s)" % (name, " ".join(_BOARDS)))
    table = __import__("firmware.board." + name, None, None, ("BOARD",)).BOARD
    pins = [row["relay"] for row in table["outlets"]]
    if table.get("contactor") is not None:
        pins.append(table["contactor"])
    return pins

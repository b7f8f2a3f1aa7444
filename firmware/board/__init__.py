# Board tables: what is wired where. Read at boot by app.py and by boot.py; on the host by the
# simulator. A table is plain data; load() validates it, so that a wiring mistake is a sentence
# at boot and not a relay that closes by surprise.

from firmware import pieces

_BOARDS = ("pico_w", "pico", "esp32", "simulated", "pico_w_home", "simulated_home")
_TABLES = (
    "firmware.board.pico_w",
    "firmware.board.pico",
    "firmware.board.esp32",
    "firmware.board.simulated",
    "firmware.board.pico_w_home",
    "firmware.board.simulated_home",
)


class BoardError(Exception):
    """A board's name or table is wrong; the text says what and what is allowed."""


class Channel:
    """One analogue input.

    `full_scale` is the instantaneous value at 2048 counts from mid-scale:
    mA (kind current), mV (kind voltage), mV at the pin (kind aux). `twice`: converted two times
    each scan, for less noise (RP2040).
    """

    def __init__(self, index: int, row: dict):
        self.index = index
        self.name = row["name"]
        self.kind = row["kind"]
        self.adc = row["adc"]
        self.mux = row.get("mux")
        self.full_scale = row["full_scale"]
        self.twice = row.get("twice", False)


class Outlet:
    """One outlet: its relay (GPIO, active high), rating, legs, voltage source and priority.

    `volts`: 0 = L1 to neutral, 1 = L2 to neutral, 2 = L1 to L2. `legs`: indexes of the legs it
    loads. `priority`: 1 is kept longest, 9 is shed first. `channel`: index of its current channel.
    `breaking_ma`: what its relay can break, RMS (default: 5 times the rating). `gang`: outlets of
    the same gang are the poles of one feed: they share a relay, close together, and open together
    whichever of them trips; "": it stands alone.
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
        self.breaking_ma = row.get("breaking_ma", self.rating_ma * 5)
        self.gang = row.get("gang", "")


class Board:
    """A validated board table.

    `skew_us`: per channel, how long after the first one it is converted. `adc_errata`: "e11" for a
    converter with the flaw RP2040-E11, else None. `adc_mid_uv`, `adc_span_uv`: what makes code
    2048, and how much more makes 4096, where the converter is read in uV; else None. `uart`:
    number, TX and RX of the second console, or None. `power`: what exports power beside the
    outlets, or None.
    """

    def __init__(self, table: dict):  # on demand: boot
        self.name = table["name"]
        self.chip = table["chip"]
        self.hal = table["hal"]
        self.scan_period_us = table["scan_period_us"]
        self.adc_bits = 12
        self.adc_errata = table.get("adc_errata")
        self.adc_mid_uv = table.get("adc_mid_uv")
        self.adc_span_uv = table.get("adc_span_uv")
        self.mux_address = tuple(table["mux_address"])
        self.channels = tuple(Channel(i, row) for i, row in enumerate(table["channels"]))
        skew = table["skew_us"]  # of all channels, or from each to the next
        if isinstance(skew, int):
            skew = [skew * c.index for c in self.channels]
        self.skew_us = tuple(skew)
        self.legs = tuple(table["legs"])
        self.leg_limit_ma = table["leg_limit_ma"]
        self.total_w = table["total_w"]
        self.contactor = table.get("contactor")
        self.inputs = table.get("inputs", {})
        self.uart = table.get("uart")
        self.fram = table.get("fram")  # pins SCL and SDA of an optional FRAM
        # pins of the transfer switch, of a charger and of an inverter, see pico_w_home.py; or None
        self.power = table.get("power")
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

    def has_gangs(self) -> bool:  # on demand: boot
        """Whether outlets are poles of one feed."""
        return any([x.gang for x in self.outlets])

    def aux(self, name: str) -> int:
        """Index of the aux channel called `name`, or -1 when the board has none."""
        for channel in self.channels:
            if channel.kind == "aux" and channel.name == name:
                return channel.index
        return -1


def _table(name: str) -> dict:
    board: dict = pieces.once(_TABLES[_BOARDS.index(name)]).BOARD
    pieces.drop(*_TABLES)  # one may be made of another
    return board


def names() -> tuple:
    """The boards that exist."""
    return _BOARDS


def load(name: str) -> Board:
    """The board called `name`, validated; BoardError says what is wrong with name or table."""
    if name not in _BOARDS:
        raise BoardError("unknown board '%s' (there are: %s)" % (name, " ".join(_BOARDS)))
    table = _table(name)
    pieces.once("firmware.board.validate").check(table)
    return Board(table)  # which holds all that is wanted from now on


# What MicroPython calls the machine -> our board. With the chip's name: a Pico 2 (RP2350) has
# other registers, and the sampler writes to registers.
_MACHINES = (
    ("Pico W with RP2040", "pico_w"),
    ("Pico with RP2040", "pico"),
    ("with ESP32", "esp32"),
    ("linux", "simulated"),
    ("darwin", "simulated"),
)
_CHOICE_FILE = "board.txt"


def detect() -> str:
    """Name of this machine's board: the word in `board.txt`, else by MicroPython's own name.

    BoardError for a machine without a table of its own."""
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
    raise BoardError(
        "there is no board for '%s': write one of these into %s: %s"
        % (machine_name, _CHOICE_FILE, " ".join(_BOARDS))
    )


# Kept from the first call on: when the memory is what is broken, no table can be loaded.
_relay_pins: dict = {}


def relay_pins() -> list:
    """GPIOs of all relays and the contactor of this machine's board, unvalidated: for boot.py,
    which must be quick, and for whoever has to open everything when the rest is broken."""
    name = detect()
    if name not in _BOARDS:
        known = " ".join(_BOARDS)
        raise BoardError("board.txt: unknown board '%s' (there are: %s)" % (name, known))
    if name not in _relay_pins:
        table = _table(name)
        pins = [row["relay"] for row in table["outlets"]]
        if table.get("contactor") is not None:
            pins.append(table["contactor"])
        if table.get("power") is not None:
            pins.extend(table["power"]["contacts"])
            pins.append(table["power"]["permit"])
        _relay_pins[name] = pins
    return _relay_pins[name]

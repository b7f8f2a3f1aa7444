# Is a board table sound? Run once at boot by board.load(), which drops this module again: its
# 5 KB are worth more as heap.

from firmware.board import BoardError

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

_KINDS = ("voltage", "current", "aux", "sense")  # sense: a voltage beside the supply
_WIRING = ("name", "chip", "hal", "scan_period_us", "mux_address", "channels", "outlets", "legs")
_KEYS = _WIRING + ("leg_limit_ma", "total_w", "skew_us")
_CHANNEL_KEYS = ("name", "kind", "adc", "full_scale")
_OUTLET_KEYS = ("name", "relay", "rating_ma", "legs", "volts", "priority")
# The kernel's window holds 64 scans at most, and a cycle of 50 Hz, 12 % slow, has to fit.
_PERIOD_US = (350, 2000)


def _need(row, keys, where):
    for key in keys:
        if key not in row:
            raise BoardError(where + "'%s' is missing" % key)


def check(table: dict):
    """BoardError for the first mistake found in a table."""
    where = "board %s: " % table.get("name", "?")
    _need(table, _KEYS, where)
    for row in table["channels"]:
        _need(row, _CHANNEL_KEYS, where + "channel %s: " % row.get("name", "?"))
    for row in table["outlets"]:
        _need(row, _OUTLET_KEYS, where + "outlet %s: " % row.get("name", "?"))
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

    if not _PERIOD_US[0] <= table["scan_period_us"] <= _PERIOD_US[1]:
        raise BoardError(where + "scan_period_us must be %d to %d" % _PERIOD_US)
    for key in ("leg_limit_ma", "total_w"):
        if table[key] <= 0:
            raise BoardError(where + "%s must be positive" % key)
    for bit, pin in enumerate(table["mux_address"]):
        take(pin, "multiplexer address bit %d" % bit)
    _check_channels(table, where, chip, take)
    _check_converter(table, where)
    for name, pin in table.get("inputs", {}).items():
        take(pin, "input " + name)
    for pin, what in zip(table.get("fram") or (), ("SCL", "SDA")):
        take(pin, "FRAM " + what)
    if table.get("uart") is not None:
        number, tx, rx = table["uart"]
        take(tx, "UART TX")
        take(rx, "UART RX")
        # RP2040: each UART can be on certain pins only; ESP32: on any, the console has number 0
        if chip == "rp2040" and [(p + 4) // 8 % 2 for p in (tx, rx)] != [number, number]:
            raise BoardError(where + "UART %s cannot be on pins %s and %s" % table["uart"])
        if (chip == "rp2040" and (tx % 4, rx % 4) != (0, 1)) or number not in (0, 1, 2):
            raise BoardError(where + "UART %s cannot be on pins %s and %s" % table["uart"])
    if table.get("contactor") is not None:
        _take_relay(table["contactor"], "main contactor", where, chip, take)
    _check_outlets(table, where, chip, take)
    if table.get("power") is not None:
        _check_power(table, where, chip, take)


def _check_power(table, where, chip, take):
    power = table["power"]
    _need(power, ("contacts", "seen", "pilot", "permit", "set_point"), where + "power: ")
    source = [row["relay"] for row in table["outlets"] if row.get("gang") == "home"]
    if len(source) != 2 or source[0] != power["contacts"][1]:
        raise BoardError(where + "power: the source contact is the relay of both poles of home")
    for pin, what in zip(power["contacts"], ("grid", "source", "bond")):
        if what != "source":
            _take_relay(pin, what + " contact", where, chip, take)
    for pin, what in zip(power["seen"], ("grid", "source", "bond")):
        take(pin, "auxiliary contact of " + what)
    for what in ("pilot", "permit"):  # these let power flow
        _take_relay(power[what], "power " + what, where, chip, take)
    for what in ("set_point", "ground_test"):
        if what in power:  # the last one may be missing
            take(power[what], "power " + what)


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
        if row["kind"] not in _KINDS:
            raise BoardError(where + "channel %s: kind is one of %s" % (name, " ".join(_KINDS)))
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
            if row["adc"] not in [pin for pin, _ in analogue]:
                take(row["adc"], "multiplexer output")
            analogue.add((row["adc"], mux))
        if row["full_scale"] <= 0:
            raise BoardError(where + "channel %s: full_scale must be positive" % name)


def _check_converter(table, where):
    skew = table["skew_us"]
    if not isinstance(skew, int):
        if len(skew) != len(table["channels"]) or list(skew) != sorted(skew) or skew[0] != 0:
            raise BoardError(where + "skew_us: a time for each channel, in order, from 0")
        skew = skew[-1] / (len(skew) - 1)
    if not 0 <= skew * len(table["channels"]) <= table["scan_period_us"]:
        raise BoardError(where + "skew_us: all channels must fit into a scan")
    if table.get("adc_errata") not in (None, "e11"):
        raise BoardError(where + "adc_errata is 'e11' or None")
    mid = table.get("adc_mid_uv")
    span = table.get("adc_span_uv")
    if (mid is None) != (span is None):
        raise BoardError(where + "adc_mid_uv and adc_span_uv: both or none")
    if mid is not None and not 700_000 <= span <= mid <= 3_300_000 - span:
        raise BoardError(
            where + "adc_span_uv is from 700000 up, and adc_mid_uv that far from 0 and 3300000"
        )


def _check_outlets(table, where, chip, take):
    legs = len(table["legs"])
    currents = {row["name"]: row for row in table["channels"] if row["kind"] == "current"}
    seen = []
    gangs: dict = {}
    for row in table["outlets"]:
        name = row["name"]
        if name in seen:  # they would share a current sensor
            raise BoardError(where + "two outlets are called %s" % name)
        seen.append(name)
        gang = row.get("gang")
        if not gang or gang not in gangs:  # its poles share the relay
            _take_relay(row["relay"], "relay of " + name, where, chip, take)
            gangs[gang] = row["relay"]
        elif gangs[gang] != row["relay"]:
            raise BoardError(where + "outlets of the gang %s share one relay" % gang)
        if name not in currents:
            raise BoardError(where + "outlet %s has no current channel of that name" % name)
        if row["volts"] not in (0, 1, 2):
            raise BoardError(where + "outlet %s: volts is 0 (L1), 1 (L2) or 2 (L1-L2)" % name)
        if not row["legs"] or min(row["legs"]) < 0 or max(row["legs"]) >= legs:
            raise BoardError(where + "outlet %s: legs are 0 to %d" % (name, legs - 1))
        if len(row["legs"]) != (2 if row["volts"] == 2 else 1):
            raise BoardError(where + "outlet %s: L1-L2 loads two legs, the others one" % name)
        if row["rating_ma"] <= 0:
            raise BoardError(where + "outlet %s: rating_ma must be positive" % name)
        if not 1 <= row["priority"] <= 9:
            raise BoardError(where + "outlet %s: priority is 1 to 9" % name)
        # The peak stage (8 x sqrt 2) must lie inside what the sensor can show.
        if currents[name]["full_scale"] * 10 < row["rating_ma"] * 115:
            raise BoardError(
                where + "outlet %s: its sensor must reach 11.5 times the rating" % name
            )

# Which settings go with each other and with the board, beyond the range of each. Loaded when one
# of them is set, and dropped again. Called by Settings.

from firmware import pieces
from firmware.storage.settings import DEFAULT, NAME, SCHEMA, SettingError

# Of two settings the first must stay below the second, or a stage would never act.
_PAIRS = (
    ("supply.loss_percent", "supply.under_percent"),
    ("supply.over_percent", "supply.high_percent"),
    ("temperature.derate_c", "temperature.trip_c"),
)
# What falls back with a charger that cannot be: bed240 is an outlet then, whose plug may be a
# car's, and must not go on by itself.
_CHARGER = ("vehicle.enabled", "bed240.after_boot")
# What the board must have for a setting to be anything but its default.
_NEEDS = (
    ("gfci.input", "gfci"),
    ("contactor.feedback", "contactor_feedback"),
    ("temperature.sensor", "temperature"),
    ("grid.island_input", "island"),
)


def _clash(text: str, *names) -> SettingError:
    """What to raise; `names`: of a stored file these fall back."""
    error = SettingError(text)
    error.names = names
    return error


def fit(settings, board, new: dict):
    """SettingError when `new` values do not go with each other, the others, or the board."""
    for low, high in _PAIRS:
        if low in new or high in new:
            least = new.get(low, settings.get(low))
            most = new.get(high, settings.get(high))
            if least >= most:
                name, what, than, bound = low, "below", high, most
                if low not in new:
                    name, what, than, bound = high, "above", low, least
                raise _clash(
                    "%s: '%s' is not allowed (allowed: %s %s, which is %s)"
                    % (name, new[name], what, than, bound),
                    low,
                    high,
                )
    get = settings.get
    # What is lowered below it later holds at once: the least of them counts.
    watts = new.get("grid.power_w")
    if watts is not None and watts != get("grid.power_w"):
        for most in ("grid.most_w", "grid.rating_w"):
            if most not in new and watts > get(most):
                raise _clash(
                    "grid.power_w: '%s' is not allowed (allowed: 0 to %s W, which is %s)"
                    % (watts, get(most), most),
                    "grid.power_w",
                )
    if new.get("vehicle.enabled", get("vehicle.enabled")):
        if board.power is None:
            raise _clash(
                "vehicle.enabled: board %s has no charger (allowed: off)" % board.name, *_CHARGER
            )
        source = new.get("vehicle.gfci", get("vehicle.gfci"))
        if source != "breaker" and new.get("gfci.input", get("gfci.input")) == "none":
            raise _clash(
                "vehicle.enabled: no car without a ground-fault interrupter (allowed: first wire "
                "one to gfci.input, or set vehicle.gfci breaker when bed240's circuit has its "
                "own)",
                *_CHARGER,
            )
    if new.get("vehicle.gfci", get("vehicle.gfci")) == "tested":
        if board.power is None or "ground_test" not in board.power:
            raise _clash(
                "vehicle.gfci: board %s has no pin for the test (allowed: input or breaker)"
                % board.name,
                "vehicle.gfci",
            )
        for outlet in board.outlets:
            name = outlet.name + ".gfci"
            if outlet.name != "bed240" and new.get(name, get(name)):
                if name in new:
                    text = "%s: a test would trip it (allowed: off, while vehicle.gfci is tested)"
                    raise _clash(text % name, "vehicle.gfci")
                raise _clash(
                    "vehicle.gfci: a test would trip %s, too (allowed: first set %s off)"
                    % (outlet.name, name),
                    "vehicle.gfci",
                )
    if new.get("tariff.peak"):
        _span(new["tariff.peak"])
    if new.get("grid.enabled") and board.power is None:
        raise _clash(
            "grid.enabled: board %s exports nothing to a grid (allowed: off)" % board.name,
            "grid.enabled",
        )
    for name, other in (("grid.profile", "supply.hz"), ("supply.hz", "grid.profile")):
        both = (
            new.get("grid.profile", get("grid.profile")),
            new.get("supply.hz", get("supply.hz")),
        )
        if name in new and both == ("ieee1547", 50):
            raise _clash(
                "%s: '%s' is not allowed (allowed: what goes with %s %s; ieee1547 is for 60 Hz, "
                "and there is no profile for 50 Hz)" % (name, new[name], other, get(other)),
                "grid.profile",
            )
    if new.get("home.mode", "off") != "off" and board.power is None:
        raise _clash(
            "home.mode: board %s has no transfer switch (allowed: off)" % board.name,
            "home.mode",
        )
    for name, thing in _NEEDS:
        if name in new and thing not in board.inputs and board.aux(thing) < 0:
            default = next(row[DEFAULT] for row in SCHEMA if row[NAME] == name)
            if new[name] != default:
                raise _clash(
                    "%s: board %s has no input '%s' (allowed: %s)"
                    % (name, board.name, thing, default or "auto"),
                    name,
                )


def _span(text):
    """SettingError when the hours of the peak rates are not understood."""
    schedule = pieces.once("firmware.power.schedule")
    why = "it is one span"
    if ";" not in text:
        try:
            schedule.parse(text + " peak", ("peak",))
            return
        except schedule.ScheduleError as error:
            why = str(error)
    raise _clash(
        "tariff.peak: %s (allowed: days and times like mon-fri 17:00-21:00, or nothing)" % why,
        "tariff.peak",
    )

# Which settings go with each other and with the board, beyond the range of each. Loaded when one
# of them is set, and dropped again. Called by Settings.

from firmware.storage.settings import DEFAULT, NAME, SCHEMA, SettingError

# Of two settings the first must stay below the second, or a stage would never act.
_PAIRS = (
    ("supply.loss_percent", "supply.under_percent"),
    ("supply.over_percent", "supply.high_percent"),
    ("temperature.derate_c", "temperature.trip_c"),
)
# What the board must have for a setting to be anything but its default.
_NEEDS = (
    ("gfci.input", "gfci"),
    ("contactor.feedback", "contactor_feedback"),
    ("temperature.sensor", "temperature"),
)


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
                raise SettingError(
                    "%s: '%s' is not allowed (allowed: %s %s, which is %s)"
                    % (name, new[name], what, than, bound)
                )
    for name, thing in _NEEDS:
        if name in new and thing not in board.inputs and board.aux(thing) < 0:
            default = next(row[DEFAULT] for row in SCHEMA if row[NAME] == name)
            if new[name] != default:
                raise SettingError(
                    "%s: board %s has no input '%s' (allowed: %s)"
                    % (name, board.name, thing, settings.text(name))
                )

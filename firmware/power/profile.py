# What a mode means: its name, and the text of its setting as numbers. Called when a setting is
# checked (storage/settings.py) and by power/modes.py when a mode begins; dropped in between.
#
# A profile is words of key=value: "total_w=3000 reserve=30 quiet=22:00-6:00 quiet_w=800
# priorities=cabin1,bed1". What is not said is as the built-in profile has it.

from firmware.power.schedule import ScheduleError, _minute

NAMES = ("outlets", "worksite", "camp", "home", "vehicle", "grid")
# the first so many need nothing but outlets
PLAIN = 3
# total W and leg mA (of outlets through the bed and cabin: 9.6 kW; through the charge port:
# 11.5 kW), reserve in permille, quiet hours (minutes of the day), W in them
_BASE = (
    (9_600, 40_000, 200, -1, 0, 1_500),
    (9_600, 40_000, 100, -1, 0, 1_500),
    (5_000, 40_000, 300, 22 * 60, 6 * 60, 1_500),
    (11_500, 48_000, 200, -1, 0, 1_500),
    (9_600, 40_000, 300, -1, 0, 1_500),
    (11_500, 48_000, 400, -1, 0, 1_500),
)
# what the modes home and vehicle are there for comes first
_FIRST = ((), (), (), ("home_l1", "home_l2"), ("bed240",), ())
_CAMP = 2
_HOME = 3
_KEYS = ("total_w", "leg_a", "reserve", "quiet", "quiet_w", "priorities")


class ProfileError(ValueError):
    """A profile was refused; the text says which word, and what is allowed."""


class Profile:
    """`total_w`, `leg_ma`: limits, 100 W and 1 A or more; `fed_w`, `fed_ma`: while the vehicle
    feeds the home; `reserve`: permille of the battery that
    are kept back; `quiet`: (first minute, last minute) of the day or None; `quiet_w`: limit of the
    total then; `order`: names of outlets, the most important first; what is not in it follows in
    the order of its own priority."""

    def __init__(self, index: int):
        total_w, leg_ma, reserve, begin, end, quiet_w = _BASE[index]
        self.total_w = total_w
        self.leg_ma = leg_ma
        self.reserve = reserve
        self.quiet = (begin, end) if begin >= 0 else None
        self.quiet_w = quiet_w
        self.order: tuple = _FIRST[index]
        # What holds while the home is fed: the charge port gives it more than the outlets have,
        # in modes that are not low on purpose.
        self.fed_w, self.fed_ma = self.total_w, self.leg_ma
        if index != _CAMP:
            self.fed_w, self.fed_ma = _BASE[_HOME][:2]

    def is_quiet(self, minute: int) -> bool:
        """Whether a minute of the day (0 to 1439) lies in the quiet hours."""
        if self.quiet is None:
            return False
        begin, end = self.quiet
        if begin <= end:
            return begin <= minute < end
        return minute >= begin or minute < end


def _number(key, word, low, high, unit, scale=1):
    try:
        value = float(word)
    except ValueError:
        value = -1.0
    if not low <= value <= high:
        raise ProfileError(
            "%s=%s is not allowed (allowed: %s to %s %s)" % (key, word[:24], low, high, unit)
        )
    return int(value * scale + 0.5)


def parse(text: str, index: int, board) -> Profile:
    """The profile of mode `index` (of NAMES) on a board, with the owner's text over it;
    ProfileError."""
    profile = Profile(index)
    most_a = board.leg_limit_ma / 1000
    profile.total_w = min(profile.total_w, board.total_w)
    profile.leg_ma = min(profile.leg_ma, board.leg_limit_ma)
    profile.fed_w = min(profile.fed_w, board.total_w)
    profile.fed_ma = min(profile.fed_ma, board.leg_limit_ma)
    seen = []
    for word in text.split():
        key, _, value = word.partition("=")
        if key not in _KEYS or not value:
            raise ProfileError(
                "'%s' is not allowed (allowed: words like total_w=3000, of %s)"
                % (word[:24], " ".join(_KEYS))
            )
        if key in seen:
            raise ProfileError("%s is said twice" % key)
        seen.append(key)
        if key == "total_w":
            profile.fed_w = profile.total_w = _number(key, value, 100, board.total_w, "W")
        elif key == "leg_a":
            profile.fed_ma = profile.leg_ma = _number(key, value, 1, most_a, "A", 1000)
        elif key == "reserve":
            profile.reserve = _number(key, value, 0, 90, "%", 10)
        elif key == "quiet_w":
            profile.quiet_w = _number(key, value, 100, board.total_w, "W")
        elif key == "quiet":
            profile.quiet = _span(value)
        else:
            profile.order = _order(value, board)
    return profile


def _span(word):
    """(first, last minute) of `22:00-6:00`; None of `none`."""
    if word == "none":
        return None
    times = word.split("-")
    try:
        if len(times) == 2:
            begin, end = [_minute(time, word) % 1440 for time in times]
            if begin != end:
                return begin, end
    except ScheduleError:
        pass
    raise ProfileError("quiet=%s is not allowed (allowed: like 22:00-6:00, or none)" % word[:24])


def _order(word, board):
    order = tuple(word.split(","))
    names = [outlet.name for outlet in board.outlets]
    for i, name in enumerate(order):
        if name not in names or name in order[:i]:
            raise ProfileError(
                "priorities=%s is not allowed (allowed: some of %s, each once)"
                % (word[:40], ",".join(names))
            )
    return order


def names(board) -> tuple:
    """The modes that a board can have."""
    return NAMES if board.power is not None else NAMES[:PLAIN]


def check(name: str, value: str, board) -> str:
    """The value that the setting `name` (mode.<mode>, mode.schedule) stores; ValueError says
    what is wrong with it."""
    if name == "mode.schedule":
        from firmware.power import schedule

        try:
            schedule.parse(value, names(board))
        except ScheduleError as error:
            raise ProfileError(str(error))
    else:
        parse(value, NAMES.index(name[5:]), board)
    return " ".join(value.split())

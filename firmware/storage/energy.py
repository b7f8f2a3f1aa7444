# The energy periods that are running: since when, and what the counters stood at then. Small,
# because it is in memory all the time; accounts.py, which closes them, is loaded four times an
# hour, and history.py when somebody reads. Called by the outer lane: storage task, reports.

from micropython import const

from firmware import pieces
from firmware.storage import files

_QUARTER_S = const(900)  # every zone is some quarters of an hour from UTC

# Counters beyond those of the outlets, where power is exported through a charge port: energy by
# feed and direction in mWh, then money in millionths. flows.py counts them.
HOME_OUT = const(0)
HOME_IN = const(1)
GRID_OUT = const(2)
GRID_IN = const(3)
MONEY = const(4)  # from here on: paid, earned
FLOWS = const(6)
NAMES = ("home_out", "home_in", "grid_out", "grid_in")  # on demand


class Energy:
    """State that these work on. `count`: how many counters there are; `summed`: how many of them
    are in the total; `more`: the values of the others, which nothing else keeps."""

    def __init__(self, folder: str, count: int, more: int = 0):
        self.folder = folder
        self.summed = count
        self.count = count + more
        self.more = [0] * more
        self.periods = [-1, -1, -1]  # the period that each kind is in
        self.begun: list = [None, None, None]  # Wh when it began
        self.quarter = 0  # utc // 900 up to which periods are closed
        self.edge = 0  # the same in seconds
        self.known = 0  # utc of the last look at the counters
        self.wh: list = [0] * self.count  # what they were
        self.offset = 0  # utc at uptime 0, as it was then
        self.seen: list = []  # [utc, Wh]: when the counters were saved with the time known
        self.is_known = False  # whether today is
        self.day_wh = 0  # all counters together when it began
        self.waiting: list = []  # closed periods that are not on flash yet
        # W of each counter and of all outlets in the best quarter of an hour, yesterday and today
        self.peaks: list = [None, None]
        self.peaks_kept = None  # today's as they are on flash
        self.peak_edge = 0  # end of the quarter that was looked at last, and the Wh then
        self.peak_wh: list = []

    def accounts(self):
        """The module accounts, for as long as somebody uses it."""
        pieces.collect()
        from firmware.storage import accounts

        pieces.drop("firmware.storage.accounts", "firmware.storage.history", "firmware.timezone")
        return accounts

    def follow(self, utc: int, up_s: int, rule: str, read):
        """Each half second, without touching flash (it may be read): `utc` 0 while unknown,
        `up_s` the uptime, `rule` of the time zone, `read()` gives the counters in mWh."""
        if utc and utc // _QUARTER_S != self.quarter:
            try:
                self.accounts().advance(self, utc, up_s, rule, whole_wh(read()))
            except MemoryError:
                pass  # half a second later: it makes up for the time since

    def flush(self):
        """Write a record that waits. Raises files.StorageError."""
        try:
            self.accounts().flush(self)
        except MemoryError:
            raise files.StorageError("not enough memory to write the energy history")

    def mark(self, utc: int, totals_mwh):
        """What is to be saved with the counters: [utc, Wh], the Wh None when they are the
        counters' own; None when the time was never known."""
        if utc and self.is_known:
            self.seen = [utc, whole_wh(totals_mwh)]
            return [utc, None]
        return self.seen or None

    def today_wh(self, total_wh: int):
        """Of all counters together since midnight, or None while the time is unknown."""
        return max(total_wh - self.day_wh, 0) if self.is_known else None


def whole_wh(totals_mwh) -> list:
    """Counters in mWh as the Wh that records hold."""
    return [int(x) // 1000 for x in totals_mwh]

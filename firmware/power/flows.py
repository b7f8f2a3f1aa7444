# Energy by feed and direction: out of the charge port to the home, to the grid, and back in; and
# what the grid's part has cost and earned at the tariff. Called by station.py: window() in the
# control lane counts (allocates nothing), run_s() in the outer lane books it into the counters of
# storage/energy.py, which the storage task saves with those of the outlets.

from array import array

from micropython import const

from firmware import pieces
from firmware.protection import outlet as o
from firmware.storage.energy import GRID_IN, GRID_OUT, HOME_OUT, MONEY

_M_VX = const(14)  # reduce.M_...
_M_E_UNIT = const(19)
_MINUTE_S = const(60)


class Flows:
    """`on_home`: what flows now is the home's."""

    def __init__(self, station):
        self.station = station
        self.controller = station.controller
        self.on_home = False
        self._poles = [x for x in self.controller.outlets if x.outlet.gang == "home"]
        self._rest = array("i", bytes(4 * len(self._poles)))  # below 1 mWh, sums of v x i
        self._mwh = array("i", bytes(4 * MONEY))  # not booked yet
        # thousandths of a cent: import, export, both at the peak
        self._rates: tuple = (0, 0, 0, 0)
        self._span = (0, 0, 0)  # bits of the days, first minute, minutes of the dear hours
        self._left = [0, 0]  # of paid and earned: below a millionth
        self._minute = -1
        self.is_peak = False
        self.configure()

    def configure(self):
        """Take over the tariff."""
        get = self.station.app.settings.get
        names = ("import", "export", "import2", "export2")
        self._rates = tuple([int(get("tariff.%s_ct" % name) * 1000 + 0.5) for name in names])
        self._span = _span(get("tariff.peak"))
        self._minute = -1

    # -- control lane ----------------------------------------------------------------------------

    def turn(self, ms: int):
        pass

    def second(self):
        pass

    def window(self, ms: int):
        """Count what has flowed in a window: v x i of each pole, in steps of 1 mWh. It is the
        home's while the contact between both is closed, and has just been."""
        meter = self.controller.meter
        block = meter.block
        on_home = False
        for pole in self._poles:
            if o.energised(pole.state) or not pole.at_rest:
                on_home = True
        self.on_home = on_home
        first = HOME_OUT if on_home else GRID_OUT
        rest = self._rest
        mwh = self._mwh
        i = 0
        for pole in self._poles:
            at = pole.base
            unit = block[at + _M_E_UNIT]
            vx = block[at + _M_VX]
            for _ in range(meter.periods):
                sum_ = rest[i] + vx
                if sum_ >= unit or -sum_ >= unit:
                    if sum_ > 0:
                        steps = sum_ // unit
                        mwh[first] += steps
                    else:
                        steps = -(-sum_ // unit)
                        mwh[first + 1] -= steps
                    sum_ -= steps * unit
                rest[i] = sum_
            i += 1

    # -- outer lane ------------------------------------------------------------------------------

    def run_s(self, now_s: int):
        """Once a second: what has been counted goes into the counters, at the tariff of now."""
        self._look()
        more = self.station.app.energy.more
        mwh = self._mwh
        rates = self._rates
        if self.is_peak:
            rates = rates[2:]
        for i in range(MONEY):
            step = mwh[i]
            if not step:
                continue
            mwh[i] -= step  # the control lane may have gone on
            more[i] += step
            if i >= GRID_OUT:
                # 1 mWh at 1/1000 ct a kWh is 1e-9 ct, which is 1e-5 of a millionth
                k = 0 if i == GRID_IN else 1
                left = self._left[k] + step * rates[k]
                more[MONEY + k] += left // 100_000
                self._left[k] = left % 100_000

    def _look(self):
        """Whether the dear hours hold, looked up once a minute."""
        days, begin, length = self._span
        clock = self.station.app.clock
        utc = clock.wall()
        if not days or not utc:
            self.is_peak = False
            return
        if utc // _MINUTE_S == self._minute:
            return
        self._minute = utc // _MINUTE_S
        self.is_peak = _holds(self.station.app, utc, days, begin, length)

    def blocks(self, index: int) -> tuple:
        return 0, ""

    def report(self, feed: str = "") -> dict:  # on demand
        """Energy of a feed (`home`, `grid`) in kWh, of the grid with what it cost and earned;
        as a part of the station it says nothing."""
        more = self.station.app.energy.more
        if feed == "home":
            return {
                "energy_kwh": round(more[HOME_OUT] / 1e6, 4),
                "returned_kwh": round(more[HOME_OUT + 1] / 1e6, 4),
            }
        if feed != "grid":
            return {}
        return {
            "exported_kwh": round(more[GRID_OUT] / 1e6, 4),
            "imported_kwh": round(more[GRID_IN] / 1e6, 4),
            "paid": round(more[MONEY] / 1e6, 3),
            "earned": round(more[MONEY + 1] / 1e6, 3),
            "tariff": "peak" if self.is_peak else "normal",
        }


def _span(text: str) -> tuple:  # on demand
    """(bits of days, first minute, minutes) of `mon-fri 17:00-21:00`; zeros when there is none."""
    from firmware.power import schedule

    rows = schedule.parse(text + " peak", ("peak",)) if text else ()
    return rows[0][:3] if rows else (0, 0, 0)


def _holds(app, utc: int, days: int, begin: int, length: int) -> bool:  # on demand
    """Whether the dear hours hold at a moment, by local time."""
    from firmware.power import schedule

    timezone = pieces.once("firmware.timezone")
    local = timezone.Zone(app.settings.get("time.zone")).local(utc)
    return schedule.at(((days, begin, length, 0),), local) == 0

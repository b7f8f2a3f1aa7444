# The battery as a part of the station: counts what is taken, keeps the reserve of the mode, sheds
# and stops when it is near. Called by station.py; the logic is battery.py's.


from firmware import events
from firmware.power import battery as b
from firmware.protection import outlet as o


class Reserve:
    """`held`: bits of the outlets that may not be on now; `level`, `known`, `permille`: see
    battery.Battery; `storm`: the storm reserve holds."""

    def __init__(self, station):
        self.station = station
        self._controller = station.controller
        self.battery = b.Battery()
        self.level = b.FULL
        self.held = 0
        self.storm = False
        self.reserve = 0  # permille, of the mode or of the storm
        self.out_mwh = 0  # since the start
        self._mode_reserve = 0
        self.configure()

    @property
    def known(self) -> bool:
        """Whether the state of charge is known."""
        return self.battery.known

    @property
    def permille(self) -> int:
        """State of charge, of the usable capacity."""
        return self.battery.permille

    # -- outer lane --------------------------------------------------------------------------

    def configure(self):
        """Capacity and reserve from the settings and the mode."""
        settings = self.station.app.settings
        self.reserve = self._mode_reserve
        self.storm = settings.get("battery.storm_watch")
        if self.storm:
            self.reserve = max(self.reserve, settings.get("battery.storm") * 10)
        self.battery.configure(
            int(settings.get("battery.usable_kwh") * 1000),
            int(settings.get("battery.extender_kwh") * 1000),
            self.reserve,
        )

    def keep(self, permille: int):
        """The mode's reserve."""
        self._mode_reserve = permille
        self.configure()

    def told(self, percent: float, source: int) -> str:
        """The vehicle or its owner says how full it is, 0 to 100 %; "" or what is doubtful about
        that. ValueError when it cannot be."""
        text = self.battery.told(int(percent * 10 + 0.5))
        if text:
            level = self.battery.level
            self._controller.journal.note(events.BATTERY, -1, events.DOUBT, level, source)
        return text

    def run_s(self, now_s: int):
        pass

    def blocks(self, index: int) -> tuple:
        if self.held >> index & 1:
            return events.RESERVE, self.why()
        return 0, ""

    def why(self) -> str:
        """Why something is held back, in a sentence."""
        kept = "%d %% are kept back" % (self.reserve // 10)
        if not self.battery.known:
            return "the battery's state of charge is not known, and %s (battery soc <percent>)" % (
                kept
            )
        return "the battery is at %d %%, and %s" % (self.battery.permille // 10, kept)

    def report(self) -> dict:
        battery = self.battery
        if not battery.capacity_wh:
            return {}
        left = battery.left_s()
        percent = round(battery.permille / 10, 1)
        return {
            "battery": {
                "soc_percent": percent if battery.known else None,
                "counted_percent": percent,
                "age_s": battery.age_s,
                "capacity_kwh": battery.capacity_wh / 1000,
                "reserve_percent": round(self.reserve / 10, 1),
                "level": b.LEVELS[battery.level],
                "storm": self.storm,
                "power_w": battery.power_w(),
                "left_h": None if left < 0 else round(left / 3600, 1),
                "doubted": battery.jumps,
            }
        }

    # -- control lane ------------------------------------------------------------------------

    def turn(self, ms: int):
        pass

    def window(self, ms: int):
        pass

    def second(self):
        controller = self._controller
        watts = 0
        for power in controller.power_w:
            watts += power
        self.battery.second(watts)
        level = self.battery.level
        if level == b.SHED:
            self.held = self._least()
        elif level == b.EMPTY:
            self.held = (1 << len(controller.outlets)) - 1
        else:
            self.held = 0
        if self.held:
            self._shed()
        if level != self.level:
            self.level = level
            controller.journal.add(events.BATTERY, -1, events.RESERVE, level, events.BY_CONTROL)

    def _least(self) -> int:
        """Bits of the less important half of the outlets."""
        order = self._controller.dispatch.order
        bits = 0
        for i in range((len(order) + 1) // 2, len(order)):
            bits |= 1 << order[i]
        return bits

    def _shed(self):
        """Open first, record second; what was shed for something else stays so until now."""
        controller = self._controller
        fast = controller.fast
        held = self.held
        for outlet in controller.outlets:
            if held >> outlet.index & 1 and o.energised(outlet.state):
                fast.open(outlet.index)
        for outlet in controller.outlets:
            if held >> outlet.index & 1 and o.energised(outlet.state):
                controller._move(
                    outlet,
                    o.E_SHED,
                    events.SHED,
                    events.RESERVE,
                    self.battery.permille,
                    events.BY_CONTROL,
                )

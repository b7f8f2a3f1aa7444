# Three days without the grid: the whole firmware on real MicroPython feeds a home of 30 kWh a day
# from a pack of 123 kWh, which says each hour how full it is. Then the grid is back. Prints a JSON
# object. Time is virtual (still_chip.py). Called by test_power_days.py.
#
# Arguments: days, kWh a day, usable kWh, per cent at the beginning, per cent kept back.
# ruff: noqa: I001 (still_chip goes before whatever imports `time`)

import still_chip as chip

import json
import sys


from counting_flash import mounted
from firmware import app as app_module
from firmware import events
from firmware.interfaces import modecommand
from firmware.power import transfer
from firmware.storage import settings

days = int(sys.argv[1])
kwh_a_day = float(sys.argv[2])
pack_kwh = float(sys.argv[3])
percent = float(sys.argv[4])
reserve = sys.argv[5]

_HOUR_MS = 3_600_000
LOST_MS = 2 * _HOUR_MS  # the grid fails, after two hours
BACK_MS = LOST_MS + days * 24 * _HOUR_MS
END_MS = BACK_MS + _HOUR_MS // 2
# parts of the day's energy, hour by hour: breakfast, noon, a long evening
SHAPE = (2, 2, 2, 2, 2, 3, 5, 6, 5, 3, 3, 3, 5, 4, 3, 3, 4, 6, 8, 8, 8, 6, 4, 3)
LOSS = 1.08
CALM = (transfer.STANDBY, transfer.ISOLATED, transfer.BACKUP)

app_module._GATHERED = 1 << 20  # of 8 MB: half of the time went into collections
flash = mounted()
chip.device = None
chip.step_ms = 20
settings.write_file(
    "data",
    {
        "home.mode": "auto",
        "mode.default": "home",
        "home.stable_s": 60,
        "battery.usable_kwh": pack_kwh,
        "mode.home": "reserve=" + reserve,
        "time.servers": "",
    },
)
chip.start(1)
app = app_module.App("pico_w_home")
start_ms = chip.now_ms
fast = app.fast
power = app.board.power
left_wh = pack_kwh * 10 * percent  # the truth
fed_ms = dark_ms = 0
told_h = -1
days_seen = []
levels = []


class Over(BaseException):
    """The days are over."""


def grid_is_there(ms):
    return not LOST_MS <= ms < BACK_MS


def on_sample(passed):
    """The plant: contacts follow, the home draws what its hour says, the pack empties."""
    global left_wh, fed_ms, dark_ms
    ms = chip.now_ms - start_ms
    fast.sense_volts = 120.0 if grid_is_there(ms) else 0.0
    for i in range(3):
        chip.levels[power["seen"][i]] = 0 if chip.levels[power["contacts"][i]] else 1
    watts = kwh_a_day * 1000 * SHAPE[ms // _HOUR_MS % 24] / sum(SHAPE)
    amps = watts / 240
    for name in ("home_l1", "home_l2"):
        fast.load[app.board.outlet_index(name)] = amps
    if chip.levels[power["contacts"][1]]:
        fed_ms += passed
        left_wh -= watts * LOSS * passed / _HOUR_MS
    elif not chip.levels[power["contacts"][0]]:
        dark_ms += passed
    assert not (chip.levels[power["contacts"][0]] and chip.levels[power["contacts"][1]])
    fast.sample(passed)
    calm = app.controller.station.home.transfer.state in CALM and ms > 5000
    near = min(abs(ms - LOST_MS), abs(ms - BACK_MS)) < 5000
    chip.step_ms = 1000 if calm and not near else 16  # the lease of the relays lasts 3 s


def on_time():
    """The vehicle says each hour how full it is; each day somebody looks."""
    global told_h
    ms = chip.now_ms - start_ms
    hour = ms // _HOUR_MS
    station = app.controller.station
    if hour != told_h and ms > 5000:
        told_h = hour
        soc = left_wh / pack_kwh / 10
        words = ["soc", "%.1f" % soc]
        found = modecommand.battery(app, words, "mqtt")
        if hour % 24 == 2:
            home = station.report()["home"]
            days_seen.append((soc, found["soc_percent"], found["left_h"], home["state"]))
    if not levels or levels[-1] != station.battery.level:
        levels.append(station.battery.level)
    if ms >= END_MS:
        raise Over


chip.on_sample = on_sample
chip.on_time = on_time
try:
    app.run()
except Over:
    pass
home = app.controller.station.home
trips = [r for r in app.journal.since(0) if r[1] in (events.TRIPPED, events.FAULT, events.STALL)]
print(
    json.dumps(
        {
            "days": days_seen,
            "left_percent": left_wh / pack_kwh / 10,
            "counted_percent": app.controller.station.battery.permille / 10,
            "levels": levels,
            "fed_h": fed_ms / _HOUR_MS,
            "dark_s": dark_ms / 1000,
            "state": transfer.STATES[home.transfer.state],
            "changeovers": home.changeovers,
            "trips": len(trips),
            "home_kwh": sum([app.meter.energy_mwh(p.index) for p in home.poles]) / 1e6,
        }
    )
)

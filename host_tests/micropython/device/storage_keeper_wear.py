# Block erases of the whole storage task on littlefs as the RP2040 port makes it (212 blocks of
# 4 KiB, what a Pico W has), with the worst that its rules allow: heat that moves all the time, a
# journal record each minute, a trip each hour, quiet half of the time. Then how long the strip
# lasts under a steady load above half a rating, with ten journal records an hour, no erase
# allowed. Argument: hours of the first part. Prints a JSON object.

import json
import os
import random
import sys

from counting_flash import BLOCKS, mounted

from firmware import board as boards
from firmware import events
from firmware.storage import files, keeper, quiet
from firmware.storage.energy import Energy
from firmware.storage.journal import Journal
from firmware.timezone import days_from_civil

TURN_S = 5
hours = int(sys.argv[1])
random.seed(3)


class Element:
    heat = 0

    def permille(self):
        return self.heat


class Outlet:
    def __init__(self, outlet):
        self.index = outlet.index
        self.name = outlet.name
        self.state = 2
        self.thermal = Element()


class Clock:
    now_s = 0
    offset_s = days_from_civil(2026, 1, 1) * 86400

    def wall(self):
        return days_from_civil(2026, 1, 1) * 86400 + self.now_s


class Relays:
    dirty = False


class Switching:
    relays = Relays()
    done = 0

    def setup(self, what, table=None):
        self.done += 1
        return {"bed1": [self.done, 3, 20, 90, 40, 70]}


class Controller:
    """What the keeper asks of it."""

    def __init__(self, board):
        self.board = board
        self.outlets = [Outlet(x) for x in board.outlets]
        self.latch_dirty = False
        self.switching = Switching()
        self.tripped = {}

    def heat(self):
        return {x.name: o.thermal.heat for x, o in zip(self.board.outlets, self.outlets)}

    def latched(self):
        return self.tripped

    def trips_s(self):
        return {}

    def restore(self, latched, heat, trips, kept):
        pass


class Meter:
    def __init__(self):
        self.mwh = 0

    def energy_mwh(self, index):
        return self.mwh

    def restore_energy(self, index, mwh):
        pass


class Settings:
    def get(self, name):
        return {"storage.fram_kb": "none", "time.zone": "UTC0"}[name]


class App:
    folder = "data"
    mqtt = None

    def __init__(self):
        self.board = boards.load("simulated")
        self.journal = Journal(256)
        self.clock = Clock()
        self.meter = Meter()
        self.settings = Settings()
        self.controller = Controller(self.board)
        self.energy = Energy("data", len(self.board.outlets))

    def totals_mwh(self):
        return [self.meter.mwh] * len(self.board.outlets)


flash = mounted()
os.mkdir("data")
app = App()
task = keeper.Keeper(app, flash)
task.open()
task.load(None)
busy = 0
quiet.busy = lambda controller: busy
for _ in range(100):  # the strip is made
    app.clock.now_s += 1
    task.turn(True)
made = len(task.strip)
before = list(flash.erases)
journal = app.journal
controller = app.controller
appends = task.strip.appends
for turn in range(hours * 3600 // TURN_S):
    app.clock.now_s += TURN_S
    now = app.clock.now_s
    journal.now_s = now
    app.meter.mwh += TURN_S * 2667
    for outlet in controller.outlets:
        outlet.thermal.heat = random.getrandbits(10)
    if turn % (60 // TURN_S) == 0:
        journal.add(events.ON, 2, events.COMMAND, turn & 0xFFFF, events.BY_CONSOLE)
        controller.switching.relays.dirty = True
    if turn % (1800 // TURN_S) == 0:
        busy = quiet.HALF - busy
    if turn % (3600 // TURN_S) == 0:
        controller.tripped = {} if controller.tripped else {"bed1": (2, turn & 255, 999, now)}
        controller.latch_dirty = True
    for _ in range(10):
        if task.log() is None:
            raise RuntimeError("no strip")
        task.turn(True)
assert not task.error, task.error
assert not files.waiting
strip = task.strip._blocks
worn = [flash.erases[i] - before[i] for i in range(BLOCKS)]
other = [worn[i] for i in range(BLOCKS) if i not in strip]
result = {
    "blocks": made,
    "appends_per_hour": (task.strip.appends - appends) / hours,
    "strip_erases_per_block_hour": sum(worn[i] for i in strip) / made / hours,
    "file_erases_per_hour": sum(other) / hours,
    "file_worst": max(other),
}

busy = 0
while task.strip.can_erase() or task._step:  # begin with all of it
    app.clock.now_s += 1
    task.turn(True)
busy = quiet.HALF
began = app.clock.now_s
erases = sum(flash.erases)
while not task.error:
    app.clock.now_s += TURN_S
    app.meter.mwh += TURN_S * 2667
    if app.clock.now_s % 360 < TURN_S:
        journal.add(events.ON, 2, events.COMMAND, 1, events.BY_CONSOLE)
    task.turn(True)
result["steady_hours"] = (app.clock.now_s - began) / 3600
result["steady_erases"] = sum(flash.erases) - erases
result["steady_error"] = task.error
# and then it is quiet at last
busy = 0
for _ in range(200):
    app.clock.now_s += 1
    task.turn(True)
result["error_after"] = task.error
result["blank_after"] = task.strip.blanks()
print(json.dumps(result))

# Power cuts in a busy run of the real App: its own tasks, commands and storage on littlefs, on a
# flash that is torn in the middle of a write or an erase. After each cut the App starts afresh,
# and what it knows is compared with what it had promised: an oracle outside the flash.
# Arguments: seed, number of cuts, mode (busy, fresh, full, refusing, reset, renames).
# Prints a JSON object; an AssertionError is a failure, and says with which cut.

# ruff: noqa: I001 (still_chip goes before whatever imports `time`)

import still_chip as chip

import asyncio
import gc
import json
import os
import random
import sys

import vfs

from firmware import app as app_module
from firmware import events, timekeeper
from firmware.interfaces.commands import CommandError
from firmware.protection import outlet as o
from firmware.storage import files
from host_tests.fakes.torn_flash import TornFlash

app_module._PLENTY = 1 << 30  # nobody is on the console: commands come from the owner below
app_module._GATHERED = 1 << 20  # of 8 MB: a third of the time went into collections
BLOCKS = 48  # 6 of them for the strip
LOSS_MS = 60_000  # of energy and records
LATCH_MS = 500
HEAT = 70  # permille: 5 % is not worth a write, and what a window moves it
SETTINGS = (
    "bed1.limit_a",
    "bed2.trip_class",
    "cabin1.priority",
    "device.name",
    "cabin2.after_boot",
    "bed240.short_s",
    "bed1.after_boot",
)
VALUES = (
    lambda: "%d" % random.randint(5, 20),
    lambda: random.choice(("fast", "standard", "slow")),
    lambda: "%d" % random.randint(1, 9),
    lambda: "truck %s" % ("x" * random.getrandbits(4)),
    lambda: random.choice(("off", "last")),
    lambda: "%.1f" % (0.2 + random.getrandbits(4) / 10),
    lambda: random.choice(("off", "last", "on")),
)


class Cut(BaseException):
    """The power is gone."""


class Hang(BaseException):
    """The watchdog resets the chip; the power stays."""


class Failure(BaseException):
    """The firmware did not do what it promises; not an Exception, which guards would catch."""


def must(true, text, *about):
    if not true:
        raise Failure(text % about)


class Truth:
    """What the firmware has promised, kept where no power cut reaches."""

    def __init__(self):
        self.settings = None  # as confirmed
        self.settings_tried = []
        self.gains = None
        self.gains_tried = []
        self.records = {}
        self.trail = []  # of this run: (ms, latched, energy, last_seq, operations, heat)
        self.was_refused = False  # the flash did not take everything
        self.was_full = False  # loaded for so long that the strip was full: as documented
        self.counts = {}

    def count(self, what):
        self.counts[what] = self.counts.get(what, 0) + 1

    # -- while it runs -----------------------------------------------------------------------

    def look(self, app, at_end=False):
        """Take down how things stand now."""
        controller = app.controller
        relays = controller.switching.relays.block
        latched = []
        operations = []
        heat = []
        energy = []
        for x in controller.outlets:
            state = x.state
            reason = events.NONE
            if state == o.LOCKOUT:
                reason = events.LOCKED
            elif state == o.TRIPPED or state == o.FAULT:
                reason = x.reason
            latched.append(reason)
            operations.append(relays[x.index * 10 + 3])
            heat.append(x.thermal.permille())
            energy.append(app.meter.energy_mwh(x.index))
        seq = app.journal.last_seq
        if self.trail and chip.now_ms - self.trail[-1][0] < 500:
            last = self.trail[-1]
            if last[1] == latched and last[3] == seq and not at_end:
                return
        self.trail.append((chip.now_ms, latched, energy, seq, operations, heat))

    def _since(self, ms):
        """Rows of the last `ms`, with the one that was in force then."""
        begin = chip.now_ms - ms
        trail = self.trail
        at = len(trail) - 1
        while at > 0 and trail[at][0] > begin:
            at -= 1
        return trail[at:]

    def remember(self, app):
        """The records of this run, as they stood when the power went."""
        self.look(app, True)
        journal = app.journal
        for seq in range(max(journal.boot_seq, journal.first_seq), journal.last_seq + 1):
            self.records[seq] = journal.get(seq)[1:6]

    def hear(self, error):
        """What the firmware says about its flash."""
        if error.startswith("no erased flash"):  # never quiet for too long
            self.was_full = True
        elif error:
            self.was_refused = True
            must(mode in ("full", "refusing"), "flash: %s", error)

    def remember_start(self, app):
        """The power went before the start was through: what it may have written."""
        journal = getattr(app, "journal", None)
        if self.trail and journal is not None:
            for seq in range(max(journal.boot_seq, journal.first_seq), journal.last_seq + 1):
                self.records[seq] = journal.get(seq)[1:6]
            if journal.last_seq > self.trail[-1][3]:
                last = self.trail[-1]
                self.trail.append(last[:3] + (journal.last_seq,) + last[4:])

    # -- after the next start ----------------------------------------------------------------

    def check(self, app, how):
        """`how`: what ended the run before: cut, reset (of the chip alone), reboot (command)."""
        journal = app.journal
        for seq in range(journal.boot_seq, journal.last_seq + 1):
            kind = journal.get(seq)[1]
            must(kind != events.STORAGE or not notes_of(app), "damaged: %s", notes_of(app))
            must(kind != events.FAULT, "a crash was found")
        settings = values_of(app)
        if self.settings is not None:
            allowed = [self.settings] + self.settings_tried
            must(settings in allowed, "settings %s, not of %s", settings, allowed)
        self.settings = settings
        self.settings_tried = []
        must(app.settings.load_report == "", "settings: %s", app.settings.load_report)
        gains = app.meter.gains[:]
        if self.gains is not None:
            allowed = [self.gains] + self.gains_tried
            must(gains in allowed, "calibration %s, not of %s", gains, allowed)
        self.gains = gains
        self.gains_tried = []
        self._check_journal(journal, how)
        if self.trail:
            self._check_figures(app, how)
        self.trail = []
        if self.was_full:
            self.count("strip full")
        self.was_refused = self.was_full = False

    def _check_journal(self, journal, how):
        last = journal.boot_seq - 1
        if self.trail:
            newest = self.trail[-1][3]
            oldest = newest
            if self.was_refused or self.was_full:
                oldest = self.trail[0][3] if how == "reboot" else 0
            elif how != "reboot":
                oldest = self._since(loss_ms())[0][3]
            if oldest == self.trail[0][3]:
                oldest = min(oldest, self.flash_seq)
            must(oldest <= last <= newest, "journal to %d, not %d to %d", last, oldest, newest)
        first = journal.first_seq
        must(first == max(1, journal.last_seq - journal.capacity + 1), "journal from %d", first)
        at = first
        for record in journal.since(first - 1):
            seq = record[0]
            must(seq == at, "record %d, not %d", seq, at)
            at += 1
            if seq > last:
                break
            known = self.records.get(seq)
            must(known is None or known == record[1:6], "%s, not %s", record[1:6], known)
        for seq in list(self.records):
            if seq > last or seq < first:
                self.records.pop(seq)
        self.flash_seq = last

    def _check_figures(self, app, how):
        before = self.trail
        self.trail = []
        self.look(app)
        _, latched, energy, _, operations, heat = self.trail[0]
        self.trail = before
        last = before[-1]
        relaxed = self.was_refused or self.was_full
        rows = before if relaxed else self._since(loss_ms())
        if how == "reboot" and not relaxed:
            rows = before[-1:]
        for i in range(len(energy)):
            least, most = rows[0][2][i], last[2][i]
            must(least <= energy[i] <= most, "%d mWh, not %d to %d", energy[i], least, most)
            least, most = before[0][4][i], last[4][i]  # wear: saved with the files
            n = operations[i]
            must(least <= n <= most, "%d operations, not %d to %d", n, least, most)
            least = min([row[5][i] for row in rows]) - HEAT
            most = max([row[5][i] for row in rows]) + HEAT
            if latched[i]:  # as hot as when it tripped, until it is known how long ago that was
                most = 4000
            must(least <= heat[i] <= most, "heat %d, not %d to %d", heat[i], least, most)
        rows = before if relaxed else self._since(latch_ms())
        allowed = [row[1] for row in rows]
        if how == "reset":
            # four words outlast it: no trip is lost, one that was cleared just now may be back
            recent = [row[1] for row in self._since(2 * chip.step_ms + 20)]
            for i in range(len(latched)):
                must(latched[i] in [row[i] for row in allowed], "%s, not %s", latched, allowed)
                must(latched[i] or not all([row[i] for row in recent]), "trip %d is lost", i)
        else:
            must(latched in allowed, "latched %s, not of %s", latched, allowed)


def loss_ms():
    """What may be lost: time goes by in steps here, so a turn of the storage task takes longer."""
    return LOSS_MS + max(chip.step_ms - 100, 0) * 6


def latch_ms():
    return LATCH_MS + chip.step_ms * 6


def values_of(app):
    return [app.settings.get(name) for name in SETTINGS]


class Owner:
    """Does one thing after another, at random. It sits where the app has its network: a task."""

    connected = False

    def __init__(self, app, truth):
        self.app = app
        self.truth = truth

    def begin(self):
        pass

    def status(self):
        return {"state": "down", "ssid": "", "address": ""}

    async def run(self):
        app = self.app
        if random.getrandbits(1):
            timekeeper.tell(app, chip.wall_s + chip.now_ms // 1000, events.BY_CONSOLE)
        names = [outlet.name for outlet in app.board.outlets]
        while True:
            await asyncio.sleep_ms(100 << random.getrandbits(3))
            self.truth.look(app)
            i = random.getrandbits(8) % len(names)
            turn = random.getrandbits(6)
            if turn < 20:
                await self.do("on", names[i])
            elif turn < 24:
                await self.do("off", names[i])
            elif turn < 32:
                app.fast.load[i] = random.choice((0, 2, 6, 9, 9, 14, 18, 30))
            elif turn < 38:
                app.fast.short(i)
            elif turn < 46:
                await self.do("reset", names[i], "--force")
            elif turn < 56:
                await self.change()
            elif turn < 58:
                await self.calibrate(names[i])
            elif turn == 58 and not random.getrandbits(3):
                await self.do("reboot", "yes")
            elif turn > 60:
                await asyncio.sleep_ms(20_000)
            self.truth.look(app)

    async def do(self, name, *args):
        """Whether a command was done."""
        try:
            job = self.app.commands.run(name, list(args), "console")
            while job is not None and hasattr(job, "poll"):
                if job.poll() is not None:
                    break
                await asyncio.sleep_ms(30)
        except CommandError:
            return False
        self.truth.count(name)
        return True

    async def change(self):
        truth = self.truth
        for _ in range(1 + random.getrandbits(1)):
            k = random.getrandbits(8) % len(SETTINGS)
            await self.do("set", SETTINGS[k], VALUES[k]())
        if random.getrandbits(2):
            values = values_of(self.app)
            truth.settings_tried.append(values)
            if await self.do("save") and not flash.dead:
                truth.settings = values
                truth.settings_tried = []

    async def calibrate(self, name):
        truth = self.truth
        gains = self.app.meter.gains[:]
        gain = (900 + random.getrandbits(7)) / 1000
        gains[self.app.board.channel_index(name)] = gain
        truth.gains_tried.append(gains)
        if await self.do("cal", "import", json.dumps({"board": "pico", name: [gain]})):
            if not flash.dead:
                truth.gains = gains
                truth.gains_tried = []


def notes_of(app):
    """What is damaged. A record of the strip that was being written may be torn."""
    notes = app.keeper.notes() + [app.settings.load_report]
    return [note for note in notes if note and "torn by the power cut" not in note]


def error_of(app):
    return app.keeper.error


def budget():
    """Bytes until the power goes: often within the first writes of a start."""
    turn = random.getrandbits(2)
    if turn == 0:
        return random.getrandbits(9)
    return random.getrandbits(13) if turn < 3 else random.getrandbits(16)


def run(app, truth):
    """Until the power goes, or the chip starts again; returns how it ended."""
    chip.on_sample = app.fast.sample
    chip.step_ms = random.choice((40, 100, 250))
    ends_ms = chip.now_ms + random.getrandbits(17)  # at the latest: nothing may be in flight
    resets_ms = 1 << 30
    if mode == "reset":
        resets_ms = chip.now_ms + random.getrandbits(13)
    flash.left = budget()
    toggles_ms = chip.now_ms + random.getrandbits(12) if mode == "refusing" else 1 << 30

    def on_time():
        nonlocal toggles_ms
        if flash.dead:
            raise Cut
        truth.look(app)
        must(app.supervisor.crashes == 0, "crash: %s", app.supervisor.last_crash)
        truth.hear(error_of(app))
        if app.keeper.log() is None:  # it is made while nothing is loaded: not here, always
            truth.was_refused = True
        if chip.now_ms >= toggles_ms:
            flash.read_only = not flash.read_only
            toggles_ms = chip.now_ms + random.getrandbits(14)
        if chip.now_ms >= resets_ms:
            raise Hang
        if chip.now_ms >= ends_ms:
            truth.count("idle")
            flash.cut()
            raise Cut

    chip.on_time = on_time
    app.network = Owner(app, truth)
    try:
        app.run()
    except Cut:
        return "cut"
    except Hang:
        return "reset"
    except chip.Reset:
        return "cut" if flash.dead else "reboot"
    finally:
        chip.on_time = chip.on_sample = None
    raise Failure("the firmware has ended")


def mount():
    chip.device = flash
    fs = vfs.VfsLfs2(flash, progsize=256)
    vfs.mount(fs, "/flash")
    os.chdir("/flash")


def unmount():
    os.chdir("/")
    try:
        vfs.umount("/flash")
    except OSError:
        pass
    gc.collect()


def fresh():
    global flash
    flash = TornFlash(BLOCKS)
    if mode == "fresh" and random.getrandbits(1):
        # the chip's own _boot.py: format what cannot be mounted
        flash.left = random.getrandbits(14)
        try:
            vfs.VfsLfs2.mkfs(flash, progsize=256)
        except OSError:
            pass
        flash = TornFlash(BLOCKS, flash)
        try:
            vfs.VfsLfs2(flash, progsize=256)
            return
        except OSError:
            pass
    vfs.VfsLfs2.mkfs(flash, progsize=256)


def fill():
    """Leave a few free blocks, or none."""
    with open("filler", "wb") as stream:
        try:
            while True:
                stream.write(bytes(256))
        except OSError:
            pass
    size = os.stat("filler")[6]
    leave = random.getrandbits(3) * 4096
    os.remove("filler")
    with open("filler", "wb") as stream:
        try:
            for _ in range(max(size - leave, 0) // 256):
                stream.write(bytes(256))
        except OSError:
            pass


def settle():
    """The first start of a device: the strip is made while nothing is on."""
    mount()
    chip.start(1)
    app = app_module.App("pico")
    chip.on_sample = app.fast.sample
    chip.step_ms = 100
    ends_ms = chip.now_ms + 15_000

    def on_time():
        if chip.now_ms >= ends_ms:
            flash.cut()
            raise Cut

    chip.on_time = on_time
    try:
        app.run()
    except Cut:
        pass
    must(app.keeper.log() is not None, "there is no strip: %s", app.keeper.stats())
    unmount()


class App(app_module.App):
    """What it has made so far can be seen when the power goes in the middle of its start."""

    def __init__(self):
        global current
        current = self
        app_module.App.__init__(self, "pico")


def boot(truth):
    """(app, whether it has come up before the power went)."""
    if random.getrandbits(1):  # most starts write nothing
        flash.left = random.getrandbits(random.choice((8, 11, 14)))
    flash.on_cut = lambda: truth.remember_start(current)
    try:
        app = App()
    except Exception:
        if flash.dead:
            return None, False
        raise
    finally:
        flash.on_cut = None
    return app, not flash.dead


def end_of_power():
    """The flash as the next start finds it."""
    global flash, torn, overwritten
    unmount()
    torn += flash.torn
    overwritten += flash.overwritten
    flash = TornFlash(BLOCKS, flash)


def main(cuts):
    global flash
    fresh()
    if mode != "fresh":
        settle()
        flash = TornFlash(BLOCKS, flash)
    truth = Truth()
    truth.flash_seq = 0
    counts = truth.counts
    done = starts = 0
    how = "cut"
    minutes = chip.now_ms
    while done < cuts:
        mount()
        try:
            if mode == "full" and starts % 4 == 0:
                fill()
            starts += 1
            chip.start({"cut": 1, "reset": 3, "reboot": 2}[how])
            app, whole = boot(truth)
            if not whole:  # the power went before anything ran
                done += 1
                truth.count("cut at the start")
                if how == "reset":
                    how = "cut"  # the kept words are gone, too
                app = None
                end_of_power()
                continue
            truth.check(app, how)
            must(not app.mqtt, "this board has no radio")
            how = run(app, truth)
            truth.remember(app)
            if how == "cut":
                done += 1
            else:
                truth.hear(error_of(app))  # it may have been refused last of all
                flash.cut()
            app = None
        except Failure as failure:
            print(json.dumps({"failed": str(failure), "seed": seed, "cut": done, "mode": mode}))
            raise AssertionError("seed %d, cut %d, %s: %s" % (seed, done, mode, failure))
        end_of_power()
        if mode == "fresh" and random.getrandbits(1):
            fresh()
            truth = Truth()
            truth.flash_seq = 0
            truth.counts = counts
    result = {"cuts": done, "torn": torn, "starts": starts, "records": truth.flash_seq}
    result.update({"seed": seed, "mode": mode, "overwritten": overwritten})
    result["minutes"] = (chip.now_ms - minutes) // 60_000
    result.update(counts)
    print(json.dumps(result))


def rename_files(cuts):
    """Without the App: renames in a folder of several pairs of blocks, from one into another,
    which littlefs does in two steps. After mend() every file is there, by its old or new name."""
    global flash
    fresh()
    numbers = ["%02d" % n for n in range(24)]
    mount()
    os.mkdir("data")
    for n in numbers:
        with open("data/a" + n, "w") as stream:
            stream.write("x" * 150)
    flash.cut()
    unmount()
    flash = TornFlash(BLOCKS, flash)
    done = hidden = 0
    while done < cuts:
        mount()
        hidden += sorted([name[1:] for name in os.listdir("data")]) != numbers
        files.mend("data")
        found = sorted([name[1:] for name in os.listdir("data")])
        must(found == numbers, "there is %s", found)
        flash.left = random.getrandbits(14)
        try:
            while True:
                name = random.choice(os.listdir("data"))
                os.rename("data/" + name, "data/" + ("z" if name[0] == "a" else "a") + name[1:])
        except OSError:
            must(flash.dead, "the flash was alive")
        done += 1
        unmount()
        flash = TornFlash(BLOCKS, flash)
    print(json.dumps({"renames cut": done, "hidden": hidden, "mode": mode}))


seed = int(sys.argv[1])
mode = sys.argv[3] if len(sys.argv) > 3 else "busy"
random.seed(seed)
flash = None
torn = overwritten = 0
if mode == "renames":
    rename_files(int(sys.argv[2]))
else:
    main(int(sys.argv[2]))

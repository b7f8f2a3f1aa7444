# Keeps what must survive: journal, trip latch and heat, energy and relay counters, files that are
# to be written. Called by app: open() and load() at boot, run() as the storage task (outer lane),
# save_now() when it ends; by files.write() through later().
#
# While flash is erased the fast lane of the RP2040 is blind for 45 to 400 ms, while a page is
# programmed for 1 ms (docs/storage.md). So what must not be lost is appended to the strip
# (strip.py), whose blocks are erased beforehand; files are written, and blocks erased, one in each
# half second, only while quiet.busy() finds nothing that speaks against it. After a start the
# files are read first, then the strip's newer records over them.

import asyncio
import struct
import time

from micropython import const

from firmware import events, pieces
from firmware.protection import outlet as o
from firmware.storage import files, quiet, strip
from firmware.storage.counters import CounterStore
from firmware.storage.journal import JournalStore
from firmware.storage.latch import LatchStore

_TURN_MS = const(50)
_TURNS = const(10)
_HEAT_MOVE = const(100)  # permille
_STATE_S = const(58)  # energy: 60 s with what comes in between
_HEAT_S = const(15)  # the same when the heat has moved, as long as the strip is nearly empty
_START_S = const(3)  # uptime: until then there is better to do
_SLOW_S = const(50)  # so long an overload may hold it up: its heat curve takes minutes
_FRAM_S = const(5)
_RECORDS = const(8)  # of the journal in half a second
_FILES_S = const(600)  # from one writing of the files to the next
_SOON_S = const(60)  # the same after a trip, or without a strip
_RETRY_S = const(60)
_RESERVE = const(1536)  # bytes of the last block, kept for trips; half of it also for the journal
_FEW = const(3)  # blocks: less is no strip

_AGAINST_APPEND = const(12)  # quiet.FAST, quiet.WAVE
_NO_MEMORY = "not enough memory to save"


class Keeper:
    """The storage task of `app`. `error`: what could not be saved, or ""; `note`: what is wrong
    with the strip or the FRAM. `device`: the raw flash under the files, see system.flash()."""

    def __init__(self, app, device=None):  # on demand: boot
        self._app = app
        self._device = device
        folder = app.folder
        self.journal_store = JournalStore(folder, app.journal)
        self.latch_store = LatchStore(folder)
        self.counters = CounterStore(folder, [outlet.name for outlet in app.board.outlets])
        self.relay_store = CounterStore(folder, (), "relays")
        self.strip = None
        self.published = -1  # number of the last event that the broker has, as flash knows it
        self.fram = None  # areas for counters and for the latch
        self.error = ""
        self.note = ""
        self.when_quiet: list = []  # called once in each round: what else writes files
        self._missing: list = []  # numbers of the strip's files that are to be made
        self._logged = 0  # the last record of the journal that the strip has
        self._text = ""  # of latch.json, not in the file yet
        self._fresh = False  # nor in the strip
        self._latched: dict = {}  # as the file has it
        self._heat: dict = {}  # permille by outlet, as flash has it
        self._found = None  # of the strip: (serial, epoch, [mWh], [permille])
        self._base = None  # totals of the last FULL record, and block and serial that it is for
        self._base_s = 0
        self._on_before = None  # outlets that were on before a reboot by command opened them
        self._off_since = 0  # epoch of what was restored; 0: unknown, or done
        self._state_s = 0  # uptime of the last energy record
        self._step = 0  # of the round of files; 0: none is under way
        self._round_s = -_FILES_S
        self._cover = 0
        self._kept_mwh = None  # as the file has them
        self._retry_s = 0
        self._tidy_s = 0  # files, and erasing, have failed: not before this
        self._wait_s = 1
        self._worked = False
        self._warned = False
        self._is_full = False
        self.writes = 0  # files written
        self.write_us = 0  # the longest took
        self.file_us = 0  # all together, modulo 2**29
        self._running = False

    # -- boot ----------------------------------------------------------------------------------

    def notes(self) -> list:  # on demand: boot
        """What was found damaged on flash, in words."""
        stores = (self.relay_store, self.latch_store, self.counters, self.journal_store, self)
        return [store.note for store in stores if store.note]

    def open(self):
        """Before anything else is read: files that were still to be written are written now, and
        the journal is put together. Never raises."""
        self.part("firmware.storage.keeper_setup").open(self)
        files.defer(self.later)

    def load(self, kept):
        """Trips, heat, energy and relay counters into the controller; `kept`: system.kept()."""
        self.part("firmware.storage.keeper_setup").load(self, kept)
        self._running = True

    def part(self, name: str):
        """A module, which goes when its caller is done with it."""
        return pieces.once(name)

    # -- task ----------------------------------------------------------------------------------

    async def run(self):
        """The storage task."""
        app = self._app
        controller = app.controller
        fast = app.fast
        while True:
            pieces.rest()
            for _ in range(_TURNS):  # each half second, a trip sooner
                await asyncio.sleep_ms(_TURN_MS)
                if controller.latch_dirty or self._fresh:
                    self.turn(False)
            self._cool_off()
            zone = app.settings.get("time.zone")
            app.energy.follow(app.clock.wall(), app.clock.now_s, zone, app.totals_mwh)
            self.turn(True)
            controller.close_next()  # one inrush at a time
            if 0 < fast.wave_release_s <= app.clock.now_s:
                fast.run_wave()

    def _cool_off(self):
        """When somebody has set the clock: how long was the device off?"""
        clock = self._app.clock
        if self._off_since and clock.wall():
            # it may have gone on heating for a minute after that was saved
            off_s = clock.wall() - clock.now_s - self._off_since - _SOON_S
            self._off_since = 0
            if off_s > 0:
                self._app.controller.cool_off(off_s)

    def note_on(self):
        """Outlets will open because of a reboot by command: these were on."""
        self._on_before = self._on()  # type: ignore[assignment]

    def save_now(self):
        """Everything at once: the relays are open, the firmware ends."""
        self.turn(False, 0)
        self._step = 1
        while self._step:
            self.turn(True, 0)

    def turn(self, tidy: bool, bits: int = -1):
        """Save what may be saved now; `tidy`: files, too. `bits`: of quiet.busy()."""
        now = self._app.clock.now_s
        if bits < 0:
            if now < self._retry_s:
                return
            tidy = tidy and now >= max(_START_S, self._tidy_s)
            bits = quiet.busy(self._app.controller)
        self._worked = tidies = False
        try:
            try:
                self._append(bits, now)
            except strip.Full:
                self._is_full = True  # files and erases make room
            if tidy:
                self._warn()
            if tidy and not bits:
                tidies = True
                self._tidy(now)
            if self._is_full:
                if tidy or not self.error:
                    say = self.part("firmware.storage.keeper_files").say
                    say(self, "no erased flash is left", bits)
            elif self._worked and (tidies or not self._tidy_s):
                self.error = ""
                self._wait_s = 1
                self._tidy_s = 0
        except (files.StorageError, OSError) as error:
            self._later(now, tidies)
            self.part("firmware.storage.keeper_files").say(self, str(error), bits)
        except MemoryError:  # nothing may be allocated here
            if not self.error:
                self._app.journal.add(events.STORAGE, -1, events.UNSAVED, 0, events.BY_STORAGE)
            self.error = _NO_MEMORY
            self._later(now, tidies)

    def _later(self, now, tidies):
        """Not now: again after 1, 2, 4 ... 60 s. What fails when it `tidies` holds up no trip."""
        self._step = 0
        if tidies:
            self._tidy_s = now + self._wait_s
        else:
            self._retry_s = now + self._wait_s
        self._wait_s = min(self._wait_s * 2, _RETRY_S)

    def log(self):
        """The strip, when it has enough blocks to be of use."""
        return None if self.strip is None or len(self.strip) < _FEW else self.strip

    def _warn(self):
        """Say once that the strip will soon be full."""
        log = self.log()
        if log is not None:
            few = self.is_short()
            if few and not self._warned:
                journal = self._app.journal
                journal.add(events.WARNING, -1, events.UNSAVED, 0, events.BY_STORAGE)
            self._warned = few

    def is_short(self) -> bool:
        """Whether the strip will soon be full."""
        log = self.log()
        return log is not None and log.blanks() <= len(log) >> 4

    def _on(self) -> list:
        """Names of the outlets that are on."""
        return [x.name for x in self._app.controller.outlets if o.energised(x.state)]

    def _heat_moved(self, step) -> bool:
        """Whether the heat of some outlet is further than `step` from what flash knows."""
        heat = self._app.controller.heat()
        for outlet in self._app.board.outlets:
            name = outlet.name
            if abs(heat.get(name, 0) - self._heat.get(name, 0)) > step:
                return True
        return False

    # -- what must not be lost -----------------------------------------------------------------

    def _append(self, bits, now):
        """Trips, energy, heat and journal into the FRAM or the strip."""
        app = self._app
        controller = app.controller
        log = self.log()
        fram = self.fram
        may = log is not None and not bits & _AGAINST_APPEND
        waited = now - self._state_s
        if controller.latch_dirty and (may or fram is not None or (log is None and not bits)):
            self._compose()
            controller.latch_dirty = False
        kept = False
        if self._fresh:
            kept = self._into_fram(1, self._text.encode())
            if not kept and may:
                log.append(strip.LATCH, self._text.encode())
                kept = True
        if kept:
            self._fresh = False
            self._worked = True
        elif bits & quiet.SLOW and waited < _SLOW_S:
            may = False
        if fram is not None and waited >= _FRAM_S and self._into_fram(0, self._full()):
            self._state_s = now
            self._worked = True
        if not may:
            return
        room = log.left() if not log.blanks() else strip.BLOCK
        journal = app.journal
        for _ in range(_RECORDS):
            record = journal.get(max(self._logged + 1, journal.first_seq))
            if record is None or room < _RESERVE >> 1:
                break
            log.append(strip.JOURNAL, self.journal_store.encode(record))
            self._logged = record[0]
            self._worked = True
        due = _STATE_S
        if log.blanks() * 4 > len(log) * 3 and self._heat_moved(_HEAT_MOVE):
            due = _HEAT_S
        if self.fram is None and waited >= due:
            self._is_full = room < _RESERVE
            if not self._is_full:
                self._append_state(now)
                self._worked = True

    def _into_fram(self, area: int, data) -> bool:
        """Whether the FRAM has it. One that fails, twice, is given up until the next start."""
        if self.fram is not None:
            for _ in range(2):
                try:
                    self.fram[area].save(data)
                    return True
                except files.StorageError as error:
                    self.note = str(error) + "; the flash is used"
            self.fram = None
            self._app.journal.add(events.STORAGE, -1, events.UNSAVED, 1, events.BY_STORAGE)
        return False

    def _compose(self):
        """The text of latch.json, if it has changed; it stays in `_text` until it is there."""
        app = self._app
        controller = app.controller
        on = self._on_before
        if on is None:
            on = self._on()
        self._heat = heat = controller.heat()
        clock = app.clock
        now = (clock.now_s, clock.wall())
        latched = controller.latched()
        text = self.latch_store.compose(latched, on, heat, controller.trips_s(), now)
        if text:
            self._text = text
            self._fresh = True

    def _append_state(self, now):  # on demand
        """Totals and heat into the strip: in full for each block, else what has been added."""
        log = self.strip
        base = self._base
        told = self._app.clock.offset_s  # a record counts its time from the full one
        totals = self._totals()
        passed = now - self._base_s
        if (
            base is None
            or base[1] != log.seq
            or base[2] != self.latch_store.serial
            or base[3] != told
            or log.left() < self.delta_size() + 6
            or passed > 0xFFFF
        ):
            log.append(strip.FULL, self._full())
            self._base = (totals, log.seq, self.latch_store.serial, told)
            self._base_s = now
        else:
            record = struct.pack("<H", passed)
            heats = self._heats()
            for i in range(len(totals)):
                record += struct.pack("<IB", totals[i] - base[0][i], heats[i])
            log.append(strip.DELTA, record)
        self._state_s = now
        self._heat = self._app.controller.heat()

    def delta_size(self) -> int:
        """Bytes of a DELTA record."""
        n = 2 + 5 * self._app.energy.count
        return n + -n % 4

    def _totals(self) -> list:
        return [int(x) for x in self._app.totals_mwh()]

    def _heats(self) -> list:
        """Heat of each outlet in 1/125, rounded up; 0 for what else is counted."""
        heats = [min(x.thermal.permille() + 7 >> 3, 255) for x in self._app.controller.outlets]
        return heats + [0] * len(self._app.energy.more)

    def _full(self) -> bytes:
        record = struct.pack("<II", self.latch_store.serial, self._app.clock.wall())
        for mwh, heat in zip(self._totals(), self._heats()):
            record += struct.pack("<QB", mwh, heat)
        return record

    # -- files ---------------------------------------------------------------------------------

    def _tidy(self, now):
        """One thing that erases."""
        log = self.strip
        erase = log is not None and not self._step and log.can_erase()
        if not self._step and not (erase and not log.blanks()) and self._is_due(now):
            self._step = 1
        if self._step:
            began = time.ticks_us()
            self.part("firmware.storage.keeper_files").do_step(self, now)
            self.writes += 1
            took = time.ticks_diff(time.ticks_us(), began)
            self.file_us = (self.file_us + took) & 0x1FFFFFFF
            self.write_us = max(self.write_us, took)
            self._worked = True
        elif erase:
            log.erase()
            self._is_full = False
            self._worked = True
        elif log is not None and self._missing:
            self.part("firmware.storage.keeper_files").make(self)

    def _is_due(self, now) -> bool:
        """Whether the files are to be written: all of them, one in each turn."""
        since = now - self._round_s
        log = self.log()
        if files.waiting or self._is_full or (log is None and self._text):
            return True
        if since < _SOON_S:
            return False
        if log is None or log.blanks() * 2 < len(log) or since >= _FILES_S:
            return True
        return sorted(self._app.controller.latched()) != sorted(self._latched)

    def later(self, path: str, payload) -> bool:
        """Called before a file is replaced: false when it may be done at once. Else the payload
        lies in the strip, and the file follows. Raises StorageError when even that may not be."""
        if not self._running:
            return False
        bits = quiet.busy(self._app.controller)
        if not bits and path not in files.waiting:
            return False
        self.part("firmware.storage.keeper_files").put(self, path, payload, bits)
        return True

    # -- questions -----------------------------------------------------------------------------

    def unsaved_s(self) -> int:
        """How long the oldest energy that could be lost has waited."""
        return self._app.clock.now_s - self._state_s

    def blind_ms(self) -> int:
        """For how long flash was at work since the start: at most so long protection saw nothing.
        Begins again after nine minutes or more."""
        blind_us = self.file_us
        if self.strip is not None:
            blind_us += self.strip.blind_us
        return blind_us // 1000

    def stats(self) -> dict:
        """Blindness, wear and what waits, for diagnosis."""
        result: dict = self.part("firmware.storage.keeper_files").stats(self)
        return result

    def text(self) -> str:
        """The same in a line for people."""
        text: str = self.part("firmware.storage.keeper_files").text(self)
        return text

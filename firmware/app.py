# Composition root: board + settings -> objects -> tasks. Everything is made once, at boot,
# in the order in which it protects: relays are open already (boot.py), then sampler and
# control lane, then storage, and what talks to people last.

import asyncio
import gc
import sys
import time

from firmware import __version__, events, pieces
from firmware import board as boards
from firmware.clock import Clock
from firmware.controller import Controller
from firmware.hal import kernels, network, system
from firmware.hal.inputs import Inputs
from firmware.protection import outlet as o
from firmware.sensing.metering import Meter
from firmware.storage import files
from firmware.storage.counters import CounterStore
from firmware.storage.journal import Journal, JournalStore
from firmware.storage.latch import LatchStore
from firmware.storage.settings import Settings
from firmware.supervisor import Supervisor

_FOLDER = "data"
_CONTROL_MS = 8  # half a mains cycle: a window waits 4 ms on average
_STORE_MS = 100
_STORE_TURNS = 5
_SETTLE_MS = 100  # a flash write stops the sampler: not in the 60 ms recorded after a trip
_HEAT_STEP = 50  # permille: less is not worth a write
_COUNTERS_S = 60
_PLENTY = 90_000  # bytes of heap: more than this is left only where the modules are frozen
_LISTEN_MS = 100
_JOURNAL = 256  # events
_JOURNAL_SMALL = 128
_COLLECT = 4096  # bytes allocated between two collections, where holes in the heap count


def _sampler(board):  # on demand: boot
    if board.hal == "rp2":
        from firmware.hal import rp2

        return rp2.Sampler(board)
    from firmware.hal import portable

    return portable.Sampler(board)


class App:
    """The firmware of one board. `run()` returns when the owner asked for the REPL."""

    def __init__(self, board_name: str = "", folder: str = _FOLDER):  # on demand: boot
        self.version = __version__
        self.folder = folder
        self.board = boards.load(board_name or boards.detect())
        self.fast = _sampler(self.board)
        self.clock = Clock()
        # 2 KB less where the modules are in the heap; all events are on flash, too
        self.journal = Journal(_JOURNAL_SMALL if gc.threshold() > 0 else _JOURNAL)
        self.settings = Settings(self.board, folder)
        self.settings.load()
        self.meter = Meter(self.fast, kernels.reduce)
        self.controller = Controller(
            self.board,
            self.fast,
            self.meter,
            self.journal,
            self.settings,
            self.clock,
            kernels.heat,
            Inputs(self.board),
        )
        self.watchdog = system.Watchdog()
        self.supervisor = Supervisor(self.journal, self.watchdog)
        self.device_id = self.settings.get("device.id") or "tailgate-" + system.unique_id()[-6:]
        self.journal_store = JournalStore(folder, self.journal)
        self.latch_store = LatchStore(folder)
        names = [outlet.name for outlet in self.board.outlets]
        self.counters = CounterStore(folder, names)
        self.relay_store = CounterStore(folder, (), "relays")
        self.store_error = ""
        self._ended_badly = False
        self._flush_journal = True  # the boot record at once, or its number could come again
        self._stop = ""  # why the firmware ends: reboot or exit
        self._on_before = None
        self.mqtt = None
        self.network = network.make(self.settings)
        self._load()
        gc.collect()
        self._commands = None
        self._console = None
        if gc.mem_free() > _PLENTY:
            self._load_console()
        if self.network is not None or self.board.hal == "portable":
            from firmware.interfaces.mqtt import Mqtt

            self.mqtt = Mqtt(self)
        gc.collect()

    # -- boot ----------------------------------------------------------------------------------

    @property
    def commands(self):
        """What can be asked of the device, for console and MQTT alike."""
        if self._commands is None:
            gc.collect()
            from firmware.interfaces.commands import Commands

            self._commands = Commands(self)  # type: ignore[assignment]
        return self._commands

    def _load_console(self):
        if self._console is None:
            gc.collect()
            from firmware.interfaces.console import Console

            self._console = Console(self)  # type: ignore[assignment]
        return self._console

    async def _serve_console(self):
        """Task: the console. Where the modules are kept in the heap (stock images), it is loaded
        when somebody types: a board that only talks MQTT has 35 KB more to work with."""
        while self._console is None and not system.has_input():
            await asyncio.sleep_ms(_LISTEN_MS)
        await self._load_console().run()

    def _load(self):  # on demand: boot
        """What is on flash: journal, trips, counters, calibration, the last crash."""
        self.journal_store.load()
        if system.was_watchdog_reset():
            cause = events.WATCHDOG
            self._ended_badly = True
        elif system.was_power_on():
            cause = events.POWER_ON
        else:
            cause = events.REBOOT
        self.journal.add(events.BOOT, -1, cause, self.journal.boot, events.BY_BOOT)
        latched = self.latch_store.load()
        store = self.latch_store
        self.controller.restore(latched, store.heat, store.trips, system.kept())
        if system.can_retain():
            self.controller.retain = system.retain  # type: ignore[assignment]
        self._heat = store.heat
        self._off_since = store.epoch
        self._was_on = store.on
        totals = self.counters.load()
        for outlet in self.board.outlets:
            self.meter.restore_energy(outlet.index, totals[outlet.name])
        self.controller.switching.setup("restore", self.relay_store.load())
        self._load_calibration()
        stores = (self.latch_store.note, self.counters.note, self.journal_store.note)
        for note in (self.settings.load_report, self.relay_store.note) + stores:
            if note:
                print("storage:", note)
                self.journal.add(events.STORAGE, -1, events.STORED_FAULT, 0, events.BY_STORAGE)
        crash, _, _ = files.read(files.join(self.folder, "crash.txt"))
        if crash:
            self._ended_badly = True
            text = bytes(crash).decode().strip()
            print("before this start:", text)
            self.supervisor.last_crash = "before this start: " + text.split("\n")[-1]
            self.journal.add(events.FAULT, -1, events.CRASH, 0, events.BY_BOOT)
            files.remove(files.join(self.folder, "crash.txt"))

    def _load_calibration(self):  # on demand: boot
        from firmware.storage import calibration

        rows, note = calibration.load(self.folder, self.board)
        # `cal` loads it again when asked; a package keeps its modules as attributes
        sys.modules.pop("firmware.storage.calibration", None)
        sys.modules["firmware.storage"].__dict__.pop("calibration", None)
        for channel in self.board.channels:
            row = rows.get(channel.name)
            if row:
                self.meter.set_gain(channel.index, float(row[0]))
                if row[1]:
                    self.meter.set_phase(channel.index, float(row[1]))
        if rows:
            self.controller.configure()
        if note:
            print("storage:", note)
            self.journal.add(events.STORAGE, -1, events.STORED_FAULT, 0, events.BY_STORAGE)

    # -- tasks ---------------------------------------------------------------------------------

    def run(self):
        """Protect until somebody asks for a reboot or for the REPL."""
        try:
            asyncio.run(self._run())
        finally:
            self.fast.stop()
            asyncio.new_event_loop()
        if self._stop == "reboot":
            system.reset()
        system.keep_ctrl_c(True)
        self.watchdog.keep_fed()
        print("all relays are open; protection has stopped; main.py or a reset starts it again")

    async def _run(self):
        guard = self.supervisor.guard
        self.fast.start()
        control = asyncio.create_task(self._control())
        self.supervisor.start_watchdog()
        system.keep_ctrl_c(False)
        tasks = [asyncio.create_task(self.supervisor.watch())]
        tasks.append(asyncio.create_task(guard("storage", self._store)))
        tasks.append(asyncio.create_task(guard("console", self._serve_console)))
        tasks.append(asyncio.create_task(guard("after boot", self._after_boot)))
        if self.network is not None:
            tasks.append(asyncio.create_task(guard("network", self.network.run)))
        if self.mqtt is not None:
            tasks.append(asyncio.create_task(guard("mqtt", self.mqtt.run)))
        # The control task is not guarded: when it fails, relays open and the chip restarts.
        if gc.threshold() > 0:  # the modules are in the heap, see tools/shrink.py
            gc.threshold(_COLLECT)
        await control
        for task in tasks:
            task.cancel()

    async def _control(self):
        controller = self.controller
        beat = self.supervisor.beat
        sleep_ms = asyncio.sleep_ms
        step = controller.step
        while not self._stop:
            step()
            beat()
            await sleep_ms(_CONTROL_MS)
        if self._stop == "reboot":
            self._on_before = self._on()  # type: ignore[assignment]
        self.fast.open_all()
        await self._goodbye()

    async def _goodbye(self):
        """Relays are open; record, then let the console and the broker hear of it."""
        reason = events.REBOOT if self._stop == "reboot" else events.EXIT
        for outlet in self.board.outlets:
            self.controller.command("off", outlet.index, events.BY_CONTROL)
        self.journal.add(events.OFF, -1, reason, 0, events.BY_CONTROL)
        if self.mqtt is not None:
            self.mqtt.stop()
        # Answers and events on their way: 0.3 s, longer while the broker has not heard it all.
        mqtt = self.mqtt
        for turn in range(250):
            if turn > 40 and (mqtt is None or mqtt.client is None or mqtt.done):
                break
            self.controller.step()
            self.supervisor.beat()
            await asyncio.sleep_ms(_CONTROL_MS)
        self._save(True)

    async def _after_boot(self):  # on demand
        """Outlets that their owner wants back after a restart; never one that tripped, and none
        after a hang or a crash: a trip of that moment may not have been recorded."""
        if self._ended_badly or not self.latch_store.trusted:
            return
        while self.controller.starting:
            await asyncio.sleep_ms(50)
        for outlet in self.board.outlets:
            choice = self.settings.outlet(outlet.index, "after_boot")
            if choice == "on" or (choice == "last" and outlet.name in self._was_on):
                self.controller.command("on", outlet.index, events.BY_BOOT)
                await asyncio.sleep_ms(500)  # one inrush at a time

    # -- storage -------------------------------------------------------------------------------

    async def _store(self):
        last = time.ticks_ms()
        while True:
            pieces.forget()
            for _ in range(_STORE_TURNS):  # each half second, a trip sooner
                await asyncio.sleep_ms(_STORE_MS)
                if self.controller.latch_dirty and not self.store_error:
                    await asyncio.sleep_ms(_SETTLE_MS)
                    self._save(False)
            if self._off_since and self.clock.wall():  # somebody has set the clock
                off_s = self.clock.wall() - self.clock.now_s - self._off_since
                self._off_since = 0
                if off_s > 0:
                    self.controller.cool_off(off_s)
            due = time.ticks_diff(time.ticks_ms(), last) >= _COUNTERS_S * 1000
            if due:
                last = time.ticks_ms()
            self._save(due)
            self.controller.close_next()  # one inrush at a time
            if 0 < self.fast.wave_release_s <= self.clock.now_s:
                self.fast.run_wave()

    def _on(self) -> list:
        """Names of the outlets that are on."""
        return [x.name for x in self.controller.outlets if o.energised(x.state)]

    def _heat_moved(self) -> bool:
        """Whether the heat of some outlet is far from what flash knows."""
        heat = self.controller.heat()
        for outlet in self.board.outlets:
            name = outlet.name
            if abs(heat.get(name, 0) - self._heat.get(name, 0)) > _HEAT_STEP:
                return True
        return False

    def _save(self, counters: bool):
        controller = self.controller
        try:
            if controller.latch_dirty or (counters and self._heat_moved()):
                controller.latch_dirty = False
                on = self._on_before  # of a reboot by command, which opens them first
                if on is None:
                    on = self._on()
                self._heat = heat = controller.heat()
                trips = controller.trips_s()
                now = (self.clock.now_s, self.clock.wall())
                self.latch_store.save(controller.latched(), on, heat, trips, now)
                self._flush_journal = True
            if self._flush_journal or self.journal_store.due() or counters:
                self.journal_store.flush()
                self._flush_journal = False
            if counters:
                mwh = {x.name: self.meter.energy_mwh(x.index) for x in self.board.outlets}
                self.counters.save(mwh)
                switching = controller.switching
                if switching.relays.dirty:
                    self.relay_store.save(switching.setup("stored"))
                    switching.relays.dirty = False
            self.store_error = ""
        except (files.StorageError, OSError) as error:
            if not self.store_error:
                self.journal.add(events.STORAGE, -1, events.UNSAVED, 0, events.BY_STORAGE)
            self.store_error = str(error)
            controller.latch_dirty = True

    # -- for commands --------------------------------------------------------------------------

    def stop(self, why: str):
        """End the firmware (`reboot` or `exit`): relays open within one turn of the loop."""
        self._stop = why

    def selftest(self):  # on demand
        """[(name, ok, text)]: what can be checked while the outlets stay as they are."""
        controller = self.controller
        rows = [("settings", not self.settings.load_report, self.settings.load_report or "good")]
        rows.append(("flash", not self.store_error, self.store_error or "writable"))
        windows = controller.windows
        rows.append(("sampler", windows > 0, "%d windows seen" % windows))
        lost = self.fast.windows_lost()
        rows.append(("windows", lost == 0, "%d lost" % lost))
        for channel in self.board.channels:
            if channel.kind != "aux":
                text = controller.checks.of_channel(channel.index)
                rows.append(("sensor " + channel.name, not text, text or "plausible"))
        hertz = self.meter.hertz()
        rows.append(("supply", hertz > 0, "%.2f Hz" % hertz if hertz else "no voltage"))
        gc.collect()
        free = gc.mem_free() if hasattr(gc, "mem_free") else 0
        rows.append(("heap", True, "%d bytes free" % free))
        rows.append(("tasks", self.supervisor.crashes == 0, self.supervisor.last_crash or "good"))
        return rows

# Composition root: board + settings -> objects -> tasks. Everything is made once, at boot,
# in the order in which it protects: relays are open already (boot.py), then sampler and
# control lane, then storage, and what talks to people last.

import asyncio
import gc

from firmware import __version__, events, pieces
from firmware import board as boards
from firmware.clock import Clock
from firmware.controller import Controller
from firmware.hal import kernels, network, system
from firmware.hal.inputs import Inputs
from firmware.selftest import SelfTest, parts
from firmware.sensing.metering import Meter
from firmware.storage import files
from firmware.storage.energy import FLOWS, Energy
from firmware.storage.journal import Journal
from firmware.storage.keeper import Keeper
from firmware.storage.settings import Settings
from firmware.supervisor import Supervisor

_FOLDER = "data"
_PLENTY = 90_000  # bytes of heap: more than this is left only where the modules are frozen
_LISTEN_MS = 100
_GOODBYE_MS = 8
_LINK_S = 5  # how soon a new link is noticed
_RETRY_S = 60
_JOURNAL = 256  # events
_JOURNAL_SMALL = 128
# Bytes asked for between two collections, see _sweep(). Calls of functions with many variables are
# in it (100 KB/s when nothing goes on), though they give it back. More seldom is better: a
# collection takes 9 ms where the modules are frozen, and 22 ms where they are in the heap; there,
# where holes in the heap count, it is done more often nevertheless.
_GATHERED = 57344
_GATHERED_LEAST = 4096
_SWEEP_MS = 13  # left of the next window: else a collection would delay it by more than it must
_PUT_OFF = 12  # windows at most
_UNTOUCHED = 20_000  # bytes of heap that garbage must not lie in: no message would fit between
_MEASURE_S = 10  # how often the free heap is looked at


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
        self._small = gc.threshold() > 0  # the modules are in the heap, see tools/shrink.py
        self.folder = folder
        self.board = boards.load(board_name or boards.detect())
        self.fast = _sampler(self.board)
        self.clock = Clock()
        # 2 KB less where the modules are in the heap; all events are on flash, too
        self.journal = Journal(_JOURNAL_SMALL if self._small else _JOURNAL)
        more = FLOWS if self.board.power is not None else 0
        self.energy = Energy(folder, len(self.board.outlets), more)
        self.keeper = Keeper(self, system.flash(folder))
        self.keeper.open()  # settings may have waited in the strip
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
            kernels.gather,
        )
        self.watchdog = system.Watchdog()
        self.supervisor = Supervisor(self.journal, self.watchdog)
        self.device_id = self.settings.get("device.id") or "tailgate-" + system.unique_id()[-6:]
        self._ended_badly = False
        self._crash = None  # of the control lane's turn in the middle of another task
        self._stop = ""  # why the firmware ends: reboot or exit
        self._stop_by = events.BY_CONTROL
        self._gathered = _GATHERED_LEAST if self._small else _GATHERED
        self._put_off = _PUT_OFF
        self._measured_s = _MEASURE_S  # MQTT's buffers are there by then
        self.mqtt = None
        self.network = network.make(self)
        self._load()
        self._tasks: list = []
        self._make_station("")
        self.settings.on_change(self._make_station)
        self._commands = None
        self._console = None
        if self.network is not None or self.board.hal == "portable":
            gc.collect()
            from firmware.interfaces.mqtt import Mqtt

            self.mqtt = Mqtt(self)
        self.tests = SelfTest(self)
        parts("slow").start(self.tests)

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
        when somebody types: a board that only talks MQTT has 35 KB more to work with, and it takes
        half a second."""
        if not self._small and gc.mem_free() > _PLENTY:
            self._load_console()
        while self._console is None and not system.has_input():
            await asyncio.sleep_ms(_LISTEN_MS)
        await self._load_console().run()

    async def _serve_uart(self):  # on demand
        """Task: a second console, on the board's serial pins, where console.uart is on."""
        from firmware.hal import uart

        port = uart.make(self.board.uart, self.settings.get("console.baud"))
        while self._console is None and not port.any():
            await asyncio.sleep_ms(_LISTEN_MS)
        self._load_console()
        from firmware.interfaces.console import Console, StdioPort

        await Console(self, StdioPort(port)).run()

    def _load(self):  # on demand: boot
        """What is on flash: journal, trips, counters, calibration, the last crash."""
        if system.clock():
            self.clock.offset_s = self.journal.epoch_offset_s = system.clock() - self.clock.now_s
            self.clock.told_by = events.BY_BOOT
        self.cause = cause = system.reset_cause()
        self._ended_badly = cause == events.WATCHDOG
        self.journal.add(events.BOOT, -1, cause, self.journal.boot, events.BY_BOOT)
        self.keeper.load(system.kept())
        if system.can_retain():
            self.controller.retain = system.retain  # type: ignore[assignment]
        self._load_calibration()
        for note in [self.settings.load_report] + self.keeper.notes():
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
        # `cal` loads it again when asked
        rows, note = pieces.once("firmware.storage.calibration").load(self.folder, self.board)
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

    def totals_mwh(self) -> list:
        """What each outlet has delivered since its counter began, mWh; then what else Energy
        keeps."""
        totals = [self.meter.energy_mwh(outlet.index) for outlet in self.board.outlets]
        return totals + self.energy.more

    # -- tasks ---------------------------------------------------------------------------------

    def run(self):
        """Protect until somebody asks for a reboot or for the REPL."""
        try:
            asyncio.run(self._run())
        finally:
            self.fast.stop()
            pieces.serve()
            asyncio.new_event_loop()
        if self._stop == "reboot":
            system.reset()
        system.keep_ctrl_c(True)
        self.watchdog.keep_fed()
        print("all relays are open; protection has stopped; main.py or a reset starts it again")

    async def _run(self):
        if self.network is not None:
            self.network.begin()  # stops Python for up to 3 s: nothing runs yet that could suffer
        self.fast.start()
        pieces.serve(self.breathe, self._small, self.controller.is_due)
        control = asyncio.create_task(self._control())
        self._tasks = tasks = self._start()
        # The control task is not guarded: when it fails, relays open and the chip restarts.
        await control
        for task in tasks:
            task.cancel()

    def _start(self) -> list:  # on demand: boot
        """All other tasks."""
        guard = self.supervisor.guard
        self.supervisor.start_watchdog()
        system.keep_ctrl_c(False)
        tasks = [asyncio.create_task(self.supervisor.watch())]
        tasks.append(asyncio.create_task(guard("storage", self.keeper.run)))
        tasks.append(asyncio.create_task(guard("console", self._serve_console)))
        if self.board.uart is not None and self.settings.get("console.uart"):
            tasks.append(asyncio.create_task(guard("uart", self._serve_uart)))
        tasks.append(asyncio.create_task(guard("after boot", self._after_boot)))
        tasks.append(asyncio.create_task(guard("self-test", self.tests.run)))
        tasks.append(asyncio.create_task(guard("time", self._keep_time)))
        if self.controller.station is not None:
            tasks.append(asyncio.create_task(self._guard_station()))
        if self.network is not None:
            tasks.append(asyncio.create_task(guard("network", self.network.run)))
        if self.mqtt is not None:
            tasks.append(asyncio.create_task(guard("mqtt", self.mqtt.run)))
        if self._small:
            pieces.forget()
        pieces.let_go()
        gc.collect()
        gc.threshold(self._gathered if self._small else -1)
        return tasks

    async def _control(self):
        controller = self.controller
        beat = self.supervisor.beat
        sleep_ms = asyncio.sleep_ms
        pause_ms = controller.pause_ms
        step = controller.step
        while not self._stop:
            if self._crash is not None:
                raise self._crash
            if step():
                self._sweep()
                if controller.is_due():
                    step()
            beat()
            await sleep_ms(pause_ms())
        if self._stop == "reboot":
            self.keeper.note_on()
        self.fast.open_all()
        await self._goodbye()

    def _sweep(self):
        """A window is done, and the next one a cycle away: what has gathered on the heap is
        collected now, when it delays the control lane least, and not in a task's turn. When this
        one was late it is put off."""
        if not self._small:  # where holes in the heap count nothing is put off
            if self._put_off and self.fast.pause_ms() < _SWEEP_MS:
                self._put_off -= 1
                return
            self._put_off = _PUT_OFF
        gathered = self._gathered
        gc.threshold(gathered - (gathered >> 2))
        try:
            object()  # when memory is asked for, a collection that is due is made
        except MemoryError:
            pass
        gc.threshold(gathered if self._small else -1)  # -1: when the heap is full
        if self._small and self.clock.now_s >= self._measured_s:
            self._measure()

    def _measure(self):
        self._measured_s = self.clock.now_s + _MEASURE_S
        free = gc.mem_free() - _UNTOUCHED
        self._gathered = max(_GATHERED_LEAST, min(free, _GATHERED))

    async def _goodbye(self):  # on demand
        """Relays are open; record, then let the console and the broker hear of it."""
        reason = events.REBOOT if self._stop == "reboot" else events.EXIT
        for outlet in self.board.outlets:
            self.controller.command("off", outlet.index, events.BY_CONTROL)
        self.journal.add(events.OFF, -1, reason, 0, self._stop_by)
        if self.mqtt is not None:
            self.mqtt.stop()
        # Answers and events on their way: 0.3 s, longer while the broker has not heard it all.
        mqtt = self.mqtt
        for turn in range(250):
            if turn > 40 and (mqtt is None or mqtt.client is None or mqtt.done):
                break
            self.controller.step()
            self.supervisor.beat()
            await asyncio.sleep_ms(_GOODBYE_MS)
        self.keeper.save_now()

    def _make_station(self, name: str):
        """Power export beside the outlets, where the board or the settings want it: at boot, and
        as soon as the setting `name` does."""
        if self.controller.station is None and (not name or name[:5] in ("mode.", "batte")):
            get = self.settings.get
            if (
                self.board.power is None
                and not get("battery.usable_kwh")
                and get("mode.default") == "outlets"
                and not get("mode.schedule")
            ):
                return
            gc.collect()
            from firmware.power import station

            station.make(self)
            if name:
                self._tasks.append(asyncio.create_task(self._guard_station()))

    def _guard_station(self):
        return self.supervisor.guard("power", self._run_station)

    async def _run_station(self):
        await self.controller.station.run(asyncio.sleep_ms)

    async def _keep_time(self):
        """Task: ask the time servers while there is a link. What asks them is needed for a second
        each four hours, and loaded for that."""
        memory: dict = {}
        asked = None
        again_s = 0
        network = self.network
        while True:
            await asyncio.sleep(_LINK_S)
            names = self.settings.get("time.servers")
            if names != asked or self.clock.now_s >= again_s:
                if self.board.hal == "portable" if network is None else network.connected:
                    asked = names
                    again_s = self.clock.now_s + await self._ask_time(memory)

    async def _ask_time(self, memory):  # on demand
        pieces.collect()
        try:
            timeservers = pieces.once("firmware.timeservers")
            pieces.drop("firmware.timekeeper")
            return await timeservers.ask(self, memory)
        except MemoryError:
            self.clock.note = "not enough memory to ask"
            return _RETRY_S
        finally:
            pieces.drop("lib.datagram")

    async def _after_boot(self):  # on demand
        """Outlets that their owner wants back after a restart; never one that tripped, and none
        after a hang or a crash: a trip of that moment may not have been recorded."""
        if self._ended_badly or not self.keeper.latch_store.trusted:
            return
        while self.controller.starting:
            await asyncio.sleep_ms(50)
        for outlet in self.board.outlets:
            choice = self.settings.outlet(outlet.index, "after_boot")
            if choice == "on" or (choice == "last" and outlet.name in self.keeper.latch_store.on):
                self.controller.later(outlet.index, events.BY_BOOT)  # one inrush at a time

    # -- for commands --------------------------------------------------------------------------

    def breathe(self):
        """In the middle of what takes long: the control lane's turn."""
        try:
            if self.controller.step():
                self._sweep()
                if self.controller.is_due():
                    self.controller.step()
        except Exception as error:  # whoever called this may survive it, and must not
            self.fast.open_all()
            self._crash = error  # type: ignore[assignment]
            raise
        self.supervisor.beat()
        self.watchdog.feed()

    def stop(self, why: str, by: int = events.BY_CONTROL):
        """End the firmware (`reboot` or `exit`): relays open within one turn of the loop."""
        self._stop_by = by
        self._stop = why

    def selftest(self) -> list:
        """[(name, ok, text, uptime of the check in s)], see selftest.py."""
        return parts("report").rows(self.tests)

# The keeper's part at boot: reads the files, then the strip's and the FRAM's newer records over
# them. Called by keeper.py, which drops it again.

import gc
import struct
import time

from micropython import const

from firmware.storage import files, strip
from firmware.storage.latch import LatchStore

_MORE = const(1)  # flags of a part of a file, as in keeper_files.py
_DONE = const(2)
_PLACE = const(2)
_BOOT_MS = const(2000)
_HEAT_STEP = const(50)  # permille, as in keeper_files.py
_DUE_S = const(60)  # energy and heat are due


def open(keeper):
    """Before anything is read: files that were still to be written are written now, and the
    journal is put together. Never raises."""
    files.mend(keeper._app.folder)
    keeper.journal_store.load()
    app = keeper._app
    try:
        device = keeper._device
        if hasattr(device, "numbers"):
            keeper.strip = strip.Strip(device, device.numbers())
        elif device is not None:
            setup = keeper.part("firmware.storage.strip_setup")
            found = setup.find(device, app.folder)
            keeper._missing = [n for n in range(setup.wanted(device)) if n not in found]
            keeper.strip = strip.Strip(device, found.values())
        if keeper.strip is not None:
            _replay(keeper)
    except (files.StorageError, OSError) as error:
        keeper.note = "no strip: %s" % error
        keeper.strip = None
    keeper._logged = app.journal.last_seq


def _replay(keeper):
    base = None
    parts: dict = {}
    begun: dict = {}
    for kind, payload in keeper.strip.records():
        if kind == strip.JOURNAL:
            keeper.journal_store.take(payload)
        elif kind == strip.FULL:
            found = _unpack(keeper, payload)
            if found is not None:
                base = keeper._found = found
        elif kind == strip.DELTA:
            if base is not None and len(payload) == keeper.delta_size():
                passed = struct.unpack_from("<H", payload)[0]
                totals = []
                heats = []
                for i in range(len(base[2])):
                    mwh, heat = struct.unpack_from("<IB", payload, 2 + 5 * i)
                    totals.append(base[2][i] + mwh)
                    heats.append(heat << 3)
                epoch = base[1] + passed if base[1] else 0
                keeper._found = (base[0], epoch, totals, heats)
        elif kind == strip.LATCH:
            keeper._text = bytes(payload).decode()
        elif kind == strip.FILE:
            _collect(payload, parts, begun)
    log = keeper.strip
    if log.bad > log.torn:
        keeper.note = "%d places of the strip are damaged, the rest of it is read" % log.bad
    elif log.bad:
        keeper.note = "a record was torn by the power cut, nothing before it is lost"
    files.waiting.update(parts)
    try:
        for path in list(files.waiting):  # all outlets are open: now
            keeper.part("firmware.storage.keeper_files").write_waiting(keeper, path)
    except files.StorageError as error:
        keeper.note = str(error)


def _collect(payload, parts, begun):
    """A part of a file. `parts`: {path: what is whole}, `begun`: {path: [what has come of it]}. A
    version of which a part is missing does not count, and the one before it does."""
    flags, length, size = struct.unpack_from("<BBH", payload)
    path = bytes(payload[4 : 4 + length]).decode()
    if flags & _DONE:
        parts.pop(path, None)
        return
    place = flags >> _PLACE
    have = begun.pop(path, []) if place else []
    if len(have) != place:
        return
    have.append(bytes(payload[4 + length : 4 + length + size]))
    if flags & _MORE:
        begun[path] = have
    else:
        parts[path] = b"".join(have)


def _unpack(keeper, payload):
    """(serial, epoch, [mWh], [permille]) of a FULL record, or None."""
    energy = keeper._app.energy
    for n in (energy.count, energy.summed):  # an older version counted the outlets only
        size = 8 + 9 * n
        if len(payload) in (size, size + -size % 4):
            break
    else:
        return None
    serial, epoch = struct.unpack_from("<II", payload)
    rows = [struct.unpack_from("<QB", payload, 8 + 9 * i) for i in range(n)]
    rows += [(0, 0)] * (energy.count - n)
    return serial, epoch, [row[0] for row in rows], [row[1] << 3 for row in rows]


def load(keeper, kept):
    """Trips, heat, energy and relay counters into the controller; `kept`: system.kept()."""
    app = keeper._app
    outlets = app.board.outlets
    store = keeper.latch_store
    latched = store.load()
    keeper._latched = latched
    totals = keeper.counters.load()
    keeper.published = totals.pop("published", -1)
    fram_kb = app.settings.get("storage.fram_kb")
    if fram_kb != "none":
        _open_fram(keeper, fram_kb)
    found = [keeper._found]
    texts = [keeper._text]
    keeper._text = ""
    if keeper.fram is not None:
        data = keeper.fram[0].load()
        if data:
            found.append(_unpack(keeper, data))
        texts.append((keeper.fram[1].load() or b"").decode())
        keeper.note = keeper.fram[0].note or keeper.fram[1].note or keeper.note
    for text in texts:
        if text:
            newer = LatchStore(app.folder)
            newer.trusted = store.trusted
            latched_then = newer.take(text)
            if not newer.note and newer.serial > store.serial:
                latched = latched_then
                keeper._text = text
                newer.note = store.note
                keeper.latch_store = store = newer
    found = [state for state in found if state is not None]
    # a FRAM that failed in service may be the older one: counters only grow
    found.sort(key=lambda state: (state[0], sum(state[2])))
    for state in found:
        for i in range(len(outlets)):
            name = outlets[i].name
            totals[name] = max(totals[name], state[2][i])
        if state[0] >= store.serial:
            store.epoch = state[1]
            store.heat = {}
            for i in range(len(outlets)):
                if state[3][i]:
                    store.heat[outlets[i].name] = state[3][i]
    app.controller.restore(latched, store.heat, store.trips, kept)
    keeper._heat = store.heat
    keeper._off_since = store.epoch
    for outlet in outlets:
        app.meter.restore_energy(outlet.index, totals[outlet.name])
    more = app.energy.more
    rows = [totals.get("flows")] + [state[2][len(outlets) :] for state in found]
    for row in rows:
        if isinstance(row, list):  # the file's may be of a version that had fewer
            for i in range(min(len(row), len(more))):
                more[i] = max(more[i], row[i])
    mark = totals.get("at")
    for state in found:
        # the newer one: a reboot writes the files last
        if state[1] and (not isinstance(mark, list) or state[1] > mark[0]):
            mark = [state[1], [mwh // 1000 for mwh in state[2]]]
    gc.collect()
    app.energy.accounts().load(app.energy, app.totals_mwh(), mark)
    app.controller.switching.setup("restore", keeper.relay_store.load())
    keeper._found = None
    dirty = app.controller.latch_dirty
    if keeper._heat_moved(_HEAT_STEP):
        dirty = True
        keeper._state_s = -_DUE_S
    if dirty or keeper.is_short():
        if not app.controller.latch_dirty:
            keeper._on_before = store.on  # they may be closed again
        _settle(keeper)
        keeper._on_before = None


def _settle(keeper):
    """All outlets are open, and nothing is missed while flash is erased: a trip or heat that only
    the kept words know of goes to flash, and room is made in a strip that is short of it. (A
    device that starts again and again, each time for some seconds, has no other time for it.)

    Takes 2 s, and what is under way then: at most a file, six erases of 400 ms by the data sheet.
    The watchdog has 8 s, and is not even running yet, but after `exit` and a soft reset."""
    began = time.ticks_ms()
    log = keeper.log()
    try:
        try:
            keeper._append(0, 0)
        except strip.Full:
            keeper._is_full = True
        if keeper._fresh or keeper.is_short():
            keeper._step = 1
        while time.ticks_diff(time.ticks_ms(), began) < _BOOT_MS:
            if keeper._step:
                keeper.part("firmware.storage.keeper_files").do_step(keeper, 0)
            elif log is not None and log.can_erase():
                log.erase()
            else:
                break
    except (files.StorageError, OSError) as error:
        keeper.part("firmware.storage.keeper_files").say(keeper, str(error), 0)
        keeper._step = 0  # nothing is lost from memory: the task tries again


def _open_fram(keeper, kilobytes):
    from firmware.hal import system
    from firmware.storage.fram import Area, Fram

    try:
        if keeper._app.board.fram is None:
            raise files.StorageError("this board has no pins for a FRAM")
        chip = Fram(system.i2c(*keeper._app.board.fram), kilobytes * 1024)
        keeper.note = chip.check()
        if not keeper.note:
            state = Area(chip, 0, 256)
            keeper.fram = (state, Area(chip, state.end, 1024))
    except (files.StorageError, OSError, ValueError) as error:
        keeper.note = str(error)
    if keeper.note:
        keeper.note += "; the flash is used"

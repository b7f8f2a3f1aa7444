# The keeper's part at boot: reads the files, then the strip's and the FRAM's newer records over
# them. Called by keeper.py, which drops it again.

import struct

from micropython import const

from firmware.storage import files, strip
from firmware.storage.latch import LatchStore

_MORE = const(1)  # flags of a part of a file, as in keeper_files.py
_DONE = const(2)


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
            setup = keeper.part("strip_setup")
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
            _collect(payload, parts)
    if keeper.strip.bad:
        keeper.note = "a record was torn by the power cut, nothing before it is lost"
    for path in parts:
        if isinstance(parts[path], bytes):
            files.waiting[path] = parts[path]
    try:
        for path in list(files.waiting):  # all outlets are open: now
            keeper.part("keeper_files").write_waiting(keeper, path)
    except files.StorageError as error:
        keeper.note = str(error)


def _collect(payload, parts):
    """A part of a file: {path: [what has come of it]}, bytes when it is whole."""
    flags, length, size = struct.unpack_from("<BBH", payload)
    path = bytes(payload[4 : 4 + length]).decode()
    content = bytes(payload[4 + length : 4 + length + size])
    if flags & _DONE:
        parts.pop(path, None)
    else:
        begun = parts.get(path)
        begun = begun + [content] if isinstance(begun, list) else [content]
        parts[path] = begun if flags & _MORE else b"".join(begun)


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
    for state in found:
        if state is not None:
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
    rows = [totals.get("flows")] + [state[2][len(outlets) :] for state in found if state]
    for row in rows:
        if isinstance(row, list):  # the file's may be of a version that had fewer
            for i in range(min(len(row), len(more))):
                more[i] = max(more[i], row[i])
    mark = totals.get("at")
    for state in found:
        # the newer one: a reboot writes the files last
        if state is not None and state[1] and (not isinstance(mark, list) or state[1] > mark[0]):
            mark = [state[1], [mwh // 1000 for mwh in state[2]]]
    app.energy.accounts().load(app.energy, app.totals_mwh(), mark)
    app.controller.switching.setup("restore", keeper.relay_store.load())
    keeper._found = None


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

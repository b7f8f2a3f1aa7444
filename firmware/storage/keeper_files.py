# The keeper's part that is seldom needed: writes the files, or puts one into the strip until that
# may be. Called by keeper.py (storage task, outer lane), which drops it again each time.

import struct

from micropython import const

from firmware import events, pieces
from firmware.storage import files, quiet, strip

_HEAT_STEP = const(50)  # permille: less is not worth writing a file
_PART = const(900)  # bytes of a file in one record
_RESERVE = const(1536)  # as in keeper.py
_AGAINST_APPEND = const(12)
_AT_ONCE = const(64)  # records of the strip that go into the journal's files in one turn
_MORE = const(1)  # flags of such a part
_DONE = const(2)
_PLACE = const(2)  # its number stands in the bits from this one on


def do_step(keeper, now):
    step = keeper._step
    log = keeper.log()
    app = keeper._app
    if step == 1:
        if log is None:
            if keeper._heat_moved(_HEAT_STEP):
                keeper._compose()
        else:
            # what lies in the blocks before this one will be in the files, or here
            try:
                keeper._append_state(now)
            except files.StorageError:
                keeper._compose()  # full: the file takes the heat
            keeper._cover = log.seq
        if keeper._text:
            latched = app.controller.latched()  # in the middle of writing there may be more
            pieces.breathe()
            keeper.latch_store.write(keeper._text)
            keeper._text = ""
            keeper._fresh = False
            keeper._latched = latched
    elif step == 2:
        if keeper.journal_store.flush(_older(keeper), _AT_ONCE) == _AT_ONCE:
            return  # there are more
        keeper._logged = max(keeper._logged, keeper.journal_store.stored_seq)
    elif step == 3:
        totals = keeper._totals()
        published = keeper.published if app.mqtt is None else app.mqtt.published
        if totals != keeper._kept_mwh or published > keeper.published:
            outlets = app.board.outlets
            table: dict = {x.name: totals[x.index] for x in outlets}
            if app.energy.more:
                table["flows"] = app.energy.more[:]
            if published >= 0:
                table["published"] = published
            table["at"] = app.energy.mark(app.clock.wall(), totals)
            keeper.counters.save(table)
            keeper._kept_mwh = totals
            keeper.published = published
    elif step == 4:
        switching = app.controller.switching
        if switching.relays.dirty:
            keeper.relay_store.save(switching.setup("stored"))
            switching.relays.dirty = False
    elif step == 5:
        for path in files.waiting:
            if write_waiting(keeper, path):
                return
            break  # it waits on
    elif app.energy.waiting:
        app.energy.flush()
        return
    else:
        for call in keeper.when_quiet:
            call()
        if log is not None:
            log.covered = keeper._cover
        keeper._is_full = False
        keeper._round_s = now
        keeper._step = 0
        return
    keeper._step = step + 1


def _older(keeper):
    """Generator of the journal's records in the strip, those that are to be flushed next."""
    log = keeper.log()
    if log is not None:
        yield from log.since(strip.JOURNAL, keeper.journal_store.next_seq())


def make(keeper):
    """One more block for the strip."""
    number = keeper._missing[-1]
    setup = keeper.part("firmware.storage.strip_setup")
    block = setup.make(keeper._device, keeper._app.folder, number)
    keeper._missing.pop()
    if block < 0:
        keeper._missing = []  # the flash is full: this is all there will be
    else:
        keeper.strip.add(block)


def put(keeper, path: str, payload, bits: int):
    """A file's new payload into the strip; it is written later. Raises StorageError when even that
    may not be."""
    if isinstance(payload, str):
        payload = payload.encode()
    log = keeper.log()
    if log is None or bits & _AGAINST_APPEND:
        raise files.NotYet("not saved: %s; try again" % (quiet.why(bits) or "not now"))
    if not log.blanks() and log.left() < _RESERVE + 2 * len(payload):
        raise files.StorageError("not saved: no erased flash is left; try again")
    name = path.encode()
    for at in range(0, max(len(payload), 1), _PART):
        part = payload[at : at + _PART]
        flags = at // _PART << _PLACE | (_MORE if at + _PART < len(payload) else 0)
        head = struct.pack("<BBH", flags, len(name), len(part))
        log.append(strip.FILE, head + name + part)
    files.waiting[path] = payload


def write_waiting(keeper, path) -> bool:
    """Write a file that waits, then say so in the strip. False: the strip is full. The file waits
    on then: the record in the strip would replace a newer version at the next start."""
    files.replace_file(path, files.waiting[path])
    name = path.encode()
    try:
        keeper.strip.append(strip.FILE, struct.pack("<BBH", _DONE, len(name), 0) + name)
    except strip.Full:
        keeper._is_full = True
        return False
    files.waiting.pop(path)
    return True


def say(keeper, text, bits):
    """What is not saved, and why: on record once. Nothing is lost from memory."""
    if not keeper.error:
        keeper._app.journal.add(events.STORAGE, -1, events.UNSAVED, 0, events.BY_STORAGE)
    against = quiet.why(bits)
    keeper.error = text + "; " + against if against else text


def stats(keeper) -> dict:
    """Blindness, wear and what waits, for diagnosis."""
    log = keeper.strip
    result: dict = {"unsaved_s": keeper.unsaved_s(), "files_waiting": len(files.waiting)}
    result["file_steps"] = keeper.writes
    result["file_ms"] = keeper.file_us // 1000  # at most so much of it blind
    result["file_worst_ms"] = keeper.write_us // 1000
    if log is not None:
        result["strip_blocks"] = len(log)
        result["strip_erased"] = log.blanks()
        result["appends"] = log.appends
        result["erases"] = log.erases
        result["blind_ms"] = log.blind_us // 1000
        result["blind_worst_ms"] = log.worst_us // 1000
    if keeper.fram is not None:
        result["fram"] = True
    if keeper.error or keeper.note:
        result["note"] = keeper.error or keeper.note
    return result


def text(keeper) -> str:
    """What stats() says, for people."""
    figures = stats(keeper)
    words = "%d s unsaved" % figures["unsaved_s"]
    blind_ms = figures["file_ms"] + figures.get("blind_ms", 0)
    words += ", blind %.1f s in all, %d ms at once" % (
        blind_ms / 1000,
        max(figures["file_worst_ms"], figures.get("blind_worst_ms", 0)),
    )
    if "appends" in figures:
        words += " (%d records, %d erases, %d writes)" % (
            figures["appends"],
            figures["erases"],
            figures["file_steps"],
        )
    return words + (", " + figures["note"] if "note" in figures else "")

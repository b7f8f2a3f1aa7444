"""Wi-Fi set up by a browser over the console's port: the packets of Improv.

Role: one packet in, packets out. The standard: https://www.improv-wifi.com/serial/
Called by: the console, which loads it for a packet and drops it again.

A packet: `IMPROV`, version 1, type, length, data, the low byte of the sum of all bytes before.
"""

import asyncio

from micropython import const

from firmware.interfaces.commands import CommandError
from firmware.storage.settings import SettingError, check

# types
_STATE = const(1)
_ERROR = const(2)
_CALL = const(3)
_RESULT = const(4)
# calls
_SEND = const(1)
_ASK_STATE = const(2)
_ASK_DEVICE = const(3)
_SCAN = const(4)
_HOST = const(5)
_NAME = const(6)
_ASK_LINK = const(7)
# states
_READY = const(2)
_JOINING = const(3)
_JOINED = const(4)
# errors
_NONE = const(0)
_INVALID = const(1)
_UNKNOWN = const(2)
_NOT_JOINED = const(3)
_BAD_HOST = const(5)
_OTHER = const(255)

_WAIT_S = 0.02  # between two looks at a save that waits


def packet(kind: int, data) -> bytes:
    """The bytes of a packet, and an end of line: then text can follow."""
    made = bytearray(b"IMPROV\x01\x00\x00")
    made[7] = kind
    made[8] = len(data)
    made.extend(data)
    made.append(sum(made) & 255)
    made.append(10)
    return bytes(made)


def _result(call, texts):
    """The packet that answers a call: texts, of which none is long."""
    data = bytearray((call, 0))
    for text in texts:
        text = text.encode()
        data.append(len(text))
        data.extend(text)
    data[1] = len(data) - 2
    return packet(_RESULT, data)


def _error(number):
    return packet(_ERROR, bytes((number,)))


def _state(number):
    return packet(_STATE, bytes((number,)))


def _credentials(data):
    """(name, password) of a network; ValueError when they are none."""
    size = data[0] if data else 0
    if len(data) < size + 2 or len(data) != size + 2 + data[size + 1]:
        raise ValueError
    return bytes(data[1 : size + 1]).decode(), bytes(data[size + 2 :]).decode()


async def answer(app, data, send, note, joining: bool):
    """Answer the bytes of a packet. `send(bytes)` is a coroutine, `note(text)` a remark for
    people, `joining`: a network is being tried.

    Returns None, or a coroutine that tries a network and sends the rest: it takes seconds."""
    if len(data) < 8 or data[7] != _CALL:
        return None  # what devices send: our own packet, echoed
    size = len(data) - 10
    if size < 2 or data[8] != size or data[10] != size - 2 or sum(data[:-1]) & 255 != data[-1]:
        await send(_error(_INVALID))
        return None
    call = data[9]
    data = data[11:-1]
    if app.network is None or not _SEND <= call <= _ASK_LINK:
        await send(_error(_UNKNOWN))
        return None
    await send(_error(_NONE))
    try:
        if call == _SEND:
            return await _begin(app, data, send, note, joining)
        await send(await _told(app, call, data, send, joining))
    except (SettingError, CommandError) as error:
        note("Wi-Fi: %s" % error)
        number = _BAD_HOST if call == _HOST else _OTHER
        await send(_error(number if isinstance(error, CommandError) else _INVALID))
    except ValueError:  # not UTF-8, too
        await send(_error(_INVALID))
    return None


async def _told(app, call, data, send, joining):
    """What ends the answer to a call that asks for something."""
    up = app.network.connected
    if call == _ASK_STATE:
        if joining:
            return _state(_JOINING)
        if not up:
            return _state(_READY)
        await send(_state(_JOINED))
    elif call == _ASK_DEVICE:
        name = app.settings.get("device.name") or app.device_id
        return _result(call, ("Tailgate", app.version, app.board.chip, name))
    elif call == _SCAN:
        await _networks(app, send)
    elif call == _ASK_LINK:
        return _result(call, ("3" if up else "2",))  # bit 0: online, bit 1: has Wi-Fi
    elif call == _NAME or call == _HOST:
        name = "device.name" if call == _NAME else "wifi.hostname"
        if data:
            app.commands.run("set", [name, bytes(data).decode()], "console")
            await _save(app)
        return _result(call, (app.settings.get(name) or app.device_id,))
    # Of pages to open there is none: nothing listens.
    return _result(call, ())


async def _networks(app, send):
    """A packet for each network in reach. The command refuses while an outlet is on."""
    best: dict = {}
    for row in app.commands.run("wifi", ["scan"], "console")["networks"]:
        ssid = row["ssid"]
        if ssid and (ssid not in best or row["rssi_dbm"] > best[ssid]["rssi_dbm"]):
            best[ssid] = row
    for ssid in best:
        row = best[ssid]
        lock = "NO" if row.get("open") else "YES"
        await send(_result(_SCAN, (ssid, str(row["rssi_dbm"]), lock)))


async def _begin(app, data, send, note, joining):
    """Look at the credentials; the coroutine that tries them. ValueError, SettingError,
    CommandError."""
    if joining:
        raise CommandError("a network is being tried: try again when that is over")
    ssid, password = _credentials(data)
    entry = app.settings.entry
    check(entry("wifi.ssid"), ssid)
    check(entry("wifi.password"), password)
    if not ssid:
        raise ValueError
    places = [app.settings.get("wifi.ssid" + number) for number in ("", "2", "3")]
    if ssid not in places and "" not in places:
        raise CommandError("3 networks are known: first wifi forget <ssid>")
    await send(_state(_JOINING))
    return _join(app, ssid, password, send, note)


async def _join(app, ssid, password, send, note):
    """Try a network; when it can be joined, keep it."""
    number = _OTHER
    try:
        reason = await app.network.join(ssid, password)
        if reason:
            number = _NOT_JOINED
        else:
            await _keep(app, ssid, password)
    except Exception as error:
        # whatever it was: the browser and the people hear of it, and the console goes on
        reason = str(error) or type(error).__name__
    if reason:
        note("Wi-Fi: %s: %s" % (ssid, reason))
        await send(_state(_READY))
        await send(_error(number))
    else:
        note("Wi-Fi: %s: joined and saved" % ssid)
        await send(_state(_JOINED))
        await send(_result(_SEND, ()))


async def _keep(app, ssid, password):
    """Settings of the network that was joined, on flash; CommandError, and they are as before."""
    settings = app.settings
    run = app.commands.run
    before = {name: settings.get(name) for name in settings.names() if name[:5] == "wifi."}
    try:
        run("wifi", ["set", ssid, password], "console")
        await _save(app)
    except CommandError:
        for name in before:
            if settings.get(name) != before[name]:
                run("set", [name, before[name]], "console")
        raise


async def _save(app):
    """`save`, which may have to wait for a quiet moment; CommandError."""
    job = app.commands.run("save", [], "console")
    while hasattr(job, "poll") and job.poll() is None:
        await asyncio.sleep(_WAIT_S)

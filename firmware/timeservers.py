# Asks the network's time servers, and says which of them the clock may believe. Loaded each four
# hours for a second, and dropped again. Called by app (task, outer lane).
#
# A time server is believed when another one says the same, or when it is the only one that
# answers and nothing speaks against it: what it says is possible, and near the time that is
# known. A jump is believed when it is said twice.

import random

from micropython import const

from firmware import events, timekeeper
from firmware.clock import iso
from firmware.hal import network
from lib import datagram

_AGREE_S = const(2)  # both are good to a second
_NEAR_S = const(5)  # from what is known, and 500 ppm of the time since
_SERVERS = const(4)
_EVERY_S = const(14_400)
_RETRY_S = const(16)  # doubled each time, up to a quarter of an hour
_RETRY_MOST_S = const(1024)
_BAN_S = const(86_400)  # for a server that refused (RFC 4330, 8)


async def ask(app, memory: dict) -> int:
    """Ask the servers, and set the clock if they can be believed; seconds until it is time to ask
    again. `memory`: what is to be known then. clock.note says what became of it."""
    clock = app.clock
    found: list = []  # what uptime 0 was, by each that answered
    notes = []
    believed = 0
    for host, port in datagram.hosts(app.settings.get("time.servers"))[:_SERVERS]:
        if memory.get(host, 0) > clock.now_s:
            notes.append("%s refuses" % host)
            continue
        try:
            address = await network.lookup(app.network, host)
            if not datagram.is_address(address):  # of the unix port, which has to be told
                raise datagram.NoAnswer("there is no DNS: give %s as an address" % host)
            offset = await datagram.network_time(address, port) - clock.now_s
        except datagram.Refused as error:
            memory[host] = clock.now_s + _BAN_S
            notes.append("%s %s" % (host, error))
            continue
        except (datagram.NoAnswer, OSError) as error:
            notes.append(str(error))
            continue
        if not timekeeper.is_plausible(offset + clock.now_s):
            notes.append("%s says %s" % (host, iso(offset + clock.now_s)))
            continue
        for other in found:
            if abs(other - offset) <= _AGREE_S:
                believed = offset
        found.append(offset)
        if believed:
            break
    if len(found) == 1:
        near = _NEAR_S + (clock.now_s - clock.told_s) // 2000
        if (
            not clock.offset_s
            or abs(found[0] - clock.offset_s) <= near
            or abs(found[0] - memory.get("", 0)) <= _AGREE_S
        ):
            believed = found[0]
        else:
            notes.append("a step of %d s is to be confirmed" % (found[0] - clock.offset_s))
    elif found and not believed:
        notes.append("the servers do not agree")
    memory[""] = found[0] if len(found) == 1 else 0
    if believed:
        timekeeper.tell(app, believed + clock.now_s, events.BY_NTP)
        clock.note = "good"
        memory[1] = 0
        return _EVERY_S + random.getrandbits(9)
    clock.note = "; ".join(notes) or "there is no server (setting time.servers)"
    wait_s = memory[1] = min(max(memory.get(1, 0) * 2, _RETRY_S), _RETRY_MOST_S)
    return wait_s + random.getrandbits(4)

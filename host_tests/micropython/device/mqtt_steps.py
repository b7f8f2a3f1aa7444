# How long the steps of lib/mqtt.py take between two turns of the loop, on the emulated chip;
# called by test_mqtt_on_chip.py, which supplies a `socket` that the Pico has not got. Prints JSON:
# the longest time of each step in us, and the longest time between two calls of a hard timer that
# runs meanwhile, as the fast lane's does.

import asyncio
import gc
import json
import random
import time

import machine

from lib import mqtt

_TURNS = 24
_STATE = b"s" * 1400  # bytes of a state message with five outlets
_HZ = 2400

_last = 0
_longest = 0


def _scan(timer):
    global _last, _longest
    now = time.ticks_us()
    if _last:
        gap = time.ticks_diff(now, _last)
        if gap > _longest:
            _longest = gap
    _last = now


def main():
    timer = machine.Timer()
    timer.init(freq=_HZ, callback=_scan, hard=True)
    try:
        asyncio.run(_main())
    finally:
        timer.deinit()


async def _main():
    random.seed(1)
    heard = []
    client = mqtt.Client(
        "127.0.0.1",
        1883,
        "steps",
        subscribe=[("t/#", 1)],
        on_message=lambda *message: heard.append(len(message[1])),
    )
    client.connected = client.subscribed = True
    client._sock = client
    longest = {}
    gc.collect()

    def timed(name, step, *args):
        start = time.ticks_us()
        result = step(*args)
        took = time.ticks_diff(time.ticks_us(), start)
        longest[name] = max(took, longest.get(name, 0))
        return result

    message = b"\x32\xf8\x01\x00\x20" + b"t" * 32 + b"\x00\x07" + b"{" * 212
    small = b"\x32\x09\x00\x05t/set\x00\x07" * 23
    pids = []
    for _ in range(_TURNS):
        timed("publish_state", client.publish, "t" * 30, _STATE)
        for _ in range(4):
            pids.append(timed("publish_event", client.publish, "t/event", b"e" * 150, 1, 0, True))
        timed("watch", client._watch)
        timed("fill", client._fill)
        for data in (message, small):
            rx = memoryview(data)
            at = 0
            while at < len(rx):
                at = timed("feed", client._parser.feed, rx, at, min(len(rx), at + 256))
                client._n_acks = min(client._n_acks, 60)
        for pid in pids:
            ack = memoryview(bytes((0x40, 2, pid >> 8, pid & 255)))
            timed("acknowledged", client._parser.feed, ack, 0, 4)
        pids.clear()
        gc.collect()
    # all that an outage has kept, at once
    for _ in range(40):
        client.publish("t/event", b"e" * 30, 1, False, True)
    timed("rewind", client.events.rewind)
    timed("fill", client._fill)
    assert len(heard) == 24 * _TURNS and client.events.dropped < 40
    longest["between_scans"] = _longest
    print(json.dumps(longest))

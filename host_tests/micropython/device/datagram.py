# Asks lib/datagram.py's questions on the real unix port; called by test_datagram.py:
# `datagram.py dns|mdns|ntp PORT [NAME]` prints the answer or the reason, and how far another task
# got.

import asyncio
import sys

from lib import datagram


async def main(what, port, name):
    turns = 0

    async def other():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep_ms(10)

    task = asyncio.create_task(other())
    try:
        if what == "mdns":
            # for the group of all who answer for .local names: one on loopback, and no DNS server
            datagram._MDNS = ("127.0.0.1", port)
            print("answer", await datagram.lookup(name, "127.0.0.1", 1))
        elif what == "dns":
            print("answer", await datagram.lookup(name, "127.0.0.1", port))
        else:
            print("answer", await datagram.network_time("127.0.0.1", port))
    except datagram.NoAnswer as error:
        print("refused", error)
    task.cancel()
    print("turns", turns)


asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else ""))

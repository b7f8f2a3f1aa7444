# What the simulated chip does at power-on: boot.py, then main.py, as on the real one.
# Started by ../device.py: start.py FROM_HOST TO_HOST ROOT FLASH ROOM PATH...
# (file descriptors of the two pipes, the folder of boot.py and main.py, the folder that is the
# chip's flash, bytes to keep free below the code, and sys.path).

import gc
import os
import random
import sys

_from_host, _to_host, _root, _flash, _room = sys.argv[1:6]
sys.path[:] = sys.argv[6:] + [".frozen"]
sys.argv[:] = []

import machine

random.seed(machine._connect(int(_from_host), int(_to_host)))
os.chdir(_flash)


def _run(name):
    # Errors are printed and survived, as on the chip. True when the program asked to end.
    try:
        execfile(_root + "/" + name, {"__name__": "__main__"})  # noqa: F821
    except SystemExit:
        return True
    except BaseException as e:
        sys.print_exception(e)
    return False


gc.collect()
machine._room = bytearray(int(_room))  # until asyncio starts, see select.py
if _run("boot.py") or _run("main.py"):
    machine.soft_reset()
print("main.py has ended; the chip would show its prompt now")
while True:
    machine._wait(machine._now + 1_000_000)

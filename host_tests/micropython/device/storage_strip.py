# The strip on littlefs: finding its blocks, whatever somebody did to the files from a computer,
# and that raw programming and erasing never touches anything else. Prints a JSON object; an
# AssertionError is a failure.

import gc
import json
import os
import random

import vfs

from firmware.storage import files, strip_setup
from firmware.storage.strip import DELTA, Strip
from host_tests.fakes.torn_flash import TornFlash

BLOCKS = 64
random.seed(5)
flash = TornFlash(BLOCKS)
vfs.VfsLfs2.mkfs(flash, progsize=256)


def mount():
    """As after a reset: nothing cached."""
    os.chdir("/")
    try:
        vfs.umount("/flash")
    except OSError:
        pass
    gc.collect()
    vfs.mount(vfs.VfsLfs2(flash, progsize=256), "/flash")
    os.chdir("/flash")


def start():
    """(strip, numbers of the files that have to be made)."""
    found = strip_setup.find(flash, "data")
    missing = [n for n in range(strip_setup.wanted(flash)) if n not in found]
    return Strip(flash, found.values()), missing


def path(number):
    return "data/strip/%d" % number


def content(name):
    with open(name, "rb") as stream:
        return stream.read()


def filler(i):
    return bytes([(i * 7 + k) & 255 for k in range(700 + 37 * i)])


mount()
os.mkdir("data")
others = ["data/other%d" % i for i in range(12)]
for i, name in enumerate(others):
    files.write(name, filler(i))


def check_others():
    for i, name in enumerate(others):
        data, version, note = files.read(name)
        assert data == filler(i) and version == "current" and not note, (name, note)


log, missing = start()
assert len(log) == 0 and missing == list(range(9)), missing
for number in missing:
    block = strip_setup.make(flash, "data", number)
    assert block >= 0
    log.add(block)
assert log.blanks() == 9
sizes = [files.size(path(n)) for n in range(9)]
assert sizes == [4096] * 9, sizes

# every block is used and erased several times; the file system sees none of it
n = 0
for _ in range(4000):
    log.append(DELTA, b"%028d" % n)
    n += 1
    log.covered = log.seq
    while log.erase():
        pass
    if n % 500 == 0:
        check_others()
assert log.erases > 20
mount()
check_others()
log, missing = start()
assert not missing and len(log) == 9
last = [bytes(payload) for _, payload in log.records()][-1]
assert last == b"%028d" % (n - 1), last

# somebody copied, removed, cut, overwrote and renamed files
os.remove(path(1))
with open("data/copy", "wb") as stream:
    stream.write(content(path(2)))
with open(path(3), "wb") as stream:
    stream.write(b"short")
with open(path(4), "wb") as stream:
    stream.write(b"TGs1" + bytes(4092))
os.rename(path(5), "data/strip/5.old")
with open(path(6), "r+b") as stream:  # littlefs puts what is changed into another block
    stream.seek(2000)
    stream.write(b"x")
mount()
log, missing = start()
# 1 is gone; 2 and its copy have one name; 3 is short; 5 is gone. 4 has a name (of zeros) and 6
# still its own: they are blocks of these files alone, and what lies in them is no record
assert 1 in missing and 2 in missing and 3 in missing and 5 in missing, missing
kept = content("data/strip/5.old")
copy = content("data/copy")
for number in missing:
    log.add(strip_setup.make(flash, "data", number))
assert len(log) == 9
for _ in range(3000):
    log.append(DELTA, b"%028d" % n)
    n += 1
    log.covered = log.seq
    while log.erase():
        pass
mount()
check_others()
assert content("data/strip/5.old") == kept and content("data/copy") == copy
log, missing = start()
assert not missing, missing

# one wrong byte does not cost a block, wherever it is in the first 24
before = [bytes(payload) for kind, payload in log.records()]
for at in range(24):
    whole = bytes(flash.data)
    flash.data[4096 * log._blocks[log._now] + at] ^= 1 << (at & 7)
    mount()
    log, missing = start()
    assert not missing, at
    assert [bytes(payload) for kind, payload in log.records()] == before, at
    flash.data[:] = whole

# no two files of the strip share a block, and none is a block of another file
blocks = list(strip_setup.find(flash, "data").values())
assert len(set(blocks)) == 9
for name in os.listdir("data"):
    if name != "strip":
        os.remove("data/" + name)
assert content("data/strip/5.old") == kept

# a full flash: the strip is made as large as leaves room for the rest
for number in range(9):
    os.remove(path(number))
i = 0
try:
    while True:
        with open("data/fill%d" % i, "wb") as stream:
            stream.write(bytes(8192))
        i += 1
except OSError:
    pass
assert strip_setup.make(flash, "data", 0) == -1
os.remove("data/fill%d" % i)
for k in range(8):
    os.remove("data/fill%d" % k)
made = 0
while made < 9 and strip_setup.make(flash, "data", made) >= 0:
    made += 1
assert 0 < made < 9, made

# a flash that is read-only: a clear sentence, and no strip
flash.read_only = True
try:
    strip_setup.make(flash, "data", 8)
    assert made < 9
except files.StorageError as error:
    assert "cannot" in str(error), error
print(json.dumps({"records": n, "erases": log.erases, "made": made}))

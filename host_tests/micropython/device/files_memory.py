# A damaged header promises a large file: with less memory than that, what is read is the version
# before it. Prints what files.read() gives.

import gc
import sys

from firmware.storage import files

path = sys.argv[1]
files.write(path, '{"a": 1}')
files.write(path, '{"a": 2}')
with open(path, "rb") as stream:
    header = stream.read().split(b"\n")[0]
with open(path, "wb") as stream:
    stream.write(header[: header.rfind(b" ")] + b' 32000\n{"a": 2}')
taken = []
while gc.mem_free() > 20000:
    taken.append(bytearray(1024))
    gc.collect()
print(files.read(path))

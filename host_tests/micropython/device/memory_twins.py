# Runs on MicroPython: the plain twins of memory.py and checksum.py against those in machine code.
# Prints "equal <cases>" or the first difference. The emulated chip imports it and calls main().

import random
import sys
from array import array

from firmware.hal import checksum, checksum_viper, memory, memory_viper


def words(n):
    return array("i", [random.getrandbits(30) * 4 + random.getrandbits(2) - (1 << 31)] * n)


def main(seed, cases):
    random.seed(seed)
    for case in range(cases):
        n = random.randint(36, 60)
        at = random.randint(0, n - 36)
        one = array("i", [0] * n)
        for i in range(n):
            one[i] = words(1)[0]
        two = array("i", one)
        was = array("i", one)
        keep, keep2 = array("i", [0] * 6), array("i", [0] * 6)
        blocks = random.randint(0, 6)
        said = memory.march(one, at, case & 1, blocks, keep)
        said2 = memory_viper.march(two, at, case & 1, blocks, keep2)
        if said or said2 or one != was or two != was or keep != keep2:
            print("differ: march", case, at, blocks, said, said2)
            return
        width = random.randint(1, 30)
        mask = random.getrandbits(width)
        count = (n - at) // width
        begin = random.getrandbits(30)
        said = checksum.fold(one, at, width, mask, width, count, begin)
        said2 = checksum_viper.fold(two, at, width, mask, width, count, begin)
        if said != said2 or not 0 <= said < 1 << 30:
            print("differ: fold", case, width, mask, count, said, said2)
            return
    print("equal", cases)


if __name__ == "__main__":
    main(int(sys.argv[1]), 400)

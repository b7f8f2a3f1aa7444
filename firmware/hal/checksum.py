# The sum by which selftest.py watches limits, in plain Python; checksum_viper.py says the same in
# machine code. Called by a task of the outer lane.


def fold(buf, at, n, mask, stride, count, h):
    """Fold words into the sum `h` (0 to 2**30 - 1): of `count` records of `stride` words each,
    from `at` on, those of the first `n` (30 at most) whose bit is in `mask`. Any change of a
    single bit changes the sum, and so do nearly all others."""
    for _ in range(count):
        for i in range(n):
            if mask >> i & 1:
                w = buf[at + i]
                h = h * 31 + w + (w >> 30 & 3) * 7 & 0x3FFFFFFF
        at += stride
    return h

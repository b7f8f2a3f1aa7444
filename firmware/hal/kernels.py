# Which build of the integer kernels this port can run: machine code where it has a native
# emitter and words of 32 bits (RP2040, ESP32, unix port on i386), else plain Python: the twins
# take addresses and sums for machine words. Called at boot.

import sys

try:
    if sys.maxsize > 1 << 31:
        raise ImportError("words of 64 bits")
    from firmware.hal.checksum_viper import fold
    from firmware.protection.thermal_viper import gather
    from firmware.protection.thermal_viper import step as heat
    from firmware.sensing.reduce_viper import reduce

    VIPER = True
except (ImportError, SyntaxError, ValueError):
    from firmware.hal.checksum import fold  # noqa: F401
    from firmware.protection.thermal import gather  # noqa: F401
    from firmware.protection.thermal import step as heat  # noqa: F401
    from firmware.sensing.reduce import reduce  # noqa: F401

    VIPER = False

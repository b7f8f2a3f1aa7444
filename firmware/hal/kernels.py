# Which build of the integer kernels this port can run: machine code where it has a native
# emitter (RP2040, ESP32, unix port on x86), else plain Python. Called at boot.

try:
    from firmware.protection.thermal_viper import step as heat
    from firmware.sensing.reduce_viper import reduce

    VIPER = True
except (ImportError, SyntaxError, ValueError):
    from firmware.protection.thermal import step as heat  # noqa: F401
    from firmware.sensing.reduce import reduce  # noqa: F401

    VIPER = False

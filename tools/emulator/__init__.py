"""The real firmware image on an emulated RP2040, wired to a simulated truck.

    from tools.emulator import EmulatedPico
    pico = EmulatedPico("build/tailgate-RPI_PICO.uf2", truck)
    pico.run(0.5)
    pico.send("status\\r\\n")
    answer = pico.expect("ok")

Everything is in emulated time: what a run observes does not depend on the speed of the machine.
"""

from tools.emulator import native

native.install()  # before the first import of rp2040py

from tools.emulator.chip import Edge, EmulatedPico, EmulatorError, NotSeen  # noqa: E402
from tools.emulator.wiring import Plant  # noqa: E402

__all__ = ["Edge", "EmulatedPico", "EmulatorError", "NotSeen", "Plant"]

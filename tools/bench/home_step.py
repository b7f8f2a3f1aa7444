"""`python -m tools.bench.home_step`: what the control step takes on the emulated chip of a board
`pico_w_home`, with everything that exports power switched on and five outlets loaded. Builds the
instrumented image with power export in it (and without MQTT), which the other figures leave out.
"""

from __future__ import annotations

from pathlib import Path

from tools.bench import chip, image
from tools.image import build
from tools.progress import step

IMAGE = image.ROOT / "build" / "tailgate-instrumented-power.uf2"
_SETTINGS = (
    "home.mode auto",
    "gfci.input high",
    "vehicle.enabled on",
    "grid.profile ieee1547",
    "grid.enabled on",
    "grid.power_w 4000",
)


def ensure() -> Path:
    """The image, built when firmware or instrumentation changed since."""
    image.mirror()
    if not build.up_to_date(IMAGE, image.TREE):
        build.build(image.TREE, IMAGE, leave_out=(*build.LEFT_OUT, "lib/busy_broker.py"))
    return IMAGE


def measure(seconds: float = 2.0) -> dict[str, float]:
    """Mean and longest control step with one finished window, us, and the free heap in bytes."""
    with_power = chip.Chip(3, ensure(), "pico_w_home")
    with_power.boot(2.0)
    for setting in _SETTINGS:
        with_power.ask("set " + setting)
    outlets = [x.name for x in with_power.board.outlets if not x.gang]
    for name in outlets:
        with_power.truck.command(f"plug {name} resistive amps=6")
    with_power.pico.send("".join(f"on {name}\r" for name in outlets))
    with_power.pico.run(1.0)
    with_power.ask("stats")
    with_power.pico.run(seconds)
    found = with_power.ask("stats")
    return {
        "mean_us": round(found["step_us_mean"]),
        "max_us": found["step_us_max"],
        "heap_free_bytes": with_power.ask("mem")["free"],
    }


if __name__ == "__main__":
    step("control step of pico_w_home on the emulated chip (a minute, and one to build)")
    for key, value in measure().items():
        print(f"{key:16} {value}")

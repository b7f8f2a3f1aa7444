# The simulated truck: wired as the Pico W, but sampled by the portable soft timer, because the
# unix port has no interrupts. The heap is what a Pico W leaves, so that memory trouble shows here.

from firmware.board import pico_w

BOARD = dict(pico_w.BOARD)
BOARD["name"] = "simulated"
BOARD["hal"] = "portable"
BOARD["skew_us"] = 5
BOARD["adc_errata"] = None

# The simulated truck with home, charger and grid: wired as pico_w_home, sampled by the portable
# soft timer as `simulated` is.

from firmware.board import pico_w_home

BOARD = dict(pico_w_home.BOARD)
BOARD["name"] = "simulated_home"
BOARD["hal"] = "portable"
BOARD["skew_us"] = 5
BOARD["adc_errata"] = None

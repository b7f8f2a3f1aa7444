# Raspberry Pi Pico (no radio): wired as the Pico W. It has no MQTT of its own.

from firmware.board import pico_w

BOARD = dict(pico_w.BOARD)
BOARD["name"] = "pico"
BOARD["heap_bytes"] = 230_000

# First code on the chip: every relay pin to its open level; nothing else.

import machine

from firmware.board import relay_pins

for _pin in relay_pins():
    machine.Pin(_pin, machine.Pin.OUT, value=0)

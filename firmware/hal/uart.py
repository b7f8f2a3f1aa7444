# The serial port beside USB, for a second console. Called by app when console.uart is on; loaded
# only then.

import machine
from micropython import const

_OUT = const(256)
_IN = const(512)  # a whole line, while an answer is being made


def make(pins, baud: int):
    """The UART on `pins` (number, TX, RX); reading and writing never wait. The input is pulled
    up, so that a wire that is not there says nothing."""
    number, tx, rx = pins
    return machine.UART(
        number,
        baudrate=baud,
        tx=machine.Pin(tx),
        rx=machine.Pin(rx, machine.Pin.IN, machine.Pin.PULL_UP),
        txbuf=_OUT,
        rxbuf=_IN,
        timeout=0,
        timeout_char=0,
    )

"""Building the firmware image: MicroPython for the RP2040 with Tailgate frozen in."""

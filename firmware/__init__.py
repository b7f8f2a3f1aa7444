# Tailgate: firmware for a vehicle power-export controller. Everything below runs on the chip.

__version__ = "0.1.0"

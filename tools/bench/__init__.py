"""The figures: `make bench` prints them and writes build/bench.json.

- `chip.py`: trip latency, scan and step times, heap, boot, on the emulated RP2040
- `image.py`: the instrumented firmware image that chip.py and the tests on the chip run
"""

from tools import cpython

cpython.install()  # before any module of the firmware is imported

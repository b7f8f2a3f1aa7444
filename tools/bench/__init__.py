"""The figures: `make bench` prints them and writes build/bench.json.

- `chip.py`: trip latency, scan and step times, heap, boot, on the emulated RP2040
- `heap.py`: the smallest heap for a board that keeps the modules in it
- `metering.py`: errors of current, power and frequency against numpy on the true waveform
- `protection.py`: what must hold and what must trip, on recordings over a grid of scales
- `faults.py`: how soon a sensor fault opens its outlet (run by hand, not part of `make bench`)
- `mqtt.py`: from an MQTT command to the relay's edge
- `lanes.py`: what MQTT costs the other lanes, with `busy_broker.py` on the chip
- `image.py`: the instrumented firmware image that chip.py and the tests on the chip run
"""

from tools import cpython

cpython.install()  # before any module of the firmware is imported

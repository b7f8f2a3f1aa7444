# ESP32 (DevKit): ADC1 only (ADC2 is unusable with Wi-Fi): one voltage and five currents, no
# multiplexer. Soft timer, slower converter: 1.2 kHz (20 scans a cycle at 60 Hz).

from firmware.board import pico_w

_ADC = {"v_l1": 39, "cabin1": 32, "cabin2": 33, "bed1": 34, "bed2": 35, "bed240": 36}
_RELAY = {"cabin1": 18, "cabin2": 19, "bed1": 21, "bed2": 22, "bed240": 23}


def _channels():
    for row in pico_w.BOARD["channels"]:  # type: ignore[attr-defined]
        if row["name"] in _ADC:
            row = dict(row)
            row["adc"] = _ADC[row["name"]]
            row["mux"] = None
            row["twice"] = False
            yield row


def _outlets():
    for row in pico_w.BOARD["outlets"]:  # type: ignore[attr-defined]
        row = dict(row)
        row["relay"] = _RELAY[row["name"]]
        yield row


BOARD = dict(pico_w.BOARD)
BOARD["name"] = "esp32"
BOARD["chip"] = "esp32"
BOARD["hal"] = "portable"
BOARD["scan_period_us"] = 833
BOARD["skew_us"] = 50  # what a read takes; what is off by that, the calibrated phase takes out
BOARD["adc_errata"] = None
# Straight from 150 to 2450 mV: signals rest in the middle of that.
BOARD["adc_mid_uv"] = 1_300_000
BOARD["adc_span_uv"] = 1_150_000
BOARD["mux_address"] = ()
BOARD["channels"] = tuple(_channels())
BOARD["outlets"] = tuple(_outlets())
BOARD["contactor"] = 25
BOARD["uart"] = (2, 4, 14)
BOARD["inputs"] = {"gfci": 26, "grid": 27, "contactor_feedback": 13}
BOARD["heap_bytes"] = 100_000

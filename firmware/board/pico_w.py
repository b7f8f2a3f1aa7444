# Raspberry Pi Pico W: a 74HC4051 multiplexer feeds ADC0 (GP26), address on GP18 to GP20.
# Relay inputs are active high with pull-downs: a chip in reset leaves every relay open.

BOARD = {
    "name": "pico_w",
    "chip": "rp2040",
    "hal": "rp2",
    "scan_period_us": 416,  # 2.4 kHz: 40 scans a cycle at 60 Hz, 48 at 50 Hz
    "skew_us": (0, 8, 12, 16, 20, 23, 28, 33),  # measured on the emulated chip
    "adc_errata": "e11",
    "mux_address": (18, 19, 20),
    "channels": (
        {"name": "v_l1", "kind": "voltage", "adc": 26, "mux": 0, "full_scale": 250_000},
        {"name": "v_l2", "kind": "voltage", "adc": 26, "mux": 1, "full_scale": 250_000},
        {"name": "cabin1", "kind": "current", "adc": 26, "mux": 2, "full_scale": 250_000},
        {"name": "cabin2", "kind": "current", "adc": 26, "mux": 3, "full_scale": 250_000},
        {"name": "bed1", "kind": "current", "adc": 26, "mux": 4, "full_scale": 250_000},
        {"name": "bed2", "kind": "current", "adc": 26, "mux": 5, "full_scale": 250_000},
        {
            "name": "bed240",
            "kind": "current",
            "adc": 26,
            "mux": 6,
            "full_scale": 500_000,
            "twice": True,  # its counts are twice as coarse
        },
        {"name": "temperature", "kind": "aux", "adc": 26, "mux": 7, "full_scale": 1_650},
    ),
    "legs": ("l1", "l2"),
    "leg_limit_ma": 40_000,
    "total_w": 9_600,
    "outlets": (
        {
            "name": "cabin1",
            "relay": 2,
            "rating_ma": 20_000,
            "legs": (0,),
            "volts": 0,
            "priority": 1,
        },
        {
            "name": "cabin2",
            "relay": 3,
            "rating_ma": 20_000,
            "legs": (1,),
            "volts": 1,
            "priority": 2,
        },
        {"name": "bed1", "relay": 4, "rating_ma": 20_000, "legs": (0,), "volts": 0, "priority": 4},
        {"name": "bed2", "relay": 5, "rating_ma": 20_000, "legs": (1,), "volts": 1, "priority": 5},
        {
            "name": "bed240",
            "relay": 6,
            "rating_ma": 40_000,
            "legs": (0, 1),
            "volts": 2,
            "priority": 3,
        },
    ),
    "contactor": 7,
    "uart": (0, 0, 1),
    "inputs": {"gfci": 8, "grid": 9, "contactor_feedback": 10},
    "fram": (17, 16),  # SCL, SDA of an optional FRAM
    "heap_bytes": 190_000,
}

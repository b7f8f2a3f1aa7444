# Settings, storage and report of switching.py: loaded when wanted, and dropped again. Called
# through Switching.setup() by boot and by the outer lane.

from micropython import const

# words of protection/relays.py
_R_OPERATE = const(0)
_R_LOW = const(1)
_R_HIGH = const(2)
_R_OPS = const(3)
_R_BREAKS = const(4)
_R_MOST = const(5)
_R_WHERE = const(7)
_R_WORDS = const(10)
_WHERE = ("zero", "peak", "any")  # by number: relays._AT_ZERO and so on

_SQRT2 = 1.41421356
_STORED = (_R_OPS, _R_BREAKS, _R_MOST, _R_OPERATE, _R_LOW, _R_HIGH)
_UNITS = (1, 1, 1000, 100, 100, 100)  # of what is stored: A, and tenths of a ms
_MOST = const(1 << 29)


def configure(switching, controller):
    """Copy what the owner chose."""
    settings = controller.settings
    switching.timed = settings.get("relay.zero_cross")
    switching.rated = settings.get("relay.operations")
    wait_ms = settings.get("relay.wait_ms") if settings.get("relay.break_mode") == "wait" else 0
    for outlet in controller.outlets:
        i = outlet.index
        where = _WHERE.index(settings.outlet(i, "switch_at"))
        switching.relays.block[i * _R_WORDS + _R_WHERE] = where
        amps = settings.outlet(i, "breaking_a") * 1000 / outlet.meter.unit_per_count
        controller.fast.set_break(outlet.outlet.channel, int(amps * _SQRT2), wait_ms)


def stored(switching, controller) -> dict:
    """{outlet name: figures} for storage: 190 bytes at most for five outlets."""
    block = switching.relays.block
    result = {}
    for outlet in controller.outlets:
        at = outlet.index * _R_WORDS
        row = [block[at + word] // unit for word, unit in zip(_STORED, _UNITS)]
        while row and not row[-1]:
            row.pop()
        if row:
            result[outlet.name] = row
    return result


def restore(switching, controller, table: dict):
    """Go on from what was stored; what makes no sense is left out."""
    block = switching.relays.block
    for outlet in controller.outlets:
        row = table.get(outlet.name)
        if not isinstance(row, list) or not row:
            continue
        at = outlet.index * _R_WORDS
        for word, unit, value in zip(_STORED, _UNITS, row):
            if isinstance(value, int) and 0 <= value < _MOST // unit:
                block[at + word] = value * unit
        if not 1000 <= block[at + _R_OPERATE] <= 20_000:
            block[at + _R_OPERATE] = 0
        if not 1000 <= block[at + _R_LOW] < block[at + _R_HIGH] <= 20_000:
            block[at + _R_LOW] = block[at + _R_HIGH] = 0


def report(switching, controller, outlets: dict):
    """Add to each outlet's row what its relay has gone through."""
    relays = switching.relays
    for outlet in controller.outlets:
        at = outlet.index * _R_WORDS
        if controller.gangs is not None:  # its poles have one relay
            at = controller.gangs.poles(outlet)[0].index * _R_WORDS
        row = {
            "operations": relays.block[at + _R_OPS],
            "load_breaks": relays.block[at + _R_BREAKS],
            "largest_break_a": round(relays.block[at + _R_MOST] / 1000),
        }
        if relays.block[at + _R_OPERATE]:
            row["operate_ms"] = relays.block[at + _R_OPERATE] / 1000
        if relays.block[at + _R_HIGH]:
            row["release_ms"] = relays.takes(at // _R_WORDS, False) / 1000
        if row["operations"] >= switching.rated:
            row["worn"] = True
        outlets[outlet.name]["relay"] = row

"""What of the truck hangs on which pin: look-ups derived once from a Board. Called by truck.py.

Also home of SimError, which every module of the plant raises, and of `demo_board()`, the
five-outlet board of the design plan, so that the plant can be tried and tested without firmware.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

CONTACTS = ("grid", "source", "bond")  # of the transfer switch, in the order of the board's pins


class SimError(Exception):
    """A simulator command or recording that cannot be obeyed: one line that names what exists."""


def choose(kind: str, word: str, existing: Iterable[str]) -> str:
    """Return `word` when it is among `existing`, else raise SimError naming all that exist."""
    names = list(existing)
    if word in names:
        return word
    raise SimError(f"no {kind} '{word}'; there is: {' '.join(names) or '(none)'}")


class Wiring:
    """Pin and channel look-ups of one board.

    `volts` of an outlet: 0 = L1-N, 1 = L2-N, 2 = L1-L2. L2 is L1 reversed, so `polarity` is -1 for
    an outlet on L2; `span` is how many 120 V legs lie across the outlet (1 or 2).
    """

    def __init__(self, board: Any) -> None:
        self.board = board
        self.channels: tuple[Any, ...] = tuple(board.channels)
        self.outlets: tuple[Any, ...] = tuple(board.outlets)
        self.contactor: int | None = board.contactor
        self.inputs: dict[str, int] = dict(board.inputs or {})
        self.input_names: dict[int, str] = {gpio: name for name, gpio in self.inputs.items()}
        self.mux_address: tuple[int, ...] = tuple(board.mux_address or ())
        self.outlet_names: list[str] = [o.name for o in self.outlets]
        self.channel_names: list[str] = [c.name for c in self.channels]
        self.relay_names: list[str] = list(self.outlet_names)
        self.coils: dict[int, str] = {o.relay: o.name for o in self.outlets}
        if self.contactor is not None:
            self.relay_names.append("contactor")
            self.coils[self.contactor] = "contactor"
        self.power: dict[str, Any] | None = getattr(board, "power", None)
        self.poles: dict[str, str] = {}  # outlets that share a relay -> its name
        self.seen: dict[int, str] = {}  # GPIO of an auxiliary contact -> its contactor
        if self.power is not None:
            self.poles = {o.name: "source" for o in self.outlets if o.gang == "home"}
            self.relay_names = [n for n in self.relay_names if n not in self.poles]
            self.relay_names += CONTACTS
            self.coils.update(zip(self.power["contacts"], CONTACTS, strict=True))
            self.seen = dict(zip(self.power["seen"], CONTACTS, strict=True))
        self.outlet_of_channel: dict[int, int] = {o.channel: i for i, o in enumerate(self.outlets)}
        self.voltage_factor: dict[int, float] = self._voltage_factors()
        # (ADC GPIO, multiplexer address or None) -> channel index
        self._by_pin: dict[tuple[int, int | None], int] = {
            (c.adc, c.mux): i for i, c in enumerate(self.channels)
        }
        self._muxed: set[int] = {c.adc for c in self.channels if c.mux is not None}

    def _voltage_factors(self) -> dict[int, float]:
        """Volts each voltage channel sees, in units of the L1-N voltage: 1, -1 or 2.

        A channel is known by the legs in its name (`l1`, `v_l2`, `l1_l2`); one without a leg in
        its name takes the next leg in order, so a lone `mains` channel is L1.
        """
        legs = tuple(self.board.legs)
        factors: dict[int, float] = {}
        for order, index in enumerate(
            i for i, c in enumerate(self.channels) if c.kind == "voltage"
        ):
            named = [k for k, leg in enumerate(legs) if leg in self.channels[index].name]
            if len(named) > 1:
                factors[index] = 2.0
            else:
                leg = named[0] if named else order % max(1, len(legs))
                factors[index] = 1.0 if leg % 2 == 0 else -1.0
        return factors

    def channel_at(self, gpio: int, pins: dict[int, int | None]) -> int | None:
        """Index of the channel that ADC pin `gpio` sees with the address pins as they are now."""
        if gpio in self._muxed:
            address = 0
            for bit, pin in enumerate(self.mux_address):
                if pins.get(pin):
                    address |= 1 << bit
            return self._by_pin.get((gpio, address))
        return self._by_pin.get((gpio, None))

    def relay_of(self, name: str) -> str:
        """Name of the relay that switches an outlet: its own, or that of all poles of its feed."""
        return self.poles.get(name, name)

    def outlet_index(self, name: str) -> int:
        """Index of an outlet; SimError names the outlets there are."""
        return self.outlet_names.index(choose("outlet", name, self.outlet_names))

    def channel_index(self, name: str) -> int:
        """Index of a channel given its own name or the name of the outlet it measures."""
        if name in self.channel_names:
            return self.channel_names.index(name)
        if name in self.outlet_names:
            return self.outlets[self.outlet_names.index(name)].channel
        known = self.channel_names + [n for n in self.outlet_names if n not in self.channel_names]
        choose("sensor", name, known)
        raise AssertionError("unreachable")


def demo_board() -> SimpleNamespace:
    """The five-outlet truck of the design plan on eight multiplexed channels, all on GP26."""

    def channel(name: str, kind: str, mux: int, full_scale: int) -> SimpleNamespace:
        return SimpleNamespace(name=name, kind=kind, adc=26, mux=mux, full_scale=full_scale)

    def outlet(
        name: str,
        relay: int,
        rating_ma: int,
        legs: tuple[int, ...],
        volts: int,
        priority: int,
        at: int,
    ) -> SimpleNamespace:
        return SimpleNamespace(
            name=name,
            relay=relay,
            rating_ma=rating_ma,
            legs=legs,
            volts=volts,
            priority=priority,
            channel=at,
        )

    return SimpleNamespace(
        name="demo",
        chip="none",
        scan_period_us=416,
        adc_bits=12,
        mux_adc=26,
        mux_address=(2, 3, 4),
        channels=(
            channel("l1", "voltage", 0, 400_000),
            channel("l2", "voltage", 1, 400_000),
            channel("cabin1", "current", 2, 150_000),
            channel("cabin2", "current", 3, 150_000),
            channel("bed1", "current", 4, 150_000),
            channel("bed2", "current", 5, 150_000),
            channel("bed240", "current", 6, 300_000),
            channel("temperature", "aux", 7, 1650),
        ),
        outlets=(
            outlet("cabin1", 6, 20_000, (0,), 0, 3, 2),
            outlet("cabin2", 7, 20_000, (1,), 1, 4, 3),
            outlet("bed1", 8, 20_000, (0,), 0, 5, 4),
            outlet("bed2", 9, 20_000, (1,), 1, 6, 5),
            outlet("bed240", 10, 40_000, (0, 1), 2, 7, 6),
        ),
        legs=("l1", "l2"),
        leg_limit_ma=40_000,
        total_w=9600,
        contactor=11,
        inputs={"gfci": 12, "cabin1_feedback": 13, "contactor_feedback": 14},
    )

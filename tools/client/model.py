"""What a board reports, as typed, read-only objects. SI units, the names that are on the wire.

Each keeps the board's own dict in `raw`, where fields of a newer firmware are found. A field that
is missing or of the wrong type is a BadAnswer: a script must not go on with a guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tools.client.errors import BadAnswer

Raw = Mapping[str, Any]


def _bad(name: str, value: object, wanted: str) -> BadAnswer:
    return BadAnswer(f"the board's answer has {name} = {value!r}, and {wanted} was expected")


def number(raw: Raw, name: str) -> float:
    """A number of an answer."""
    value = raw.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _bad(name, value, "a number")
    return value


def _maybe(raw: Raw, name: str) -> float | None:
    return None if raw.get(name) is None else number(raw, name)


def whole(raw: Raw, name: str) -> int:
    """A whole number of an answer."""
    value = raw.get(name)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _bad(name, value, "a whole number")
    return value


def text(raw: Raw, name: str) -> str:
    """A text of an answer."""
    value = raw.get(name)
    if not isinstance(value, str):
        raise _bad(name, value, "a text")
    return value


def truth(raw: Raw, name: str) -> bool:
    """A true or false of an answer."""
    value = raw.get(name)
    if not isinstance(value, bool):
        raise _bad(name, value, "true or false")
    return value


def moment(raw: Raw, name: str) -> datetime | None:
    """A moment of an answer (UTC), None when the board does not know it."""
    if raw.get(name) is None:
        return None
    value = text(raw, name)
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        raise _bad(name, value, "a time") from None


def section(raw: Raw, name: str) -> dict[str, Any]:
    """An object within an answer."""
    value = raw.get(name)
    if not isinstance(value, dict):
        raise _bad(name, value, "an object")
    return value


@dataclass(frozen=True)
class OutletStatus:
    """One outlet at one moment. Readings over ten cycles; `load_percent` of `limit_a`."""

    name: str
    state: str  # off closing on tripped lockout shed fault
    reason: str
    energised: bool  # the relay is, or is about to be, closed
    current_a: float
    voltage_v: float
    power_w: float
    apparent_va: float
    power_factor: float
    energy_kwh: float
    frequency_hz: float
    limit_a: float
    load_percent: float
    heat_percent: float
    priority: int
    trips: int
    raw: Raw = field(repr=False, compare=False)

    @classmethod
    def parse(cls, name: str, raw: Raw) -> OutletStatus:
        """From the board's dict."""
        return cls(
            name=name,
            state=text(raw, "state"),
            reason=text(raw, "reason"),
            energised=truth(raw, "on"),
            current_a=number(raw, "current_a"),
            voltage_v=number(raw, "voltage_v"),
            power_w=number(raw, "power_w"),
            apparent_va=number(raw, "apparent_va"),
            power_factor=number(raw, "power_factor"),
            energy_kwh=number(raw, "energy_kwh"),
            frequency_hz=number(raw, "frequency_hz"),
            limit_a=number(raw, "limit_a"),
            load_percent=number(raw, "load_percent"),
            heat_percent=number(raw, "heat_percent"),
            priority=whole(raw, "priority"),
            trips=whole(raw, "trips"),
            raw=raw,
        )

    @property
    def needs_attention(self) -> bool:
        """True when it is not as its owner left it: tripped, locked out, faulty or shed."""
        return self.state not in ("off", "closing", "on")

    @property
    def words(self) -> str:
        """State and, where there is more to say than `command`, the reason."""
        reason = self.raw.get("check") or self.reason
        if reason in ("", "none", "command"):
            return self.state
        return f"{self.state}: {reason}"


@dataclass(frozen=True)
class Supply:
    """Voltages and frequency; `voltage_v` is between the legs, `frequency_hz` 0 = not known."""

    voltage_v: float
    l1_v: float
    l2_v: float
    frequency_hz: float


@dataclass(frozen=True)
class Leg:
    """Current of one leg and its limit."""

    current_a: float
    limit_a: float

    @property
    def load_percent(self) -> float:
        """Current in per cent of the limit."""
        return 100 * self.current_a / self.limit_a if self.limit_a else 0.0


@dataclass(frozen=True)
class Status:
    """Everything that a screen shows, at one moment."""

    device: str
    version: str
    uptime_s: float
    mode: str
    starting: bool  # sensors are still being measured; nothing can be switched on
    contactor: str  # closed, open, blocked (a relay is welded)
    supply: Supply
    power_w: float
    limit_w: float
    legs: Mapping[str, Leg]
    temperature_c: float | None
    outlets: Mapping[str, OutletStatus]
    wifi: str
    mqtt: str
    last_event: int
    raw: Raw = field(repr=False, compare=False)

    @classmethod
    def parse(cls, raw: Raw) -> Status:
        """From the result of `status`, or a message on the topic `state`."""
        supply = section(raw, "supply")
        total = section(raw, "total")
        legs = section(raw, "legs")
        link = section(raw, "link")
        outlets = section(raw, "outlets")
        return cls(
            device=text(raw, "device"),
            version=text(raw, "version"),
            uptime_s=number(raw, "uptime_s"),
            mode=text(raw, "mode"),
            starting=truth(raw, "starting"),
            contactor=text(raw, "contactor"),
            supply=Supply(
                number(supply, "voltage_v"),
                number(supply, "l1_v"),
                number(supply, "l2_v"),
                number(supply, "frequency_hz"),
            ),
            power_w=number(total, "power_w"),
            limit_w=number(total, "limit_w"),
            legs={
                name: Leg(number(row, "current_a"), number(row, "limit_a"))
                for name, row in ((name, section(legs, name)) for name in legs)
            },
            temperature_c=_maybe(raw, "temperature_c"),
            # in the board's order, which it keeps for these
            outlets={name: OutletStatus.parse(name, section(outlets, name)) for name in outlets},
            wifi=text(link, "wifi"),
            mqtt=text(link, "mqtt"),
            last_event=whole(raw, "last_event"),
            raw=raw,
        )

    @property
    def load_percent(self) -> float:
        """Power in per cent of the total limit."""
        return 100 * self.power_w / self.limit_w if self.limit_w else 0.0


_VALUES = {
    "current_a": ("A", 1),
    "power_w": ("W", 0),
    "voltage_v": ("V", 1),
    "frequency_hz": ("Hz", 2),
    "temperature_c": ("C", 1),
    "duration_s": ("s", 3),
    "heat_percent": ("%", 1),
    "number": ("", 0),
    "code": ("", 0),
    "gain": ("", 3),
    "step_s": ("s", 0),
}


_FIELDS = frozenset(
    ("seq", "uptime_s", "outlet", "event", "reason", "source", "setting", "boot", "time", "check")
)


@dataclass(frozen=True)
class Event:
    """One record of the board's journal. Numbers (`seq`) have no gaps."""

    seq: int
    uptime_s: float
    outlet: str | None
    kind: str
    reason: str
    source: str
    quantity: str | None  # what `value` is: current_a, power_w, duration_s, ...
    value: float | str | None
    setting: str | None
    time: datetime | None  # UTC; None: the clock was not set
    boot: int | None  # number of the start that `uptime_s` belongs to, then
    raw: Raw = field(repr=False, compare=False)

    @classmethod
    def parse(cls, raw: Raw) -> Event:
        """From a row of `events`, or a message on the topic `event`."""
        # a newer firmware may have quantities that are not known here
        quantity = next((name for name in sorted(raw) if name not in _FIELDS), None)
        value = None if quantity is None else raw[quantity]
        return cls(
            seq=whole(raw, "seq"),
            uptime_s=number(raw, "uptime_s"),
            outlet=None if raw.get("outlet") is None else text(raw, "outlet"),
            kind=text(raw, "event"),
            reason=text(raw, "reason"),
            source=text(raw, "source"),
            quantity=quantity,
            value=value if isinstance(value, (int, float, str)) else None,
            setting=None if raw.get("setting") is None else text(raw, "setting"),
            time=moment(raw, "time"),
            boot=None if raw.get("boot") is None else whole(raw, "boot"),
            raw=raw,
        )

    @property
    def same_as(self) -> tuple[object, ...]:
        """Equal for two reports of the same record, different when a number was used again."""
        return (self.seq, self.uptime_s, self.outlet, self.kind, self.reason)

    def __str__(self) -> str:
        unit, decimals = _VALUES.get(self.quantity or "", ("", 3))
        if self.setting is not None:
            value = self.setting
        elif self.raw.get("check"):
            value = str(self.raw["check"])  # what the code means
        elif self.value is None:
            value = "-"
        elif isinstance(self.value, str):
            value = self.value
        else:
            value = f"{self.value:.{decimals}f} {unit}".rstrip()
        outlet = self.outlet or "-"
        return f"{self.seq} {clock(self.uptime_s, 3)} {outlet} {self.kind} {self.reason} {value}"


def clock(uptime_s: float, decimals: int = 0) -> str:
    """`h:mm:ss`, as on the board's console."""
    whole_s, part = divmod(round(uptime_s * 10**decimals), 10**decimals)
    tail = f".{part:0{decimals}d}" if decimals else ""
    return f"{whole_s // 3600}:{whole_s // 60 % 60:02d}:{whole_s % 60:02d}{tail}"


@dataclass(frozen=True)
class Energy:
    """Energy counted since the board's first start, in kWh."""

    outlets: Mapping[str, float]
    total_kwh: float
    today_kwh: float | None  # of all outlets; None: the board does not know the time
    yesterday_kwh: float | None  # None: there is no record of that day
    raw: Raw = field(repr=False, compare=False)

    @classmethod
    def parse(cls, raw: Raw) -> Energy:
        """From the result of `energy`."""
        rows = section(raw, "energy_kwh")
        return cls(
            outlets={name: number(rows, name) for name in rows},
            total_kwh=number(raw, "total_kwh"),
            today_kwh=_maybe(raw, "today_total_kwh"),
            yesterday_kwh=_maybe(raw, "yesterday_total_kwh"),
            raw=raw,
        )


@dataclass(frozen=True)
class Period:
    """An hour, a day or a month of the energy history."""

    start: str  # its first second (hours, UTC), its date, its month
    outlets: Mapping[str, float]  # kWh
    total_kwh: float


def periods(raw: Raw) -> list[Period]:
    """From the result of `energy hours|days|months`, the running period last."""
    names = raw.get("outlets")
    rows = raw.get("rows")
    if not isinstance(names, list) or not isinstance(rows, list):
        raise _bad("rows", rows, "a list")
    found = []
    for row in rows:
        if not isinstance(row, dict) or not isinstance(row.get("kwh"), list):
            raise _bad("rows", row, "an object")
        energy = {str(name): float(kwh) for name, kwh in zip(names, row["kwh"], strict=True)}
        found.append(Period(text(row, "start"), energy, number(row, "total_kwh")))
    return found


@dataclass(frozen=True)
class Clock:
    """The board's clock."""

    utc: datetime | None  # None: nobody has told the time
    zone: str  # POSIX rule
    source: str | None  # who has told it: ntp, console, mqtt, ...
    age_s: int | None  # how long ago
    raw: Raw = field(repr=False, compare=False)

    @classmethod
    def parse(cls, raw: Raw) -> Clock:
        """From the result of `time`."""
        return cls(
            utc=moment(raw, "utc"),
            zone=text(raw, "zone"),
            source=None if raw.get("source") is None else text(raw, "source"),
            age_s=None if raw.get("age_s") is None else whole(raw, "age_s"),
            raw=raw,
        )


@dataclass(frozen=True)
class Version:
    """What runs on the board."""

    firmware: str
    board: str
    chip: str
    python: str
    platform: str

    @classmethod
    def parse(cls, raw: Raw) -> Version:
        """From the result of `version`."""
        names = ("firmware", "board", "chip", "python", "platform")
        return cls(*(text(raw, name) for name in names))


@dataclass(frozen=True)
class Setting:
    """One setting and its row of the schema; `allowed` is a sentence."""

    name: str
    value: Any
    unit: str
    default: Any
    allowed: str
    help: str
    needs_reboot: bool
    saved: bool

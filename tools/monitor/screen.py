"""The live view: boards as rich renderables that fit the terminal, whatever its size."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tools.client import Event, OutletStatus, Status
from tools.client.model import clock
from tools.monitor import charts
from tools.monitor.feeds import View

_BAR = 12
_HEAT = 8
_TABLE = 75  # columns of the table of outlets without its charts: fits a terminal of 80
_CHART = 6
_EVENTS = 10
_AXIS = 9


class History:
    """Power and currents of the last minutes of one board, for its charts."""

    def __init__(self, span_s: float) -> None:
        self._span_s = span_s
        self._figures: dict[str, deque[tuple[float, float]]] = {}

    def add(self, when: float, status: Status) -> None:
        """Take one reading."""
        self._put("power_w", when, status.power_w)
        for name, outlet in status.outlets.items():
            self._put(name, when, outlet.current_a)

    def _put(self, name: str, when: float, figure: float) -> None:
        kept = self._figures.setdefault(name, deque())
        kept.append((when, figure))
        while kept[0][0] < when - self._span_s - 5:
            kept.popleft()

    def buckets(self, name: str, end: float, width: int) -> list[float | None]:
        """See charts.buckets."""
        return charts.buckets(self._figures.get(name, ()), end, self._span_s, width)


def shade(percent: float) -> str:
    """Colour of a load: fine, near its limit, above it."""
    return "red" if percent > 100 else "yellow" if percent > 80 else "green"


def _bar(percent: float, width: int) -> Text:
    return Text.assemble(
        (charts.bar(percent, width), shade(percent)), (f"{percent:5.0f}%", "bold")
    )


def _state(outlet: OutletStatus) -> Text:
    style = "dim"
    if outlet.needs_attention:
        style = "bold red"
    elif outlet.energised:
        style = "bold green"
    return Text(outlet.words, style=style, no_wrap=True, overflow="ellipsis")


def event_line(event: Event) -> Text:
    """One event; what somebody should look at stands out."""
    bad = event.kind in ("tripped", "fault", "lockout", "shed", "lease")
    return Text(str(event), style="bold red" if bad else "", no_wrap=True, overflow="ellipsis")


def _head(view: View) -> Text:
    status = view.status
    text = Text(view.name, style="bold", no_wrap=True, overflow="ellipsis")
    if status is not None:
        text.append(f"  v{status.version}  mode {status.mode}  up {clock(status.uptime_s)}", "")
        if status.temperature_c is not None:
            text.append(f"  {status.temperature_c:.1f} C", "")
        text.append(f"  mqtt {status.mqtt}, wifi {status.wifi}", "dim")
        if status.starting:
            text.append("  starting", "bold yellow")
    return text


def _supply(status: Status) -> Text:
    supply = status.supply
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f"supply {supply.voltage_v:.1f} V  {supply.frequency_hz:.2f} Hz   ")
    text.append(f"L1 {supply.l1_v:.1f} V   L2 {supply.l2_v:.1f} V   contactor ")
    style = {"closed": "green", "blocked": "bold red"}.get(status.contactor, "yellow")
    text.append(status.contactor, style)
    return text


def _outlets(status: Status, history: History, now: float, width: int) -> Table:
    spark = max(0, width - _TABLE - 1)
    table = Table.grid(padding=(0, 1), expand=False)
    for justify in ("left", "left", "right", "right", "left", "left", "left"):
        table.add_column(justify=justify, no_wrap=True)
    titles = ["outlet", "state", "A", "W", "of limit", "heat", "current"]
    table.add_row(*[Text(title, style="dim") for title in titles[: 7 if spark else 6]])
    for name, outlet in status.outlets.items():
        cells: list[RenderableType] = [
            Text(name[:10].ljust(7), style="bold" if outlet.energised else ""),
            Text.assemble(_state(outlet), " " * max(0, 18 - len(outlet.words))),
            f"{outlet.current_a:6.2f}",
            f"{outlet.power_w:6.0f}",
            _bar(outlet.load_percent, _BAR),
            _bar(outlet.heat_percent, _HEAT),
        ]
        if spark:
            line = charts.spark(history.buckets(name, now, spark), outlet.limit_a)
            cells.append(Text(line, style="cyan"))
        table.add_row(*cells)
    for name, leg in status.legs.items():
        cells = [f"leg {name}", Text(f"of {leg.limit_a:.0f} A", style="dim")]
        table.add_row(*cells, f"{leg.current_a:6.2f}", "", _bar(leg.load_percent, _BAR))
    limit = Text(f"of {status.limit_w:.0f} W", style="dim")
    table.add_row("total", limit, "", f"{status.power_w:6.0f}", _bar(status.load_percent, _BAR))
    return table


def _chart(history: History, now: float, span_s: float, width: int, height: int) -> Group:
    """Power over time with its axis."""
    figures = history.buckets("power_w", now, max(1, width - _AXIS))
    top = charts.nice(max([figure for figure in figures if figure is not None], default=0.0))
    lines = []
    for n, line in enumerate(charts.rows(figures, top, height)):
        label = f"{top:.0f} W" if n == 0 else "0 W" if n == height - 1 else ""
        lines.append(Text.assemble((f"{label:>{_AXIS - 2}} ", "dim"), "│", (line, "cyan")))
    minutes = f"{span_s / 60:g} min ago" if span_s >= 60 else f"{span_s:g} s ago"
    foot = " " * (_AXIS - 1) + minutes + "now".rjust(max(4, width - _AXIS + 1 - len(minutes)))
    return Group(Text("total power", style="dim"), *lines, Text(foot, style="dim"))


class Screen:
    """All boards; draws itself to the size that it is given."""

    def __init__(self, span_s: float) -> None:
        self._span_s = span_s
        self._views: Sequence[View] = ()
        self._histories: dict[str, History] = {}

    def update(self, views: Sequence[View]) -> None:
        """Take what is known now."""
        self._views = views

    def sample(self, views: Sequence[View]) -> None:
        """Take a reading of each board for the charts."""
        now = time.monotonic()
        for view in views:
            if view.status is not None and view.online:
                self._history(view.name).add(now, view.status)

    def _history(self, name: str) -> History:
        return self._histories.setdefault(name, History(self._span_s))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        height = options.height or options.size.height
        width = options.max_width
        if not self._views:
            yield Text("waiting for boards", style="dim")
            return
        room = height // len(self._views)
        if all(room >= self._small(view) for view in self._views):
            for view in self._views:
                yield self._panel(view, width, room)
        else:
            yield self._table(width)

    @staticmethod
    def _small(view: View) -> int:
        """Lines of a board's panel without chart and events."""
        if view.status is None:
            return 4
        return 6 + len(view.status.outlets) + len(view.status.legs)

    def _panel(self, view: View, width: int, room: int) -> Panel:
        status = view.status
        parts: list[RenderableType] = []
        free = room - self._small(view)
        if view.trouble and free > 0:
            parts.append(Text(view.trouble, style="bold red", no_wrap=True, overflow="ellipsis"))
            free -= 1
        if status is not None:
            now = time.monotonic()
            parts.append(_supply(status))
            parts.append(_outlets(status, self._history(view.name), now, width - 4))
            if free >= _CHART + 5 or (free >= _CHART + 3 and not view.events):
                history = self._history(view.name)
                parts += ["", _chart(history, now, self._span_s, width - 4, _CHART)]
                free -= _CHART + 3
        events = min(_EVENTS, free - 1, len(view.events))
        if events > 0:
            parts.append("")
            parts += [event_line(event) for event in view.events[-events:]]
        border = "red" if view.trouble or self._attention(view) else "green"
        return Panel(Group(*parts), title=_head(view), title_align="left", border_style=border)

    @staticmethod
    def _attention(view: View) -> bool:
        return view.status is not None and any(
            outlet.needs_attention for outlet in view.status.outlets.values()
        )

    def _table(self, width: int) -> Table:
        """One line for each board, where panels have no room."""
        table = Table(expand=True, box=None, header_style="dim", padding=(0, 1, 0, 0))
        name_width = max(len(view.name) for view in self._views)
        table.add_column("board", no_wrap=True, min_width=name_width)
        table.add_column("W", no_wrap=True, min_width=5, justify="right")
        if width >= 60:
            table.add_column("of total", no_wrap=True, min_width=14)
        if width >= 90:
            table.add_column("power", no_wrap=True, min_width=16)
        table.add_column("outlets", no_wrap=True, overflow="ellipsis", ratio=1)
        if width >= 110:
            table.add_column("last event", no_wrap=True, overflow="ellipsis", ratio=1)
        now = time.monotonic()
        for view in self._views:
            status = view.status
            watts: RenderableType = ""
            load: RenderableType = ""
            spark: RenderableType = ""
            words = Text(view.trouble, style="bold red")
            if status is not None and not view.trouble:
                watts = f"{status.power_w:.0f}"
                load = _bar(status.load_percent, 8)
                figures = self._history(view.name).buckets("power_w", now, 16)
                spark = Text(charts.spark(figures, status.limit_w), style="cyan")
                busy = [o for o in status.outlets.values() if o.energised or o.needs_attention]
                words = Text("  ").join([Text.assemble(o.name, " ", _state(o)) for o in busy])
            cells: list[RenderableType] = [view.name, watts]
            cells += [load] if width >= 60 else []
            cells += [spark] if width >= 90 else []
            cells.append(words)
            if width >= 110:
                cells.append(event_line(view.events[-1]) if view.events else "")
            table.add_row(*cells)
        return table


def plain(view: View, stamp: str) -> str:
    """One line for pipes and files."""
    status = view.status
    if status is None or view.trouble:
        return f"{stamp} {view.name} away: {view.trouble}"
    parts = [f"{stamp} {view.name} {status.power_w:.0f} W of {status.limit_w:.0f}"]
    parts.append(f"{status.supply.voltage_v:.1f} V {status.supply.frequency_hz:.2f} Hz")
    for name, outlet in status.outlets.items():
        text = f"{name} {outlet.words}"
        if outlet.energised:
            text += f" {outlet.current_a:.2f} A {outlet.power_w:.0f} W {outlet.load_percent:.0f}%"
        if outlet.heat_percent >= 1:
            text += f" heat {outlet.heat_percent:.0f}%"
        parts.append(text)
    return " | ".join(parts)

"""Tailgate boards from Python, over serial or MQTT alike. The examples are in docs/monitor.md.

    from tools import client

    with client.connect("/dev/ttyACM0") as board:       # or "mqtt://192.168.1.10/tailgate-210b2f"
        board.outlets["bed1"].on()
        print(board.outlets["bed1"].current_a)
        board.settings["bed1.limit_a"] = 15
        for event in board.events(timeout_s=60):
            print(event)

Errors are exceptions that carry the board's own sentence, see errors.py.
"""

from __future__ import annotations

from collections.abc import Callable

from tools.client.board import Board, EventStream, Outlet, Outlets, Settings
from tools.client.errors import (
    BadAnswer,
    ClientError,
    CommandRefused,
    LinkError,
    NoAnswer,
    NotConnected,
    UnknownOutlet,
    UnknownSetting,
)
from tools.client.link import BACK_S
from tools.client.model import (
    Clock,
    Energy,
    Event,
    Leg,
    OutletStatus,
    Period,
    Setting,
    Status,
    Supply,
    Version,
)

__all__ = [
    "BadAnswer",
    "Board",
    "ClientError",
    "Clock",
    "CommandRefused",
    "Energy",
    "Event",
    "EventStream",
    "Leg",
    "LinkError",
    "NoAnswer",
    "NotConnected",
    "Outlet",
    "OutletStatus",
    "Outlets",
    "Period",
    "Setting",
    "Settings",
    "Status",
    "Supply",
    "UnknownOutlet",
    "UnknownSetting",
    "Version",
    "connect",
]


def connect(
    where: str | None = None,
    *,
    back_s: float = BACK_S,
    on_remark: Callable[[str], None] | None = None,
) -> Board:
    """The board at `where`: a serial port's name, `socket://host:port`, `rfc2217://host:port`,
    `mqtt://[user:password@]host[:port]/device_id` (`mqtts` for TLS, `?ca=FILE`).

    None: the only board that is plugged in. A broker's address without a device id: the only
    board it knows. `back_s`: for how long a board that went away is waited for. `on_remark`:
    called with the firmware's remarks (serial only). ClientError says why it cannot be.
    """
    # each way has its library, which is loaded only when it is taken
    if where is not None and where.startswith(("mqtt://", "mqtts://")):
        from tools.client.mqtt_link import Broker, MqttLink

        broker = Broker(where)
        try:
            device_id = broker.address.device_id or _only(broker.devices(wait_s=3.0), broker.name)
            link = MqttLink(broker, device_id, back_s=back_s, own=True)
            link.check()
        except BaseException:
            broker.close()
            raise
        return Board(link)
    from tools.client.serial_link import SerialLink

    return Board(SerialLink(where or _plugged_in(), back_s=back_s, on_remark=on_remark))


def _only(devices: dict[str, bool | None], broker: str) -> str:
    if len(devices) == 1:
        return next(iter(devices))
    if not devices:
        raise NotConnected(f"the broker at {broker} has not heard of any board")
    listing = ", ".join(devices)
    raise ClientError(f"the broker at {broker} knows several boards: {listing}; say which")


def _plugged_in() -> str:
    from tools.deploy import ports

    found = ports.candidates()
    if len(found) == 1:
        return found[0][0]
    if not found:
        raise NotConnected("no board was found on a USB port: name its port, such as /dev/ttyACM0")
    listing = ", ".join(f"{name} ({text})" for name, text in found)
    raise ClientError(f"there are several boards: {listing}; say which")

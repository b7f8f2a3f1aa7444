"""`python -m tools.bridge PORT ... --broker HOST:PORT`: boards without a network, at a broker.

Turns the JSON of the serial console into the topics of docs/mqtt.md, so that Home Assistant sees a
Pico like a Pico W. What comes from the broker has the rights of the board's setting mqtt.allow.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from pathlib import Path

from tools.bridge.streams import Broker, install
from tools.progress import ToolError, fail, step

_GOODBYE_S = 8.0


def _address(words: str) -> tuple[str, int]:
    host, colon, port = words.rpartition(":")
    if not colon:
        host, port = words, ""
    host = host.strip("[]")
    if not host or (colon and not port.isdigit()) or (port and not 0 < int(port) < 65536):
        raise argparse.ArgumentTypeError(f"'{words}' is no HOST or HOST:PORT")
    return host, int(port or 0)


def _state_folder() -> Path:
    """Where programs keep such things; systemd says where for a service."""
    given = os.environ.get("STATE_DIRECTORY")
    if given:
        return Path(given.split(":")[0])
    home = os.environ.get("XDG_STATE_HOME")
    return (Path(home) if home else Path.home() / ".local" / "state") / "tailgate"


def _password(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ToolError(f"--password-file: {path} cannot be read ({error})") from error
    if not lines or not lines[0]:
        raise ToolError(f"--password-file: the first line of {path} is empty")
    return lines[0]


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.bridge",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("ports", nargs="+", metavar="PORT", help="serial ports, a board on each")
    parser.add_argument("--broker", type=_address, required=True, metavar="HOST[:PORT]")
    parser.add_argument("--user", default="", help="user name at the broker")
    parser.add_argument("--password-file", type=Path, metavar="FILE", help="its first line is it")
    parser.add_argument("--tls", action="store_true", help="encrypt, trust the system's CAs")
    parser.add_argument(
        "--tls-ca", default="", metavar="FILE", help="encrypt, trust this CA (PEM)"
    )
    parser.add_argument("--tls-cert", default="", metavar="FILE", help="our own certificate (PEM)")
    parser.add_argument("--tls-key", default="", metavar="FILE", help="its key (PEM)")
    parser.add_argument(
        "--state", type=Path, metavar="DIR", help="notes of the events that the broker has"
    )
    parser.add_argument(
        "--set-time", action="store_true", help="set the clock of a board that has no time"
    )
    options = parser.parse_args(argv)
    host, port = options.broker
    tls = options.tls or bool(options.tls_ca or options.tls_cert or options.tls_key)
    try:
        if len(set(options.ports)) != len(options.ports):
            raise ToolError("a port is named twice")
        broker = Broker(
            host=host,
            port=port or (8883 if tls else 1883),
            user=options.user,
            password=_password(options.password_file),
            tls=tls,
            ca=options.tls_ca,
            cert=options.tls_cert,
            key=options.tls_key,
        )
        install(broker)
    except ToolError as error:
        return fail(error)
    # it loads the firmware's modules, for which install() has prepared everything
    from tools.bridge.bridge import Bridge, Memory

    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    memory = Memory(options.state or _state_folder())
    bridges = [Bridge(name, broker, memory, set_time=options.set_time) for name in options.ports]
    for bridge in bridges:
        bridge.start()
    while not over.wait(0.5):
        pass
    step("ending")
    for bridge in bridges:
        bridge.end()
    for bridge in bridges:
        bridge.join(_GOODBYE_S)
    if any(bridge.is_alive() for bridge in bridges):
        sys.stderr.flush()
        os._exit(0)  # a board may take a minute for an answer that nobody waits for any more
    return 0


if __name__ == "__main__":
    sys.exit(main())

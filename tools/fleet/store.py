"""What storing a fleet's figures takes: docs/fleet's exporters and Prometheus beside the broker.

Called by __main__.py (`--store`). The files are used as they are, but for addresses and TLS.
"""

from __future__ import annotations

import json
import os
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from tools.progress import step
from tools.runtime.broker import LOOPBACK, free_port
from tools.runtime.timeseries import Server

FILES = Path(__file__).resolve().parents[2] / "docs" / "fleet"
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def usage(pid: int) -> tuple[float, float]:
    """(CPU seconds, resident MB) of a process; zeros where /proc does not tell."""
    try:
        with open(f"/proc/{pid}/stat") as stream:
            words = stream.read().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / _TICKS, int(words[21]) * _PAGE / 1e6
    except (OSError, ValueError, IndexError):
        return 0.0, 0.0


class Store:
    """Two exporters and a Prometheus for the broker at `port`; files below `home`. `scrape_s`:
    how often Prometheus fetches, when not as the file says.
    """

    def __init__(self, home: Path, port: int, scrape_s: int = 10) -> None:
        kinds = {"state": free_port(), "availability": free_port()}
        self._web = f"http://{LOOPBACK}:{free_port()}"
        changes = {
            "ssl://central.example.org:8883": f"tcp://{LOOPBACK}:{port}",
            "scrape_interval: 10s": f"scrape_interval: {scrape_s}s",
            "127.0.0.1:9641": f"{LOOPBACK}:{kinds['state']}",
            "127.0.0.1:9642": f"{LOOPBACK}:{kinds['availability']}",
        }
        for name in ("exporter-state.yml", "exporter-availability.yml", "prometheus.yml"):
            text = (FILES / name).read_text()
            for old, new in changes.items():
                text = text.replace(old, new)
            (home / name).write_text(text)
        (home / "alerts.yml").write_text((FILES / "alerts.yml").read_text())
        self._servers = {}
        for kind, its in kinds.items():
            words = ["-config", home / f"exporter-{kind}.yml"]
            words += ["-listen-address", LOOPBACK, "-listen-port", its]
            ready = f"http://{LOOPBACK}:{its}/metrics"
            name = f"exporter_{kind}"
            self._servers[name] = Server("prometheus-mqtt-exporter", words, home, ready)
        words = [f"--config.file={home / 'prometheus.yml'}"]
        words += [f"--storage.tsdb.path={home / 'prometheus'}"]
        words += [f"--web.listen-address={self._web.removeprefix('http://')}"]
        self._servers["prometheus"] = Server("prometheus", words, home, self._web + "/-/ready")
        self._before: dict[str, float] = {}
        self._began = 0.0

    def __enter__(self) -> Store:
        step("two MQTT exporters and Prometheus")
        for server in self._servers.values():
            server.start()
        self._before = {name: usage(one.pid)[0] for name, one in self._servers.items()}
        self._began = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers.values():
            server.stop()

    def _ask(self, query: str) -> float:
        words = urllib.parse.urlencode({"query": query})
        with urllib.request.urlopen(f"{self._web}/api/v1/query?{words}", timeout=10) as page:
            found = json.load(page)["data"]["result"]
        return float(found[0]["value"][1]) if found else 0.0

    def figures(self) -> dict[str, Any]:
        """Boards and series that are stored, and what each program has used since its start."""
        took = time.monotonic() - self._began
        result: dict[str, Any] = {
            "stored": {
                "boards": round(self._ask("count(tailgate_uptime_seconds)")),
                "online": round(self._ask("count(tailgate_online == 1)")),
                "series": round(self._ask('count({__name__=~"tailgate_.+"})')),
                "scrape_ms": round(self._ask("max(scrape_duration_seconds)") * 1000, 1),
            }
        }
        for name, server in self._servers.items():
            seconds, megabytes = usage(server.pid)
            percent = (seconds - self._before[name]) / took * 100
            result[name] = {"cpu_percent": round(percent, 1), "mb": round(megabytes, 1)}
        return result

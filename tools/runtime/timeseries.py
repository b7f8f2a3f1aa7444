"""Real programs that store what a fleet says: Prometheus, its MQTT exporter, and two more.

`python -m tools.runtime.timeseries` fetches Debian's packages into build/runtime and says how each
is started. Nothing is installed, no service is started, no root is needed. Called by the tests of
docs/fleet.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tools.progress import ToolError, fail, step
from tools.runtime import apt

ROOT = Path(__file__).resolve().parents[2]
RUNTIME = ROOT / "build" / "runtime"
# program: (Debian's package, what makes it say its version, a word of the answer)
PROGRAMS = {
    "prometheus": ("prometheus", "--version", "prometheus, version"),
    "promtool": ("prometheus", "--version", "promtool, version"),
    "prometheus-mqtt-exporter": ("prometheus-mqtt-exporter", "-version", '"Version"'),
    "influxd": ("influxdb", "version", "InfluxDB"),
    "mosquitto_sub": ("mosquitto-clients", "--version", "mosquitto_sub version"),
}
# Taken alone: what Debian would install with them are pages for a browser, users and services.
_ALONE = ("prometheus", "prometheus-mqtt-exporter", "influxdb")
_FALLBACK_SUITES = ("trixie", "bookworm", "forky")
LOOPBACK = "127.0.0.1"


def ensure(name: str, folder: Path = RUNTIME, say: Callable[[str], None] = step) -> list[str]:
    """The words that start a program, arguments to be added; ToolError when there is no way.

    In this order: what was unpacked before, one on the PATH, Debian's package.
    """
    if name not in PROGRAMS:
        raise ToolError(f"no such program: {name} (there are: {' '.join(PROGRAMS)})")
    root = folder / "root-timeseries"
    if not (root / ".ok").exists():
        found = shutil.which(name)
        if found:
            return [found]
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".lock-timeseries").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # parallel tests fetch it once
            if not (root / ".ok").exists():
                _fetch(folder, root, say)
    return _command(name, root)


def _fetch(folder: Path, root: Path, say: Callable[[str], None]) -> None:
    if not apt.available():
        raise ToolError(
            f"{', '.join(PROGRAMS)} are not all on the PATH, and there is no apt-get to fetch "
            "them with; install them"
        )
    private = apt.PrivateApt(folder / "apt-timeseries")
    reasons = []
    try:
        own = [apt.machine_release()]
        for suite in own + [suite for suite in _FALLBACK_SUITES if suite not in own]:
            shutil.rmtree(root, ignore_errors=True)
            try:
                say(f"fetching {', '.join(PROGRAMS)} from Debian {suite}")
                private.update([("deb", suite)])
                # with the C library, which all of them need
                debs = private.download_closure("mosquitto-clients")
                debs += private.download(_ALONE, private.home / "alone")
                with contextlib.suppress(ToolError):  # a part of prometheus before Debian 13
                    debs += private.download(["promtool"], private.home / "alone")
                for deb in debs:
                    apt.unpack(deb, root)
                for name in PROGRAMS:
                    _check(name, root)
            except ToolError as error:
                reasons.append(f"{suite}: {error}")
                continue
            (root / ".ok").touch()
            return
    finally:
        private.close()
    raise ToolError("what stores a fleet's messages cannot be had here: " + "; ".join(reasons))


def _command(name: str, root: Path) -> list[str]:
    return apt.own_loader(root, root / "usr" / "bin" / name)


def _check(name: str, root: Path) -> None:
    _, option, word = PROGRAMS[name]
    try:
        done = subprocess.run(
            [*_command(name, root), option],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolError(f"{name} does not run ({error})") from error
    if word not in done.stdout + done.stderr:
        raise ToolError(f"{name} does not run: {(done.stderr or done.stdout).strip()[-200:]}")


class Server:
    """One of these programs, running; `arguments` as on its command line, log below `home`.

    `ready`: an address (`http://127.0.0.1:9090/-/ready`) that answers with success once it works.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[object],
        home: Path,
        ready: str,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.log = home / f"{name}-{ready.rpartition(':')[2].partition('/')[0]}.log"
        self._command = [str(word) for word in arguments]
        self._home = home
        self._ready = ready
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, wait_s: float = 30.0) -> Server:
        """Start it and wait until it is ready; ToolError with the end of its log otherwise."""
        command = [*ensure(self.name), *self._command]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._home,
                env=self._environment,
            )
        end = time.monotonic() + wait_s
        while time.monotonic() < end and self._process.poll() is None:
            try:
                with urllib.request.urlopen(self._ready, timeout=1):
                    return self
            except (TimeoutError, urllib.error.URLError, ConnectionError):
                time.sleep(0.05)
        self.stop()
        raise ToolError(f"{self.name} did not start: " + self.log.read_text()[-600:])

    @property
    def pid(self) -> int:
        """Its process id; 0: it does not run."""
        return self._process.pid if self._process else 0

    def stop(self) -> None:
        """End it and wait for that."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=5)

    def __enter__(self) -> Server:
        return self if self._process else self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def main() -> int:
    """Command line: make sure of all of them."""
    try:
        for name in PROGRAMS:
            print(f"{name}: {' '.join(ensure(name))}")
    except ToolError as error:
        return fail(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""A real mosquitto for tests: from the PATH, or Debian's package unpacked into build/runtime.

`python -m tools.runtime.broker` makes sure that there is one and prints its command line;
`Mosquitto` runs it on the loopback interface. In this order: `$MOSQUITTO` when set, one that was
unpacked before, one on the PATH (or in the sbin folders, where systems put it), Debian's package
with its libraries. Nothing is installed, no service is started.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tools.progress import ToolError, fail, step
from tools.runtime import apt

ROOT = Path(__file__).resolve().parents[2]
RUNTIME = ROOT / "build" / "runtime"
LOOPBACK = "127.0.0.1"

# The machine's own release first, see `_suites`; these when it has none of its own to offer.
_FALLBACK_SUITES = ("trixie", "bookworm", "forky")


def ensure(folder: Path = RUNTIME, say: Callable[[str], None] = step) -> list[str]:
    """The words that start mosquitto, arguments to be added; ToolError when there is no way."""
    chosen = os.environ.get("MOSQUITTO")
    if chosen:
        return [_checked([chosen])]
    root = folder / "root-mosquitto"
    if (root / ".ok").exists():
        return _command(root)
    found = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if found:
        return [_checked([found])]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock-mosquitto").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # parallel tests fetch it once
        if not (root / ".ok").exists():
            _fetch(folder, say)
    return _command(root)


def _suites() -> list[str]:
    own = []
    with contextlib.suppress(OSError):
        for line in Path("/etc/os-release").read_text().splitlines():
            name, _, value = line.partition("=")
            if name == "VERSION_CODENAME" and value.strip('"'):
                own.append(value.strip('"'))
    return own + [suite for suite in _FALLBACK_SUITES if suite not in own]


def _fetch(folder: Path, say: Callable[[str], None]) -> None:
    if not apt.available():
        raise ToolError(
            "mosquitto is not on the PATH, and there is no apt-get to fetch it with; "
            "install it, or name it in the environment variable MOSQUITTO"
        )
    suites = _suites()
    apt.unpack_program("mosquitto", folder, suites, say, lambda root: _checked(_command(root)))


def _command(root: Path) -> list[str]:
    """Start the unpacked program with its own loader and C library."""
    return apt.own_loader(root, root / "usr/sbin/mosquitto")


def _checked(command: list[str]) -> str:
    """Run it once: `-h` prints the version and exits with 3 or 0, by release."""
    try:
        done = subprocess.run(
            [*command, "-h"], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolError(f"{command[-1]} does not run ({error})") from error
    if "mosquitto version" not in done.stdout:
        raise ToolError(f"{command[-1]} is not mosquitto: {done.stderr.strip()[-200:]}")
    return command[-1]


def free_port() -> int:
    """A TCP port on the loopback interface that nothing listens on just now."""
    with socket.socket() as s:
        s.bind((LOOPBACK, 0))
        return int(s.getsockname()[1])


class Mosquitto:
    """One mosquitto process on the loopback interface, files below `home`.

    `tls`: folder with ca.crt, server.crt and server.key (`certificate`: other ones than `server`),
    `client_certificate` demands one from the client. `password_file`: users and passwords, else
    everybody is let in. `persistent`: sessions survive a restart (`stop`, not `stop(hard=True)`).
    `extra`: more lines of its file.
    """

    def __init__(
        self,
        home: Path,
        port: int = 0,
        tls: Path | None = None,
        certificate: str = "server",
        client_certificate: bool = False,
        password_file: Path | None = None,
        persistent: bool = False,
        extra: Sequence[str] = (),
    ) -> None:
        self.home = home
        self.port = port or free_port()
        self._process: subprocess.Popen[bytes] | None = None
        lines = [
            f"listener {self.port} {LOOPBACK}",
            f"allow_anonymous {'false' if password_file else 'true'}",
            f"persistence {'true' if persistent else 'false'}",
            f"persistence_location {home}/",
            "log_type error",
            "log_type warning",
            "log_type notice",
            "max_queued_messages 0",  # a judge that is away must not miss anything
        ]
        if os.geteuid() == 0:
            lines.append("user root")  # there is no user mosquitto where nothing is installed
        if password_file:
            lines.append(f"password_file {password_file}")
        if tls:
            lines += [f"cafile {tls / 'ca.crt'}", f"certfile {tls / certificate}.crt"]
            lines += [f"keyfile {tls / certificate}.key"]
            lines += [f"require_certificate {'true' if client_certificate else 'false'}"]
        lines += extra
        home.mkdir(parents=True, exist_ok=True)
        self._conf = home / f"mosquitto-{self.port}.conf"
        self._conf.write_text("\n".join(lines) + "\n")
        self.log = home / f"mosquitto-{self.port}.log"

    def start(self, wait_s: float = 10.0) -> Mosquitto:
        """Start it and wait until it accepts connections."""
        command = [*ensure(), "-c", str(self._conf)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + wait_s
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            with (
                contextlib.suppress(OSError),
                socket.create_connection((LOOPBACK, self.port), timeout=1),
            ):
                return self
            time.sleep(0.02)
        self.stop()
        raise ToolError("mosquitto did not start: " + self.log.read_text()[-400:])

    @property
    def pid(self) -> int:
        """Its process id; 0: it does not run."""
        return self._process.pid if self._process else 0

    def stop(self, hard: bool = False) -> None:
        """End it and wait for that; `hard` as a power cut would."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.kill() if hard else process.terminate()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=5)

    def __enter__(self) -> Mosquitto:
        return self if self._process else self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def main() -> int:
    """Command line: make sure of a mosquitto, and say how it is started."""
    try:
        print(" ".join(ensure()))
        return 0
    except ToolError as error:
        return fail(error)


if __name__ == "__main__":
    sys.exit(main())

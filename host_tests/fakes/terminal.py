"""A program on a terminal of its own, as a person has it: what it shows is waited for, keys are
typed. Used by the tests of `make run` and of the monitor."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time

from tools.simulator.device import ROOT


class Terminal:
    """`text`: what it has shown since the last `see`. `size`: rows and columns; `controls`: the
    keys of the terminal, such as Ctrl-C, reach the program."""

    def __init__(
        self,
        command: list[str],
        environment: dict[str, str],
        size: tuple[int, int] | None = None,
        controls: bool = False,
    ) -> None:
        self.master, self.slave = pty.openpty()
        slave = self.slave
        if size:
            fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
        self.before = termios.tcgetattr(slave)
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=(lambda: fcntl.ioctl(slave, termios.TIOCSCTTY, 0)) if controls else None,
            env=environment,
        )
        self.text = ""

    def shown(self, text: str) -> str:
        """What is kept of text that has come."""
        return text

    def read(self, seconds: float) -> None:
        """Take what comes within so long."""
        if select.select([self.master], [], [], seconds)[0]:
            with contextlib.suppress(OSError):  # it has ended
                self.text += self.shown(os.read(self.master, 65536).decode(errors="replace"))

    def see(self, pattern: str, within: float = 20.0) -> str:
        """Wait until it has shown `pattern`; what came up to its end is then forgotten."""
        until = time.monotonic() + within
        while time.monotonic() < until:
            found = re.search(pattern, self.text)
            if found:
                self.text = self.text[found.end() :]
                return found.group(0)
            self.read(0.1)
        raise AssertionError(f"no {pattern!r} in {self.text[-5000:]!r}")

    def close(self) -> None:
        """End the program, however it is."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)

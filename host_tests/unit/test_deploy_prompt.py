"""How the deploy tool gets MicroPython's prompt from a board whose firmware runs."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from firmware.interfaces import editor
from tools.deploy import board
from tools.progress import ToolError


class Firmware:
    """A board's port: the firmware's own line editor, and the REPL after `exit yes`."""

    def __init__(self, typed: bytes = b"", stays: bool = False) -> None:
        self.obeyed: list[str] = []
        self.repl = False
        self._stays = stays
        self._line = editor.Editor()
        self._out = b""
        self.write(typed)

    def write(self, data: bytes) -> None:
        for byte in data:
            if self.repl:
                if byte == 1:
                    self._out += b"raw REPL; CTRL-B to exit\r\n"
            elif self._line.feed(byte) == editor.ENTER:
                text = self._line.take(False)
                if text:
                    self.obeyed.append(text)
                if text == "exit yes" and not self._stays:
                    self._out += b"ok\r\n  stopping exit\r\n>>> "
                    self.repl = True
                elif text:
                    self._out += b"ok\r\n"

    def inWaiting(self) -> int:
        return len(self._out)

    def read(self, count: int) -> bytes:
        data, self._out = self._out[:count], self._out[count:]
        return data

    def close(self) -> None:
        pass


def _open(monkeypatch: pytest.MonkeyPatch, port: Firmware) -> SimpleNamespace:
    link = SimpleNamespace(serial=port, in_raw_repl=False, close=lambda: None)
    monkeypatch.setattr(board, "_open", lambda name: link)
    for name in ("_ANSWER_S", "_OBEY_S", "_EXIT_S"):
        monkeypatch.setattr(board, name, 0.1)
    return link


@pytest.mark.parametrize(
    "typed", [b"", b"off be", b"on bed1", b"reboot yes", b"\x1b[", b"x" * 600]
)
def test_what_somebody_left_half_typed_is_not_obeyed(
    monkeypatch: pytest.MonkeyPatch, typed: bytes
) -> None:
    port = Firmware(typed)
    link = _open(monkeypatch, port)
    board.Board("port")
    assert port.obeyed == ["exit yes"]
    assert link.in_raw_repl and port.repl


def test_a_firmware_that_stays_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    port = Firmware(b"on bed1", stays=True)
    _open(monkeypatch, port)
    with pytest.raises(ToolError, match="nothing on port answers like MicroPython"):
        board.Board("port")
    assert port.obeyed == ["exit yes"]

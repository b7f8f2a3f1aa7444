"""What can go wrong between a script and a board, each a sentence for a person."""

from __future__ import annotations

from typing import Any

from tools.progress import ToolError


class ClientError(ToolError):
    """Base of all errors of tools.client."""


class LinkError(ClientError):
    """The way to the board failed; the same call may work later."""


class NotConnected(LinkError):
    """There is no connection to the board, so nothing was sent."""


class NoAnswer(LinkError):
    """The board was asked and did not answer in time, or restarted before it could.

    Whether the command was obeyed is not known: `status()` tells.
    """


class BadAnswer(LinkError):
    """Something came that is no answer of this firmware (damaged on the way, another program)."""


class CommandRefused(ClientError):
    """The board said no; the text is its own sentence.

    `result`: what was done all the same (`on all`), else empty.
    """

    def __init__(self, command: str, reason: str, result: dict[str, Any] | None = None) -> None:
        super().__init__(reason)
        self.command = command
        self.reason = reason
        self.result: dict[str, Any] = result or {}

    def __str__(self) -> str:
        return self.reason


class UnknownSetting(CommandRefused, KeyError):
    """There is no setting of that name; also a KeyError, because settings are a mapping."""


class UnknownOutlet(ClientError, KeyError):
    """There is no outlet of that name; also a KeyError, because outlets are a mapping."""

    def __str__(self) -> str:
        return str(self.args[0])

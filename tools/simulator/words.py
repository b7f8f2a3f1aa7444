"""Words of a `sim` command: plain ones and `name=value`. Used by commands.py, plantcommands.py."""

from __future__ import annotations

import math

from tools.simulator.wiring import SimError, choose

Parameters = dict[str, float]

_LARGEST = 1e6


def split(words: list[str]) -> tuple[list[str], Parameters]:
    """Plain words, and `name=value` words as numbers."""
    plain: list[str] = []
    parameters: Parameters = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name.isidentifier():
            plain.append(word)
            continue
        parameters[name] = number(name, value)
    return plain, parameters


def number(name: str, text: str) -> float:
    """A number of a reasonable size; SimError when it is none."""
    try:
        value = float(text)
    except ValueError:
        raise SimError(f"{name}={text} is not a number") from None
    if not math.isfinite(value) or abs(value) > _LARGEST:
        raise SimError(f"{name}={text} is out of any reasonable range")
    return value


def only(parameters: Parameters, known: tuple[str, ...], of: str) -> None:
    """SimError for a parameter that is not among `known`."""
    for name in parameters:
        choose(f"parameter of {of}", name, known)

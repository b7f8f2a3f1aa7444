"""How long the energy history may hold up the control lane while it is written."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from firmware import pieces
from firmware.storage import accounts, history
from firmware.storage.energy import Energy

_DAY = 20_920  # of 366 and one spare: place 1
_LAST = _DAY + 366 - 1


def test_a_record_far_behind_the_end_is_written_in_short_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first day of a device: up to 17 KB lie before its record."""
    energy = Energy(str(tmp_path), 5)
    energy.waiting.append((history.DAYS, _LAST, [0] * 5, [7] * 5))
    writes: list[int] = []
    turns = [0]

    class Counted(io.FileIO):
        def write(self, data: Any) -> int:
            writes.append(len(data))
            turns[-1] += 1
            return super().write(data)

    monkeypatch.setattr(accounts, "open", Counted, raising=False)
    pieces.serve(lambda: turns.append(0))
    try:
        accounts.flush(energy)
    finally:
        pieces.serve()
    assert sum(writes) > 16_000 and max(writes) <= 256
    assert max(turns) == 1, "a block of zeros, or the record, and the control lane has its turn"
    assert dict(history.rows(energy, history.DAYS, _LAST + 1)) == {_LAST: [7] * 5}

"""Tasks that crash are started again, also when there is no memory to say why."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from firmware import events, supervisor
from firmware.storage.journal import Journal
from firmware.supervisor import Supervisor


class Speechless(Exception):
    """To put it into words takes memory that there is not."""

    def __str__(self) -> str:
        raise MemoryError


@pytest.mark.parametrize("error", [ValueError("x"), MemoryError("y"), Speechless()])
def test_a_task_that_crashes_is_started_again(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(asyncio, "sleep_ms", lambda ms: asyncio.sleep(0), raising=False)
    monkeypatch.setattr(supervisor.sys, "print_exception", str, raising=False)
    journal = Journal(8)
    guarded = Supervisor(journal, None)
    starts: list[int] = []

    async def task() -> None:
        starts.append(1)
        if len(starts) < 3:
            raise error

    async def body() -> Any:
        await asyncio.wait_for(guarded.guard("storage", task), 30)

    asyncio.run(body())
    assert len(starts) == 3 and guarded.crashes == 2
    assert [r[1:4] for r in journal.since(0)] == [(events.FAULT, -1, events.CRASH)] * 2
    assert guarded.last_crash.startswith("storage")

"""lib/mqtt.py on the real unix port against bytes that no broker should send.

TAILGATE_FUZZ: how many times the packets of a normal run (1; a release: 20).
"""

from __future__ import annotations

import os

import pytest

from host_tests.micropython.running import answer

PACKETS = 100_000 * int(os.environ.get("TAILGATE_FUZZ", "1"))


@pytest.mark.parametrize("seed", [1, 2])
def test_a_hundred_thousand_packets_from_a_bad_broker(micropython: str, seed: int) -> None:
    """Before and after the connection is accepted, in any pieces, with an application that fails
    now and then; every byte that goes out is MQTT, and the memory in use stays what it was."""
    counts = answer(
        micropython, "fuzz_mqtt.py", str(seed), str(PACKETS), heap="160k", timeout_s=250
    )
    print(counts)
    assert counts["packets"] == PACKETS
    # it was not all turned away at the door
    assert counts["messages"] > PACKETS / 20
    assert counts["acks"] > PACKETS / 500
    assert counts["oversize"] > PACKETS / 1000
    assert counts["ended"] > PACKETS / 10
    assert counts["callback_errors"] > PACKETS / 1000
    assert counts["growth_bytes"] < 2048

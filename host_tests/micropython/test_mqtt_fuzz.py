"""lib/mqtt.py on the real unix port against bytes that no broker should send.

TAILGATE_FUZZ: how many times the packets of a normal run (1; a release: 20).
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKETS = 100_000 * int(os.environ.get("TAILGATE_FUZZ", "1"))


@pytest.mark.parametrize("seed", [1, 2])
def test_a_hundred_thousand_packets_from_a_bad_broker(micropython: str, seed: int) -> None:
    """Before and after the connection is accepted, in any pieces, with an application that fails
    now and then; every byte that goes out is MQTT, and the memory in use stays what it was."""
    script = "host_tests/micropython/device/fuzz_mqtt.py"
    done = subprocess.run(
        [micropython, "-X", "heapsize=160k", script, str(seed), str(PACKETS)],
        cwd=ROOT,
        env={**os.environ, "MICROPYPATH": f"{ROOT}:.frozen"},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    counts = json.loads(done.stdout.splitlines()[-1])
    print(counts)
    assert counts["packets"] == PACKETS
    # it was not all turned away at the door
    assert counts["messages"] > PACKETS / 20
    assert counts["acks"] > PACKETS / 500
    assert counts["oversize"] > PACKETS / 1000
    assert counts["ended"] > PACKETS / 10
    assert counts["callback_errors"] > PACKETS / 1000
    assert counts["growth_bytes"] < 2048

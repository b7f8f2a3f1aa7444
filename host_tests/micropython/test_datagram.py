"""lib/datagram.py on the real MicroPython unix port, against good servers and bad ones."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

import pytest

from host_tests.fakes.datagram_server import serving
from host_tests.micropython.running import lines

NOW = 1_795_000_000  # November 2026
NTP_EPOCH = 2_208_988_800
Ask = Callable[..., "list[str]"]


@pytest.fixture
def ask(micropython: str) -> Ask:
    """`ask(what, port, name)`: the lines that device/datagram.py prints."""

    def run(*args: str) -> list[str]:
        return lines(micropython, "datagram.py", *args, timeout_s=30)

    return run


def name_of(question: bytes) -> str:
    labels = []
    at = 12
    while question[at]:
        labels.append(question[at + 1 : at + 1 + question[at]].decode())
        at += 1 + question[at]
    return ".".join(labels)


def dns(question: bytes, *records: tuple[int, bytes], code: int = 0) -> bytes:
    """An answer with records of (type, data)."""
    head = question[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, len(records), 0, 0)
    body = question[12:]
    for kind, data in records:
        body += b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 60, len(data)) + data
    return head + body


def ntp(question: bytes, seconds: int = NOW, stratum: int = 2, leap: int = 0) -> bytes:
    packet = bytearray(48)
    packet[0] = leap << 6 | 4 << 3 | 4
    packet[1] = stratum
    packet[24:32] = question[40:48]
    packet[40:44] = struct.pack(">I", (seconds + NTP_EPOCH) & 0xFFFFFFFF)
    return bytes(packet)


def kiss(question: bytes, code: bytes) -> bytes:
    """A server's way of saying: do not ask me."""
    packet = bytearray(ntp(question, 0, stratum=0))
    packet[12:16] = code
    return bytes(packet)


def test_a_name_is_looked_up_behind_an_alias(ask: Ask) -> None:
    asked = []

    def answer(question: bytes) -> list[bytes]:
        asked.append(name_of(question))
        return [dns(question, (5, b"\x05alias\x00"), (1, bytes([10, 1, 2, 3])))]

    with serving(answer) as port:
        lines = ask("dns", str(port), "broker.example.org")
    assert lines[0] == "answer 10.1.2.3"
    assert asked == ["broker.example.org"]


def test_a_local_name_is_asked_of_everybody(ask: Ask) -> None:
    asked = []

    def answer(question: bytes) -> list[bytes]:
        asked.append(name_of(question))
        return [dns(question, (1, bytes([10, 4, 5, 6])))]

    with serving(answer) as port:
        lines = ask("mdns", str(port), "homeassistant.local")
    assert lines[0] == "answer 10.4.5.6"
    assert asked == ["homeassistant.local"]


def test_an_address_is_not_asked_for(ask: Ask) -> None:
    assert ask("dns", "1", "192.168.7.9")[0] == "answer 192.168.7.9"


@pytest.mark.parametrize(
    ("name", "reason"),
    [("no.such.name", "knows no address"), ("a..b", "is no host name"), ("x" * 64, "is no host")],
)
def test_a_name_without_an_address_is_refused(ask: Ask, name: str, reason: str) -> None:
    with serving(lambda question: [dns(question, code=3)]) as port:
        lines = ask("dns", str(port), name)
    assert lines[0].startswith("refused") and reason in lines[0]


def test_junk_and_strangers_are_passed_over(ask: Ask) -> None:
    rng = random.Random(3)

    def answer(question: bytes) -> list[bytes]:
        right = dns(question, (1, bytes([10, 9, 8, 7])))
        stranger = bytes([right[0] ^ 1]) + right[1:-4] + bytes([6, 6, 6, 6])
        cut = [right[:n] for n in (0, 5, 11, 13, 20, len(right) - 9)]
        noise = [rng.randbytes(rng.randrange(1, 200)) for _ in range(20)]
        return [stranger, question, *cut, *noise, right]

    with serving(answer) as port:
        lines = ask("dns", str(port), "broker.lan")
    assert lines[0] == "answer 10.9.8.7"


def test_a_lost_question_is_asked_again_and_nobody_waits(ask: Ask) -> None:
    seen = []

    def answer(question: bytes) -> list[bytes]:
        seen.append(question)
        return [dns(question, (1, bytes([10, 0, 0, 1])))] if len(seen) == 2 else []

    with serving(answer) as port:
        lines = ask("dns", str(port), "broker.lan")
    assert lines[0] == "answer 10.0.0.1"
    assert int(lines[1].split()[1]) > 50  # another task ran every 10 ms meanwhile


def test_silence_ends_in_a_sentence(ask: Ask) -> None:
    with serving(lambda question: []) as port:
        lines = ask("ntp", str(port))
    assert lines[0] == "refused no answer from 127.0.0.1"
    assert int(lines[1].split()[1]) > 200


def test_the_time(ask: Ask) -> None:
    with serving(lambda question: [ntp(question)]) as port:
        lines = ask("ntp", str(port))
    assert lines[0] == f"answer {NOW}"


def test_the_time_after_the_counter_of_ntp_has_wrapped(ask: Ask) -> None:
    later = 2_100_000_000  # 2036-07-18
    with serving(lambda question: [ntp(question, later)]) as port:
        lines = ask("ntp", str(port))
    assert lines[0] == f"answer {later}"


def test_a_server_that_is_not_set_or_not_asked_is_not_believed(ask: Ask) -> None:
    def answer(question: bytes) -> list[bytes]:
        stranger = ntp(bytes(48), NOW - 5)
        return [
            ntp(question, NOW - 1, leap=3),
            ntp(question, NOW - 2, stratum=16),
            kiss(bytes(48), b"DENY"),
            ntp(question, NOW - 3)[:40],
            stranger,
            ntp(question),
        ]

    with serving(answer) as port:
        lines = ask("ntp", str(port))
    assert lines[0] == f"answer {NOW}"


@pytest.mark.parametrize(
    ("code", "shown"),
    [(b"RATE", "RATE"), (b"DENY", "DENY"), (b"\xff\0\n1", "no reason given")],
)
def test_a_kiss_of_death_ends_the_questions(ask: Ask, code: bytes, shown: str) -> None:
    seen = []

    def answer(question: bytes) -> list[bytes]:
        seen.append(question)
        return [kiss(question, code), ntp(question)]

    with serving(answer) as port:
        lines = ask("ntp", str(port))
    assert lines[0] == f"refused refused ({shown})"
    assert len(seen) == 1, "it was not asked again"


def test_a_flood_of_junk_holds_nobody_up(ask: Ask) -> None:
    rng = random.Random(5)

    def answer(question: bytes) -> list[bytes]:
        junk = [rng.randbytes(rng.choice([1, 40, 47, 48, 90, 500])) for _ in range(300)]
        return [*junk[:20], ntp(question), *junk]

    with serving(answer) as port:
        lines = ask("ntp", str(port))
    assert lines[0] == f"answer {NOW}"
    assert int(lines[1].split()[1]) > 20


def test_a_server_that_says_nothing_is_not_understood_as_1900_or_2036(ask: Ask) -> None:
    with serving(lambda question: [ntp(question, -NTP_EPOCH), ntp(question)]) as port:
        lines = ask("ntp", str(port))
    assert lines[0] == f"answer {NOW}"

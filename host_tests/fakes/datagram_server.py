"""A UDP server on loopback whose answers a test makes up: for DNS and for the time."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

Answer = Callable[[bytes], "list[bytes]"]


@contextlib.contextmanager
def serving(answer: Answer) -> Iterator[int]:
    """Its port. `answer` gives the datagrams for a question."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.settimeout(0.1)
    done = threading.Event()

    def serve() -> None:
        while not done.is_set():
            with contextlib.suppress(TimeoutError):
                question, peer = sock.recvfrom(1024)
                for packet in answer(question):
                    sock.sendto(packet, peer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield sock.getsockname()[1]
    finally:
        done.set()
        thread.join()
        sock.close()

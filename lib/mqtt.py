# MQTT 3.1.1 client for asyncio on MicroPython >= 1.26. Knows nothing of Tailgate.
# Called from tasks only, never from an interrupt; firmware/interfaces/mqtt.py owns the one client.
#
# Three tasks while a connection lives: `_run` (connects again, watches every deadline), `_link`
# (connects, then reads) and `_writer`. All sockets are non-blocking. What goes out waits in two
# preallocated rings: telemetry, whose oldest packet gives way to a new one, and events, which are
# only ever refused, never dropped. A QoS 1 packet stays in its ring until the broker has
# acknowledged it and is sent again, marked DUP, after a reconnect.

import asyncio
import gc
import random
import socket
from time import ticks_diff, ticks_ms

from micropython import const

_TICK_MS = const(100)  # how often deadlines are looked at
_SETTLED_MS = const(5000)  # a connection that lived this long starts the back-off afresh
_ACKS = const(64)  # PUBACKs that may wait
_HEAD = const(5)  # bytes before a packet in a ring: length, state, packet id
_WRAP = const(0xFF)  # in place of the length's high byte: the next record is at the ring's start
_SENT = const(1)
_DONE = const(2)
_CHUNK = const(256)
_BATCH = const(8)  # packets taken from a ring before others have their turn: 3 ms on an RP2040
# What a TLS connection takes of a chip's heap (26 KB measured on the Pico W), and room for all
# else: to run out of memory would hit whoever asks for some next, not only this connection.
_TLS_HEAP = const(40_000)
# The unix port does not name these; lwIP on the RP2040 numbers its option unlike all others.
_IPPROTO_TCP = getattr(socket, "IPPROTO_TCP", 6)
_TCP_NODELAY = getattr(socket, "TCP_NODELAY", 1)
_IN_PROGRESS = (115, 119, 36, 11)  # EINPROGRESS as Linux, lwIP and BSD number it; EAGAIN
_REASONS = (
    "protocol version",
    "client id",
    "broker unavailable",
    "user or password",
    "not authorized",
)
_NO_ANSWER = (  # on demand
    (12, "no memory left for a socket"),
    (103, "the connection was given up"),
    (104, "the other side reset the connection"),
    (110, "no answer"),
    (111, "nothing listens on that port"),
    (113, "no way to that address"),
)


class MqttError(Exception):
    """Why a connection ended or a value cannot be used, as a sentence."""


# Generators, because MicroPython's asyncio waits for a socket by `yield`. Tests on CPython put
# coroutines here.
def _readable(sock):
    yield asyncio.core._io_queue.queue_read(sock)  # type: ignore[attr-defined]


def _writable(sock):
    yield asyncio.core._io_queue.queue_write(sock)  # type: ignore[attr-defined]


def tls_context(ca, cert=None, key=None, verify=True):  # on demand: tls
    """TLS client context. `ca`, `cert` and `key` are the contents of PEM or DER files, as bytes.

    The broker's certificate and host name are checked unless `verify` is False; that needs a
    clock that is set. Raises MqttError when they cannot be used.
    """
    import tls

    if verify and not ca:
        raise MqttError("TLS needs a CA certificate to check the broker with")
    if bool(cert) != bool(key):
        raise MqttError("a client certificate and its key go together: one of them is missing")
    context = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
    if cert:
        _load("the client's certificate or key", context.load_cert_chain, cert, key)
    if verify:
        context.verify_mode = tls.CERT_REQUIRED  # type: ignore[attr-defined]
        _load("the CA certificate", context.load_verify_locations, ca)
    else:
        context.verify_mode = tls.CERT_NONE  # type: ignore[attr-defined]
    return context


def _load(what, loader, *blobs):  # on demand: tls
    try:
        loader(*blobs)
    except (ValueError, OSError):
        try:
            # Builds for small chips often read DER only: decode the first PEM block, try again.
            loader(*[_der(blob) for blob in blobs])
        except (ValueError, OSError, IndexError):
            raise MqttError(what + " cannot be read: PEM or DER is needed, the key unencrypted")


def _der(blob):  # on demand: tls
    from binascii import a2b_base64

    if b"-----BEGIN" not in blob:
        return blob
    # Keys of OpenSSL's older tools have a block of parameters first.
    if b"-----BEGIN EC PARAMETERS" in blob:
        blob = blob.split(b"-----END EC PARAMETERS", 1)[1]
    body = blob.split(b"-----BEGIN", 1)[1].split(b"-----", 2)[1]
    return a2b_base64(body)


def _bytes(text):
    return text.encode() if isinstance(text, str) else text


def _varint_size(n):
    return 1 if n < 128 else 2 if n < 16384 else 3 if n < 2097152 else 4


def _put_start(buf, at, first, length):
    """Write a fixed header (`first` byte, remaining `length`); returns the offset after it."""
    buf[at] = first
    at += 1
    while length > 127:
        buf[at] = length & 127 | 128
        length >>= 7
        at += 1
    buf[at] = length
    return at + 1


def _field(text):
    data = _bytes(text)
    if len(data) > 65535:
        raise MqttError("a text of %d bytes: at most 65535" % len(data))
    return bytes((len(data) >> 8, len(data) & 255)) + data


class Ring:
    """Bounded FIFO of encoded PUBLISH packets in one preallocated buffer of `size` bytes.

    `lossy`: a new packet pushes out the oldest ones; otherwise it is refused. `dropped` counts
    both. QoS 1 packets stay until `ack(pid)`; QoS 0 packets leave with `take`.
    """

    def __init__(self, size, lossy):
        self._buf = bytearray(size)
        self._mv = memoryview(self._buf)
        self.lossy = lossy
        self.count = 0
        self.unsent = 0
        self.inflight = 0
        self.dropped = 0
        self._head = 0
        self._tail = 0
        self._next = 0  # first record that `take` has not returned since the last `rewind`

    def _at(self, offset):
        """Where the record that follows position `offset` really is."""
        if len(self._buf) - offset < _HEAD or self._buf[offset] == _WRAP:
            return 0
        return offset

    def _end(self, offset):
        return offset + _HEAD + (self._buf[offset] << 8 | self._buf[offset + 1])

    def _room(self, n):
        size = len(self._buf)
        if not self.count:
            self._head = self._tail = self._next = 0
            return 0 if n <= size else -1
        if self._tail > self._head:
            if size - self._tail >= n:
                return self._tail
            return 0 if self._head >= n else -1
        return self._tail if self._head - self._tail >= n else -1

    def has_room(self, n):
        """Whether topic and payload of `n` bytes push nothing out."""
        return self._room(n + _HEAD + 9) >= 0

    def _drop_head(self):
        head = self._head
        if self._buf[head + 2] == _SENT:
            self.inflight -= 1
        end = self._end(head)
        first_unsent = self.unsent == self.count
        self.count -= 1
        # Followed at once: the mark at `end` may be overwritten as soon as this room is free.
        self._head = self._at(end) if self.count else end
        if first_unsent:
            self.unsent -= 1
            self._next = self._head

    def put(self, first, pid, topic, payload):
        """Queue one PUBLISH: first header byte, packet id (0 for QoS 0), bytes, bytes. False when
        refused."""
        length = 2 + len(topic) + len(payload) + (2 if pid else 0)
        n = 1 + _varint_size(length) + length
        if _HEAD + n > len(self._buf) or n >= 0xFE00:
            self.dropped += 1
            return False
        at = self._room(_HEAD + n)
        while at < 0:
            self.dropped += 1
            if not self.lossy:
                return False
            self._drop_head()
            self._free()
            at = self._room(_HEAD + n)
        buf = self._buf
        if at != self._tail and len(buf) - self._tail >= _HEAD:
            buf[self._tail] = _WRAP
        if not self.unsent:
            self._next = at
        buf[at] = n >> 8
        buf[at + 1] = n & 255
        buf[at + 2] = 0
        buf[at + 3] = pid >> 8
        buf[at + 4] = pid & 255
        at = _put_start(buf, at + _HEAD, first, length)
        buf[at] = len(topic) >> 8
        buf[at + 1] = len(topic) & 255
        at += 2
        buf[at : at + len(topic)] = topic
        at += len(topic)
        if pid:
            buf[at] = pid >> 8
            buf[at + 1] = pid & 255
            at += 2
        buf[at : at + len(payload)] = payload
        self._tail = at + len(payload)
        self.count += 1
        self.unsent += 1
        return True

    def take(self, out, at):
        """Copy the next unsent packet into memoryview `out` at offset `at`; returns its length, 0
        when there is none or no room for it."""
        buf = self._buf
        while self.unsent:
            here = self._next
            if buf[here + 2] == _DONE:  # acknowledged before a rewind
                self.unsent -= 1
                self._next = self._at(self._end(here)) if self.unsent else 0
                continue
            end = self._end(here)
            n = end - here - _HEAD
            if n > len(out) - at:
                return 0
            out[at : at + n] = self._mv[here + _HEAD : end]
            self.unsent -= 1
            self._next = self._at(end) if self.unsent else 0
            if buf[here + 3] or buf[here + 4]:
                buf[here + 2] = _SENT
                buf[here + _HEAD] |= 8  # should it ever go out again, then as a duplicate
                self.inflight += 1
            else:
                buf[here + 2] = _DONE
                self._free()
            return n
        return 0

    def find(self, pid):
        """Where the packet `pid` is that waits for its acknowledgement; -1: nowhere."""
        buf = self._buf
        here = self._head
        for _ in range(self.count):
            here = self._at(here)
            if buf[here + 3] << 8 | buf[here + 4] == pid and buf[here + 2] != _DONE:
                return here
            here = self._end(here)
        return -1

    def ack(self, pid):
        """Forget the packet `pid`; False if there is no such packet."""
        here = self.find(pid)
        if not pid or here < 0:
            return False
        if self._buf[here + 2] == _SENT:
            self.inflight -= 1
        self._buf[here + 2] = _DONE
        self._free()
        return True

    def _free(self):
        while self.count and self._buf[self._head + 2] == _DONE:
            self._drop_head()

    def oldest(self):
        """Number of the packet that has waited longest for its acknowledgement; 0: none does."""
        if not self.inflight:
            return 0
        return self._buf[self._head + 3] << 8 | self._buf[self._head + 4]

    def rewind(self):
        """A new connection: everything that is not acknowledged is to be sent again."""
        here = self._head
        for _ in range(self.count):
            here = self._at(here)
            if self._buf[here + 2] == _SENT:
                self._buf[here + 2] = 0
            here = self._end(here)
        self._next = self._head
        self.unsent = self.count
        self.inflight = 0


class Parser:
    """Cuts any byte stream into packets, in one preallocated buffer of `size` bytes.

    `on_packet(first, buf, kept, length)`: first header byte, memoryview, how much of the body is
    in it, length of the body. A body longer than the buffer is cut off there and the rest skipped:
    then `kept` < `length`.
    """

    def __init__(self, size, on_packet):
        self.buf = memoryview(bytearray(size))
        self._on_packet = on_packet
        self.reset()

    def reset(self):
        self.packets = 0
        self._phase = 0
        self._first = self._length = self._shift = self._got = 0

    @property
    def partial(self):
        """Inside a packet: 0 no, 1 yes, 2 while the rest of an oversize one is being skipped."""
        if not self._phase:
            return 0
        return 2 if self._phase == 2 and self._length > len(self.buf) else 1

    def feed(self, data, i, n):
        """Take memoryview `data` from `i` to `n`, or to the end of one packet; returns how far it
        came. MqttError: this is not MQTT, and where the next packet begins cannot be known."""
        size = len(self.buf)
        while i < n:
            if self._phase == 0:
                self._first = data[i]
                i += 1
                self._length = self._shift = self._got = 0
                self._phase = 1
                continue
            if self._phase == 1:
                b = data[i]
                i += 1
                self._length |= (b & 127) << self._shift
                self._shift += 7
                if b & 128:
                    if self._shift > 21:
                        raise MqttError("malformed packet length")
                    continue
                self._phase = 2
            else:
                k = min(self._length - self._got, n - i)
                keep = min(k, size - self._got)
                if keep > 0:
                    self.buf[self._got : self._got + keep] = data[i : i + keep]
                self._got += k
                i += k
            if self._got == self._length:
                self._phase = 0
                self.packets += 1
                self._on_packet(self._first, self.buf, min(self._length, size), self._length)
                break
        return i


class Client:
    """One broker connection that mends itself. Exceptions in callbacks are counted, never raised.

    will: (topic, payload, qos, retain). subscribe: sequence of (topic filter, qos 0 or 1).
    on_message(topic, payload, retained, dup, qos): payload is bytes; called in the reader's task,
      so it must be short. on_oversize(topic, length): a message whose payload of `length` bytes
      did not fit into `rx_bytes` was skipped.
    on_connect(session_present); on_ack(packet_id): a QoS 1 publication is at the broker.
    hold(): why no connection can be tried now, as a sentence; "" when one can.
    resolve(host): coroutine function, the numeric address of a name, without blocking; whatever it
      raises says why there is none. Its last answer is kept, and serves when it has none. Without
      it getaddrinfo() is asked, which stops everything until it knows.
    tls: a context from `tls_context`. server_name: checked in the certificate; default `host`.
    timeout_ms bounds every operation. keepalive_s (2 to 65535) is announced to the broker; after
      half of it in silence comes a ping.
    retry_ms: first pause between attempts, doubled each time up to retry_max_ms while the broker
      is away (with the jitter a quarter more: so that it is back within 5 s of the broker), up to
      refused_max_ms when it answers and says no.
    telemetry_bytes, event_bytes: the rings. tx_bytes bounds one packet of `publish`, rx_bytes one
      that is received (without its fixed header).
    Raises MqttError for arguments that cannot work.
    """

    def __init__(  # on demand
        self,
        host,
        port,
        client_id,
        *,
        user=None,
        password=None,
        keepalive_s=20,
        clean=True,
        will=None,
        subscribe=(),
        on_message=None,
        on_oversize=None,
        on_connect=None,
        on_ack=None,
        hold=None,
        resolve=None,
        tls=None,
        server_name=None,
        timeout_ms=10_000,
        retry_ms=500,
        retry_max_ms=3_000,
        refused_max_ms=60_000,
        telemetry_bytes=4096,
        event_bytes=2048,
        rx_bytes=1024,
        tx_bytes=2048,
    ):
        self.host = host
        self.port = port
        self.on_message = on_message
        self.on_oversize = on_oversize
        self.on_connect = on_connect
        self.on_ack = on_ack
        self._hold = hold
        self._resolve = resolve
        self._tls = tls
        self._server_name = server_name or host
        self._timeout_ms = timeout_ms
        self._keepalive_ms = keepalive_s * 1000
        self._retry = (retry_ms, retry_max_ms, refused_max_ms)
        _check(host, port, client_id, keepalive_s, clean, will, subscribe)
        self._hello = _hello(client_id, user, password, keepalive_s, clean, will)
        self._subs = subscribe
        self.telemetry = Ring(telemetry_bytes, True)
        self.events = Ring(event_bytes, False)
        self._tx = memoryview(bytearray(tx_bytes))
        self._rx = memoryview(bytearray(_CHUNK))
        self._parser = Parser(rx_bytes, self._packet)
        if len(self._hello) > tx_bytes or len(self._sub_packet(1)) > tx_bytes:
            raise MqttError("CONNECT or SUBSCRIBE longer than tx_bytes")
        self._acks = bytearray(2 * _ACKS)
        self._kick = asyncio.Event()
        self._job_done = asyncio.Event()
        self._addr = None
        self._task = None
        self._want = False
        self._pid = 0
        self._fails = 0  # attempts in a row that did not last
        self._refusals = 0  # those of them that the broker answered with no
        self.connected = False
        self.subscribed = False
        self.error = ""  # why the last connection ended or was refused, or which callback failed
        self.connects = 0
        self.resent = 0
        self.received = 0
        self.oversize = 0
        self.bad_packets = 0
        self.callback_errors = 0
        self._fresh()

    def _fresh(self):
        """State that belongs to one connection."""
        now = ticks_ms()
        self._sock = None
        self._why = None
        self._asked = False  # CONNECT went out
        self._sub_pid = 0
        self._n_acks = 0
        self._oldest = 0
        self._ping = self._ping_out = False
        self._bye = False
        self._busy = False  # bytes of _tx are waiting for the socket
        self._job = None
        self._t_start = self._t_rx = self._t_tx = self._t_ping = self._t_ack = self._t_part = now
        self._parser.reset()

    # --- for the application

    def start(self):
        """Connect, and connect again, in the background until `stop`."""
        if not self._want:
            self._want = True
            self._task = asyncio.create_task(self._run())

    async def stop(self, drain_ms=500):  # on demand
        """Wait up to `drain_ms` for what is queued, say DISCONNECT (so no last will), end all."""
        start = ticks_ms()
        while self.connected and self.pending and ticks_diff(ticks_ms(), start) < drain_ms:
            await asyncio.sleep_ms(10)
        if self.connected:
            self._bye = True
            self._kick.set()
            start = ticks_ms()
            while self._bye and self.connected and ticks_diff(ticks_ms(), start) < 500:
                await asyncio.sleep_ms(10)
        self._want = False
        self._fail("stopped")
        if self._task:
            await self._task
            self._task = None

    def publish(self, topic, payload, qos=0, retain=False, event=False):
        """Queue a message; never blocks. Returns 0 when refused, else the packet id (QoS 1) or
        True (QoS 0).

        `event`: never dropped once queued, refused while its ring is full. Otherwise the oldest
        telemetry gives way. MqttError: nothing that a broker would take; it would end the
        connection, and each one after it.
        """
        ring = self.events if event else self.telemetry
        topic = _bytes(topic)
        payload = _bytes(payload)
        if not 0 <= qos < 2 or not topic or b"+" in topic or b"#" in topic or b"\0" in topic:
            raise MqttError("no topic for QoS %s: %s" % (qos, topic))
        if len(topic) + len(payload) + 9 > len(self._tx):
            ring.dropped += 1
            return 0
        pid = self._next_pid() if qos else 0
        if not ring.put(0x30 | (2 if qos else 0) | (1 if retain else 0), pid, topic, payload):
            return 0
        self._kick.set()
        return pid or True

    async def publish_parts(self, topic, make_parts, retain=False):  # on demand
        """Publish a message too long for the rings, QoS 0. `make_parts()` gives an iterator of str
        or bytes; it is called twice, to measure and to send, and must give the same both times.

        True once it is handed to the socket; False when there is no connection, another one is
        under way, or the connection was lost meanwhile.
        """
        if not self.connected or self._job:
            return False
        topic = _bytes(topic)
        length = 2 + len(topic)
        for part in make_parts():
            length += len(_bytes(part))
            await asyncio.sleep_ms(0)
        if not self.connected or self._job:
            return False
        job = self._job = [topic, length, make_parts, False, 0x31 if retain else 0x30]
        self._job_done.clear()
        self._kick.set()
        await self._job_done.wait()
        return job[3]

    @property
    def pending(self):
        """Messages queued or not yet acknowledged."""
        return self.telemetry.count + self.events.count + bool(self._job) + bool(self._busy)

    def stats(self):  # on demand
        """Counters since the start, for diagnostics."""
        return {
            "connected": self.connected,
            "subscribed": self.subscribed,
            "connects": self.connects,
            "received": self.received,
            "resent": self.resent,
            "telemetry_dropped": self.telemetry.dropped,
            "events_refused": self.events.dropped,
            "oversize": self.oversize,
            "bad_packets": self.bad_packets,
            "callback_errors": self.callback_errors,
            "pending": self.pending,
            "error": self.error,
        }

    # --- connection

    async def _run(self):
        while self._want:
            try:
                why = self._hold() if self._hold else ""
                if why:
                    self.error = why
                    await self._pause(500)
                    continue
                await self._session()
            except Exception as e:  # nothing may end this task but stop()
                self._fail(e)
            if self._want:
                await self._pause(self._backoff_ms())

    def _backoff_ms(self):
        first, away, refused = self._retry
        ms = min(away, first << max(0, min(self._fails, 12)))
        if self._refusals > 1:
            ms = max(ms, min(refused, first << min(self._refusals, 12)))
        # Jitter of a quarter either way: a fleet must not come back in step.
        return ms - (ms >> 2) + (ms >> 1) * random.getrandbits(8) // 255

    async def _pause(self, ms):
        start = ticks_ms()
        while self._want and ticks_diff(ticks_ms(), start) < ms:
            await asyncio.sleep_ms(_TICK_MS)

    async def _session(self):
        self._fresh()
        self.telemetry.rewind()
        self.events.rewind()
        tasks = [asyncio.create_task(self._guard(self._link))]
        try:
            while self._why is None:
                await asyncio.sleep_ms(_TICK_MS)
                self._watch()
                if self._asked and len(tasks) == 1 and self._why is None:
                    tasks.append(asyncio.create_task(self._guard(self._writer)))
        finally:
            up = self.connected
            self.connected = self.subscribed = self._busy = False
            for task in tasks:
                task.cancel()
            self._close()
            self._end_job()
        for task in tasks:
            await task
        self._fails += 1
        if up:
            self._refusals = 0
        elif self._asked and self._tls:
            self._refusals += 1  # a certificate that is not trusted will not be so in a second

    async def _guard(self, step):
        try:
            await step()
        except asyncio.CancelledError:
            pass
        except Exception as e:
            self._fail(e)

    def _fail(self, why):
        if self._why is None:
            if isinstance(why, MqttError):
                why = str(why)
                self.bad_packets += self._sock is not None and why.startswith("malformed")
            elif not isinstance(why, str):
                why = _reason(why)
            self._why = why
            self.error = why

    def _close(self):
        sock, self._sock = self._sock, None
        if sock:
            try:
                sock.close()
            except OSError:
                pass

    async def _find(self):  # on demand
        """The broker's address into `_addr`. Known is known: it is asked for again only when there
        was no connection for a while, and then an old one is better than none."""
        host = self.host
        try:
            if self._resolve and not self._host_is_numeric():
                host = await self._resolve(host)
            self._addr = socket.getaddrinfo(host, self.port, 0, socket.SOCK_STREAM)[0]
        except Exception as e:
            if not self._addr:
                raise MqttError("no address of %s (%s)" % (self.host, e))

    async def _link(self):  # on demand
        if self._tls:
            gc.collect()
            free = gc.mem_free()
            if free < _TLS_HEAP:
                raise MqttError("TLS needs %d bytes of heap, and %d are free" % (_TLS_HEAP, free))
        if self._addr is None or self._fails & 3 == 3:
            await self._find()
        family, kind, proto = self._addr[:3]
        sock = self._sock = socket.socket(family, kind, proto)
        sock.setblocking(False)
        try:
            sock.connect(self._addr[-1])
        except OSError as e:
            if e.errno not in _IN_PROGRESS:
                raise
        await _writable(sock)
        try:
            # An acknowledgement followed by an answer must not wait for the peer's delayed ACK.
            sock.setsockopt(_IPPROTO_TCP, _TCP_NODELAY, 1)
        except OSError:
            pass
        if self._tls:
            sock = self._tls.wrap_socket(
                sock, server_hostname=self._server_name, do_handshake_on_connect=False
            )
            sock.setblocking(False)
            self._sock = sock
        n = len(self._hello)
        self._tx[:n] = self._hello
        self._asked = True
        await self._flush(n)
        await self._reader(sock)

    def _host_is_numeric(self):
        return all(c in "0123456789." for c in self.host) or ":" in self.host

    async def _reader(self, sock):
        parser = self._parser
        rx = self._rx
        while True:
            n = sock.readinto(rx)
            if n is None:
                await _readable(sock)
                continue
            if not n:
                raise MqttError("closed by the broker")
            self._t_rx = ticks_ms()
            self._ping_out = False
            at = 0
            while at < n:
                whole = parser.packets
                mid = parser.partial
                at = parser.feed(rx, at, n)
                if not mid or parser.partial == 2 or parser.packets != whole:
                    self._t_part = self._t_rx
                # Give way after each message, above all to the writer when it has
                # acknowledgements to send.
                await asyncio.sleep_ms(0)
                while self._n_acks >= _ACKS:
                    await asyncio.sleep_ms(5)

    def _watch(self):
        """End the connection when an operation is past its deadline; ping when it was quiet."""
        now = ticks_ms()
        limit = self._timeout_ms
        if not self.connected:
            if ticks_diff(now, self._t_start) > limit:
                self._fail("no connection within %d ms" % limit)
            return
        if ticks_diff(now, self._t_start) >= _SETTLED_MS:
            self._fails = -1  # with the end of this one: 0. Looked at now: ticks wrap after days
        # One that a broker passes over would fill its ring, whatever else is acknowledged.
        oldest = self.events.oldest() or self.telemetry.oldest()
        if oldest != self._oldest:
            self._oldest = oldest
            self._t_ack = now
        if self._busy and ticks_diff(now, self._t_tx) > limit:
            self._fail("broker takes no data")
        elif self._parser.partial and ticks_diff(now, self._t_part) > limit:
            self._fail("packet was not completed")
        elif self._ping_out and ticks_diff(now, self._t_ping) > limit:
            self._fail("no answer to ping")
        elif self._sub_pid and ticks_diff(now, self._t_start) > 2 * limit:
            self._fail("no answer to SUBSCRIBE")
        elif oldest and ticks_diff(now, self._t_ack) > 2 * limit:
            self._fail("publication was not acknowledged")
        if self._ping_out or self._ping:
            return
        quiet = self._keepalive_ms >> 1
        if ticks_diff(now, self._t_rx) >= quiet or ticks_diff(now, self._t_tx) >= quiet:
            self._ping = True
            self._kick.set()

    # --- outbound

    def _next_pid(self):
        while True:
            self._pid = pid = self._pid % 65535 + 1
            # One that waits since an outage began must not share its number with a new one.
            if self.events.find(pid) < 0 and self.telemetry.find(pid) < 0:
                return pid

    def _sub_packet(self, pid):
        body = bytes((pid >> 8, pid & 255))
        for topic, qos in self._subs:
            body += _field(topic) + bytes((qos,))
        start = bytearray(1 + _varint_size(len(body)))
        _put_start(start, 0, 0x82, len(body))
        return bytes(start) + body

    def _fill(self):
        """Put what is to be sent into `_tx`, acknowledgements first, telemetry last; returns how
        many bytes."""
        tx = self._tx
        n = 0
        while self._n_acks and n + 4 <= len(tx):
            self._n_acks -= 1
            tx[n] = 0x40
            tx[n + 1] = 2
            tx[n + 2] = self._acks[0]
            tx[n + 3] = self._acks[1]
            self._acks[: 2 * self._n_acks] = self._acks[2 : 2 + 2 * self._n_acks]
            n += 4
        if not self.connected:
            return n
        if self._subs and not self.subscribed and not self._sub_pid:
            packet = self._sub_packet(self._next_pid())
            if n + len(packet) > len(tx):
                return n
            self._sub_pid = self._pid
            tx[n : n + len(packet)] = packet
            n += len(packet)
        if self._ping and n + 2 <= len(tx):
            tx[n] = 0xC0
            tx[n + 1] = 0
            n += 2
            self._ping = False
            self._ping_out = True
            self._t_ping = ticks_ms()
        for ring in (self.events, self.telemetry):
            for _ in range(_BATCH):
                k = ring.take(tx, n)
                if not k:
                    break
                if tx[n] & 8:
                    self.resent += 1
                n += k
        if self._bye and not n:
            tx[0] = 0xE0
            tx[1] = 0
            n = 2
        return n

    async def _writer(self):
        while True:
            if self._job and self.connected:
                await self._send_job()
            n = self._fill()
            if n:
                bye = n == 2 and self._tx[0] == 0xE0
                await self._flush(n)
                if bye:
                    self._bye = False
            else:
                self._kick.clear()
                await self._kick.wait()

    async def _flush(self, n):
        sock = self._sock
        tx = self._tx
        at = 0
        self._t_tx = ticks_ms()
        self._busy = True
        while at < n:
            k = sock.write(tx[at:n])
            if k:  # no new deadline: somebody who takes a byte now and then would never end
                at += k
            else:
                await _writable(sock)
        self._busy = False
        await asyncio.sleep_ms(0)

    async def _send_job(self):
        topic, left, make_parts, _, first = self._job
        tx = self._tx
        n = _put_start(tx, 0, first, left)
        tx[n] = len(topic) >> 8
        tx[n + 1] = len(topic) & 255
        n += 2
        tx[n : n + len(topic)] = topic
        n += len(topic)
        left -= 2 + len(topic)
        for part in make_parts():
            part = memoryview(_bytes(part))
            left -= len(part)
            if left < 0:
                break
            at = 0
            while at < len(part):
                k = min(len(part) - at, len(tx) - n)
                tx[n : n + k] = part[at : at + k]
                n += k
                at += k
                if n == len(tx):
                    await self._flush(n)
                    n = 0
            await asyncio.sleep_ms(0)  # to make the next one takes its time
        if left:
            # The length is out already, so the stream cannot be mended.
            raise MqttError("parts changed between measuring and sending")
        if n:
            await self._flush(n)
        self._job[3] = True
        self._end_job()

    def _end_job(self):
        if self._job:
            self._job = None
            self._job_done.set()

    # --- inbound

    def _call(self, hook, *args):
        if hook:
            try:
                hook(*args)
            except Exception as e:  # whatever the application does, the connection lives on
                self.callback_errors += 1
                self.error = "callback: " + repr(e)

    def _packet(self, first, buf, kept, length):
        kind = first >> 4
        if not self.connected:
            if first != 0x20 or length != 2:
                raise MqttError("malformed CONNACK")
            self._connack(buf[0], buf[1])
        elif kind == 3:
            self._publish_in(first, buf, kept, length)
        elif first == 0x40 and length == 2:
            pid = buf[0] << 8 | buf[1]
            if self.events.ack(pid) or self.telemetry.ack(pid):
                self._call(self.on_ack, pid)
            else:
                self.bad_packets += 1
            self._kick.set()
        elif first == 0x90 and length == 2 + len(self._subs):
            if not self._sub_pid or buf[0] << 8 | buf[1] != self._sub_pid:
                self.bad_packets += 1
                return
            self._sub_pid = 0
            self.subscribed = True
            for i in range(2, length):
                if buf[i] > 1:
                    self.error = "subscription refused: %s" % self._subs[i - 2][0]
        elif first != 0xD0 or length:
            raise MqttError("malformed packet of type %d" % kind)

    def _connack(self, flags, code):
        if code:
            self._refusals += code != 3
            reason = _REASONS[code - 1] if code <= len(_REASONS) else str(code)
            raise MqttError("refused by the broker: " + reason)
        self.connected = True
        self.error = ""
        self.connects += 1
        self._call(self.on_connect, bool(flags & 1))
        self._kick.set()

    def _publish_in(self, first, buf, kept, length):
        qos = first >> 1 & 3
        at = 2 + (buf[0] << 8 | buf[1])  # of an older packet when length < 2: too long as well
        end = at + 2 if qos else at
        if qos > 1 or end > length:
            raise MqttError("malformed PUBLISH")
        if end > kept:  # a topic longer than the whole buffer: not one of ours
            self.oversize += 1
            return
        try:
            topic = str(bytes(buf[2:at]), "utf-8")
        except UnicodeError:
            self.bad_packets += 1
            topic = None
        if topic is None:
            pass
        elif kept < length:
            self.oversize += 1
            self._call(self.on_oversize, topic, length - end)
        else:
            self.received += 1
            self._call(self.on_message, topic, bytes(buf[end:length]), first & 1, first & 8, qos)
        if qos:
            # Acknowledged even if the callback failed: sent again it would only fail again.
            if self._n_acks >= _ACKS:
                raise MqttError("too many unacknowledged publications")
            self._acks[2 * self._n_acks] = buf[at]
            self._acks[2 * self._n_acks + 1] = buf[at + 1]
            self._n_acks += 1
            self._kick.set()


def _reason(error):  # on demand
    """What went wrong, in words."""
    number = error.errno if isinstance(error, OSError) else None
    for known, text in _NO_ANSWER:
        if known == number:
            return "%s (error %d)" % (text, number)
    if isinstance(error, ValueError) and "ertificate" in str(error):
        return "TLS: " + str(error).strip()
    if isinstance(number, int) and number < 0:
        return "TLS: " + str(error.args[-1])
    return repr(error)


def _check(host, port, client_id, keepalive_s, clean, will, subscribe):  # on demand
    """MqttError for what no broker would accept."""
    if not host:
        raise MqttError("host is missing")
    if not 0 < port < 65536:
        raise MqttError("port %s: 1 to 65535 are allowed" % port)
    if not 2 <= keepalive_s < 65536:
        raise MqttError("keepalive_s %s: 2 to 65535 are allowed" % keepalive_s)
    if not client_id and not clean:
        raise MqttError("a session that lasts needs a client_id")
    topics = list(subscribe)
    if will:
        topics.append((will[0], will[2]))
    for topic, qos in topics:
        if not topic or not 0 <= qos < 2:
            raise MqttError("topic '%s' with QoS %s: a topic and QoS 0 or 1" % (topic, qos))


def _hello(client_id, user, password, keepalive_s, clean, will):  # on demand
    """The CONNECT packet."""
    flags = 2 if clean else 0
    rest = _field(client_id)
    if will:
        topic, payload, qos, retain = will
        flags |= 4 | qos << 3 | (32 if retain else 0)
        rest += _field(topic) + _field(payload)
    if user:
        flags |= 128
        rest += _field(user)
        if password:
            flags |= 64
            rest += _field(password)
    body = b"\x00\x04MQTT\x04" + bytes((flags, keepalive_s >> 8, keepalive_s & 255)) + rest
    start = bytearray(1 + _varint_size(len(body)))
    _put_start(start, 0, 0x10, len(body))
    return bytes(start) + body

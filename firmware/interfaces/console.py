"""The serial console: one command a line, for people at a terminal and for programs.

Role: bytes in, answers and events out. Never blocks: reads what is there, writes only when the
port takes it.
Called by: the outer lane (`Console.run` is its task).

The contract for programs:
- A line that arrives whole (no pause of 20 ms inside) is not echoed. Its answer begins at the
  start of a line with `ok` or `error: <reason>`; the other lines of an answer are indented.
  With `--json` the answer is one JSON object on one line; `--mqtt` takes MQTT's rights.
- Events come between answers, each on its own line, beginning with `event: `; remarks of the
  firmware begin with `# `.
Keys that come singly make it a terminal: echo, prompt, editing, history and completion.
The setting console.echo overrides that (`on` or `off`).
"""

import asyncio
import sys

from micropython import const

from firmware import events, pieces, report
from firmware.interfaces import editor, screens
from firmware.interfaces.commands import CommandError

_PROMPT = b"> "
_RING = const(1024)  # bytes of output waiting for the port
_PIECE = const(96)  # characters encoded at a time
_TURN = const(48)  # bytes of JSON made before other tasks get a turn
_SLICE = const(128)  # bytes sent before other tasks get a turn
_SINGLY = const(64)  # bytes sent one by one before the control lane does: 4 ms
_GAP_MS = const(20)  # a pause that ends what was sent together
_STEP_MS = const(5)
_WORK_MS = const(20)
_IDLE_MS = const(50)
_LATER_MS = const(1000)
_CHUNK = const(256)  # bytes that arrive together
_STALL_MS = const(5000)  # an answer that nobody takes for so long is given up
_LINE = const(120)  # characters of an event or remark
_BACKLOG = const(32)  # events shown after a pause; older ones stay in the journal
_NOTES = const(8)
_TOGETHER = const(15)  # bytes, less one, taken before other tasks get a turn
_NO_MEMORY = b"\r\nerror: not enough memory for this answer\r\n"
_PACKET = b"IMPROV\x01"  # how a packet begins, see improv.py
_HEAD = const(7)  # bytes of that
_PACKET_GAP_MS = const(200)  # a pause that ends a packet before its end
_PACKET_MAX = const(265)  # bytes of the longest packet
_LIKE = const(4)  # so many of a packet's first 8 bytes in their places: it is one, damaged

_QUIET_KINDS = (events.SETTING, events.LINK, events.STALL, events.STORAGE)

if hasattr(asyncio, "sleep_ms"):
    _sleep_ms = asyncio.sleep_ms
else:

    async def _sleep_ms(ms):
        await asyncio.sleep(ms / 1000)


class StdioPort:
    """MicroPython's own console (USB, UART or the terminal of the unix port), or a `uart`."""

    def __init__(self, uart=None):
        import select

        self._in = uart or sys.stdin.buffer
        self._out = uart or sys.stdout.buffer
        self._reader = asyncio.StreamReader(self._in)
        self._readable = select.poll()
        self._readable.register(self._in, select.POLLIN)
        self._writable = select.poll()
        self._writable.register(self._out, select.POLLOUT)
        self._byte = bytearray(1)
        self._byte_out = bytearray(1)
        # On the RP2040 a writable port is sure to take one byte; for more a USB port may wait up
        # to half a second for a host that stopped reading, a UART for what is before it.
        self.chunk = 1 if sys.platform == "rp2" else 64

    async def first(self) -> int:
        """Wait for a byte; -1 at the end of input."""
        data = await self._reader.read(1)
        return data[0] if data else -1

    def more(self) -> int:
        """The next byte if it is there already, else -1."""
        for _ in self._readable.ipoll(0):
            if self._in.readinto(self._byte):  # type: ignore[union-attr]  # the stubs lack it
                return self._byte[0]
        return -1

    def writable(self) -> bool:
        """True when write() will not wait."""
        ready = False
        for _ in self._writable.ipoll(0):  # to its end: the iterator is one shared object
            ready = True
        return ready

    def write(self, data) -> int:
        """Send some bytes; returns how many were taken."""
        return self._out.write(data) or 0

    def push(self, ring, at: int, count: int) -> int:
        """Send up to `count` bytes of `ring` from `at`, one by one, while none has to wait;
        returns how many. Written out, because a status screen is a thousand turns of it."""
        ipoll = self._writable.ipoll
        write = self._out.write
        byte = self._byte_out
        for i in range(at, at + count):
            for _ in ipoll(0):
                byte[0] = ring[i]
                if write(byte):
                    break
            else:
                return i - at
        return count


class Stalled(Exception):
    """Nobody reads: the rest of an answer was given up."""


# The console that answers now: two answers at once would need twice the memory.
_turn: list = []


def split(line: str) -> list:
    """Words of a line; double quotes keep spaces together, and JSON is one word as it stands:
    from a word's first `{` to the line's last `}`."""
    # By bytes: MicroPython keeps every character for ever that an iteration over text has met.
    words = []
    word = bytearray()
    started = False
    quoted = False
    data = line.encode()
    last = data.rfind(b"}")
    verbatim = False
    for i in range(len(data)):
        byte = data[i]
        if byte == 123 and not started and i < last:
            verbatim = True
        if verbatim:
            word.append(byte)
            started = True
            verbatim = i < last
        elif byte == 34:
            quoted = not quoted
            started = True
        elif byte in (32, 9) and not quoted:
            if started:
                words.append(word.decode())
                word = bytearray()
            started = False
        else:
            word.append(byte)
            started = True
    if started:
        words.append(word.decode())
    return words


def _internal(error):
    """A mistake of ours, in words."""
    if isinstance(error, MemoryError):
        return "not enough memory for this answer"
    return "internal error: %s: %s" % (type(error).__name__, error)


def _body(reason, result):
    """The JSON object of an answer."""
    body = {"ok": not reason}
    if reason:
        body["error"] = reason
    body.update(result or {})
    return body


class Console:
    """`lost`: events never shown because nobody read; `port` has the methods of StdioPort."""

    def __init__(self, app, port=None):  # on demand
        self._app = app
        self._port = port or StdioPort()
        self._editor = editor.Editor()
        self._ring = bytearray(_RING)
        self._view = memoryview(self._ring)
        self._start = 0
        self._used = 0
        self._busy = False  # an answer or a screen is being written
        self._prompt = False  # prompt and line stand on the terminal
        self._notes = []
        self._whole = False  # the line arrives as a program sends it
        self._joining = None  # task: a browser's network is being tried
        self._seen_seq = -1
        self.lost = 0

    # -- output -------------------------------------------------------------------------

    def _put(self, data):
        """Bytes into the ring; False (and nothing done) when they do not fit."""
        size = len(data)
        if size > _RING - self._used:
            return False
        at = (self._start + self._used) % _RING
        first = min(size, _RING - at)
        self._view[at : at + first] = data[:first]
        self._view[: size - first] = data[first:]
        self._used += size
        return True

    def _drain(self):
        """Send what the port takes now, up to a slice; returns how many bytes it took."""
        sent = 0
        port = self._port
        try:
            while self._used and sent < _SLICE:
                size = min(_SLICE, self._used, _RING - self._start)
                if port.chunk == 1:
                    pieces.breathe()
                    size = port.push(self._ring, self._start, min(size, _SINGLY))
                elif port.writable():
                    end = self._start + min(size, port.chunk)
                    size = port.write(self._view[self._start : end])
                else:
                    break
                if not size:
                    break
                self._start = (self._start + size) % _RING
                self._used -= size
                sent += size
        except OSError:
            self._used = 0  # the other end is gone: what waited for it has no reader
        return sent

    async def _send(self, data):
        """Bytes out, waiting for room; Stalled when the port takes nothing for long."""
        waited_ms = 0
        while not self._put(data):
            if self._drain():
                waited_ms = 0
                await _sleep_ms(0)
            else:
                await _sleep_ms(_IDLE_MS)
                waited_ms += _IDLE_MS
                if waited_ms >= _STALL_MS:
                    self._used = 0
                    raise Stalled

    async def _line(self, text):
        for at in range(0, len(text), _PIECE):
            await self._send(text[at : at + _PIECE].encode())
        await self._send(b"\r\n")

    def note(self, text: str):
        """A remark of the firmware, shown between answers; the oldest go when nobody reads."""
        if len(self._notes) >= _NOTES:
            self._notes.pop(0)
            self.lost += 1
        self._notes.append(text)

    def _unasked(self, text):
        """One line between answers, without harm to a line being typed."""
        data = text[:_LINE].encode() + b"\r\n"
        if self._prompt:
            data = b"\r\x1b[K" + data + self._editor.drawing(_PROMPT)[1:]
        return self._put(data)

    def _pump(self):
        """Put notes and new events into the ring while there is room."""
        while self._notes and self._used == 0:
            if not self._unasked("# " + self._notes[0]):
                break
            self._notes.pop(0)
            self._drain()
        journal = self._app.journal
        if journal.last_seq - self._seen_seq > _BACKLOG and self._used < _RING // 2:
            skipped = journal.last_seq - self._seen_seq - _BACKLOG
            if self._unasked("# %d events not shown; see: events" % skipped):
                self._seen_seq += skipped
                self.lost += skipped
        verbose = self._app.settings.get("events.verbose")
        while self._seen_seq < journal.last_seq and self._used < _RING // 2:
            record = journal.get(self._seen_seq + 1)
            if record is not None and (verbose or record[1] not in _QUIET_KINDS):
                if self._unasked("event: " + screens.event(self._app, record)):
                    self._seen_seq += 1
                return  # others have their turns: to put one into words takes 5 ms
            self._seen_seq += 1

    async def _output(self):
        while True:
            wait_ms = _IDLE_MS
            try:
                if not self._busy:
                    self._pump()
            except MemoryError:  # the event waits
                wait_ms = _LATER_MS
            await _sleep_ms(1 if self._drain() else wait_ms)

    # -- input --------------------------------------------------------------------------

    async def run(self):
        """Serve the port for ever (also after its input has ended, for the events)."""
        if self._seen_seq < 0:  # not after a crash: what was shown is not shown again
            self._seen_seq = self._app.journal.boot_seq - 1
        output = asyncio.create_task(self._output())
        serve = asyncio.create_task(self._serve())
        try:
            await asyncio.gather(serve, output)
        finally:
            serve.cancel()
            output.cancel()
            if self._joining is not None:
                self._joining.cancel()

    async def _serve(self):
        chunk = bytearray(_CHUNK)
        packet = False
        while True:
            try:
                byte = await self._port.first()
            except OSError:
                byte = -1
            if byte < 0:
                return
            if packet and byte == 10:  # ends the packet before: no empty line
                packet = False
                continue
            size = await self._gather(byte, chunk)
            packet = size >= _HEAD and chunk[:_HEAD] == _PACKET
            data = memoryview(chunk)[:size]
            try:
                if packet:
                    await self._improv(data)
                elif not self._may_hold_packet(data) or not await self._spoilt(data):
                    await self._take(data)
            except Stalled:
                self._prompt = False
            except MemoryError:
                self._editor.clear()
                self._prompt = False
                if data[-1] in (10, 13):
                    self._put(_NO_MEMORY)
                else:  # the rest of the line must not be taken for one
                    self._editor.spoil()
            self._busy = False

    async def _gather(self, byte, chunk):
        """Bytes that arrive together, up to the end of a line; returns how many."""
        size = 0
        waited_ms = 0
        while True:
            if byte >= 0:
                chunk[size] = byte
                size += 1
                waited_ms = 0
                if byte == 10 or byte == 13 or size == len(chunk):
                    return size
                if byte == 1 and size == _HEAD and chunk[:_HEAD] == _PACKET:
                    return await self._gather_packet(chunk)
                if not size & _TOGETHER:
                    await _sleep_ms(0)
            else:
                # A key on its own, or a line on a slow port: the pause tells them apart.
                if waited_ms >= _GAP_MS:
                    return size
                await _sleep_ms(_STEP_MS)
                waited_ms += _STEP_MS
            byte = self._port.more()

    def _may_hold_packet(self, data):
        """Whether it is worth a closer look: lines and keys seldom have such bytes."""
        if len(data) < _LIKE or (self._whole and not self._editor.is_fresh()):
            return False
        return data[:_LIKE] == b"IMPR" or min(data) < 8

    async def _spoilt(self, data):  # on demand: improv
        """Whether there is a packet in it whose head is damaged or not at the start of a line: it
        may have a password in it, so nothing of it is echoed or taken for a line, nor is what
        comes with it."""
        size = len(data)
        for at in range(-_LIKE, size):
            same = 0
            for i in range(8):
                if 0 <= at + i < size and data[at + i] == (_PACKET[i] if i < _HEAD else 3):
                    same += 1
            if same >= _LIKE:
                break
            if not at & _TOGETHER:
                await _sleep_ms(0)
        else:
            return False
        if min(data) >= 10 and data[-1] in (10, 13):
            await self._take(data)  # text, as far as it goes
        await self._gather_packet(bytearray(_CHUNK), 0)
        return True

    async def _gather_packet(self, chunk, size=_HEAD):  # on demand: improv
        """The rest of a packet, in which any byte may stand; its size, also of one that is longer
        than `chunk` or ends too soon. After a damaged one (`size` 0: of its rest) what comes with
        it is dropped, because where it ends is not known."""
        end = size + 3 if size else _PACKET_MAX
        waited_ms = 0
        while waited_ms < _PACKET_GAP_MS:
            if size >= end:
                if end > _CHUNK or sum(chunk[: end - 1]) & 255 == chunk[end - 1]:
                    break
                end = _PACKET_MAX
            byte = self._port.more()
            if byte < 0:
                await _sleep_ms(_STEP_MS)
                waited_ms += _STEP_MS
                continue
            waited_ms = 0
            if size < _CHUNK:
                chunk[size] = byte
            size += 1
            if size == _HEAD + 2 and end == _HEAD + 3:
                end += byte
            if not size & _TOGETHER:
                await _sleep_ms(0)
        return size

    async def _improv(self, data):  # on demand: improv
        """Answer a browser that sets up Wi-Fi. It takes seconds to join a network, in a task of
        its own: nobody must wait to switch something off."""
        work = self._joining
        try:
            improv = pieces.once("firmware.interfaces.improv")
            joining = work is not None and not work.done()
            work = await improv.answer(self._app, data, self._send_packet, self.note, joining)
            if work is not None:
                self._joining = asyncio.create_task(self._join(work))
        except Stalled:
            raise
        except Exception as error:
            self.note(_internal(error))

    async def _join(self, work):
        try:
            await work
        except Stalled:
            pass  # the browser has gone; the network stays

    async def _send_packet(self, data):  # on demand: improv
        """A packet out, whole, at the start of a line and between answers; Stalled."""
        waited_ms = 0
        while self._busy or not self._put(b"\r\n" + data if self._prompt else data):
            await _sleep_ms(_STEP_MS)
            waited_ms += 0 if self._busy else _STEP_MS
            if waited_ms >= _STALL_MS:
                self._used = 0
                raise Stalled
        self._prompt = False

    async def _take(self, data):
        """Feed bytes that came together to the line, and answer when it is complete."""
        line = self._editor
        echo = self._app.settings.get("console.echo")
        if line.is_fresh():
            # Nobody types so much at once: a program's line, or the beginning of a long one.
            self._whole = len(data) > 1 and (data[-1] in (10, 13) or len(data) == _CHUNK)
        typed = echo == "on" or (echo == "auto" and not self._whole)
        draw = False
        self._busy = True
        count = 0
        for byte in data:
            count += 1
            if not count & _TOGETHER:
                await _sleep_ms(0)
            did = line.feed(byte)
            if did == editor.ENTER:
                await self._enter(typed)
                draw = typed
            elif did == editor.TAB:
                if typed:
                    await self._complete()
                    draw = True
                else:
                    line.feed(32)
            elif did == editor.CANCEL:
                if typed:
                    await self._send(b"^C\r\n" if self._prompt else b"")
                    draw = True
            elif did == editor.CHANGED:
                draw = typed
        if draw:
            await self._send(line.drawing(_PROMPT))
            self._prompt = True
        while self._drain():
            await _sleep_ms(0)

    async def _complete(self):  # on demand
        line = self._editor
        last, words = self._app.commands.complete(line.before_cursor())
        if not words:
            return
        common = words[0]
        for word in words:
            while not word.startswith(common):
                common = common[:-1]
        if len(words) == 1:
            line.complete(common[len(last) :] + " ")
        elif len(common) > len(last):
            line.complete(common[len(last) :])
        else:
            await self._send(b"\r\n")
            await self._line("  " + "  ".join(words))

    async def _enter(self, typed):
        """The line is complete: run it and answer."""
        line = self._editor
        if self._prompt or (typed and not line.is_fresh()):
            # What was asked stays to be read; it may not be drawn yet (pasted).
            line.pos = len(line.text)
            await self._send(line.drawing(_PROMPT) + b"\r\n")
        self._prompt = False
        try:
            text = line.take(self._whole)
        except editor.LineError as error:
            await self._line("error: %s" % error)
            return
        words = split(text)
        if not words:
            return
        if typed and len(text) <= _CHUNK and not (words[0] == "wifi" or ".password" in text):
            line.remember(text)
        await self.answer(words)

    async def answer(self, words: list):
        """Run the words of a command and write its answer."""
        as_json = "--json" in words
        # of a bridge: with the rights and the name of MQTT, which are never more than ours
        source = "mqtt" if "--mqtt" in words else "console"
        words = [word for word in words if word not in ("--json", "--mqtt")]
        if not words:
            return
        name = words[0]
        if name == "watch" and source == "console":
            await self._watch(words[1:])
        elif name == "off":  # it waits for nobody
            await self._answer(name, words, as_json, source)
        else:
            while _turn:
                await _sleep_ms(_STEP_MS)
            _turn.append(self)
            try:
                # A task of its own, because that begins where the C stack is short (8 KB in all
                # on the RP2040), and a command may go deep.
                await asyncio.create_task(self._answer(name, words, as_json, source))
            finally:
                self._give_turn()

    def _give_turn(self):
        if self in _turn:
            _turn.clear()

    async def _answer(self, name, words, as_json, source):
        result = None
        reason = ""
        text = ""
        try:
            await _sleep_ms(0)
            result = self._app.commands.run(name, words[1:], source)
            await _sleep_ms(0)
            if hasattr(result, "poll"):
                result = await self._follow(result, as_json)
        except CommandError as error:
            reason = str(error)
            result = error.result
        except Stalled:
            raise
        except Exception as error:
            # A mistake of ours: the console is how people find out, so it must stay up.
            reason = _internal(error)
            result = None
        if as_json:
            await self._json(reason, result)
            return
        if not reason:
            try:
                text = "ok " + screens.summary(name, result)
            except Exception as error:
                reason = _internal(error)
                result = None
        if reason:
            text = "error: " + reason
        await self._line(text.rstrip())
        if result and not (reason and name in ("on", "off", "reset")):
            try:
                for text in screens.lines(self._app, name, result):
                    await self._line("  " + text if text else "")
                    await _sleep_ms(0)  # to make the next one takes its time
            except Stalled:
                raise
            except Exception as error:
                await self._line("  " + _internal(error))

    async def _follow(self, job, quiet):
        """Work that takes seconds (commands.Job), step by step; its result. Its progress goes out
        as remarks, and events may come between them."""
        said = ""
        self._busy = False
        self._give_turn()
        try:
            while True:
                await _sleep_ms(_WORK_MS)
                result = job.poll()
                if result is not None:
                    return result
                if job.progress != said and not quiet:
                    said = job.progress
                    self.note(said)
        finally:
            self._busy = True

    async def _json(self, reason, result):  # on demand
        """An answer's JSON object, piece by piece."""
        if hasattr(result, "parts"):
            data = b'{"ok":true,'
            parts = result.parts()
        else:
            data = b""
            parts = report.parts(_body(reason, result), 3, (", ", ": "))
        size = 0
        try:
            for part in parts:
                await self._send(data)
                data = part if isinstance(part, bytes) else part.encode()
                size += len(data)
                if size > _TURN:  # the next ones take their time
                    size = 0
                    await _sleep_ms(0)
        except Stalled:
            raise
        except Exception as error:
            data = b"\r\nerror: " + _internal(error).encode()
        await self._send(data)
        await self._send(b"\r\n")

    async def _watch(self, args):  # on demand
        """The status screen, refreshed in place until a key is hit."""
        period_ms = 1000
        if args:
            try:
                period_ms = int(float(args[0]) * 1000)
            except (ValueError, OverflowError):
                period_ms = 0
            if len(args) > 1 or not 200 <= period_ms <= 60000:
                await self._line("error: usage: watch [seconds, 0.2 to 60]")
                return
        await self._send(b"\x1b[2J")
        key = -1
        while key < 0:
            await self._send(b"\x1b[H")
            state = self._app.commands.run("status", [], "console")
            for text in screens.status(self._app, state):
                await self._line(text + "\x1b[K")
                await _sleep_ms(0)
            await self._line("\x1b[Kany key ends this\x1b[J")
            state = None
            waited_ms = 0
            while key < 0 and waited_ms < period_ms:
                self._drain()
                await _sleep_ms(_IDLE_MS)
                waited_ms += _IDLE_MS
                key = self._port.more()
        await self._line("ok")

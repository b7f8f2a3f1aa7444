"""A line being typed: keys in, text and cursor out. Knows nothing of ports or commands.

Role: editing, history and the limits of a line, for the console.
Called by: the outer lane (console task).
"""

from micropython import const

LINE_MAX = const(512)  # bytes; an exported calibration has 400
_HISTORY = const(10)
_WIDTH = const(72)  # columns shown of a long line

# What a byte did.
NOTHING = const(0)
CHANGED = const(1)  # text or cursor: draw the line again
ENTER = const(2)  # the line is complete: take()
TAB = const(3)
CANCEL = const(4)  # Ctrl-C: the line is gone

_CTRL_A = const(1)
_CTRL_C = const(3)
_CTRL_E = const(5)
_CTRL_K = const(11)
_CTRL_U = const(21)
_CTRL_W = const(23)
_ESC = const(27)

_TEXT = const(0)
_AFTER_ESC = const(1)
_CSI = const(2)
_SS3 = const(3)


class LineError(Exception):
    """The line cannot be a command; the text says why."""


def _shown(text):
    """The bytes, or `?` for each that is not ASCII while they are no valid UTF-8."""
    text = bytes(text)
    try:
        text.decode()
        return text
    except UnicodeError:
        return bytes([byte if byte < 128 else 63 for byte in text])


def _columns(byte):
    """Columns of the character that begins with this byte, at most; 0: it begins none."""
    if byte & 0xC0 == 0x80:
        return 0
    return 1 if byte < 0xE1 else 2


class Editor:
    """One line. `text` are its bytes, `pos` the cursor in bytes."""

    def __init__(self):
        self.text = bytearray()
        self.pos = 0
        self._history = []
        self._shown = 0  # index in the history, its length: the new line
        self._state = _TEXT
        self._parameter = 0
        self._after_cr = False
        self._too_long: int = False  # 2: spoilt
        self._control = False

    def is_fresh(self) -> bool:
        """True when nothing of a line has arrived yet."""
        return not (self.text or self._state or self._too_long or self._control)

    def clear(self):
        """Forget the line."""
        self.text = bytearray()
        self.pos = 0
        self._state = _TEXT
        self._too_long = False
        self._control = False
        self._shown = len(self._history)

    def spoil(self):
        """Memory has ended in the middle of the line: what is left of it will be refused."""
        self._too_long = 2

    def feed(self, byte: int) -> int:
        """Take one byte; returns what it did."""
        after_cr = self._after_cr
        self._after_cr = False
        if self._state != _TEXT:
            if byte >= 32:
                return self._escape(byte)
            self._state = _TEXT  # a control byte ends a broken sequence
        if byte >= 32 and byte != 127:
            return self._insert(byte)
        if byte == 13 or byte == 10:
            self._after_cr = byte == 13
            return NOTHING if byte == 10 and after_cr else ENTER
        return self._key(byte)

    def _insert(self, byte):
        if len(self.text) >= LINE_MAX:
            self._too_long = self._too_long or True
            return NOTHING
        # MicroPython's bytearray has no insert()
        self.text.append(byte)
        if self.pos < len(self.text) - 1:
            self.text[self.pos + 1 :] = self.text[self.pos : -1]
            self.text[self.pos] = byte
        self.pos += 1
        return CHANGED

    def _key(self, byte):  # on demand: keys
        text = self.text
        if byte == 8 or byte == 127:
            if self.pos:
                start = self._left()
                self.text = text[:start] + text[self.pos :]
                self.pos = start
        elif byte == 9:
            return TAB
        elif byte == _CTRL_A:
            self.pos = 0
        elif byte == _CTRL_C:
            self.clear()
            return CANCEL
        elif byte == _CTRL_E:
            self.pos = len(text)
        elif byte == _CTRL_K:
            self.text = text[: self.pos]
        elif byte == _CTRL_U:
            self.text = text[self.pos :]
            self.pos = 0
        elif byte == _CTRL_W:
            start = self.pos
            while start and text[start - 1] == 32:
                start -= 1
            while start and text[start - 1] != 32:
                start -= 1
            self.text = text[:start] + text[self.pos :]
            self.pos = start
        elif byte == _ESC:
            self._state = _AFTER_ESC
            return NOTHING
        else:
            self._control = True
            return NOTHING
        return CHANGED

    def _escape(self, byte):  # on demand: keys
        if self._state == _AFTER_ESC:
            self._parameter = 0
            self._state = _CSI if byte == 91 else _SS3 if byte == 79 else _TEXT
            return NOTHING
        if self._state == _CSI:
            if 48 <= byte <= 57:
                self._parameter = (self._parameter * 10 + byte - 48) % 1000
                return NOTHING
            if byte == 59:
                self._parameter = 0
                return NOTHING
            if byte < 64:
                return NOTHING
        self._state = _TEXT
        return self._move(byte)

    def _move(self, byte):  # on demand: keys
        """The end of an escape sequence: cursor keys and their kin."""
        if byte == 126:  # ~
            byte = {1: 72, 7: 72, 4: 70, 8: 70}.get(self._parameter, 0)
            if self._parameter == 3 and self.pos < len(self.text):
                self.text = self.text[: self.pos] + self.text[self._right() :]
                return CHANGED
        if byte == 65:
            return self._recall(-1)
        if byte == 66:
            return self._recall(1)
        if byte == 67:
            self.pos = self._right()
        elif byte == 68:
            self.pos = self._left()
        elif byte == 72:
            self.pos = 0
        elif byte == 70:
            self.pos = len(self.text)
        else:
            return NOTHING
        return CHANGED

    def _left(self):
        pos = self.pos
        if pos:
            pos -= 1
            while pos and self.text[pos] & 0xC0 == 0x80:
                pos -= 1
        return pos

    def _right(self):
        pos = self.pos
        size = len(self.text)
        if pos < size:
            pos += 1
            while pos < size and self.text[pos] & 0xC0 == 0x80:
                pos += 1
        return pos

    def _recall(self, step):
        shown = self._shown + step
        if not 0 <= shown <= len(self._history):
            return NOTHING
        self._shown = shown
        self.text = bytearray(self._history[shown] if shown < len(self._history) else b"")
        self.pos = len(self.text)
        return CHANGED

    def before_cursor(self) -> str:
        """The text before the cursor, or "" when it is no text yet."""
        try:
            return self.text[: self.pos].decode()
        except UnicodeError:
            return ""

    def complete(self, addition: str):  # on demand: keys
        """Put text in at the cursor."""
        for byte in addition.encode():
            self._insert(byte)

    def remember(self, line: str):  # on demand: keys
        """Add a line to the history."""
        data = line.encode()
        if data in self._history:
            self._history.remove(data)
        self._history.append(data)
        if len(self._history) > _HISTORY:
            self._history.pop(0)
        self._shown = len(self._history)

    def take(self, strict: bool) -> str:
        """The finished line, and a new one begins. LineError when it is no text.

        strict: control bytes in it are an error (a person's stray key is none)."""
        text = bytes(self.text)
        too_long = self._too_long
        control = self._control
        self.clear()
        if too_long == 2:
            raise LineError("not enough memory for this line")
        if too_long:
            raise LineError("the line is longer than %d bytes" % LINE_MAX)
        if control and strict:
            raise LineError("the line has bytes that are not text")
        try:
            return text.decode()
        except UnicodeError:
            raise LineError("the line is not UTF-8 text")

    def drawing(self, prompt: bytes) -> bytes:  # on demand: keys
        """What to send to a terminal to show the line afresh, cursor included."""
        text = self.text
        pos = start = self.pos
        room = _WIDTH
        while start and room > 1:
            start -= 1
            room -= _columns(text[start])
        while start < pos and text[start] & 0xC0 == 0x80:  # not from the middle of a character
            start += 1
        end = pos
        while end < len(text) and (room > 1 or text[end] & 0xC0 == 0x80):
            room -= _columns(text[end])
            end += 1
        head = b"\r" + prompt + _shown(text[start:pos])
        tail = _shown(text[pos:end]) + b"\x1b[K"
        # the cursor goes back by drawing once more: how wide characters are, the terminal knows
        return head + tail + head if end > pos else head + tail

# Long tables of rows, as texts, which tools/shrink.py makes of them for stock images. In memory
# as long as such a table is. Used by whoever looks at the tables of settings and commands.

import gc
import json

from firmware.pieces import place

_START = 2048  # bytes between collections while the firmware starts: the heap has room then


class Rows:
    """A table of rows as one text, a line of JSON each: what shrink.py makes of a long one.

    pack.py puts that text into the file of all modules: `text` is its number then, and `parts`
    tell of the parts that are read one at a time, ` first:begin:size` each: how the names of the
    rows begin (up to their dot), and where the part is."""

    def __init__(self, text, parts: str = ""):
        self._text = text
        self._parts = parts
        self._held = ""  # the part that is in memory
        self._now = b""
        self._found: dict = {}  # rows by name: those of the outlets are asked for five times
        if parts and hasattr(gc, "threshold") and gc.threshold() == _START:
            _, begin, size = parts.split()[-1].split(":")
            with place(text) as file:
                self._text = file.read(int(begin) + int(size))
            self._parts = ""

    def _part(self, part: str):
        """The text of a part."""
        if part and part != self._held:
            _, begin, size = part.split(":")
            self._held = ""
            self._now = b""  # before the next one is read
            with place(self._text) as file:
                file.seek(int(begin), 1)
                self._now = file.read(int(size))
            self._held = part
        return self._now if part else self._text

    def __iter__(self):
        for part in self._parts.split() or ("",):
            text = self._part(part)
            at = 0
            while at < len(text):
                end = text.find(text[-1:], at)
                yield json.loads(text[at:end])
                at = end + 1

    def find(self, name: str):
        """The row that begins with `name`, or None."""
        found = self._found.get(name)
        if found is not None:
            return found
        first = name[: name.find(".") + 1] + ":"
        for part in self._parts.split() or ("",):
            if part and not part.startswith(first):
                continue
            text = self._part(part)
            begin = '["%s",' % name
            at = text.find(begin if isinstance(text, str) else begin.encode())
            if at >= 0:
                found = json.loads(text[at : text.find(text[-1:], at)])
                if found[0] == name:  # else a name that somebody made up
                    self._found[name] = found
                    return found
        return None

# Functions and tables that stock images load when they are called, because there the modules take
# heap. tools/shrink.py makes a piece of each one that is marked `# on demand`; where the modules
# are frozen in, nothing calls demand(). Called by whatever was marked, never by lanes 1 and 2.

import sys

_last: list = [0, None]  # number and module of the last piece, if it is one that stays


def demand(number: int):
    """The module of a piece. One with a negative number (a group: its functions are likely to call
    each other) stays until another piece is asked for, or forget()."""
    if _last[0] == number:
        return _last[1]
    forget()
    place = abs(number)
    name = "_%d" % place
    # a look-up reads all of a folder, small files and all, and there are four of them
    sys.path.insert(0, "lib/%d" % (place & 15))
    try:
        module = __import__(name)
    finally:
        sys.path.pop(0)
    sys.modules.pop(name, None)
    if number < 0:
        _last[0] = number
        _last[1] = module
    return module


def forget():
    """Let go of the last piece (each half second, task)."""
    _last[0] = 0
    _last[1] = None


class Rows:
    """A table of rows as one text, a line of JSON each: what shrink.py makes of a long one."""

    def __init__(self, text: str):
        self._text = text

    def __iter__(self):
        import json

        text = self._text
        at = 0
        while at < len(text):
            end = text.find("\n", at)
            yield json.loads(text[at:end])
            at = end + 1

    def find(self, name: str):
        """The row that begins with `name`, or None."""
        import json

        at = self._text.find('["%s",' % name)
        if at >= 0:
            found = json.loads(self._text[at : self._text.find("\n", at)])
            if found[0] == name:
                return found
        return None


def row(table, name: str):
    """The row of a table that begins with `name`, or None."""
    if isinstance(table, Rows):
        return table.find(name)
    for found in table:
        if found[0] == name:
            return found
    return None


def drop(package: str, *names: str):
    """Forget modules that are needed seldom; a package keeps its modules as attributes."""
    for name in names:
        sys.modules.pop(package + "." + name, None)
        sys.modules[package].__dict__.pop(name, None)

# Functions and tables that stock images load when they are called, because there the modules take
# heap. tools/shrink.py makes a piece of each one that is marked `# on demand`; where the modules
# are frozen in, nothing calls demand(). Called by whatever was marked, never by lanes 1 and 2.

import sys

_stay: dict = {}  # the module of the piece that stays, by its number


def demand(number: int):
    """The module of a piece. One with a negative number (a group: its functions are likely to call
    each other) stays until another piece is asked for, or forget(); at the start, when each is
    asked for several times, as long as there is heap."""
    module = _stay.get(number)
    if module is not None:
        return module
    _stay.clear()
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
        _stay[number] = module
    return module


def forget():
    """Let go of the piece that stays (each half second, task)."""
    _stay.clear()


def late(me, name: str, table: str):
    """A method of `me` that stands in a piece, or AttributeError; `table`: of its class, words of
    `method:number` or `method:number:name there`, see shrink.py."""
    at = table.find(" %s:" % name)
    if at < 0:
        raise AttributeError(name)
    words = table[at + 1 : table.find(" ", at + 1)].split(":")
    if len(words) > 2:
        name = words[2]
    function = getattr(demand(int(words[1])), name)
    return lambda *args, **named: function(me, *args, **named)


class Rows:
    """A table of rows as one text, a line of JSON each: what shrink.py makes of a long one."""

    def __init__(self, text: str):
        self._text = text
        self._found: dict = {}  # rows by name: those of the outlets are asked for five times

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

        found = self._found.get(name)
        if found is None:
            at = self._text.find('["%s",' % name)
            if at >= 0:
                found = json.loads(self._text[at : self._text.find("\n", at)])
                if found[0] != name:  # a name that somebody made up
                    return None
                self._found[name] = found
        return found


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

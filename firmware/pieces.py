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
    name = "_%d" % abs(number)
    module = __import__(name)
    sys.modules.pop(name, None)
    if number < 0:
        _last[0] = number
        _last[1] = module
    return module


def forget():
    """Let go of the last piece (each half second, task)."""
    _last[0] = 0
    _last[1] = None

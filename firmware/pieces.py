# Loads modules on stock images, where they take heap: by number (tools/pack.py), and functions and
# tables when they are called (tools/shrink.py makes a piece of each one marked `# on demand`).
# Where the modules are frozen in, only once() and drop() are called. And what takes long gives way
# to the control lane here, because it has no app to ask. Called by tasks, never by lanes 1 and 2.

import gc
import sys

import micropython

_MODULES = "firmware/modules.bin"  # where each begins, 4 bytes each, and they themselves
_stay: dict = {}  # the module of the piece that stays, by its number
_next: list = []  # their file, open for the next one: opening it is deep
_loaded: dict = {}  # modules by their number in the file of all modules
_in_place: list = []  # what has them run from flash, while many are loaded
_go = [0]  # bits of the numbers of modules that were dropped: they will go again
_asked: list = []  # whether tables were asked for since the last rest()
_deep = [0]  # modules whose loading has begun
_lane: list = []  # what has the control lane's turn, while a firmware runs
_small: list = []  # whether its heap is
_room: list = []  # the beginning of the heap, while what stays is loaded above it
_COLLECT = 3072  # bytes between two collections while something is loaded that stays
_ROOM = 30_000  # bytes; with more, what stays lies too far up: no buffer fits above it
_DEEP = 3600  # bytes of C stack


class _Disk:
    """What import takes for a disk with the one module on it that is being loaded: a name and a
    path for each would stay in the heap for ever."""

    def __init__(self, number: int):
        self._number = number

    def mount(self, readonly: bool, mkfs: bool):
        pass

    def umount(self):
        pass

    def stat(self, path: str):
        if path[1] != "_" or path[-4:] != ".mpy":
            raise OSError(2)
        return (0x8000, 0, 0, 0, 0, 0, 0, 0, 0, 0)

    def open(self, path: str, mode: str):
        return place(self._number)


def make_room():
    """At the start, where the modules are frozen: hold the beginning of the heap, which is for
    garbage. After a collection each request searches the heap from there, and calls of
    large functions are requests: with the free part first a control step takes a fifth less time.
    (Elsewhere the start would take half as long again; the simulator has a room of its own.)"""
    if gc.threshold() < 0 and sys.platform == "rp2":
        if gc.mem_free() > 6 * _ROOM:
            _room.append(bytearray(_ROOM))


def let_go():
    """All is loaded that stays: the room is for data now."""
    _room.clear()


def place(number: int):
    """The file of all modules, opened where one begins."""
    file = _next.pop() if _next else open(_MODULES, "rb")
    file.seek(4 * number)
    file.seek(int.from_bytes(file.read(4), "little"))
    return file


def _read(number: int):
    """Load a module from the file of all modules (tools/pack.py)."""
    import vfs

    deep = _deep[0]
    name = "_%d" % deep
    folder = "/" + name
    vfs.mount(_Disk(number), folder)
    _deep[0] = deep + 1
    sys.path.insert(0, folder)
    if not _next:
        _next.append(open(_MODULES, "rb"))
    try:
        return __import__(name)
    finally:
        _deep[0] = deep
        sys.path.remove(folder)
        vfs.umount(folder)
        sys.modules.pop(name, None)


def load(name):
    """The module called `name`, or of that number where tools/pack.py has put one there."""
    if isinstance(name, str):
        return __import__(name, None, None, ("__name__",))
    module = _loaded.get(name)
    if name == "firmware.rows":
        if not _asked:
            _asked.append(True)
        if module is None:  # for so short a time it may run from the heap
            module = _loaded[name] = _read(name)
    if module is None:
        # Code and garbage side by side would leave holes too small for a message. What goes again
        # leaves none, and a collection takes 30 ms.
        threshold = gc.threshold()
        if not 0 < threshold < _COLLECT and not _go[0] >> name & 1:
            gc.threshold(_COLLECT)
        try:
            module = _loaded[name] = _read(name)
        finally:
            gc.threshold(threshold)
        if sys.platform == "rp2":
            try:
                if not _in_place:
                    _in_place.append(_read("firmware.hal.inplace").InPlace())  # its number, there
                _in_place[0].settle(module, name)
            except Exception:  # then it runs from the heap
                pass
    return module


def once(name):
    """As load(), for a caller who is the only one: the module goes when that is done with it."""
    if isinstance(name, str):
        module = load(name)
        drop(name)
        return module
    return _loaded.get(name) or _read(name)


def demand(number: int):
    """The module of a piece. One with a negative number (a group: its functions are likely to call
    each other) stays until another piece is asked for, or forget(); at the start, when each is
    asked for several times, as long as there is heap."""
    module = _stay.get(number)
    if module is None:
        # To load one takes 1.5 KB of the RP2040's C stack, of which there are 8 KB, and the scan's
        # interrupt needs some: what is loaded already is not loaded again deeper down.
        if number < 0 or sys.platform != "rp2" or micropython.stack_use() < _DEEP:
            _stay.clear()
        module = _read(abs(number))
        if number < 0:
            _stay[number] = module
    return module


def rest():
    """Let go of the piece that stays, and of what tables need when nobody has asked for one since
    the last time (each half second, task)."""
    if _asked:
        _asked.clear()
        _stay.clear()
    else:
        forget()


def forget():
    """Let go of all that."""
    _asked.clear()
    _stay.clear()
    _in_place.clear()
    if _loaded:
        drop("firmware.rows")


def late(me, name: str, table: str):
    """A method of `me` that stands in a piece, or AttributeError; `table`: of its class, words of
    `method:number` or `method:number:name there`, see shrink.py."""
    at = table.find(" %s:" % name)
    if at < 0:
        raise AttributeError(name)
    words = table[at + 1 : table.find(" ", at + 1)].split(":")
    if len(words) > 2:
        there = words[2]
    else:
        there = name
    # A function between would do as well, but the C stack is short (8 KB on the RP2040), and the
    # scan's interrupt needs some of it, however deep the call is.
    kind = type(me)
    setattr(kind, name, getattr(demand(int(words[1])), there))
    method = getattr(me, name)
    setattr(kind, name, None)  # what is deleted stays where it was, and so would the module
    delattr(kind, name)
    return method


def serve(turn=None, is_small: bool = False, is_due=None):
    """`turn()` is the control lane's turn from now on; None: there is none. `is_small`: of the
    heap, see collect(). `is_due()`: whether the turn would do anything; None: always."""
    _lane[:] = [(turn, is_due)] if turn else []
    _small[:] = [is_small]


def breathe():
    """In the middle of what takes long: the control lane's turn. Only where nothing is half done
    that the lane decides by."""
    for turn, is_due in _lane:
        if is_due is None or is_due():
            turn()


def collect():
    """Before much is loaded: where the modules are in the heap, gc.collect() from one turn of the
    control lane to the next, because it takes 20 ms."""
    breathe()
    if True in _small:
        gc.collect()
        breathe()


def row(table, name: str):
    """The row of a table that begins with `name`, or None."""
    if hasattr(table, "find"):  # of rows.py
        return table.find(name)
    for found in table:
        if found[0] == name:
            return found
    return None


def drop(*names):
    """Forget modules that are needed seldom, by their full names; a package keeps its modules as
    attributes."""
    for name in names:
        _loaded.pop(name, None)
        if not isinstance(name, str):
            _go[0] |= 1 << name
        else:
            sys.modules.pop(name, None)
            folder, _, last = name.rpartition(".")
            package = sys.modules.get(folder)
            if hasattr(package, last):
                delattr(package, last)

"""Small files that survive a power cut: written beside the old one, checksummed, then renamed.

Role: the only place that knows how a whole file is replaced on flash.
Called by: boot (reading) and the outer lane's storage task (writing). Never by lanes 1 and 2:
on the RP2040 interrupts stand still while flash is erased or programmed.

A file is one header line, `tailgate1 <crc32> <length>`, and the payload. Replacing `x` goes
`x.new` (written, flushed, closed) -> `x` becomes `x.bak` -> `x.new` becomes `x`. A cut leaves
one of these sets, and each reads as a whole version:
  x, x.bak, part of x.new | x, x.bak, x.new | x.bak, x.new (the new one is complete) | x, x.bak
"""

import binascii
import os

from micropython import const

from firmware import pieces

_MAGIC = b"tailgate1"
_HEADER_MAX = const(40)
_PAYLOAD_MAX = const(32768)
_CHUNK = const(256)

_ENOENT = const(2)

# While flash must not be erased, the keeper takes a file's new payload (`later(path, payload)` is
# true then), keeps it in the strip, and writes the file when it may. None: no keeper runs.
_later = None
waiting: dict = {}  # path: payload

_ERRNO = {
    2: "no such file or folder",
    5: "input/output error",
    13: "permission denied",
    20: "not a folder",
    22: "not accepted by the file system",
    27: "file too large",
    28: "no space left on the flash",
    30: "the file system is read-only",
}


class StorageError(Exception):
    """The flash refused; the text says which file and why. The older version is still there."""


class NotYet(StorageError):
    """Only at this moment: a protection stage counts, and flash makes the fast lane blind."""


def why(error):
    """One short phrase for an OSError."""
    number = error.args[0] if error.args else 0
    return _ERRNO.get(number) or "error %s" % number


def join(folder, name):
    """Path of `name` below `folder`; an empty folder means the current one."""
    if not folder:
        return name
    return folder.rstrip("/") + "/" + name


def make_folder(folder):  # on demand: read
    """Create the folder and its parents where missing; raises StorageError."""
    path = ""
    for part in folder.split("/"):
        path = path + part
        if part and part != ".":
            try:
                os.stat(path)
            except OSError:
                try:
                    os.mkdir(path)
                except OSError as error:
                    raise StorageError("cannot create folder %s: %s" % (path, why(error)))
        path += "/"


def size(path):
    """Bytes in a file, or -1 when there is none."""
    try:
        return os.stat(path)[6]
    except OSError:
        return -1


def mend(folder):  # on demand: read
    """Before anything is read: have littlefs finish a rename in which the power was cut. Up to its
    next change it hides the old name, and (2.11) another file of the folder as well."""
    try:
        os.remove(join(folder, "nothing"))
    except OSError:
        pass  # there is no such file, which is fine: littlefs mends before it looks


def remove(path):
    """Remove a file; one that is not there is fine."""
    try:
        os.remove(path)
    except OSError as error:
        if error.args[0] != _ENOENT:
            raise StorageError("cannot remove %s: %s" % (path, why(error)))


def replace(source, target):
    """Rename over an existing file. littlefs and POSIX do it in one step; FAT needs two."""
    try:
        os.rename(source, target)
    except OSError:
        try:
            os.remove(target)
        except OSError:
            pass  # it was not there: the second rename tells the real reason
        try:
            os.rename(source, target)
        except OSError as error:
            raise StorageError("cannot rename %s to %s: %s" % (source, target, why(error)))


def _open_checked(path):  # on demand: read
    """(stream at the payload, crc32, length), or None when there is no such file.

    Raises ValueError with what is wrong with the header."""
    try:
        stream = open(path, "rb")
    except OSError as error:
        if error.args[0] == _ENOENT:
            return None
        raise ValueError(why(error))
    try:
        header = stream.read(_HEADER_MAX)
        end = header.find(b"\n")
        parts = header[: max(end, 0)].split(b" ")
        if end < 0 or len(parts) != 3 or parts[0] != _MAGIC:
            raise ValueError("no valid header")
        crc = int(parts[1], 16)
        length = int(parts[2])
        if not 0 <= length <= _PAYLOAD_MAX:
            raise ValueError("impossible length")
        # before anybody asks for so much memory
        if stream.seek(0, 2) != end + 1 + length:
            raise ValueError("wrong length")
        stream.seek(end + 1)
    except (ValueError, OSError) as error:
        stream.close()
        raise ValueError(why(error) if isinstance(error, OSError) else str(error))
    return stream, crc, length


def _load(path, keep=True):  # on demand: read
    """The payload (or True when only checking), or None when the file is missing.

    Raises ValueError when it is damaged."""
    opened = _open_checked(path)
    if opened is None:
        return None
    stream, crc, length = opened
    try:
        if keep:
            data = stream.read(length)
            if binascii.crc32(data) & 0xFFFFFFFF != crc:
                raise ValueError("checksum does not match")
            return data
        seen = 0
        while True:
            chunk = stream.read(_CHUNK)
            if not chunk:
                break
            seen = binascii.crc32(chunk, seen)
        if seen & 0xFFFFFFFF != crc:
            raise ValueError("checksum does not match")
        return True
    except OSError as error:
        raise ValueError(why(error))
    finally:
        stream.close()


def is_good(path):  # on demand: read
    """True when the file exists and its checksum matches."""
    try:
        return _load(path, keep=False) is not None
    except ValueError:
        return False


def read(path):  # on demand: read
    """Returns (payload or None, version, note).

    version: "current", "previous", or "" when there is nothing to use.
    note: "" when all is well (or nothing was ever written), else a sentence for people."""
    if path in waiting:
        return waiting[path], "current", ""
    note = ""
    try:
        data = _load(path)
        if data is not None:
            return data, "current", ""
    except ValueError as error:
        note = "%s is damaged (%s)" % (path, error)
    if not note:
        # Missing: a cut between the two renames leaves the complete new version beside it.
        try:
            data = _load(path + ".new")
            if data is not None:
                return data, "current", ""
        except ValueError:
            pass  # part of a first version that was never finished: as if it were not there
    try:
        data = _load(path + ".bak")
    except ValueError as error:
        data = None
        note = (note or "%s is missing" % path) + ", its previous version too (%s)" % error
    if data is not None:
        note = note or "%s is missing" % path
        return data, "previous", note + "; its previous version is used"
    if note:
        note += "; no usable version is left"
    return None, "", note


def overwrite(path, payload):
    """Write a checksummed file (bytes or text) in place; for callers that keep two of them.

    Raises StorageError; the file may be damaged then, which read() will notice."""
    if isinstance(payload, str):
        payload = payload.encode()
    if len(payload) > _PAYLOAD_MAX:
        raise StorageError("%s: %d bytes are too many" % (path, len(payload)))
    header = " %08x %d\n" % (binascii.crc32(payload) & 0xFFFFFFFF, len(payload))
    try:
        with open(path, "wb") as stream:
            stream.write(_MAGIC)
            stream.write(header.encode())
            stream.write(payload)
            stream.flush()
    except OSError as error:
        raise StorageError("cannot write %s: %s" % (path, why(error)))


def defer(later):
    """Have `later(path, payload)` asked before a file is replaced (keeper, boot)."""
    global _later
    _later = later


def write(path, payload, previous=True):
    """Replace the file's payload (bytes or text). Raises StorageError; then the old one stays.

    previous: keep the version that it replaces as `.bak`."""
    if _later is not None and _later(path, payload):
        return
    replace_file(path, payload, previous)


def replace_file(path, payload, previous=True):
    """What write() does, at once: for the keeper, who knows that flash may be erased."""
    new = path + ".new"
    try:
        overwrite(new, payload)
    except StorageError:
        try:
            os.remove(new)
        except OSError:
            pass  # full or read-only: the remains are ignored by read()
        raise
    pieces.breathe()
    # A damaged current version must not push out a good previous one.
    if previous and is_good(path):
        pieces.breathe()
        replace(path, path + ".bak")
    pieces.breathe()
    replace(new, path)

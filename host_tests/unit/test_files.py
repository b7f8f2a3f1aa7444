"""Atomic files: whatever length a write reached, a whole version is read."""

import errno
import os

import pytest

from firmware.storage import files

OLD = b'{"a": 1}'
NEW = b'{"a": 2, "text": "a longer one"}'


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "x.json")


def test_nothing_there_is_no_fault(path):
    assert files.read(path) == (None, "", "")


def test_write_then_read(path):
    files.write(path, OLD)
    assert files.read(path) == (OLD, "current", "")
    files.write(path, NEW.decode())
    assert files.read(path) == (NEW, "current", "")
    assert files.read(path + ".bak")[0] == OLD
    assert not os.path.exists(path + ".new")


def test_empty_payload(path):
    files.write(path, b"")
    assert files.read(path) == (b"", "current", "")


def raw(path):
    with open(path, "rb") as stream:
        return stream.read()


def put(path, data):
    with open(path, "wb") as stream:
        stream.write(data)


def test_current_torn_at_every_length_falls_back(path):
    files.write(path, OLD)
    files.write(path, NEW)
    whole = raw(path)
    for length in range(len(whole)):
        put(path, whole[:length])
        data, version, note = files.read(path)
        assert (data, version) == (OLD, "previous"), length
        assert "damaged" in note and "previous version is used" in note


def test_torn_temporary_file_of_every_length_is_ignored(path):
    files.write(path, NEW)
    whole = raw(path)
    files.write(path, OLD)
    for length in range(len(whole) + 1):
        put(path + ".new", whole[:length])
        assert files.read(path) == (OLD, "current", "")


def test_cut_between_the_renames_gives_the_complete_new_version(path):
    files.write(path, OLD)
    files.write(path, NEW)
    os.rename(path, path + ".new")
    assert files.read(path) == (NEW, "current", "")


def test_torn_temporary_and_no_current_uses_previous(path):
    files.write(path, OLD)
    files.write(path, NEW)
    whole = raw(path)
    os.remove(path)
    for length in range(len(whole)):
        put(path + ".new", whole[:length])
        data, version, note = files.read(path)
        assert (data, version) == (OLD, "previous")
        assert "missing" in note


def test_every_flipped_bit_is_noticed(path):
    files.write(path, OLD)
    files.write(path, NEW)
    whole = bytearray(raw(path))
    for at in range(len(whole)):
        for bit in range(8):
            whole[at] ^= 1 << bit
            put(path, whole)
            whole[at] ^= 1 << bit
            data, version, _ = files.read(path)
            # A changed letter case of a hex digit is the same checksum.
            assert (data, version) in ((OLD, "previous"), (NEW, "current"))
            if version == "current":
                assert data == NEW


def test_overlong_file_is_damaged(path):
    files.write(path, NEW)
    put(path, raw(path) + b"x")
    assert files.read(path)[0] is None
    assert "no usable version" in files.read(path)[2]


def test_impossible_length_is_refused_before_reading(path):
    put(path, b"tailgate1 00000000 99999999\n")
    data, _, note = files.read(path)
    assert data is None and "impossible length" in note


def test_both_damaged_says_so(path):
    files.write(path, OLD)
    files.write(path, NEW)
    put(path, b"junk")
    put(path + ".bak", b"\xff\xfe\n")
    data, version, note = files.read(path)
    assert (data, version) == (None, "")
    assert "damaged" in note and "previous version too" in note and "no usable" in note


def test_damaged_current_does_not_push_out_the_previous(path):
    files.write(path, OLD)
    files.write(path, NEW)
    put(path, b"junk")
    files.write(path, b"third")
    assert files.read(path)[0] == b"third"
    assert files.read(path + ".bak")[0] == OLD


def test_too_large_is_refused(path):
    with pytest.raises(files.StorageError):
        files.write(path, b"x" * 40000)


def test_full_flash_keeps_the_old_version(path, monkeypatch):
    files.write(path, OLD)
    real = open

    class Full:
        def __init__(self, name, mode):
            self._stream = real(name, mode)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self._stream.close()

        def write(self, data):
            self._stream.write(data[:3])
            raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(
        files, "open", lambda p, m: Full(p, m) if m == "wb" else real(p, m), raising=False
    )
    with pytest.raises(files.StorageError, match="no space left"):
        files.write(path, NEW)
    assert files.read(path) == (OLD, "current", "")


def test_read_only_folder(tmp_path, monkeypatch):
    def refuse(path):
        raise OSError(errno.EROFS, "read-only")

    monkeypatch.setattr(files.os, "mkdir", refuse)
    with pytest.raises(files.StorageError, match="read-only"):
        files.make_folder(str(tmp_path / "data"))


def test_rename_that_does_not_replace(path, monkeypatch):
    real = os.rename

    def fat(source, target):
        if os.path.exists(target):
            raise OSError(errno.EEXIST, "exists")
        real(source, target)

    monkeypatch.setattr(files.os, "rename", fat)
    files.write(path, OLD)
    files.write(path, NEW)
    files.write(path, b"third")
    assert files.read(path) == (b"third", "current", "")
    assert files.read(path + ".bak")[0] == NEW


def test_make_folder(tmp_path):
    files.make_folder(str(tmp_path / "a" / "b"))
    files.make_folder(str(tmp_path / "a" / "b"))
    assert (tmp_path / "a" / "b").is_dir()

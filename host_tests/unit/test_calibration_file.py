"""The calibration's file, torn and damaged: the previous one, then nominal gains, and a word."""

import pytest

from firmware import board
from firmware.storage import calibration, files

BOARD = board.load("simulated")
OLD = {"bed1": [1.05, 1.5, 7, 12.0], "v_l1": [0.98, 0, 7, 120.0]}
NEW = {"bed1": [1.06, 1.5, 9, 12.0], "v_l1": [0.97, 0, 9, 120.0]}


@pytest.fixture
def folder(tmp_path):
    place = str(tmp_path / "data")
    calibration.write(place, BOARD, OLD)
    calibration.write(place, BOARD, NEW)
    return place


def damaged(folder, data):
    with open(folder + "/calibration.json", "wb") as stream:
        stream.write(data)
    return calibration.load(folder, BOARD)


def whole(folder):
    with open(folder + "/calibration.json", "rb") as stream:
        return bytearray(stream.read())


def test_torn_at_every_length(folder):
    data = whole(folder)
    for length in range(len(data)):
        rows, note = damaged(folder, data[:length])
        assert rows == OLD and "previous version is used" in note
    assert damaged(folder, data) == (NEW, "")
    files.remove(folder + "/calibration.json.bak")
    rows, note = damaged(folder, data[:-1])
    assert rows == {} and "no usable version is left" in note


def test_every_flipped_byte(folder):
    data = whole(folder)
    for i in range(len(data)):
        for mask in (0x01, 0x20, 0x80, 0xFF):
            data[i] ^= mask
            rows, note = damaged(folder, data)
            data[i] ^= mask
            # a letter of the checksum may be written large, and means the same
            assert (rows, note) == (NEW, "") if not note else rows == OLD, (i, mask)
            assert note or mask == 0x20


@pytest.mark.parametrize(
    "text", ["[]", "{", "", '{"bed9":[1]}', '{"bed1":[9]}', '{"bed1":[1e400]}']
)
def test_a_good_checksum_over_nonsense(folder, text):
    files.write(folder + "/calibration.json", text)
    rows, note = calibration.load(folder, BOARD)
    assert rows == {} and "nominal gains are used" in note


def test_flash_that_refuses_keeps_what_was(folder, monkeypatch):
    real_open = open

    def read_only(path, mode="r", *args):
        if "r" not in mode:
            raise OSError(30, "")
        return real_open(path, mode, *args)

    with monkeypatch.context() as patched:
        patched.setattr("builtins.open", read_only)
        with pytest.raises(files.StorageError, match="the file system is read-only"):
            calibration.write(folder, BOARD, OLD)
    assert calibration.load(folder, BOARD) == (NEW, "")

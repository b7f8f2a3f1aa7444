"""Energy counters and the trip latch: a cut costs one interval at most."""

import json
import os

import pytest

from firmware.storage import files
from firmware.storage.counters import CounterStore
from firmware.storage.latch import LatchStore

NAMES = ("cabin1", "bed240")


@pytest.fixture
def folder(tmp_path):
    return str(tmp_path / "data")


def test_first_start_counts_from_zero(folder):
    store = CounterStore(folder, NAMES)
    assert store.load() == {"cabin1": 0, "bed240": 0}
    assert store.note == ""


def test_saved_values_come_back(folder):
    store = CounterStore(folder, NAMES)
    store.load()
    for i in range(1, 8):
        store.save({"cabin1": i, "bed240": 10**15 + i})
        again = CounterStore(folder, NAMES)
        assert again.load() == {"cabin1": i, "bed240": 10**15 + i}
        assert again.note == ""
    assert sorted(os.listdir(folder)) == ["energy.0", "energy.1"]


def test_other_outlets_of_another_board_are_kept(folder):
    store = CounterStore(folder, ("a", "b"))
    store.load()
    store.save({"a": 5, "b": 6})
    assert CounterStore(folder, ("b", "c")).load() == {"a": 5, "b": 6, "c": 0}


def test_slot_torn_at_every_length_costs_one_save(folder):
    store = CounterStore(folder, NAMES)
    store.load()
    store.save({"cabin1": 1, "bed240": 1})
    store.save({"cabin1": 2, "bed240": 2})
    path = folder + "/energy.0"
    with open(path, "rb") as stream:
        whole = stream.read()
    for length in range(len(whole)):
        with open(path, "wb") as stream:
            stream.write(whole[:length])
        again = CounterStore(folder, NAMES)
        assert again.load()["cabin1"] == 1
        # an empty one had just been created when the power went
        assert not length or ("damaged" in again.note and "other slot" in again.note)
        # The next save mends the torn slot, not the good one.
        again.save({"cabin1": 3, "bed240": 3})
        third = CounterStore(folder, NAMES)
        assert third.load()["cabin1"] == 3
        assert third.note == ""


@pytest.mark.parametrize("payload", [b"[]", b"[1]", b'["x", {}]', b"{}", b"3", b"[1, 2]"])
def test_nonsense_under_a_good_checksum(folder, payload):
    files.make_folder(folder)
    files.overwrite(folder + "/energy.0", payload)
    store = CounterStore(folder, NAMES)
    assert store.load() == {"cabin1": 0, "bed240": 0}
    assert store.note


def test_size_stays_within_the_metadata_log(folder):
    """Five outlets after years of full load: littlefs keeps up to 256 bytes cheaply."""
    names = ("cabin1", "cabin2", "bed1", "bed2", "bed240")
    store = CounterStore(folder, names)
    store.load()
    store.save(dict.fromkeys(names, 9600 * 24 * 3650 * 1000))
    assert max(files.size(f"{folder}/energy.{i}") for i in (0, 1)) <= 256


LATCHED = {"bed1": (2, 1, 950, 1_800_000_000), "bed240": (3, 3, 1000, 0)}


def test_latch_survives(folder):
    store = LatchStore(folder)
    assert store.load() == {}
    assert store.trusted
    assert store.save(LATCHED, ["cabin1"])
    assert not store.save(LATCHED, ["cabin1"])
    again = LatchStore(folder)
    assert again.load() == LATCHED
    assert again.on == ["cabin1"]
    assert again.trusted and again.note == ""
    assert again.save({})
    assert LatchStore(folder).load() == {}


def test_heat_and_the_times_of_trips_survive(folder):
    store = LatchStore(folder)
    heat, trips = {"bed1": 950, "cabin1": 80}, {"bed1": [3000, 4500]}
    assert store.save(LATCHED, ["cabin1"], heat, trips, (5000, 1_800_000_000))
    assert not store.save(LATCHED, ["cabin1"], heat, trips, (5001, 1_800_000_001))
    assert store.save(LATCHED, ["cabin1"], {"bed1": 940}, trips, (5002, 0))
    store.save(LATCHED, ["cabin1"], heat, trips, (5000, 1_800_000_000))
    again = LatchStore(folder)
    assert again.load() == LATCHED
    assert again.heat == heat and again.epoch == 1_800_000_000
    assert again.trips == {"bed1": [2000, 500]}, "ages, when it was written"
    assert files.size(folder + "/latch.json") < 400
    again.save({})
    cold = LatchStore(folder)
    cold.load()
    assert (cold.heat, cold.trips, cold.epoch) == ({}, {}, 0)


@pytest.mark.parametrize(
    "stored",
    [{"heat": [1]}, {"heat": {"bed1": "x"}}, {"at": 5}, {"at": [1]}, {"trips": {"bed1": 3}}],
)
def test_latch_whose_heat_is_nonsense(folder, stored):
    files.make_folder(folder)
    files.write(folder + "/latch.json", json.dumps({"latched": LATCHED, "on": ["bed1"], **stored}))
    store = LatchStore(folder)
    assert store.load() == LATCHED, "what tripped is known all the same"
    assert not store.trusted and store.note


def test_latch_torn_at_every_length_is_not_trusted(folder):
    store = LatchStore(folder)
    store.save({}, ["bed1"])
    store.save(LATCHED, [])
    path = folder + "/latch.json"
    with open(path, "rb") as stream:
        whole = stream.read()
    for length in range(len(whole)):
        with open(path, "wb") as stream:
            stream.write(whole[:length])
        again = LatchStore(folder)
        assert again.load() == {}
        assert not again.trusted and again.note
        assert again.on == [], "nothing may be closed on the word of an old version"


@pytest.mark.parametrize(
    "stored", [[], {}, {"latched": {"bed1": [1]}, "on": []}, {"latched": {"bed1": 3}, "on": []}]
)
def test_latch_of_nonsense(folder, stored):
    files.make_folder(folder)
    files.write(folder + "/latch.json", json.dumps(stored))
    store = LatchStore(folder)
    store.load()
    assert not store.trusted and store.note

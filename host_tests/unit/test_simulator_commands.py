"""The `sim ...` commands: what they answer and how they refuse."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.simulator import loads
from tools.simulator.truck import SimError, Truck
from tools.simulator.wiring import demo_board


@pytest.fixture
def truck() -> Truck:
    return Truck(demo_board())


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("fly bed1", "plug play unplug"),
        ("plug attic heater", "cabin1 cabin2 bed1 bed2 bed240"),
        ("plug bed1 toaster_9000", "circular_saw"),
        ("plug bed1 toaster_9000", "resistive"),
        ("plug bed1 heater colour=3", "watts amps"),
        ("plug bed1 heater watts=100 amps=3", "not both"),
        ("plug bed1 resistive amps=many", "not a number"),
        ("plug bed1 resistive amps=nan", "range"),
        ("plug bed1 resistive amps=1e300", "range"),
        ("plug bed1 resistive amps=-4", "more than 0"),
        ("plug bed1 motor pf=2", "0 to 1"),
        ("plug bed1 ev_charger", "240 V appliance and bed1 gives 120 V"),
        ("plug bed240 kettle", "120 V appliance and bed240 gives 240 V"),
        ("plug bed1", "usage: sim plug <outlet> <load>"),
        ("play bed1 nothing", "plaid_1046"),
        ("play bed1 plaid_1046 volume=3", "scale amps"),
        ("unplug bed1 drill", "(none)"),
        ("unshort bed1", "not short-circuited"),
        ("weld main", "bed240 contactor"),
        ("stick", "usage: sim stick"),
        ("relay bed1 broken", "ok welded stuck"),
        ("relay bed1 delay=3", "operate_ms release_ms"),
        ("relay bed1 operate_ms=-3", "outside"),
        ("sensor engine open", "l1 l2 cabin1"),
        ("sensor bed1 broken", "ok open short frozen"),
        ("sensor bed1 gain=100", "outside"),
        ("sensor bed1 colour=1", "gain offset noise"),
        ("supply maybe", "on off"),
        ("supply hz=400", "40 to 70"),
        ("supply volts=1000", "0 to 200"),
        ("supply sag=70 swell=110", "not both"),
        ("supply ms=30", "goes with"),
        ("supply colour=1", "volts hz sag"),
        ("supply", "usage: sim supply"),
        ("input door 1", "gfci"),
        ("input gfci 2", "0 1"),
        ("temperature hot", "not a number"),
        ("temperature 900", "outside"),
        ("aux oil 100", "temperature"),
        ("aux temperature 9000", "outside"),
        ("plug bed1 'heater", "cannot read"),
    ],
)
def test_a_refusal_is_one_line_that_names_what_exists(truck: Truck, line: str, names: str) -> None:
    with pytest.raises(SimError) as caught:
        truck.command(line)
    assert names in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_refused_command_changes_nothing(truck: Truck) -> None:
    for line in (
        "supply volts=100 hz=400",
        "supply off sag=70",
        "supply hz=50 colour=1",
        "relay bed1 broken operate_ms=1",
        "sensor bed1 broken gain=2",
    ):
        with pytest.raises(SimError):
            truck.command(line)
    assert (truck.supply.hz, truck.supply.rms) == (60.0, 120.0)
    assert truck.relays["bed1"].operate_us == 8000
    assert truck.sensors[4].gain == 1.0


def test_lists_are_complete(truck: Truck) -> None:
    catalogue = truck.command("sim loads")
    assert all(name in catalogue for name in (*loads.APPLIANCES, *loads.KINDS))
    assert "plaid_707" in truck.command("recordings")
    listing = truck.command("help")
    for verb in ("plug", "play", "weld", "sensor", "supply", "temperature", "state"):
        assert f"sim {verb}" in listing
    assert truck.command("") == listing


def test_state_shows_what_is_plugged_in_and_broken(truck: Truck) -> None:
    truck.command("plug bed1 drill")
    truck.command("weld bed2")
    truck.command("sensor cabin1 open")
    truck.command("input gfci 1")
    state = truck.command("state")
    assert "drill" in state
    assert "welded" in state
    assert "cabin1 open" in state
    assert "gfci=1" in state


def test_playing_passes_on_the_recording_s_notes(truck: Truck) -> None:
    assert "one phase of a 3-phase" in truck.command("play bed1 4_6 amps=11")


def test_a_board_without_temperature_says_so() -> None:
    board = demo_board()
    board.channels = board.channels[:7]
    with pytest.raises(SimError, match="no temperature channel"):
        Truck(board).command("temperature 20")


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                "plug",
                "play",
                "unplug",
                "short",
                "weld",
                "relay",
                "sensor",
                "supply",
                "input",
                "aux",
                "temperature",
                "bed1",
                "bed240",
                "contactor",
                "gfci",
                "ok",
                "open",
                "on",
                "off",
                "motor",
                "smps",
                "4_6",
                "amps=0",
                "amps=1e-9",
                "crest=9",
                "ms=5",
                "hz=50",
                "=",
                "x=",
                "1",
                "-1",
                "'",
            ]
        ),
        max_size=5,
    )
)
def test_any_line_is_obeyed_or_refused_in_one_line(words: list[str]) -> None:
    truck = Truck(demo_board())
    try:
        truck.command(" ".join(words))
    except SimError as error:
        assert "\n" not in str(error)
    truck.scan(20_000)

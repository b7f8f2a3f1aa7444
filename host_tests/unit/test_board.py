"""Board tables: those that exist are sound, and each possible mistake is one clear sentence."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import pytest

from firmware import board as boards
from firmware.board import BoardError
from firmware.board.pico_w import BOARD as PICO_W
from firmware.board.pico_w_home import BOARD as HOME
from firmware.board.validate import check

Table = dict[str, Any]


def table(**changes: Any) -> Table:
    new = copy.deepcopy(PICO_W)
    new.update(changes)
    return new


def with_row(rows_of: str, index: int, **changes: Any) -> Table:
    """A table with one channel or outlet changed; a value of None takes the key away."""
    new = table()
    rows = [dict(row) for row in new[rows_of]]
    rows[index].update(changes)
    for key, value in changes.items():
        if value is None:
            del rows[index][key]
    new[rows_of] = tuple(rows)
    return new


@pytest.mark.parametrize("name", boards.names())
def test_every_board_loads(name: str) -> None:
    board = boards.load(name)
    assert board.name == name
    home = ["home_l1", "home_l2"] if board.power else []
    five = ["cabin1", "cabin2", "bed1", "bed2", "bed240"]
    assert [x.name for x in board.outlets] == five + home
    assert board.has_gangs() == bool(home)
    assert board.channels[0].kind == "voltage"
    for outlet in board.outlets:
        assert board.channels[outlet.channel].name == outlet.name
        assert board.channels[outlet.channel].kind == "current"
        assert board.outlet_index(outlet.name) == outlet.index
    assert board.outlet_index("garage") == -1
    assert board.total_w == (11_500 if home else 9600)
    assert board.leg_limit_ma == (48_000 if home else 40_000)


def test_loading_leaves_the_validator_behind_as_garbage() -> None:
    boards.load("pico_w")
    assert "firmware.board.validate" not in sys.modules
    assert not hasattr(boards, "validate")


def test_the_pico_w_is_wired_as_the_plan_says() -> None:
    board = boards.load("pico_w")
    assert board.mux_adc == 26 and board.mux_address == (18, 19, 20)
    assert board.voltages == 2 and board.aux("temperature") == 7
    assert 15 not in [x.relay for x in board.outlets]  # RP2040-E5
    assert [x.legs for x in board.outlets] == [(0,), (1,), (0,), (1,), (0, 1)]
    assert [x.rating_ma for x in board.outlets] == [20_000] * 4 + [40_000]


def test_the_home_board_is_the_pico_w_and_what_exports_power() -> None:
    board: Any = boards.load("pico_w_home")
    plain = boards.load("pico_w")
    assert [c.name for c in board.channels[:8]] == [c.name for c in plain.channels]
    assert [c.kind for c in board.channels[8:]] == ["current", "current", "sense", "sense", "aux"]
    assert [x.relay for x in board.outlets[:5]] == [x.relay for x in plain.outlets]
    assert {x.relay for x in board.outlets[5:]} == {board.power["contacts"][1]}
    assert [(x.gang, x.legs, x.volts) for x in board.outlets[5:]] == [
        ("home", (0,), 0),
        ("home", (1,), 1),
    ]
    assert 15 not in (*board.power["contacts"], board.power["permit"], board.power["pilot"])
    assert max(board.skew_us) + 4 < board.scan_period_us // 4  # a scan leaves time for the rest


def test_boot_opens_the_contacts_of_power_export_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "board.txt").write_text("pico_w_home\n")
    power: Any = HOME["power"]
    assert sorted(set(boards.relay_pins())) == sorted(
        {2, 3, 4, 5, 6, 7, *power["contacts"], power["permit"]}
    )


def test_the_esp32_uses_adc1_and_no_strapping_pin() -> None:
    board = boards.load("esp32")
    assert {c.adc for c in board.channels} <= {32, 33, 34, 35, 36, 39}
    assert not {0, 2, 5, 12, 15} & {x.relay for x in board.outlets}
    assert board.mux_adc is None and board.aux("temperature") == -1


def test_an_unknown_board_or_channel_is_named_with_what_exists() -> None:
    with pytest.raises(BoardError, match=r"unknown board 'pcio' \(there are: pico_w pico esp32"):
        boards.load("pcio")
    with pytest.raises(BoardError, match=r"no channel called bed3 \(there are: v_l1 v_l2"):
        boards.load("pico").channel_index("bed3")


MISTAKES = [
    (table(chip="z80"), "chip 'z80' is not one of rp2040 esp32"),
    (table(scan_period_us=208), "scan_period_us must be 350 to 2000"),
    (table(leg_limit_ma=0), "leg_limit_ma must be positive"),
    (table(skew_us=60), "skew_us: all channels must fit into a scan"),
    (table(skew_us=(0, 8, 12)), "skew_us: a time for each channel, in order, from 0"),
    (table(skew_us=(0, 8, 7, 16, 20, 23, 28, 33)), "skew_us: a time for each channel"),
    (table(adc_errata="e9"), "adc_errata is 'e11' or None"),
    (table(adc_mid_uv=1_300_000), "adc_mid_uv and adc_span_uv: both or none"),
    (table(adc_mid_uv=1_300_000, adc_span_uv=1_400_000), "adc_span_uv is from 700000 up"),
    (table(adc_mid_uv=1_300_000, adc_span_uv=1_150_000), None),
    (table(channels=()), "the first channel must be a voltage"),
    (with_row("channels", 0, kind="current"), "the first channel must be a voltage"),
    (with_row("channels", 3, kind="voltage"), "one or two voltage channels, before all others"),
    (with_row("channels", 7, kind="resistance"), "channel temperature: kind is one of"),
    (with_row("channels", 3, name="bed1"), "two channels are called bed1"),
    (with_row("channels", 3, adc=25), "channel cabin2: pin 25 has no usable ADC"),
    (with_row("channels", 3, mux=8), "channel cabin2: no multiplexer address 8"),
    (with_row("channels", 3, mux=4), "channel bed1: address 4 is taken"),
    (with_row("channels", 3, full_scale=0), "channel cabin2: full_scale must be positive"),
    (with_row("channels", 3, kind=None), "channel cabin2: 'kind' is missing"),
    (with_row("outlets", 0, relay=15), "relay of cabin1: pin 15 may glitch"),
    (with_row("outlets", 0, relay=30), "relay of cabin1: pin 30 is not a GPIO from 0 to 29"),
    (with_row("outlets", 0, relay=7), "pin 7 is used by main contactor and by relay of cabin1"),
    (with_row("outlets", 1, relay=2), "pin 2 is used by relay of cabin1 and by relay of cabin2"),
    (with_row("outlets", 1, relay=26), "pin 26 is used by multiplexer output and by relay of"),
    (with_row("outlets", 1, relay=19), "pin 19 is used by multiplexer address bit 1 and by"),
    (with_row("outlets", 1, relay=None), "outlet cabin2: 'relay' is missing"),
    (with_row("outlets", 1, name="cabin1"), "two outlets are called cabin1"),
    (with_row("outlets", 1, name="roof"), "outlet roof has no current channel of that name"),
    (with_row("outlets", 1, volts=3), "outlet cabin2: volts is 0"),
    (with_row("outlets", 1, legs=(2,)), "outlet cabin2: legs are 0 to 1"),
    (with_row("outlets", 1, legs=()), "outlet cabin2: legs are 0 to 1"),
    (with_row("outlets", 4, legs=(1,)), "outlet bed240: L1-L2 loads two legs"),
    (with_row("outlets", 1, priority=0), "outlet cabin2: priority is 1 to 9"),
    (with_row("outlets", 1, rating_ma=0), "outlet cabin2: rating_ma must be positive"),
    (with_row("outlets", 1, rating_ma=22_000), "its sensor must reach 11.5 times the rating"),
    (table(contactor=23), "main contactor: pin 23 may glitch"),
    (table(inputs={"gfci": 2}), "pin 2 is used by input gfci and by relay of cabin1"),
    (with_row("channels", 7, adc=27, mux=None), None),
    (table(inputs={"gfci": 8, "grid": 8}), "pin 8 is used by input gfci and by input grid"),
]


@pytest.mark.parametrize(("wrong", "sentence"), MISTAKES, ids=range(len(MISTAKES)))
def test_each_mistake_is_one_sentence(wrong: Table, sentence: str | None) -> None:
    if sentence is None:
        check(wrong)
        return
    with pytest.raises(BoardError) as caught:
        check(wrong)
    text = str(caught.value)
    assert text.startswith("board pico_w: ") and sentence in text
    assert "\n" not in text and len(text) < 120


def home(outlet: int = 0, pole: dict[str, Any] | None = None, **power: Any) -> Table:
    """The home board's table, with something of its outlet or of its `power` changed."""
    new: Table = copy.deepcopy(HOME)
    new["power"].update(power)
    for key in [key for key, value in power.items() if value is None]:
        del new["power"][key]
    rows = [dict(row) for row in new["outlets"]]
    rows[outlet].update(pole or {})
    new["outlets"] = tuple(rows)
    return new


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (home(), None),
        (home(6, {"relay": 28}), "outlets of the gang home share one relay"),
        (home(6, {"gang": "", "relay": 28}), "power: the source contact is the relay of both"),
        (home(contacts=(11, 28, 13)), "power: the source contact is the relay of both"),
        (home(contacts=(15, 12, 13)), "grid contact: pin 15 may glitch"),
        (home(contacts=(2, 12, 13)), "pin 2 is used by relay of cabin1 and by grid contact"),
        (home(contacts=(11, 12, 23)), "bond contact: pin 23 may glitch"),
        (home(permit=15), "power permit: pin 15 may glitch"),
        (home(pilot=25), "power pilot: pin 25 may glitch"),
        (home(seen=(26, 14, 27)), "pin 26 is used by multiplexer output and by auxiliary contact"),
        (home(set_point=22), "pin 22 is used by power pilot and by power set_point"),
        (home(permit=None), "power: 'permit' is missing"),
    ],
    ids=range(12),
)
def test_each_mistake_of_power_export_is_one_sentence(wrong: Table, sentence: str | None) -> None:
    if sentence is None:
        check(wrong)
        return
    with pytest.raises(BoardError) as caught:
        check(wrong)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_a_second_multiplexed_pin_is_taken_too() -> None:
    channels: Any = PICO_W["channels"]
    rows = [dict(row) for row in channels]
    rows[7]["adc"] = 27
    with pytest.raises(BoardError, match="pin 27 is used by multiplexer output and by input gfci"):
        check(table(channels=tuple(rows), inputs={"gfci": 27}))


@pytest.mark.parametrize("key", ["name", "chip", "hal", "channels", "outlets", "legs", "total_w"])
def test_a_missing_key_is_named(key: str) -> None:
    wrong = table()
    del wrong[key]
    with pytest.raises(BoardError, match=f"'{key}' is missing"):
        check(wrong)


def test_relay_pins_are_all_relays_and_the_contactor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert sorted(boards.relay_pins()) == [2, 3, 4, 5, 6, 7]
    (tmp_path / "board.txt").write_text("esp32\n")
    assert sorted(boards.relay_pins()) == [18, 19, 21, 22, 23, 25]
    (tmp_path / "board.txt").write_text("pico3")
    with pytest.raises(BoardError, match=r"board\.txt: unknown board 'pico3'"):
        boards.relay_pins()


@pytest.mark.parametrize(
    ("machine", "name"),
    [
        ("Raspberry Pi Pico W with RP2040", "pico_w"),
        ("Raspberry Pi Pico with RP2040", "pico"),
        ("Generic ESP32 module with ESP32", "esp32"),
        ("linux [GCC 12.2.0] version", "simulated"),
    ],
)
def test_the_machine_is_recognised(
    machine: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys.implementation, "_machine", machine, raising=False)
    assert boards.detect() == name
    (tmp_path / "board.txt").write_text(" pico_w \n")
    assert boards.detect() == "pico_w"


def test_a_machine_without_a_table_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Pico 2 has other registers: the sampler must not write to them."""
    monkeypatch.chdir(tmp_path)
    machine = "Raspberry Pi Pico 2 with RP2350"
    monkeypatch.setattr(sys.implementation, "_machine", machine, raising=False)
    with pytest.raises(BoardError, match=r"no board for 'Raspberry Pi Pico 2.*board\.txt"):
        boards.detect()

"""Settings: one schema, checked values, files that fall back."""

import errno
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware import board
from firmware.storage import files, settings
from firmware.storage.settings import SettingError, Settings

BOARD = board.load("simulated")


@pytest.fixture
def folder(tmp_path):
    return str(tmp_path / "data")


@pytest.fixture
def own(folder):
    made = Settings(BOARD, folder)
    made.load()
    return made


def test_every_default_is_valid_on_every_board():
    for name in board.names():
        made = Settings(board.load(name), "")
        names = list(made.names())
        assert len(names) == len(set(names))
        for setting in names:
            entry = made.entry(setting)
            value = made.get(setting)
            assert settings.check(entry, value) == value
            assert made.help(setting)
            assert len(setting) <= 20, "the console's table has 20 columns for names"


def test_defaults_come_from_the_board(own):
    assert own.get("bed240.limit_a") == 40
    assert own.get("bed1.limit_a") == 20
    assert own.get("bed1.priority") == 4
    assert own.get("total.limit_w") == 9600
    assert own.get("leg.limit_a") == 40
    assert own.get("bed1.after_boot") == "off"
    assert own.get("bed1.peak_x") == 8
    assert own.outlet(4, "limit_a") == 40


@pytest.mark.parametrize(
    ("name", "value", "stored"),
    [
        ("bed1.limit_a", "15", 15),
        ("bed1.limit_a", "15.5", 15.5),
        ("bed1.limit_a", " 16 A ", 16),
        ("bed1.limit_a", "16a", 16),
        ("bed1.limit_a", 20.0, 20),
        ("bed1.limit_a", 16, 16),
        ("mqtt.port", "8883", 8883),
        ("mqtt.tls", "on", True),
        ("mqtt.tls", "YES", True),
        ("mqtt.discovery", "0", False),
        ("mqtt.discovery", False, False),
        ("mqtt.interval_s", "0.5 s", 0.5),
        ("supply.hz", "auto", 0),
        ("supply.hz", "50", 50),
        ("supply.hz", 60, 60),
        ("bed2.trip_class", "Motor", "motor"),
        ("device.name", "Ünser Truck", "Ünser Truck"),
        ("device.id", "my-truck_1", "my-truck_1"),
        ("wifi.password", "pass word", "pass word"),
    ],
)
def test_accepted(own, name, value, stored):
    assert own.set(name, value) == stored
    assert own.get(name) == stored
    assert type(own.get(name)) is type(stored)


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("bed1.limit_a", "21", "1 to 20 A"),
        ("bed1.limit_a", "0", "1 to 20 A"),
        ("bed1.limit_a", "nan", "1 to 20 A"),
        ("bed1.limit_a", "inf", "1 to 20 A"),
        ("bed1.limit_a", "-inf", "1 to 20 A"),
        ("bed1.limit_a", "", "1 to 20 A"),
        ("bed1.limit_a", None, "1 to 20 A"),
        ("bed1.limit_a", True, "1 to 20 A"),
        ("bed1.limit_a", [20], "1 to 20 A"),
        ("bed240.limit_a", "41", "1 to 40 A"),
        ("bed1.peak_x", "12", "2 to 8.6"),
        ("mqtt.port", "1883.5", "whole numbers from 1 to 65535"),
        ("mqtt.port", "9" * 400, "whole numbers from 1 to 65535"),
        ("mqtt.tls", "maybe", "on or off"),
        ("mqtt.tls", 2, "on or off"),
        ("supply.hz", "55", "auto, 50 or 60"),
        ("bed1.trip_class", "never", "fast, standard, slow or motor"),
        ("bed1.priority", 10, "whole numbers from 1 to 9"),
        ("total.limit_w", 9601, "whole numbers from 100 to 9600 W"),
        ("device.id", "a/b", "letters, digits, - and _"),
        ("device.id", "ü", "letters, digits, - and _"),
        ("device.name", "a\nb", "text of 0 to 32 bytes"),
        ("device.name", "x" * 33, "text of 0 to 32 bytes"),
        ("device.name", 5, "text of 0 to 32 bytes"),
    ],
)
def test_refused_with_name_value_and_range(own, name, value, allowed):
    before = own.get(name)
    with pytest.raises(SettingError) as caught:
        own.set(name, value)
    assert str(caught.value).startswith(name + ": ")
    assert allowed in str(caught.value)
    assert len(str(caught.value)) < 160
    assert own.get(name) == before


def test_refused_secret_is_not_repeated(own):
    with pytest.raises(SettingError) as caught:
        own.set("wifi.password", "hush" * 30)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "mentions"),
    [
        ("bed1.limit", "bed1.limit_a"),
        ("mqtt.hots", "mqtt.host"),
        ("nonsense", "mqtt.*"),
        ("bed9.limit_a", "bed1.*"),
        ("", "mqtt.*"),
        (".", "mqtt.*"),
        ("x" * 500, "mqtt.*"),
    ],
)
def test_unknown_name_says_what_exists(own, name, mentions):
    for call in (lambda: own.get(name), lambda: own.set(name, 1), lambda: own.entry(name)):
        with pytest.raises(SettingError) as caught:
            call()
        assert mentions in str(caught.value)
        assert len(str(caught.value)) < 300


def test_save_and_load(own, folder):
    own.set("bed1.limit_a", 15.5)
    own.set("wifi.password", "secret")
    assert own.changed() == ["bed1.limit_a", "wifi.password"]
    assert own.save() == ["bed1.limit_a", "wifi.password"]
    assert own.changed() == []
    again = Settings(BOARD, folder)
    again.load()
    assert again.load_report == ""
    assert again.get("bed1.limit_a") == 15.5
    assert again.get("wifi.password") == "secret"


def test_back_to_default_counts_as_a_change(own):
    own.set("bed1.limit_a", 15)
    own.save()
    own.set("bed1.limit_a", 20)
    assert own.changed() == ["bed1.limit_a"]
    own.save()
    assert own.changed() == []


def test_hooks_hear_changes_only(own):
    heard: list[str] = []
    own.on_change(heard.append)
    own.set("bed1.limit_a", 20)
    assert heard == []
    own.set("bed1.limit_a", 10)
    own.set("bed1.limit_a", "10 A")
    own.import_({"bed2.limit_a": 11, "bed1.limit_a": 10})
    own.defaults()
    assert heard == ["bed1.limit_a", "bed2.limit_a", "bed1.limit_a", "bed2.limit_a"]


def test_reboot_names(own):
    own.set("bed1.limit_a", 10)
    own.set("mqtt.host", "broker")
    own.set("mqtt.port", 8883)
    assert own.needs_reboot() == ["mqtt.host", "mqtt.port"]
    own.save()
    assert own.needs_reboot() == ["mqtt.host", "mqtt.port"]
    own.set("mqtt.port", 1883)
    assert own.needs_reboot() == ["mqtt.host"], "as it was at the start"


def test_text_never_shows_a_secret(own):
    assert own.text("wifi.password") == "(not set)"
    own.set("wifi.password", "hush1234")
    assert own.text("wifi.password") == "(set)"
    assert own.text("supply.hz") == "auto"
    assert own.text("bed1.limit_a") == "20 A"
    assert own.text("mqtt.tls") == "off"


def test_import_is_all_or_nothing(own):
    with pytest.raises(SettingError, match=r"bed2\.limit_a"):
        own.import_({"bed1.limit_a": 10, "bed2.limit_a": 99})
    assert own.get("bed1.limit_a") == 20
    assert own.changed() == []


def test_unknown_keys_are_kept_and_written_back(own, folder):
    settings.write_file(folder, {"bed1.limit_a": 12, "future.thing": [1, {"x": 2}]})
    own.load()
    assert own.load_report == ""
    own.set("bed1.limit_a", 13)
    own.save()
    stored = json.loads(files.read(folder + "/settings.json")[0])
    assert stored == {"bed1.limit_a": 13, "future.thing": [1, {"x": 2}]}
    assert own.defaults() == 1
    own.save()
    assert json.loads(files.read(folder + "/settings.json")[0]) == {"future.thing": [1, {"x": 2}]}
    with pytest.raises(SettingError, match=r"there is no setting 'another.one'"):
        own.import_({"another.one": 3, "bed1.limit_a": 15})
    assert own.changed() == []


def test_stored_value_out_of_range_uses_its_default_and_says_so(own, folder):
    settings.write_file(folder + "/settings.json", {"bed1.limit_a": 99, "bed2.limit_a": 12})
    own.load()
    assert own.get("bed1.limit_a") == 20
    assert own.get("bed2.limit_a") == 12
    assert "bed1.limit_a" in own.load_report and "default" in own.load_report


@pytest.mark.parametrize("payload", [b"[]", b"3", b"{", b"", b"\xff\xfe", b"null", b'{"a":'])
def test_good_checksum_over_nonsense(own, folder, payload):
    files.make_folder(folder)
    files.write(folder + "/settings.json", payload)
    own.load()
    assert "not a table of settings" in own.load_report
    assert own.get("bed1.limit_a") == 20


def saved_twice(own, folder):
    """Path and bytes of the second version: bed1's limit is 12 A there, 11 A in the first."""
    for amps in (11, 12):
        own.set("bed1.limit_a", amps)
        own.save()
    path = folder + "/settings.json"
    with open(path, "rb") as stream:
        return path, stream.read()


def test_torn_at_every_length_falls_back_to_previous_then_defaults(own, folder):
    path, whole = saved_twice(own, folder)
    for length in range(len(whole)):
        with open(path, "wb") as stream:
            stream.write(whole[:length])
        own.load()
        assert own.get("bed1.limit_a") == 11
        assert "previous version is used" in own.load_report
    files.remove(path + ".bak")
    own.load()
    assert own.get("bed1.limit_a") == 20
    assert "defaults are used" in own.load_report
    for outlet in BOARD.outlets:
        assert own.get(outlet.name + ".after_boot") == "off"


def test_save_writes_only_when_there_is_something_to_write(own, folder):
    path = folder + "/settings.json"
    assert own.save() == []
    assert files.size(path) == -1
    own.set("bed1.limit_a", 11)
    own.save()
    with open(path, "wb") as stream:
        stream.write(b"damaged")
    assert own.save() == []
    own.load()
    assert own.load_report
    own.save()
    own.load()
    assert own.load_report == ""


def test_a_change_on_record_names_the_setting_and_the_value(own):
    """Whatever the schema's order will be by then, and without any text or secret."""
    cases = [
        ("bed1.limit_a", 15.5, "15.5 A"),
        ("bed240.limit_a", 1, "1 A"),
        ("total.limit_w", 9600, "9600 W"),
        ("relay.operations", 10_000_000, "10000000"),
        ("relay.operations", 100_000, "100000"),
        ("supply.high_s", 0.02, "0.02 s"),
        ("mqtt.port", 8883, "8883"),
        ("supply.hz", 0, "auto"),
        ("supply.hz", 60, "60 Hz"),
        ("shed.restarts", 0, "0"),
        ("bed2.trip_class", "motor", "motor"),
        ("bed2.peak", False, "off"),
        ("mqtt.tls", True, "on"),
    ]
    for name, value, text in cases:
        own.set(name, value)
        outlet, number = own.number(name)
        assert 0 < number < 2**30
        assert own.of_number(outlet, number) == (name, value, text)
        assert (outlet >= 0) == name.startswith("bed")
    for name, value in (("wifi.password", "hush1234"), ("device.name", "x"), ("mqtt.port", 65535)):
        own.set(name, value)
        assert own.of_number(*own.number(name)) == (name, None, "")
    assert own.of_number(-1, 5)[0] == "#5", "of a newer version"
    assert own.of_number(2, -1)[1:] == (None, "")


def test_the_numbers_of_all_settings_differ(own):
    seen = {own.number(name)[1] >> 17: name.split(".")[-1] for name in own.names()}
    rows = len(settings.SCHEMA) + len(settings.OUTLET_SCHEMA)
    assert len(seen) == rows and 0 not in seen


NAMES = list(Settings(BOARD, "").names())
JSONABLE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(st.sampled_from(NAMES), JSONABLE)
def test_any_value_is_stored_valid_or_refused(name, value):
    made = Settings(BOARD, "")
    try:
        stored = made.set(name, value)
    except SettingError as error:
        assert str(error).startswith(name)
        assert made.changed() == []
    else:
        assert settings.check(made.entry(name), stored) == stored
        assert json.loads(json.dumps(stored)) == stored


@given(st.binary(max_size=60))
def test_any_file_loads(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("any")
    (folder / "settings.json").write_bytes(data)
    made = Settings(BOARD, str(folder))
    made.load()
    assert made.load_report
    assert made.changed() == []


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("supply.under_percent", 50, "allowed: above supply.loss_percent, which is 50"),
        ("supply.loss_percent", 80, ""),
        ("supply.over_percent", 120, "allowed: below supply.high_percent, which is 120"),
        ("supply.high_percent", 137, "allowed: 105 to 136 %"),
        ("temperature.trip_c", 70, "allowed: above temperature.derate_c, which is 70"),
        ("temperature.derate_c", "90 C", "allowed: below temperature.trip_c, which is 85"),
        ("bed1.short_x", 9, "allowed: 2 to 8.6"),
        ("bed1.short_s", 4, "allowed: 0.02 to 3 s"),
        ("bed1.continuous", "trip", "allowed: warn, shed or off"),
        ("gfci.input", "on", "allowed: none, high or low"),
        ("bed1.voltage", "maybe", "allowed: on or off"),
    ],
)
def test_stages_have_ranges_and_an_order(own, name, value, said):
    before = own.get(name)
    if not said:
        own.set(name, value)
        return
    with pytest.raises(SettingError, match="^" + name) as caught:
        own.set(name, value)
    assert said in str(caught.value)
    assert own.get(name) == before


def test_two_that_belong_together_may_be_imported_together(own):
    own.import_({"temperature.derate_c": 90, "temperature.trip_c": 100})
    assert own.get("temperature.derate_c") == 90
    with pytest.raises(SettingError):
        own.import_({"temperature.trip_c": 80, "bed1.limit_a": 10})
    assert own.get("bed1.limit_a") == 20, "all or nothing"


def test_what_the_board_does_not_have_cannot_be_chosen():
    made = Settings(board.load("esp32"), "")
    with pytest.raises(SettingError, match="board esp32 has no input 'temperature'"):
        made.set("temperature.sensor", "yes")
    made.set("temperature.sensor", "auto")
    made.set("gfci.input", "high")
    assert made.get("gfci.input") == "high"


def test_stored_values_that_do_not_go_together_are_not_used(folder):
    stored = {"temperature.derate_c": 90, "temperature.trip_c": 80, "bed1.limit_a": 12}
    settings.write_file(folder, stored)
    made = Settings(BOARD, folder)
    made.load()
    assert "temperature.derate_c" in made.load_report
    assert "the default of temperature.derate_c and temperature.trip_c is" in made.load_report
    assert made.get("temperature.trip_c") == 85 and made.get("temperature.derate_c") == 70
    assert made.get("bed1.limit_a") == 12


HOME = board.load("simulated_home")


@pytest.mark.parametrize(
    ("wrong", "falls"),
    [
        ({"supply.loss_percent": 70, "supply.under_percent": 60}, None),
        (
            {"supply.loss_percent": 70, "supply.under_percent": 60, "bed1.limit_a": 15},
            ["supply.loss_percent", "supply.under_percent"],
        ),
        ({"grid.profile": "ieee1547", "supply.hz": 50}, ["grid.profile"]),
        ({"vehicle.enabled": True, "bed240.after_boot": "on"}, None),
        ({"vehicle.gfci": "tested"}, None),
    ],
)
def test_only_what_contradicts_falls_back_and_all_of_it_is_said(folder, wrong, falls):
    good = {
        "supply.over_percent": 112,
        "home.mode": "manual",
        "home.ride_ms": 800,
        "vehicle.most_a": 16,
        "tariff.peak": "mon-fri 17:00-21:00",
        "temperature.trip_c": 90,
        "cabin1.gfci": False,
    }
    settings.write_file(folder, {**good, **wrong})
    made = Settings(HOME, folder)
    made.load()
    for name, value in good.items():
        assert made.get(name) == value, name
    for name, value in wrong.items():
        lost = falls is None or name in falls
        assert made.get(name) == (made.entry(name)[5] if lost else value), name
        assert not lost or name in made.load_report
    # and what is left goes together
    again = Settings(HOME, folder)
    again.import_(made.snapshot())


@pytest.mark.parametrize(
    ("before", "name", "value", "says"),
    [
        ({}, "grid.power_w", 6000, "0 to 5000 W, which is grid.most_w"),
        (
            {"grid.most_w": 15_000, "grid.rating_w": 10_000},
            "grid.power_w",
            12_000,
            "0 to 10000 W, which is grid.rating_w",
        ),
        ({"grid.power_w": 4000, "grid.most_w": 3000}, "grid.power_w", 3500, "0 to 3000 W"),
    ],
)
def test_what_is_exported_is_never_above_what_may_be(before, name, value, says):
    made = Settings(HOME, "")
    made.import_(before)
    was = made.get(name)
    with pytest.raises(SettingError, match="^" + name) as caught:
        made.set(name, value)
    assert says in str(caught.value) and made.get(name) == was


def test_a_lower_limit_of_the_export_holds_whatever_is_wanted(folder):
    made = Settings(HOME, folder)
    made.set("grid.power_w", 4000)
    made.set("grid.most_w", 3000)
    made.save()
    again = Settings(HOME, folder)
    again.load()
    assert again.load_report == "" and again.get("grid.power_w") == 4000
    fresh = Settings(HOME, "")
    fresh.import_(again.snapshot())
    assert fresh.get("grid.most_w") == 3000


def test_a_tested_detector_stays_bed240_s_alone():
    made = Settings(HOME, "")
    others = [x.name for x in HOME.outlets if x.name != "bed240"]
    made.import_({x + ".gfci": False for x in others} | {"gfci.input": "high"})
    made.set("vehicle.gfci", "tested")
    with pytest.raises(SettingError, match=r"^bed1\.gfci: a test would trip it"):
        made.set("bed1.gfci", True)
    assert made.get("bed1.gfci") is False
    made.set("vehicle.gfci", "input")
    made.set("bed1.gfci", True)


def test_every_setting_says_what_it_does_and_no_text_is_left_over():
    from firmware.storage.settings_help import TEXT

    made = Settings(BOARD, "")
    known = [row[settings.NAME] for row in settings.SCHEMA]
    known += ["*." + row[settings.NAME] for row in settings.OUTLET_SCHEMA]
    own_texts = [line.split(": ")[0] for line in TEXT.strip().split("\n")]
    assert set(own_texts) <= set(known) and len(set(own_texts)) == len(own_texts)
    for name in made.names():
        assert 5 < len(made.help(name)) < 80


def test_what_is_switched_off_is_listed(own):
    assert own.disabled() == []
    for name in ("bed1.peak", "cabin1.gfci", "bed2.continuous"):
        own.set(name, "off")
    own.set("temperature.sensor", "no")
    own.set("mqtt.discovery", "off")
    assert own.disabled() == ["bed1.peak", "bed2.continuous", "cabin1.gfci", "temperature.sensor"]


def test_every_flipped_byte_is_noticed_and_the_previous_version_used(own, folder):
    path, content = saved_twice(own, folder)
    whole = bytearray(content)
    for i in range(len(whole)):
        for mask in (0x01, 0x20, 0x80, 0xFF):
            whole[i] ^= mask
            with open(path, "wb") as stream:
                stream.write(whole)
            own.load()
            # a letter of the checksum may be written large, and means the same
            if own.load_report:
                assert own.get("bed1.limit_a") == 11 and "previous version" in own.load_report
                assert own.attention()["damaged"] == own.load_report
            else:
                assert own.get("bed1.limit_a") == 12 and mask == 0x20
            whole[i] ^= mask


def test_damage_is_told_until_the_owner_saves_again(own, folder):
    own.set("bed1.limit_a", 11)
    own.save()
    with open(folder + "/settings.json", "wb") as stream:
        stream.write(b"rubbish")
    again = Settings(BOARD, folder)
    again.load()
    assert "defaults are used" in again.attention()["damaged"]
    again.set("bed1.limit_a", 12)
    assert again.attention()["unsaved"] is True
    again.save()
    assert again.attention() == {}


def flash_that_refuses(monkeypatch, number, after=0):
    """Every write to a file fails with this error number, once so many bytes were written."""
    real_open = open

    def refusing(path, mode="r", *args):
        stream = real_open(path, mode, *args)
        if "w" not in mode and "a" not in mode and "+" not in mode:
            return stream
        if number == errno.EROFS:
            stream.close()
            raise OSError(number, "")
        left = after

        class Full:
            def __enter__(self):
                return self

            def __exit__(self, *_):
                stream.close()

            def write(self, data):
                nonlocal left
                stream.write(data[:left])
                left -= len(data)
                if left < 0:
                    raise OSError(number, "")

            def flush(self):
                stream.flush()

        return Full()

    monkeypatch.setattr("builtins.open", refusing)


@pytest.mark.parametrize(
    ("number", "says"),
    [(errno.ENOSPC, "no space left on the flash"), (errno.EROFS, "the file system is read-only")],
)
@pytest.mark.parametrize("after", [0, 5, 40])
def test_flash_that_refuses_changes_nothing(own, folder, monkeypatch, number, says, after):
    own.set("bed1.limit_a", 11)
    own.save()
    own.set("bed1.limit_a", 12)
    with monkeypatch.context() as patched:
        flash_that_refuses(patched, number, after)
        with pytest.raises(files.StorageError, match=says):
            own.save()
        assert own.get("bed1.limit_a") == 12, "in force as before"
        assert own.changed() == ["bed1.limit_a"]
    stored = Settings(BOARD, folder)
    stored.load()
    assert stored.load_report == "" and stored.get("bed1.limit_a") == 11
    assert own.save() == ["bed1.limit_a"], "and when there is room again it is stored"
    stored.load()
    assert stored.get("bed1.limit_a") == 12


def test_import_says_what_changed_and_takes_no_secret_for_its_stand_in(own):
    own.set("wifi.password", "hush1234")
    assert own.import_({"bed1.limit_a": 20, "bed2.limit_a": 12, "mqtt.tls": "on"}) == [
        "bed2.limit_a",
        "mqtt.tls",
    ]
    assert own.needs_reboot() == ["mqtt.tls", "wifi.password"]
    for stand_in in ("(set)", "(not set)"):
        with pytest.raises(SettingError, match=r"wifi.password: .*leave it out"):
            own.import_({"wifi.password": stand_in, "bed2.limit_a": 13})
    assert own.get("wifi.password") == "hush1234" and own.get("bed2.limit_a") == 12
    assert own.import_({"wifi.password": "hush5678"}) == ["wifi.password"]


@given(st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=8), JSONABLE, max_size=6))
def test_any_import_is_done_as_a_whole_or_not_at_all(values):
    made = Settings(BOARD, "")
    made.set("bed1.limit_a", 7)
    before = made.snapshot()
    try:
        changed = made.import_(values)
    except SettingError as error:
        assert made.snapshot() == before and str(error)
    else:
        assert set(changed) <= set(values)
        for name in values:
            assert settings.check(made.entry(name), made.get(name)) == made.get(name)

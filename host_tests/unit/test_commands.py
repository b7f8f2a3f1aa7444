"""Commands: one sentence for whatever is wrong, and no source may more than it should."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware import events
from firmware.interfaces import commands
from firmware.interfaces.commands import CommandError
from firmware.storage import settings
from firmware.storage.files import StorageError
from host_tests.fakes.fake_console_app import FakeApp


@pytest.fixture
def app(tmp_path):
    return FakeApp(folder=str(tmp_path / "data"))


def run(app, line, source="console"):
    words = line.split()
    result = app.commands.run(words[0], words[1:], source)
    json.dumps(result)
    return result


def refused(app, line, source="console"):
    with pytest.raises(CommandError) as caught:
        run(app, line, source)
    text = str(caught.value)
    assert "\n" not in text and 5 < len(text) < 400
    return text


DESIGN = ("status", "outlets", "on", "off", "reset", "get", "set", "save", "defaults", "cal")
DESIGN_MORE = ("events", "energy", "capture", "selftest", "version", "mqtt", "wifi", "mode")
DESIGN_END = ("reboot", "exit", "help")


def test_every_command_of_the_table_exists(app):
    for name in app.commands.names():
        assert hasattr(app.commands, "_" + name)
    assert {*DESIGN, *DESIGN_MORE, *DESIGN_END} <= set(app.commands.names())


@pytest.mark.parametrize(
    ("line", "mentions"),
    [
        ("stauts", "unknown command 'stauts' (there are: status watch outlets"),
        ("on bed9", "unknown outlet 'bed9' (there are: cabin1 cabin2 bed1 bed2 bed240)"),
        ("on", "usage: on <outlet>|all"),
        ("on bed1 bed2", "usage: on <outlet>|all"),
        ("set bed1.limit_a", "usage: set <name> <value>"),
        ("set bed1.limit 5", "there is no setting 'bed1.limit' (there are: bed1.limit_a"),
        ("set bed1.limit_a 50", "bed1.limit_a: '50' is not allowed (allowed: 1 to 20 A)"),
        ("get nonsense", "there is no setting 'nonsense'"),
        ("get a b", "usage: get"),
        ("events bed9", "outlets: cabin1"),
        ("events 0", "1 to 64"),
        ("events 65", "1 to 64"),
        ("events since", "no count, outlet or kind"),
        ("events 99999999999999999999", "no count"),
        ("status x", "usage: status"),
        ("mode grid", "unknown mode 'grid' (there are: outlets)"),
        ("reboot", "confirm with: reboot yes"),
        ("exit now", "confirm with: exit yes"),
        ("defaults", "confirm with: defaults yes"),
        ("cal", "no calibration"),
        ("cal bed1 zero", "no calibration"),
        ("cal export", "no calibration"),
        ("capture bed1", "keeps no waveforms"),
        ("capture a b", "usage: capture"),
        ("capture --all", "usage: capture"),
        ("wifi scan", "cannot scan"),
        ("wifi set", "usage: wifi"),
        ("mqtt remember", "usage: mqtt"),
        ("mqtt forget", "MQTT is off"),
        ("help nonsense", "no help on 'nonsense'"),
        ("watch", "terminal"),
        ("x" * 500, "unknown command"),
    ],
)
def test_wrong_input_is_one_sentence(app, line, mentions):
    assert mentions in refused(app, line)


def test_switching(app):
    assert run(app, "on bed1") == {"done": ["bed1"]}
    assert app.controller.log == [("on", 2, events.BY_CONSOLE, False)]
    assert run(app, "off all")["done"] == ["cabin1", "cabin2", "bed1", "bed2", "bed240"]
    run(app, "on bed2 --force", "console")
    assert app.controller.log[-1] == ("on", 3, events.BY_CONSOLE, True)
    run(app, "off bed2", "mqtt")
    assert app.controller.log[-1] == ("off", 3, events.BY_MQTT, False)


def test_refusal_names_the_outlet(app):
    app.controller.veto[2] = "tripped: reset it first"
    assert refused(app, "on bed1") == "bed1: tripped: reset it first"


def test_all_says_what_was_done_and_what_not(app):
    app.controller.veto[2] = "hot"
    with pytest.raises(CommandError) as caught:
        run(app, "on all")
    assert str(caught.value) == "bed1: hot"
    assert caught.value.result == {
        "done": ["cabin1", "cabin2", "bed2", "bed240"],
        "refused": {"bed1": "hot"},
    }


def test_reset_all_touches_only_what_needs_it(app):
    assert run(app, "reset all") == {"done": [], "refused": {}}
    app.trip(2)
    assert run(app, "reset all")["done"] == ["bed1"]


def test_set_get_save(app):
    assert run(app, "set bed1.limit_a 15 A")["value"] == 15
    got = run(app, "get bed1.limit_a")
    assert got["settings"] == {"bed1.limit_a": 15}
    assert got["unsaved"] == ["bed1.limit_a"]
    assert got["allowed"] == "1 to 20 A"
    assert len(run(app, "get bed1.")["settings"]) == len(settings.OUTLET_SCHEMA)
    assert len(run(app, "get")["settings"]) == len(list(app.settings.names()))
    assert run(app, "save") == {"saved": ["bed1.limit_a"]}
    assert run(app, "save") == {"saved": []}
    run(app, "set device.name My Truck")
    assert app.settings.get("device.name") == "My Truck"
    assert len(run(app, "defaults yes")["unsaved"]) == 1


def test_changes_are_in_the_journal_with_their_source(app):
    run(app, "set bed1.limit_a 15")
    run(app, "set bed1.limit_a 15")
    assert app.journal.last_seq == 1
    record = app.journal.get(1)
    assert record[1] == events.SETTING
    assert app.settings.name_at(record[4]) == "bed1.limit_a"
    assert record[5] == events.BY_CONSOLE


def test_secrets_never_come_out(app):
    assert "hush" not in json.dumps(run(app, "set wifi.password hush1234"))
    assert run(app, "get wifi.password")["settings"] == {"wifi.password": "(set)"}
    assert "hush" not in json.dumps(run(app, "get"))
    assert "hush" not in json.dumps(run(app, "wifi set home hush1234"))
    assert app.settings.get("wifi.ssid") == "home"
    assert "hush" not in refused(app, "set wifi.password " + "hush" * 20)


def test_wifi_set_is_all_or_nothing(app):
    refused(app, "wifi set home " + "x" * 64)
    assert app.settings.get("wifi.ssid") == ""


def test_events(app):
    for i in range(30):
        app.journal.add(events.ON, i % 5, events.COMMAND, 0, events.BY_MQTT)
    app.trip(2)
    assert [row["seq"] for row in run(app, "events")["events"]] == list(range(12, 32))
    assert [row["seq"] for row in run(app, "events 3")["events"]] == [29, 30, 31]
    assert [row["event"] for row in run(app, "events tripped")["events"]] == ["tripped"]
    assert [row["seq"] for row in run(app, "events 2 bed1 on")["events"]] == [23, 28]
    assert [row["seq"] for row in run(app, "events since 29")["events"]] == [30, 31]
    assert [row["seq"] for row in run(app, "events since 3 2")["events"]] == [4, 5]
    assert run(app, "events since 31")["events"] == []


def test_selftest(app):
    assert run(app, "selftest")["passed"]
    app.tests.append(("adc", False, "reference is off"))
    with pytest.raises(CommandError, match="failed: adc") as caught:
        run(app, "selftest")
    assert caught.value.result is not None
    assert caught.value.result["tests"][-1]["ok"] is False


class Refusal(Exception):
    pass


def steps(app, end):
    app.done = 0
    for app.done in range(3):
        yield f"{app.done} of 3"
    if isinstance(end, Exception):
        raise end
    return end


def test_long_work_is_done_step_by_step(app):
    job = commands.Job("work", steps(app, {"done": True}), Refusal)
    for n in range(3):
        assert job.poll() is None
        assert job.progress == f"{n} of 3" and app.done == n and job.is_running()
    assert job.poll() == {"done": True}
    assert not job.is_running()
    with pytest.raises(CommandError, match="work was given up"):
        job.poll()


@pytest.mark.parametrize("error", [Refusal("no load"), StorageError("no load")])
def test_long_work_may_be_refused_at_its_end(app, error):
    job = commands.Job("work", steps(app, error), Refusal)
    for _ in range(3):
        assert job.poll() is None
    with pytest.raises(CommandError, match=r"^no load$"):
        job.poll()
    assert not job.is_running()


def test_a_defect_in_long_work_ends_it(app):
    job = commands.Job("work", steps(app, KeyError("x")), Refusal)
    for _ in range(3):
        assert job.poll() is None
    with pytest.raises(KeyError):
        job.poll()
    with pytest.raises(CommandError, match="work was given up"):
        job.poll()


def test_the_end(app):
    assert run(app, "reboot yes") == {"stopping": "reboot"}
    assert app.stopped == "reboot"
    run(app, "exit yes")
    assert app.stopped == "exit"


LOOKING = ("status", "outlets", "get", "events", "energy", "selftest", "version", "mqtt", "help")
SWITCHING = ("on bed1", "off bed1", "reset bed1", "off all --force")
CHANGING = (
    "set bed1.limit_a 10",
    "save",
    "defaults yes",
    "cal bed1 zero",
    "wifi set a b",
    "mqtt forget",
    "on bed1 --force",
    "reset bed1 --force",
    "reboot yes",
)


@pytest.mark.parametrize("allow", ["read", "outlets", "all"])
@pytest.mark.parametrize("source", ["mqtt", "ha"])
def test_what_mqtt_may_do(app, allow, source):
    app.settings.set("mqtt.allow", allow)
    for line in LOOKING:
        run(app, line, source)
    for line in SWITCHING:
        if allow == "read":
            assert "mqtt.allow" in refused(app, line, source)
        else:
            run(app, line, source)
    for line in CHANGING:
        if allow != "all":
            assert "mqtt.allow" in refused(app, line, source)
    assert "console only" in refused(app, "exit yes", source)
    if allow == "all":
        run(app, "reboot yes", source)
    listed = [row["usage"] for row in run(app, "help", source)["commands"]]
    assert ("exit yes" in listed) is False
    assert any(usage.startswith("on ") for usage in listed) == (allow != "read")


@pytest.mark.parametrize("source", ["", "nonsense", "control", "fast"])
def test_unknown_sources_may_nothing(app, source):
    assert "no source" in refused(app, "status", source)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", None),
        ("st", ["status"]),
        ("on b", ["bed1", "bed2", "bed240"]),
        ("on cabin1", ["cabin1"]),
        ("on ", ["cabin1", "cabin2", "bed1", "bed2", "bed240", "all"]),
        ("get mqtt.t", ["mqtt.tls"]),
        ("set bed1.trip_class s", ["standard", "slow"]),
        ("set mqtt.tls ", ["on", "off"]),
        ("set nonsense ", []),
        ("help wi", ["wifi"]),
        ("nonsense ", []),
        ("events trip", ["tripped"]),
        ("reboot ", ["yes"]),
    ],
)
def test_completion(app, line, expected):
    last, words = app.commands.complete(line)
    assert line.endswith(last)
    assert words == (app.commands.names() if expected is None else expected)


TROUBLE = ("bed1", "bed240", "all", "--force", "yes", "zero", "gain", "set", "scan", "since")
TROUBLE_MORE = ("-1", "0", "1e9", "²", "tripped", "auto", "bed1.limit_a", "wifi.password", "watch")
WORDS = st.one_of(
    st.sampled_from([entry[0] for entry in commands.TABLE]),
    st.sampled_from([*TROUBLE, *TROUBLE_MORE]),
    st.text(max_size=12),
)


@given(st.lists(WORDS, min_size=1, max_size=5), st.sampled_from(["console", "mqtt", "schedule"]))
def test_any_words_give_a_result_or_a_sentence(words, source):
    app = FakeApp(folder="/dev/null/data")  # saving fails, and must say so
    try:
        json.dumps(app.commands.run(words[0], words[1:], source))
    except CommandError as error:
        assert str(error)
    app.commands.complete(" ".join(words))

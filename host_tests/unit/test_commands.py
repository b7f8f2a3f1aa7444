"""Commands: one sentence for whatever is wrong, and no source may more than it should."""

import json
from types import SimpleNamespace

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
    return whole(app.commands.run(words[0], words[1:], source))


def whole(result):
    """What a program gets to see: also when the answer comes in parts, twice over for MQTT."""
    if not hasattr(result, "parts"):
        return json.loads(json.dumps(result))
    text, again = ("{" + "".join(result.parts()) for _ in range(2))
    assert text == again
    for line in result.lines():
        assert "\n" not in line and len(line) < 500
    return json.loads(text)


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
        ("events 0", "1 to 2000, or all"),
        ("events 2001", "1 to 2000, or all"),
        ("events since", "'since' is no count, outlet, kind, reason or source (outlets: cabin1"),
        ("events 99999999999999999999", "no count"),
        ("events since tomorrow", "a time such as 90s, 15m, 2h, 3d, or a date such as 2026"),
        ("events since 2026-11-31", "is no time (like 2026-11-22T19:00:00Z"),
        ("events since 2026-xx-yy", "is no time"),
        ("events since 0h", "a number, boot, a time"),
        ("events by nobody", "no source 'nobody' (there are: control fast console mqtt"),
        ("settings nonsense", "usage: settings [export [--changed] | import {...}]"),
        ("settings export all", "usage: settings"),
        ("settings import", "usage: settings"),
        ('settings import {"device.name":"a\\u001b[2J"}', "device.name: 'a?[2J' is not allowed"),
        ('settings import {"a\\u001b":1}', "there is no setting 'a?'"),
        ("settings import nonsense", 'expected {"<setting>": <value>, ...} on one line'),
        ("settings import []", "expected {"),
        ("settings import {}", "expected {"),
        ("settings import 5", "expected {"),
        ("settings import " + "[" * 300, "expected {"),
        ('settings import {"nonsense":1}', "there is no setting 'nonsense'"),
        ('settings import {"bed1.limit_a":"many"}', "allowed: 1 to 20 A"),
        ('settings import {"wifi.password":"(set)"}', "leave it out"),
        ("status x", "usage: status"),
        ("mode grid", "unknown mode 'grid' (there are: outlets worksite camp)"),
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
    assert run(app, "save") == {"saved": ["bed1.limit_a"], "needs_reboot": []}
    assert run(app, "save") == {"saved": [], "needs_reboot": []}
    run(app, "set device.name My Truck")
    assert app.settings.get("device.name") == "My Truck"
    assert len(run(app, "defaults yes")["unsaved"]) == 1


def test_changes_are_in_the_journal_with_their_source(app):
    run(app, "set bed1.limit_a 15")
    run(app, "set bed1.limit_a 15")
    assert app.journal.last_seq == 1
    record = app.journal.get(1)
    assert record[1] == events.SETTING
    assert app.settings.of_number(record[2], record[4]) == ("bed1.limit_a", 15, "15 A")
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
    app.tests.append(("adc", False, "reference is off", 5))
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
# What a line needs in mqtt.allow.
NEEDS = {
    "on bed1": "switch",
    "off bed1": "switch",
    "reset bed1": "switch",
    "off all --force": "switch",
    "set bed1.priority 2": "settings",
    "set bed1.name Saw": "settings",
    "set shed.restarts 3": "settings",
    "set bed1.limit_a 10": "limits",
    "set total.limit_w 5000": "limits",
    "set bed1.peak off": "limits",
    "set supply.hz 50": "limits",
    "on bed1 --force": "switch limits",
    "reset bed1 --force": "switch limits",
    "home start": "switch",
    "home stop --force": "switch",
    "home reset --force": "switch limits",
    "vehicle reset": "switch",
    "grid start": "switch",
    "mode camp": "switch",
    "cal bed1 zero": "calibration",
    "cal import {}": "calibration",
    "set mqtt.host 10.0.0.1": "system",
    "set mqtt.password hush": "system",
    "set wifi.ssid yard": "system",
    "set mqtt.allow read": "system",
    "wifi set a b": "system",
    "wifi scan": "system",
    "mqtt forget": "system",
    "reboot yes": "system",
}
GROUPS = ("switch", "settings", "limits", "calibration", "system")


@pytest.mark.parametrize("allow", ["read", *GROUPS, "switch settings system", "all"])
@pytest.mark.parametrize("source", ["mqtt", "ha"])
def test_what_the_network_may_do(app, allow, source):
    app.settings.set("mqtt.allow", allow)
    have = GROUPS if allow == "all" else allow.split()
    for line in LOOKING:
        run(app, line, source)
    for line, need in NEEDS.items():
        words = line.split()
        try:
            app.commands.run(words[0], words[1:], source)
            reason = ""
        except CommandError as error:
            reason = str(error)
        lacks = [word for word in need.split() if word not in have]
        assert ("mqtt.allow has no " in reason) == bool(lacks), (line, reason)
        if lacks and words[0] != "set":
            assert reason.endswith(f"is not allowed from {source} (mqtt.allow has no {lacks[0]})")
        app.settings.set("mqtt.allow", allow)
    assert "console only" in refused(app, "exit yes", source)
    listed = [row["usage"] for row in run(app, "help", source)["commands"]]
    assert ("exit yes" in listed) is False
    assert any(usage.startswith("on ") for usage in listed) == ("switch" in have)
    assert ("reboot yes" in listed) == ("system" in have)


def test_the_network_has_no_limits_and_no_calibration_by_default(app):
    assert app.settings.get("mqtt.allow") == "read switch settings system"
    assert "no limits" in refused(app, "set bed1.limit_a 10", "mqtt")
    assert "no limits, calibration" in refused(app, "defaults yes", "mqtt")
    assert app.settings.get("bed1.limit_a") == 20
    run(app, "set bed1.priority 2", "mqtt")


def test_the_network_cannot_give_itself_more(app):
    app.settings.set("mqtt.allow", "settings system")
    for more in ("all", "switch", "outlets", "read,LIMITS", "system settings switch"):
        assert "only be narrowed" in refused(app, "set mqtt.allow " + more, "mqtt")
    assert "not allowed" in refused(app, "set mqtt.allow everything", "mqtt")
    assert app.settings.get("mqtt.allow") == "read settings system"
    run(app, "set mqtt.allow system", "mqtt")
    assert "no settings" in refused(app, "set bed1.priority 2", "mqtt")
    run(app, "set mqtt.allow all")
    run(app, "set mqtt.allow switch,settings", "mqtt")
    assert app.settings.get("mqtt.allow") == "read switch settings"


def test_old_values_of_mqtt_allow(app):
    for old, new in (
        ("read", "read"),
        ("outlets", "read switch"),
        ("all", "read switch settings limits calibration system"),
    ):
        assert app.settings.set("mqtt.allow", old) == new


def test_a_stored_old_value_of_mqtt_allow_means_what_it_meant(tmp_path):
    settings.write_file(str(tmp_path / "data"), {"mqtt.allow": "outlets"})
    app = FakeApp(folder=str(tmp_path / "data"))
    app.settings.load()
    assert app.settings.load_report == ""
    assert app.settings.get("mqtt.allow") == "read switch"
    run(app, "on bed1", "mqtt")
    assert "no settings" in refused(app, "set bed1.priority 2", "mqtt")


def test_every_setting_that_protects_is_a_limit(app):
    """By what it is called; whoever adds a setting has to say which kind it is."""
    for name in app.settings.names():
        group, _, key = name.rpartition(".")
        flags = app.settings.entry(name)[settings.FLAGS]
        if group in ("supply", "temperature", "gfci", "contactor", "relay", "total", "leg"):
            assert flags & settings.LIMIT, name
        if group in ("wifi",) or flags & settings.SECRET or name in ("mqtt.allow", "mqtt.host"):
            assert flags & settings.SYSTEM, name
        if key in ("priority", "name", "after_boot", "restarts", "interval_s"):
            assert not flags & (settings.LIMIT | settings.SYSTEM), name
        assert not (flags & settings.LIMIT and flags & settings.SYSTEM), name


_FIGURE = st.one_of(
    st.floats(), st.integers(), st.floats(0, 400), st.integers(0, 20_000), st.just(1e300)
)


@given(st.data(), _FIGURE)
def test_the_network_cannot_go_beyond_the_boards_ratings(data, figure):
    """With everything allowed: whatever figure comes, no setting leaves the range that the board
    gives it, and no limit the rating of outlet, leg and total."""
    app = FakeApp(folder="/dev/null/data")
    app.settings.set("mqtt.allow", "all")
    name = data.draw(st.sampled_from([x for x in app.settings.names() if x != "mqtt.allow"]))
    before = app.settings.get(name)
    try:
        app.commands.run("set", [name, repr(figure)], "mqtt")
    except CommandError:
        assert app.settings.get(name) == before
    entry = app.settings.entry(name)
    if entry[settings.TYPE] in (settings.INT, settings.NUMBER):
        assert entry[settings.MIN] <= app.settings.get(name) <= entry[settings.MAX]
    board = app.board
    for outlet in board.outlets:
        assert app.settings.get(outlet.name + ".limit_a") * 1000 <= outlet.rating_ma
    assert app.settings.get("leg.limit_a") * 1000 <= board.leg_limit_ma
    assert app.settings.get("total.limit_w") <= board.total_w


@pytest.mark.parametrize("source", ["", "nonsense", "control", "fast"])
def test_unknown_sources_may_nothing(app, source):
    assert "no source" in refused(app, "status", source)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", None),
        ("st", ["status", "storm"]),
        ("on b", ["bed1", "bed2", "bed240"]),
        ("on cabin1", ["cabin1"]),
        ("on ", ["cabin1", "cabin2", "bed1", "bed2", "bed240", "all"]),
        ("get mqtt.t", ["mqtt.tls"]),
        ("set bed1.trip_class s", ["standard", "slow"]),
        ("set mqtt.tls ", ["on", "off"]),
        ("set nonsense ", []),
        ("help wi", ["wifi"]),
        ("nonsense ", []),
        ("events trip", ["tripped", "trips"]),
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
        whole(app.commands.run(words[0], words[1:], source))
    except CommandError as error:
        assert str(error)
    app.commands.complete(" ".join(words))


# -- settings, whole ------------------------------------------------------------------------------


def test_get_shows_what_differs(app):
    assert run(app, "get --changed")["settings"] == {}
    run(app, "set bed1.limit_a 15")
    run(app, "set mqtt.host broker")
    run(app, "save")
    run(app, "set bed2.limit_a 12")
    run(app, "set bed1.limit_a 20")  # the default, and not saved
    got = run(app, "get --changed")
    assert got["settings"] == {"mqtt.host": "broker", "bed1.limit_a": 20, "bed2.limit_a": 12}
    assert got["unsaved"] == ["bed1.limit_a", "bed2.limit_a"]
    assert got["needs_reboot"] == ["mqtt.host"]
    assert set(run(app, "get bed1. --changed")["settings"]) == {"bed1.limit_a"}
    lines = list(app.commands.run("get", ["--changed"], "console").lines())
    assert lines[0].split() == ["mqtt.host", "broker", "(after", "a", "reboot)"]
    assert lines[1].startswith("*bed1.limit_a") and lines[-1] == "* not saved yet"


def test_a_listing_is_of_one_moment(app):
    parts = app.commands.run("get", [], "console").parts()
    text = "{" + next(parts)
    run(app, "set bed240.limit_a 7")
    text += "".join(parts)
    assert json.loads(text)["settings"]["bed240.limit_a"] == 40


def test_export_and_import(app, tmp_path):
    for line in ("bed1.limit_a 15.5", "supply.hz 60", "wifi.password hush1234", "device.name Ü"):
        run(app, "set " + line)
    out = run(app, "settings export")["export"]
    assert out["board"] == "simulated" and out["version"] == app.version
    assert out["secrets"] == ["wifi.password"]
    assert len(out["settings"]) == len(list(app.settings.names())) - 4
    few = run(app, "settings export --changed")["export"]["settings"]
    assert few == {"device.name": "Ü", "supply.hz": 60, "bed1.limit_a": 15.5}

    def done(other, values):
        return whole(other.commands.run("settings", ["import", json.dumps(values)], "console"))

    for shape in (few, {"settings": few}, {"ok": True, "export": out}):
        other = FakeApp(folder=str(tmp_path / "other"))
        answer = done(other, shape)
        assert sorted(answer["changed"]) == sorted(few) == sorted(answer["unsaved"])
        assert answer["needs_reboot"] == []
        assert run(other, "settings export")["export"]["settings"] == out["settings"]
        assert done(other, shape)["changed"] == []
    typed = list(app.commands.run("settings", ["export"], "console").lines())
    other = FakeApp(folder=str(tmp_path / "typed"))
    for line in typed:
        assert len(line.encode()) <= 500, "the console takes 512 bytes"
        name, verb, values = line.split(" ", 2)
        run_words(other, name, verb, values)
    assert run(other, "settings export")["export"]["settings"] == out["settings"]


def run_words(app, *words):
    return whole(app.commands.run(words[0], list(words[1:]), "console"))


def test_what_belongs_together_stays_on_one_line_of_an_export(app, tmp_path):
    for name, value in (("derate_c", 90), ("trip_c", 100)):
        app.settings.import_({"temperature.trip_c": 100, "temperature." + name: value})
    app.settings.import_({"supply.under_percent": 97, "supply.loss_percent": 80})
    other = FakeApp(folder=str(tmp_path / "other"))
    for line in app.commands.run("settings", ["export"], "console").lines():
        run_words(other, *line.split(" ", 2))
    assert other.settings.snapshot() == app.settings.snapshot()


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"bed1.limit_a": 10, "bed2.limit_a": 99}, "bed2.limit_a: '99' is not allowed"),
        ({"bed1.limit_a": 10, "bed9.limit_a": 10}, "there is no setting 'bed9.limit_a'"),
        ({"bed1.limit_a": 10, "bed1.limit_a ": 10}, "there is no setting"),
        ({"bed1.limit_a": 10, "temperature.trip_c": 60}, "above temperature.derate_c"),
        ({"bed1.limit_a": 10, "wifi.password": "hush" * 40}, "wifi.password: that value"),
        ({"bed1.limit_a": 10, "wifi.password": ["hush"]}, "wifi.password: that value"),
        ({"bed1.limit_a": 10, "mqtt.tls": None}, "mqtt.tls: 'None' is not allowed"),
    ],
)
def test_an_import_that_is_refused_changes_nothing(app, values, says):
    before = app.settings.snapshot()
    with pytest.raises(CommandError) as caught:
        run_words(app, "settings", "import", json.dumps(values))
    assert says in str(caught.value) and "hush" not in str(caught.value)
    assert app.settings.snapshot() == before and app.settings.changed() == []
    assert app.journal.last_seq == 0


def in_words(app):
    rows = []
    for record in app.journal.since(0):
        words = [events.KINDS[record[1]], events.REASONS[record[3]], events.SOURCES[record[5]]]
        rows.append(" ".join(words) + (f" {record[4]}" if record[3] != events.COMMAND else ""))
    return rows


def test_what_was_done_with_settings_is_in_the_journal_with_its_source(app):
    run_words(app, "settings", "import", '{"bed1.limit_a":10,"bed2.limit_a":11}')
    run(app, "save")
    run(app, "save")
    app.settings.set("mqtt.allow", "all")
    run(app, "defaults yes", "mqtt")
    assert in_words(app) == [
        "setting command console",
        "setting command console",
        "setting imported console 2",
        "setting saved console 2",
        "setting defaults mqtt 3",
    ]


def test_what_a_source_may_not_do_is_in_the_journal(app):
    app.settings.set("mqtt.allow", "read")
    for line in ("on bed1", "set bed1.limit_a 5", "reboot yes", "exit yes", "cal bed1 zero"):
        refused(app, line, "mqtt")
    refused(app, "exit yes", "schedule")
    assert in_words(app) == ["refused not_allowed mqtt 0"] * 5 + ["refused not_allowed schedule 0"]
    for _ in range(1000):
        refused(app, "on bed1", "mqtt")
    assert app.journal.last_seq == 20


def test_what_a_bridge_has_seen_is_in_the_journal(app):
    for word in ("broker_up", "broker_down", "retained", "duplicate", "expired"):
        assert run(app, "mqtt note " + word, "mqtt") == {"noted": word}
    assert in_words(app) == [
        "link broker_up mqtt 0",
        "link broker_down mqtt 0",
        "refused retained mqtt 0",
        "refused duplicate mqtt 0",
        "refused expired mqtt 0",
    ]
    for line in ("mqtt note", "mqtt note peak", "mqtt note broker_up retained"):
        assert "takes one of broker_up" in refused(app, line, "mqtt")
    assert "usage" in refused(app, "mqtt note broker_up")
    app.mqtt = SimpleNamespace(client=app)
    assert "has MQTT of its own" in refused(app, "mqtt note broker_up", "mqtt")
    assert app.journal.last_seq == 5


def test_import_needs_what_each_of_its_settings_needs(app):
    app.settings.set("mqtt.allow", "settings")
    before = app.settings.snapshot()
    words = ["settings", "import"]
    for values in (
        {"bed1.limit_a": 5},
        {"mqtt.host": "x"},
        {"device.name": "x", "leg.limit_a": 9},
    ):
        with pytest.raises(CommandError, match="not allowed from mqtt"):
            app.commands.run(words[0], [words[1], json.dumps(values)], "mqtt")
    assert app.settings.snapshot() == before
    app.commands.run(words[0], [words[1], '{"device.name":"x"}'], "mqtt")
    assert app.settings.get("device.name") == "x"


def test_who_has_asked_for_the_end(app):
    app.settings.set("mqtt.allow", "all")
    run(app, "reboot yes", "mqtt")
    assert app.stopped_by == events.BY_MQTT


def test_flash_that_refuses_is_one_sentence_and_nothing_is_noted(app, monkeypatch):
    run(app, "set bed1.limit_a 15")
    real_open = open

    def read_only(path, mode="r", *args):
        if "r" not in mode:
            raise OSError(30, "")
        return real_open(path, mode, *args)

    monkeypatch.setattr("builtins.open", read_only)
    assert "the file system is read-only" in refused(app, "save")
    assert app.settings.changed() == ["bed1.limit_a"] and app.journal.last_seq == 1

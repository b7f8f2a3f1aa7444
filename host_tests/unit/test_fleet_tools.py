"""What the fleet's tools refuse, in words; and how the storing programs are found."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tools.fleet import __main__ as fleet
from tools.progress import ToolError
from tools.runtime import apt, timeseries


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--seconds", "0"], "'0' is not 1 to 86400 seconds"),
        (["--seconds", "soon"], "'soon' is not 1 to 86400 seconds"),
        (["--interval", "nan"], "'nan' is not 0.1 to 60 seconds"),
        (["--number", "5001"], "'5001' is no number of controllers (1 to 5000)"),
        (["--broker", "here"], "'here' is no HOST:PORT"),
    ],
)
def test_options_say_what_is_allowed(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        fleet.main(words)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--restart-broker", "--broker", "h:1"], "--restart-broker is for our own broker only"),
        (["--store", "--broker", "h:1"], "--store is for our own broker only"),
        (["--store", "--seconds", "5"], "--store takes 20 s"),
    ],
)
def test_options_that_do_not_go_together(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fleet.main(words) == 1
    assert said in capsys.readouterr().err


def test_a_machine_without_packages_hears_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(apt, "available", lambda: False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError) as caught:
        timeseries.ensure("prometheus", tmp_path / "runtime")
    text = str(caught.value)
    assert "\n" not in text
    for part in ("prometheus-mqtt-exporter", "influxd", "mosquitto_sub", "apt-get", "PATH"):
        assert part in text
    with pytest.raises(ToolError, match="no such program: grafana"):
        timeseries.ensure("grafana", tmp_path / "runtime")


def test_what_is_on_the_path_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "promtool"
    program.write_text("#!/bin/sh\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(apt, "available", lambda: False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert timeseries.ensure("promtool", tmp_path / "runtime") == [str(program)]


def test_a_server_that_ends_is_an_error_with_its_last_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "prometheus"
    program.write_text("#!/bin/sh\necho 'no room for a database' >&2\nexit 3\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(timeseries, "ensure", lambda name: [str(tmp_path / name)])
    server = timeseries.Server("prometheus", [], tmp_path, "http://127.0.0.1:9/-/ready")
    with pytest.raises(ToolError, match="did not start: no room for a database"):
        server.start()
    assert server.pid == 0

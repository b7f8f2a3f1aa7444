"""The tool that gets MicroPython: what it accepts, what it refuses, and that it is quick."""

from __future__ import annotations

import itertools
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tools.progress import ToolError
from tools.runtime import apt, unix
from tools.setup import environment


def _script(path: Path, text: str) -> Path:
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_there_is_a_runtime_and_it_is_good() -> None:
    found = unix.check(unix.ensure())
    assert tuple(int(x) for x in found.version.split(".")[:2]) >= unix.MINIMUM
    assert found.small_int_bits in (31, 63)


def test_second_call_says_nothing_and_is_quick() -> None:
    unix.ensure()
    said: list[str] = []
    start = time.monotonic()
    unix.ensure(say=said.append)
    assert time.monotonic() - start < 0.1
    assert said == []


def test_command_prints_the_path_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tools.runtime.unix", "--print"],
        cwd=unix.ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{unix.ensure()}\n"


def test_wrapper_passes_arguments_and_exit_code() -> None:
    done = subprocess.run(
        [unix.ensure(), "-X", "heapsize=200k", "-c", "import sys; sys.exit(7)"], check=False
    )
    assert done.returncode == 7


def test_too_old_is_refused_by_name(tmp_path: Path) -> None:
    # an old one: what the check prints there, without the old program
    answer = "no: it is version 1.19.1 and 1.26 is needed"
    old = _script(tmp_path / "micropython", f"echo '{answer}'; exit 1")
    with pytest.raises(ToolError, match=r"it is version 1\.19\.1 and 1\.26 is needed"):
        unix.check(old)


def test_crash_is_refused_with_its_last_line(tmp_path: Path) -> None:
    answer = "ImportError: no module named tls"
    bad = _script(tmp_path / "micropython", f"echo '{answer}' >&2; exit 1")
    with pytest.raises(ToolError, match="no module named tls"):
        unix.check(bad)


def test_chosen_one_that_is_absent_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MICROPYTHON", "no-such-program-here")
    with pytest.raises(ToolError, match="no-such-program-here does not run"):
        unix.ensure()


def test_chosen_one_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    good = unix.ensure()
    monkeypatch.setenv("MICROPYTHON", str(good))
    assert unix.ensure() == good


def test_no_way_is_one_paragraph(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MICROPYTHON", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError) as caught:
        unix.ensure(tmp_path / "runtime")
    text = str(caught.value)
    assert "\n" not in text
    for part in ("1.26", "apt-get", "PATH", "MICROPYTHON"):
        assert part in text


def test_path_serves_where_packages_cannot(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    good = unix.ensure()
    _script(tmp_path / "micropython", f'exec {good} "$@"')
    monkeypatch.delenv("MICROPYTHON", raising=False)
    monkeypatch.setattr(apt, "available", lambda: False)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    said: list[str] = []
    assert unix.ensure(tmp_path / "runtime", said.append) == tmp_path / "micropython"
    assert len(said) == 1


@pytest.mark.parametrize(
    "listing",
    [
        "'http://m.example/debian/dists/x/InRelease' m.example_x 0\n",
        (
            "'http://m.example/debian-security/dists/x/InRelease' a 0\n"
            "'http://m.example/debian/dists/x/InRelease' b 0\n"
            "'http://m.example/debian/dists/x-updates/InRelease' c 0\n"
        ),
    ],
)
def test_mirror_is_read_off_apt_with_security_last(
    monkeypatch: pytest.MonkeyPatch, listing: str
) -> None:
    def fake(*_args: object, **_kw: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], 0, listing, "")

    monkeypatch.setattr(subprocess, "run", fake)
    assert apt.mirrors()[0] == "http://m.example/debian"


def test_every_requirement_is_pinned() -> None:
    groups = environment.requirements().values()
    for requirement in itertools.chain.from_iterable(groups):
        assert "==" in requirement, requirement

"""Python 3.13 for Home Assistant: which one is taken, and that Debian's works unpacked."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tools.progress import ToolError
from tools.runtime import apt, homeassistant, python313


def _script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return path


def _good(path: Path) -> Path:
    """What passes for a Python 3.13 with pip, without being one."""
    return _script(path, "echo 3 13 ensurepip\n")


def _ask(python: Path | str, code: str) -> str:
    done = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def fetched() -> Path:
    return python313.fetch()


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without any Python 3.13 and without apt; the folder is all its PATH."""
    path = tmp_path / "path"
    path.mkdir()
    for name in ("PYTHON313", "PYENV_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(path))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sys, "executable", str(path / "no-such-python"))
    return path


def test_fetched_one_is_whole(fetched: Path) -> None:
    code = "import bz2, ctypes, lzma, readline, sqlite3, ssl, sys; print(*sys.version_info[:2])"
    assert _ask(fetched, code) == "3 13"


def test_second_fetch_says_nothing(fetched: Path) -> None:
    said: list[str] = []
    start = time.monotonic()
    assert python313.fetch(say=said.append) == fetched
    assert time.monotonic() - start < 5
    assert said == []


def test_it_needs_nothing_of_the_machines_libraries(fetched: Path) -> None:
    code = (
        "import ctypes, ssl, sqlite3; ctypes.CDLL('libstdc++.so.6'); "
        "print(*{line.split()[-1] for line in open('/proc/self/maps') if '.so' in line})"
    )
    root = str(fetched.parents[2])
    strange = [path for path in _ask(fetched, code).split() if not path.startswith(root)]
    assert strange == []


def test_arguments_and_exit_code_pass(fetched: Path) -> None:
    code = "import sys; sys.exit(len(sys.argv[1]))"
    assert subprocess.run([fetched, "-c", code, "a b $c"], check=False).returncode == 6


def test_environment_has_pip_and_takes_compiled_packages(fetched: Path, tmp_path: Path) -> None:
    root = tmp_path / "an environment"
    (root / "old").mkdir(parents=True)
    python = python313.make_environment(fetched, root)
    assert not (root / "old").exists()
    pins = homeassistant.PINS.read_text().splitlines()
    # greenlet is C++: it needs libstdc++ as well
    wanted = [pin for pin in pins if pin.startswith(("greenlet==", "MarkupSafe=="))]
    assert len(wanted) == 2
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "-q", "--no-deps"]
    subprocess.run([*pip, *wanted], check=True)
    code = (
        "import greenlet, markupsafe._speedups as m, subprocess, sys; assert m.__file__; "
        "subprocess.run([sys.executable, '-c', 'import greenlet, sys; print(sys.prefix)'])"
    )
    assert _ask(python, code) == str(root)
    # the program that pip writes, too: its first line names a script, not a program
    done = subprocess.run(
        [root / "bin" / "pip", "--version"], capture_output=True, text=True, check=True
    )
    assert "(python 3.13)" in done.stdout


def test_unpacked_folder_may_be_moved(fetched: Path, tmp_path: Path) -> None:
    root = tmp_path / "some where"
    shutil.copytree(fetched.parents[2], root, symlinks=True)
    moved = root / "usr/bin/python3"
    assert _ask(moved, "import sys, ssl; print(sys.prefix)") == str(root / "usr")
    link = tmp_path / "python"
    link.symlink_to(os.path.relpath(moved, tmp_path))
    assert _ask(link, "import ssl; print(ssl.__file__)").startswith(str(root))


def test_chosen_one_comes_first(
    monkeypatch: pytest.MonkeyPatch, fetched: Path, tmp_path: Path
) -> None:
    mine = _good(tmp_path / "mine")
    monkeypatch.setenv("PYTHON313", str(mine))
    assert python313.ensure() == mine
    monkeypatch.delenv("PYTHON313")
    assert python313.ensure() == fetched  # as it is there


@pytest.mark.parametrize("answer", ["3 12 ensurepip", "3 13", "", "3 13 ensurepip'; exit 1; '"])
def test_chosen_one_that_will_not_do_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answer: str
) -> None:
    mine = _script(tmp_path / "mine", f"echo '{answer}'\n")
    monkeypatch.setenv("PYTHON313", str(mine))
    with pytest.raises(ToolError, match=r"names .*/mine, which is no Python 3\.13 with venv"):
        python313.ensure(tmp_path / "runtime")
    monkeypatch.setenv("PYTHON313", "no-such-python-here")
    with pytest.raises(ToolError, match="PYTHON313 names no-such-python-here, which"):
        python313.ensure(tmp_path / "runtime")
    assert not (tmp_path / "runtime").exists()


def test_path_comes_before_pyenv(bare: Path, tmp_path: Path) -> None:
    at_home = _good(tmp_path / "home/.pyenv/versions/3.13.1/bin/python")
    assert python313.ensure(tmp_path / "runtime") == at_home
    # pyenv's own name on the PATH, which only says that no version is chosen
    _script(bare / "python3.13", "echo 'pyenv: python3.13: command not found' >&2; exit 127\n")
    assert python313.ensure(tmp_path / "runtime") == at_home
    on_path = _good(bare / "python3.13")
    assert python313.ensure(tmp_path / "runtime") == on_path


def test_no_way_is_one_sentence(bare: Path, tmp_path: Path) -> None:
    with pytest.raises(ToolError) as caught:
        python313.ensure(tmp_path / "runtime")
    text = str(caught.value)
    assert "\n" not in text
    for part in ("no Python 3.13", "no apt-get", "pyenv install 3.13", "PYTHON313"):
        assert part in text


def test_archive_that_does_not_answer_is_one_sentence(
    bare: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # an apt without sources
    _script(bare / "apt-get", "exit 0\n")
    _script(bare / "dpkg-deb", "exit 0\n")
    assert apt.available()
    said: list[str] = []
    with pytest.raises(ToolError, match=r"cannot be had here \(trixie: .*; forky: .*PYTHON313$"):
        python313.ensure(tmp_path / "runtime", said.append)
    assert len(said) == 2
    assert not (tmp_path / "runtime/root-python313/.ok").exists()


def test_failed_step_says_its_last_line(tmp_path: Path) -> None:
    bad = _script(tmp_path / "pip", "echo first >&2; echo 'no such package' >&2; exit 3\n")
    with pytest.raises(ToolError, match=r"failed: no such package$"):
        python313.call([str(bad), "install"])


def test_base_that_will_not_do_leaves_the_old_environment(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    with pytest.raises(ToolError, match=r"is no Python 3\.13 with venv and pip"):
        python313.make_environment(_script(tmp_path / "bad", "exit 1\n"), tmp_path / "old")
    assert (tmp_path / "old").exists()

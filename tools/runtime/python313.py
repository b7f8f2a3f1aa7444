"""Python 3.13 for Home Assistant: from the machine, or Debian's packages in build/runtime.

`python -m tools.runtime.python313` makes sure that there is one and prints its path. In this
order: `$PYTHON313` when set (that one or an error), one that was unpacked before, one on the PATH,
one of pyenv's, Debian 13's packages with their C library. `--fetched` means the unpacked one,
whatever else there is. Nothing is installed and no root is needed. Called by homeassistant.py.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from tools.locking import alone
from tools.progress import ToolError, fail, step
from tools.runtime import apt

ROOT = Path(__file__).resolve().parents[2]
RUNTIME = ROOT / "build" / "runtime"

# Debian 13 has it; 14 has while it is not finished.
_SUITES = ("trixie", "forky")
# libstdc++: compiled packages need it, and the machine's own may be too new for this C library
_PACKAGES = ("python3.13", "libstdc++6")

# Run by the candidate: its version, and where pip comes from. Debian splits ensurepip off, and has
# pip's wheel in a folder beside it instead.
_CHECK = """\
import ctypes, glob, sqlite3, ssl, sys, venv, zlib
try:
    import ensurepip
    pip = "ensurepip"
except ImportError:
    pip = max(glob.glob(glob.escape(sys.base_prefix) + "/share/python-wheels/pip-*.whl"))
print(*sys.version_info[:2], pip)
"""


def ensure(folder: Path = RUNTIME, say: Callable[[str], None] = step) -> Path:
    """Path of a Python 3.13; ToolError with one sentence when there is no way to get one."""
    chosen = os.environ.get("PYTHON313")
    if chosen:
        found = shutil.which(chosen)
        if found and works(found):
            return Path(found)
        raise ToolError(f"PYTHON313 names {chosen}, which is no Python 3.13 with venv and pip")
    if (folder / "root-python313" / ".ok").exists():
        return fetch(folder, say)
    for candidate in _candidates():
        if works(candidate):
            return Path(candidate)
    return fetch(folder, say)


def fetch(folder: Path = RUNTIME, say: Callable[[str], None] = step) -> Path:
    """Debian's, unpacked into `folder` if it is not there yet (ten seconds)."""
    root = folder / "root-python313"
    python = root / "usr/bin/python3"
    with alone(folder / "lock-python313"):  # parallel tests fetch it once
        if (root / ".ok").exists() and works(python):
            return python
        if not apt.available():
            raise ToolError(
                "there is no Python 3.13 on this machine, and no apt-get to fetch it with; "
                "install it (for example `pyenv install 3.13`), or name it in PYTHON313"
            )
        private = apt.PrivateApt(folder / "apt-python313")
        reasons = []
        try:
            for suite in _SUITES:
                shutil.rmtree(root, ignore_errors=True)
                try:
                    say(f"fetching Python 3.13 and its libraries from Debian {suite}")
                    _unpack(private, suite, root)
                    _write_starter(root, python)
                    if not works(python):
                        raise ToolError("the unpacked Python does not run")
                except ToolError as error:
                    reasons.append(f"{suite}: {error}")
                    continue
                (root / ".ok").touch()
                return python
        finally:
            private.close()
    raise ToolError(
        "Python 3.13 cannot be had here (" + "; ".join(reasons) + "); "
        "install it (for example `pyenv install 3.13`), or name it in PYTHON313"
    )


def make_environment(base: Path, root: Path) -> Path:
    """A new virtual environment with pip, in place of what `root` holds; returns its Python."""
    pip = _pip_of(base)
    if not pip:
        raise ToolError(f"{base} is no Python 3.13 with venv and pip")
    shutil.rmtree(root, ignore_errors=True)
    python = root / "bin" / "python"
    if pip == "ensurepip":
        call([str(base), "-m", "venv", str(root)])
        return python
    call([str(base), "-m", "venv", "--without-pip", str(root)])
    # a wheel is a zip archive that Python can run pip from
    words = ["install", "-q", "--disable-pip-version-check", "--no-deps", "--no-index", pip]
    call([str(python), f"{pip}/pip", *words])
    return python


def works(python: str | Path) -> bool:
    """Whether it starts, is 3.13, and has all that an environment needs.

    pyenv puts names on the PATH that only say no.
    """
    return bool(_pip_of(python))


def _pip_of(python: str | Path) -> str:
    """`ensurepip`, or the path of pip's wheel; nothing: it is not a Python that will do."""
    try:
        done = subprocess.run(
            [str(python), "-c", _CHECK], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    words = done.stdout.rstrip("\n").split(" ", 2)
    good = done.returncode == 0 and len(words) == 3 and words[:2] == ["3", "13"]
    return words[2] if good else ""


def call(words: list[str]) -> None:
    """Run a step of the installation; ToolError with the last line of what it said."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=900, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolError(f"{' '.join(words[:4])} … failed: {error}") from error
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise ToolError(f"{' '.join(words[:4])} … failed: {lines[-1] if lines else 'no reason'}")


def _candidates() -> Iterator[str]:
    yield sys.executable
    on_path = shutil.which("python3.13")
    if on_path:
        yield on_path
    for root in (os.environ.get("PYENV_ROOT"), "~/.pyenv"):
        if root:
            versions = Path(root).expanduser() / "versions"
            yield from (str(path) for path in sorted(versions.glob("3.13*/bin/python")))


def _unpack(private: apt.PrivateApt, suite: str, root: Path) -> None:
    private.update([("deb", suite)])
    debs: set[Path] = set()
    for package in _PACKAGES:
        debs.update(private.download_closure(package))
    debs.update(private.download(["python3-pip-whl"], private.home / "pip"))
    for deb in sorted(debs):
        apt.unpack(deb, root)


def _write_starter(root: Path, python: Path) -> None:
    """A script beside the program that starts it with its own loader and C library.

    It finds them relative to itself, so the project's folder may be moved. Its own name is what
    Python is told as its name: so `sys.executable`, links to it and environments work.
    """
    program = root / "usr/bin/python3.13"
    loaders = sorted(root.glob("usr/lib/*/ld-linux*.so*")) + sorted(root.glob("lib/*/ld-linux*"))
    if not loaders or not program.exists():
        raise ToolError("the unpacked packages lack Python or its loader")
    folders = sorted({path.parent for path in root.glob("usr/lib/*/*.so*")})
    folders += sorted({path.parent for path in root.glob("lib/*/*.so*")})
    libraries = ":".join(f"$r/{path.relative_to(root)}" for path in folders)
    python.unlink(missing_ok=True)
    python.write_text(
        "#!/bin/sh\n"
        'r=$(readlink -f "$0") && r=${r%/usr/bin/*} &&\n'
        f'exec "$r/{loaders[0].relative_to(root)}" --argv0 "$0" --library-path "{libraries}" '
        '"$r/usr/bin/python3.13" "$@"\n'
    )
    python.chmod(0o755)


def main(argv: list[str] | None = None) -> int:
    """Command line: make sure of one, and print its path."""
    parser = argparse.ArgumentParser(prog="python -m tools.runtime.python313", description=__doc__)
    parser.add_argument("--fetched", action="store_true", help="Debian's, unpacked")
    options = parser.parse_args(argv)
    try:
        print(fetch() if options.fetched else ensure())
    except (ToolError, OSError) as error:
        return fail(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())

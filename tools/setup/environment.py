"""`python3 -m tools.setup.environment`: the virtual environment .venv from pyproject.toml's pins.

Runs on a bare machine with nothing but Python 3.11, so: standard library only. A stamp in .venv
holds a digest of all that went in; with it in place a second run takes a few milliseconds.
pip uses the machine's own configuration: no package index is named here.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from tools.progress import ToolError, fail, step
from tools.runtime import apt

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
STAMP = VENV / "tailgate.stamp"
PYTHON = VENV / "bin" / "python"
_VIPER = ROOT / "tools" / "lint" / "viper_builtins.pyi"
_GROUPS = ("test",)
_STUBS = ("rp2", "esp32")


def requirements(pyproject: Path = ROOT / "pyproject.toml") -> dict[str, list[str]]:
    """Pinned requirements: `main` for the environment, `rp2` and `esp32` for the stubs."""
    project = tomllib.loads(pyproject.read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = {"main": list(project["dependencies"])}
    for group in _GROUPS:
        wanted["main"] += extras[group]
    for port in _STUBS:
        wanted[port] = list(extras[f"stubs-{port}"])
    return wanted


def digest(wanted: dict[str, list[str]]) -> str:
    """What the stamp must hold for the environment to be up to date."""
    source = [wanted, sys.version_info[:3], str(VENV), _VIPER.read_text()]
    return hashlib.sha256(json.dumps(source, sort_keys=True).encode()).hexdigest()


def ensure() -> bool:
    """Make the environment fit pyproject.toml; False when it did already. Raises ToolError."""
    wanted = requirements()
    want = digest(wanted)
    if STAMP.exists() and STAMP.read_text() == want and PYTHON.exists():
        return False
    if not _has_pip():
        create()
    STAMP.unlink(missing_ok=True)
    step(f"installing {len(wanted['main'])} pinned packages into .venv (half a minute)")
    _pip("install", *wanted["main"])
    for port in _STUBS:
        step(f"installing the type stubs of MicroPython's {port} port")
        target = VENV / "stubs" / port
        shutil.rmtree(target, ignore_errors=True)
        _pip("install", "--target", str(target), *wanted[port])
        with (target / "stdlib" / "builtins.pyi").open("a") as builtins:
            builtins.write(_VIPER.read_text())
    STAMP.write_text(want)
    return True


def create() -> None:
    """Create .venv with pip in it, whichever way this machine allows."""
    ways = (_plain, _with_own_pip, _with_unpacked_wheel, _with_installed_package)
    reasons = []
    for way in ways:
        shutil.rmtree(VENV, ignore_errors=True)
        try:
            way()
        except ToolError as error:
            reasons.append(str(error))
            continue
        if _has_pip():
            return
        reasons.append(f"{way.__name__.strip('_')}: pip does not run in it")
    shutil.rmtree(VENV, ignore_errors=True)
    raise ToolError(
        "a virtual environment cannot be made here: "
        + "; ".join(reasons)
        + ". On Debian and Ubuntu `sudo apt-get install python3-venv` supplies what is missing."
    )


def _plain() -> None:
    step(f"creating .venv with Python {sys.version.split()[0]}")
    _call([sys.executable, "-m", "venv", str(VENV)], "python3 -m venv")


def _with_own_pip() -> None:
    """Debian splits ensurepip off; a pip of the system can serve the environment all the same."""
    step("this Python lacks ensurepip: creating .venv without it, using the system's pip")
    _call([sys.executable, "-m", "pip", "--version"], "the system's pip")
    _call([sys.executable, "-m", "venv", "--without-pip", str(VENV)], "venv --without-pip")
    _call(
        [sys.executable, "-m", "pip", "--python", str(PYTHON), "install", "-q", "pip"],
        "pip --python",
    )


def _with_unpacked_wheel() -> None:
    """Debian's pip wheel, unpacked privately, installs itself: no root needed."""
    step("no pip here: unpacking the distribution's pip wheel")
    release = apt.machine_release()
    with tempfile.TemporaryDirectory(prefix="tailgate-") as name:
        folder = Path(name)
        private = apt.PrivateApt(folder / "apt")
        private.update([("deb", release)])
        for deb in private.download(["python3-pip-whl"], folder / "debs"):
            apt.unpack(deb, folder / "root")
        wheels = sorted((folder / "root").rglob("pip-*.whl"))
        if not wheels:
            raise ToolError("python3-pip-whl holds no wheel of pip")
        _call([sys.executable, "-m", "venv", "--without-pip", str(VENV)], "venv --without-pip")
        # a wheel is a zip archive that Python can run pip from
        _call([str(PYTHON), f"{wheels[-1]}/pip", "install", "-q", str(wheels[-1])], "pip's wheel")


def _with_installed_package() -> None:
    """As root, or where sudo asks nothing: the distribution's own package."""
    as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if not apt.available() or (as_root and not shutil.which("sudo")):
        raise ToolError("python3-venv cannot be installed without apt-get and root's rights")
    step("installing the distribution's python3-venv")
    _call([*as_root, "apt-get", "-qq", "update"], "apt-get update")
    _call([*as_root, "apt-get", "-qq", "-y", "install", "python3-venv"], "apt-get install")
    _plain()


def _has_pip() -> bool:
    if not PYTHON.exists():
        return False
    return subprocess.run([PYTHON, "-m", "pip", "--version"], capture_output=True).returncode == 0


def _pip(*args: str) -> None:
    command = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "--no-input", *args]
    _call([*command, "-q"], "pip " + args[0])


def _call(command: list[str], name: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        errors = [line for line in lines if "error" in line.lower()]
        raise ToolError(f"{name} failed: {' / '.join(errors or lines[-1:]) or 'no message'}")


def main() -> int:
    """Command line."""
    if sys.version_info < (3, 11):
        return fail(f"Python 3.11 or newer is needed; this is {sys.version.split()[0]}")
    try:
        if ensure():
            step("the environment .venv is ready")
        return 0
    except ToolError as error:
        return fail(error)


if __name__ == "__main__":
    sys.exit(main())

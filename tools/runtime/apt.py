"""A private apt: packages of any Debian release, unpacked into a folder, nothing installed.

The machine's own apt set-up says which mirror to use (and how to reach it: proxies, credentials
and certificates stay in force); no mirror is named here. Needs no root, and works on a machine
where `apt-get update` was never run. Used by the MicroPython runtime, the image toolchain and the
set-up. Standard library only.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from tools.progress import ToolError

_KEYRINGS = (
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "/usr/share/keyrings/debian-archive-keyring.pgp",
)
_URI = re.compile(r"^'(?P<base>[^']+?)/dists/")


def available() -> bool:
    """Whether this machine has the two programs that everything here needs."""
    return bool(shutil.which("apt-get") and shutil.which("dpkg-deb"))


def machine_release() -> str:
    """This machine's distribution release, such as `bookworm`."""
    try:
        lines = Path("/etc/os-release").read_text().splitlines()
    except OSError as error:
        raise ToolError("this system does not say which distribution it is") from error
    for line in lines:
        key, _, value = line.partition("=")
        if key == "VERSION_CODENAME":
            return value.strip('"')
    raise ToolError("this system does not say which release it is")


def mirrors() -> list[str]:
    """Archive addresses from the machine's own apt sources, security archives last.

    `update --print-uris` only prints what an update would fetch: no network, no lists, no root.
    """
    done = subprocess.run(
        ["apt-get", "-oDir::State::status=/dev/null", "update", "--print-uris"],
        capture_output=True,
        text=True,
        check=False,
    )
    found: list[str] = []
    for line in done.stdout.splitlines():
        match = _URI.match(line)
        if match and match["base"] not in found:
            found.append(match["base"])
    # A security archive holds a part of the packages only: worth a try when there is nothing else.
    found.sort(key=lambda uri: "security" in uri)
    return found


class PrivateApt:
    """apt-get with its own sources, lists and cache below `home`.

    An empty package database makes apt resolve the whole library closure, the C library included.
    """

    def __init__(self, home: Path, arch: str | None = None) -> None:
        """`arch`: a Debian architecture such as `i386`; None is the machine's own."""
        if not available():
            raise ToolError(
                "this needs apt-get and dpkg-deb, which Debian and its relatives have; "
                "they are not on this machine's PATH"
            )
        self.home = home
        self.arch = arch
        self._suites: tuple[str, ...] = ()

    def _run(self, *args: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        home = self.home
        options = {
            "Dir::Etc::sourcelist": f"{home}/sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
            "Dir::State": str(home),
            "Dir::State::status": f"{home}/status",
            "Dir::Cache": f"{home}/cache",
            "APT::Sandbox::User": "",
            "APT::Default-Release": "",
            "Acquire::Languages": "none",
            "Acquire::Retries": "2",
            "Acquire::http::Timeout": "30",
            "Acquire::https::Timeout": "30",
            # hooks of the machine's own set-up (package caches, container clean-ups) are not ours
            "DPkg::Post-Invoke": "",
            "APT::Update::Post-Invoke": "",
            "APT::Update::Post-Invoke-Success": "",
        }
        if self.arch:
            options["APT::Architecture"] = self.arch
            options["APT::Architectures"] = self.arch
        command = ["apt-get", "-qq", *(f"-o{k}={v}" for k, v in options.items()), *args]
        return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)

    def update(self, suites: Sequence[tuple[str, str]]) -> None:
        """Fetch the lists of `(kind, suite)` pairs, kind `deb` or `deb-src`; ToolError if none."""
        candidates = mirrors()
        if not candidates:
            raise ToolError("this machine's apt has no package sources (/etc/apt/sources.list)")
        keyring = next((path for path in _KEYRINGS if Path(path).exists()), None)
        signed = f"[signed-by={keyring}] " if keyring else ""
        answers = []
        for mirror in candidates:
            shutil.rmtree(self.home, ignore_errors=True)
            for part in ("lists/partial", "cache/archives/partial"):
                (self.home / part).mkdir(parents=True)
            (self.home / "status").touch()
            lines = [f"{kind} {signed}{mirror} {suite} main\n" for kind, suite in suites]
            (self.home / "sources.list").write_text("".join(lines))
            done = self._run("update", "--error-on=any")
            if done.returncode == 0:
                self._suites = tuple(suite for _, suite in suites)
                return
            answers.append(_last_line(done.stderr) or "no answer")
        # the first mirror is the main one: what it answered says most
        wanted = ", ".join(sorted({suite for _, suite in suites}))
        raise ToolError(f"no package lists of Debian {wanted} ({answers[0]})")

    def download(self, packages: Iterable[str], into: Path) -> list[Path]:
        """Download binary packages (`name` or `name/suite`), without what they depend on."""
        return self._fetch(into, "download", *packages)

    def download_source(self, packages: Iterable[str], into: Path) -> list[Path]:
        """Download source packages' archives (`name` or `name/suite`), unverified by dpkg-source.

        apt itself checks each file against the signed lists.
        """
        return self._fetch(into, "source", "--download-only", *packages)

    def _fetch(self, into: Path, *args: str) -> list[Path]:
        into.mkdir(parents=True, exist_ok=True)
        before = set(into.iterdir())
        done = self._run(*args, cwd=into)
        if done.returncode != 0:
            raise ToolError(f"apt-get {' '.join(args)}: {_last_line(done.stderr)}")
        return sorted(set(into.iterdir()) - before)

    def download_closure(self, package: str) -> list[Path]:
        """Download a package and all that it depends on, to the C library."""
        done = self._run("-y", "--no-install-recommends", "--download-only", "install", package)
        if done.returncode != 0:
            raise ToolError(f"apt-get install {package}: {_last_line(done.stderr)}")
        return sorted((self.home / "cache/archives").glob("*.deb"))

    def close(self) -> None:
        """Remove lists and cache."""
        shutil.rmtree(self.home, ignore_errors=True)


def unpack(deb: Path, into: Path) -> None:
    """Unpack the files of one binary package below `into`."""
    into.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["dpkg-deb", "-x", str(deb), str(into)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise ToolError(f"{deb.name} cannot be unpacked: {_last_line(done.stderr)}")


def unpack_program(
    name: str,
    folder: Path,
    suites: Sequence[str],
    say: Callable[[str], None],
    command: Callable[[Path], object],
    more: Sequence[str] = (),
) -> None:
    """A program and its libraries from the first of Debian's `suites` that has one that works,
    into root-`name` of `folder`; ToolError when none has. `command` raises one when what it finds
    in there does not work. `more`: packages on which it does not depend, without what they need.
    """
    root = folder / f"root-{name}"
    private = PrivateApt(folder / f"apt-{name}")
    reasons = []
    try:
        for suite in suites:
            shutil.rmtree(root, ignore_errors=True)
            try:
                say(f"fetching {name} and its libraries from Debian {suite}")
                private.update([("deb", suite)])
                for deb in private.download_closure(name):
                    unpack(deb, root)
                for deb in private.download(more, private.home) if more else ():
                    unpack(deb, root)
                command(root)
            except ToolError as error:
                reasons.append(f"{suite}: {error}")
                continue
            (root / ".ok").touch()
            return
    finally:
        private.close()
    raise ToolError(f"{name} cannot be had here: " + "; ".join(reasons))


def own_loader(root: Path, program: Path) -> list[str]:
    """The words that start an unpacked program with its own loader and C library."""
    loaders = sorted(root.rglob("ld-linux*.so*")) or sorted(root.rglob("ld-*.so*"))
    if not loaders or not program.exists():
        raise ToolError(f"the unpacked packages lack {program.name} or its loader")
    folders = sorted({str(p.parent) for p in root.rglob("*.so*") if "/lib" in str(p.parent)})
    return [str(loaders[0]), "--library-path", ":".join(folders), str(program)]


def _last_line(text: str) -> str:
    """The line of apt's complaint that says most: the first error, else the last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for line in lines:
        if line.startswith("E:"):
            return line[2:].strip()
    return lines[-1] if lines else ""

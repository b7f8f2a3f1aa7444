"""The file system in a Pico's flash: littlefs images built and read on the host.

The layout is that of MicroPython's RPI_PICO board: the last 1408 KiB of 2 MiB, blocks of 4 KiB.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from littlefs import LittleFS, UserContext

BLOCK = 4096
BLOCKS = 352
START = 0xA0000
SIZE = BLOCK * BLOCKS

Files = Mapping[str, bytes | str] | Path


def _mount(image: bytearray, fresh: bool) -> LittleFS:
    context = UserContext(buffsize=SIZE)
    context.buffer[:] = image
    fs = LittleFS(
        context=context,
        mount=False,
        block_size=BLOCK,
        block_count=BLOCKS,
        prog_size=256,
        # 2.0 is read by every MicroPython; the chip's driver may have made 2.1 of it since
        disk_version=0x00020000 if fresh else 0,
    )
    if fresh:
        fs.format()
    fs.mount()
    return fs


def collect(files: Files) -> dict[str, bytes]:
    """File contents by path without a leading slash, of a folder or a mapping."""
    if isinstance(files, Path):
        return {
            path.relative_to(files).as_posix(): path.read_bytes()
            for path in sorted(files.rglob("*"))
            if path.is_file() and "__pycache__" not in path.parts
        }
    return {
        name.lstrip("/"): text.encode() if isinstance(text, str) else text
        for name, text in files.items()
    }


def write(files: Files, image: bytes | None = None) -> bytes:
    """An image with `files` in it: those of `image` stay, where they are not replaced."""
    fs = _mount(bytearray(image or b"\xff" * SIZE), fresh=image is None)
    for name, data in collect(files).items():
        parent = PurePosixPath("/" + name).parent
        if str(parent) != "/":
            fs.makedirs(str(parent), exist_ok=True)
        with fs.open("/" + name, "wb") as file:
            file.write(data)
    fs.unmount()
    return bytes(fs.context.buffer)


def read(image: bytes) -> dict[str, bytes]:
    """All files of an image by path without a leading slash."""
    fs = _mount(bytearray(image), fresh=False)
    found: dict[str, bytes] = {}
    for folder, _, names in fs.walk("/"):
        for name in names:
            path = folder.rstrip("/") + "/" + name
            with fs.open(path, "rb") as file:
                found[path.lstrip("/")] = file.read()
    fs.unmount()
    return found

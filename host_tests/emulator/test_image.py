"""The firmware image: what is frozen runs whatever the file system holds; it is reproducible."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from tools.emulator import EmulatedPico
from tools.image import build, uf2
from tools.progress import ToolError

_BOOT = """\
from machine import Pin
Pin(2, Pin.OUT, value=0)
"""
_MAIN = """\
import asyncio, sys
from firmware import part
from lib import helper
async def run():
    while True:
        print("frozen", part.WHAT, helper.WHAT, sys.path)
        await asyncio.sleep_ms(50)
asyncio.run(run())
"""


def _tree(folder: Path, what: str = "part") -> Path:
    for name, text in (
        ("boot.py", _BOOT),
        ("main.py", _MAIN),
        ("firmware/__init__.py", ""),
        ("firmware/part.py", f"WHAT = {what!r}\n"),
        ("lib/helper.py", "WHAT = 'helper'\n"),
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def _silent(_: str) -> None:
    pass


def _build(tree: Path, output: Path) -> str:
    """Build quietly; the digest of the image."""
    build.build(tree, output, say=_silent)
    return hashlib.sha256(output.read_bytes()).hexdigest()


def test_what_is_frozen_runs_and_goes_first(tmp_path: Path) -> None:
    image = tmp_path / "image.uf2"
    _build(_tree(tmp_path / "tree"), image)
    stale = {
        "boot.py": "print('stale boot')",
        "main.py": "print('stale main')",
        "firmware/__init__.py": "",
        "firmware/part.py": "WHAT = 'stale'",
        "lib/helper.py": "WHAT = 'stale'",
    }
    for files in (None, stale):
        with EmulatedPico(image, files=files) as pico:
            pico.expect("frozen part helper", timeout=20)
            assert "stale" not in pico.console


def test_frozen_machine_code_finds_its_constants(tmp_path: Path) -> None:
    """Constants are loaded relative to the program counter, by words: so must the code lie."""
    tree = _tree(tmp_path / "tree")
    names = [f"viper{i}" for i in range(6)]
    for i, name in enumerate(names):
        body = "import micropython\n@micropython.viper\ndef f() -> int:\n"
        body += "    a = 0\n" + "    a += 1\n" * i + "    return a + 0x12345678\n"
        (tree / "firmware" / f"{name}.py").write_text(body)
    program = f"import time\nfrom firmware import {', '.join(names)}\nwhile True:\n"
    program += f"    print([m.f() - 0x12345678 for m in ({', '.join(names)},)], 'end')\n"
    (tree / "main.py").write_text(program + "    time.sleep_ms(50)\n")
    image = tmp_path / "image.uf2"
    _build(tree, image)
    with EmulatedPico(image, files={}) as pico:
        pico.expect("[0, 1, 2, 3, 4, 5] end")


def test_pins_are_driven_before_the_flash_is_touched(tmp_path: Path) -> None:
    image = tmp_path / "image.uf2"
    _build(_tree(tmp_path / "tree"), image)
    with EmulatedPico(image) as pico:  # blank flash: formatting takes long
        pico.run_until(lambda: bool(pico.edges))
        assert pico.edges[0][1:] == (2, 0)
        assert pico.edges[0].t_us < 15_000
        # the port runs boot.py a second time, which must not move the pin
        pico.expect("frozen", timeout=20)
        assert len([edge for edge in pico.edges if edge.gpio == 2]) == 1


def test_same_sources_give_the_same_image(tmp_path: Path) -> None:
    one, other = _tree(tmp_path / "one"), _tree(tmp_path / "other", "another")
    image = tmp_path / "image.uf2"
    first = _build(one, image)
    second = _build(other, image)
    assert second != first
    assert _build(one, image) == first
    same = _tree(tmp_path / "elsewhere")
    assert _build(same, image) == first


def test_no_path_of_this_machine_is_in_the_image(tmp_path: Path) -> None:
    image = tmp_path / "image.uf2"
    _build(_tree(tmp_path / "tree"), image)
    blocks = image.read_bytes()
    flash = b"".join(blocks[i + 32 : i + 288] for i in range(0, len(blocks), 512))
    for path in (str(build.ROOT), str(tmp_path), str(Path.home())):
        assert path.encode() + b"/" not in flash


def test_firmware_that_does_not_compile_is_named(tmp_path: Path) -> None:
    tree = _tree(tmp_path / "tree")
    (tree / "firmware" / "part.py").write_text("x = 1\ndef broken(:\n")
    with pytest.raises(ToolError, match=r"firmware/part\.py, line 2: SyntaxError"):
        _build(tree, tmp_path / "image.uf2")


def test_firmware_that_does_not_fit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "_FLASH_FOR_CODE", 300_000)
    with pytest.raises(ToolError, match="only 295904 fit below the file system"):
        _build(_tree(tmp_path / "tree"), tmp_path / "image.uf2")


def test_nothing_to_freeze_is_said(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tools.image.build", "--firmware", str(tmp_path)],
        cwd=build.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == f"error: there is no main.py in {tmp_path}: nothing to freeze\n"


def test_uf2_says_what_it_is_for() -> None:
    image = uf2.encode(bytes(range(256)) * 3 + b"tail")
    assert len(image) == 4 * 512
    assert uf2.family(image) == "RP2040"
    with pytest.raises(ValueError, match="magic numbers"):
        uf2.family(bytes(512))
    with pytest.raises(ValueError, match="multiple of 512"):
        uf2.family(image[:100])


def test_this_firmware_builds_and_leaves_room() -> None:
    image = build.ensure(say=_silent)
    assert uf2.family(image.read_bytes()) == "RP2040"

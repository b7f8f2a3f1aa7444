"""Staging and deploying to a board: an emulated one with a stock image, its console on a pty."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tools import flash, stage
from tools.deploy import copying, ports
from tools.deploy.board import Identity
from tools.emulator import EmulatedPico
from tools.emulator.console import PtyLink
from tools.image import build, uf2
from tools.progress import ToolError

# A firmware with the console's contract: Ctrl-C is an ordinary key, `exit yes` gives the REPL.
_MAIN = """\
import sys, micropython, select
from machine import Pin
from firmware import part
relay = Pin(2, Pin.OUT, value=1)
micropython.kbd_intr(-1)
line = ""
while True:
    char = sys.stdin.read(1)
    if char not in "\\r\\n":
        line += char if char >= " " else ""
        continue
    if line == "status":
        print("ok")
        print("  version", part.VERSION)
    elif line == "exit yes":
        relay.value(0)
        micropython.kbd_intr(3)
        print("ok stopping")
        break
    elif line:
        print("error: no command", line)
    line = ""
"""


def _tree(folder: Path, version: int = 1) -> Path:
    for name, text in (
        ("boot.py", "from machine import Pin\nPin(2, Pin.OUT, value=0)\n"),
        ("main.py", _MAIN),
        ("firmware/__init__.py", ""),
        ("firmware/part.py", f"VERSION = {version}\n"),
        ("firmware/deep/er/module.py", "X = 1\n" * 300),
        ("lib/helper.py", "Y = 2\n"),
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@dataclass
class Rig:
    """An emulated board with its console on a pty."""

    pico: EmulatedPico
    port: str

    def deploy(self, *arguments: str | Path, limit: float = 120.0) -> tuple[int, str]:
        """Run the deploy command while the chip runs; its exit code and output."""
        command = [sys.executable, "-m", "tools.deploy", "--port", self.port, *arguments]
        with subprocess.Popen(
            command, cwd=build.ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            self.pico.run_until(lambda: process.poll() is not None, limit)
            assert process.stdout is not None
            return process.returncode, process.stdout.read()


def _rig(image: Path, files: dict[str, bytes | str]) -> Rig:
    pico = EmulatedPico(image, files=files, speed=1.0)
    link = PtyLink()
    pico.connect(link)
    pico.run(0.2)
    return Rig(pico, link.path)


@pytest.fixture
def rig(stock_image: Path) -> Iterator[Rig]:
    """A board with a stock image, settings of its own and a file of its owner's."""
    rig = _rig(stock_image, {"data/settings.json": '{"mine": 1}', "lib/other.py": "Z = 3\n"})
    with rig.pico:
        yield rig


def test_round_trip(rig: Rig, tmp_path: Path) -> None:
    tree = _tree(tmp_path / "tree")
    code, output = rig.deploy("--firmware", tree)
    assert code == 0, output
    assert "7 files to copy" in output and "0 unchanged" in output
    assert output.rstrip().endswith("version 1")
    files = rig.pico.files()
    wanted = stage.stage(tree)
    assert {name: files[name] for name in wanted} == wanted
    assert files["data/settings.json"] == b'{"mine": 1}' and "lib/other.py" in files
    assert rig.pico.level(2) == 1  # the firmware runs

    # a change: the running firmware is stopped, only what differs goes over
    _tree(tree, version=2)
    code, output = rig.deploy("--firmware", tree)
    assert code == 0, output
    assert "asking it to open all relays" in output
    assert "3 files to copy" in output and "4 unchanged" in output  # main.py goes along
    assert output.rstrip().endswith("version 2")

    # nothing to do: nothing is written
    before = rig.pico.files()
    code, output = rig.deploy("--firmware", tree)
    assert code == 0, output
    assert "0 files to copy" in output
    assert rig.pico.files() == before


def test_interrupted_copy_leaves_a_safe_board_and_is_repaired(rig: Rig, tmp_path: Path) -> None:
    tree = _tree(tmp_path / "tree")
    code, output = rig.deploy("--firmware", tree)
    assert code == 0, output
    (tree / "firmware" / "part.py").write_text("VERSION = 3\n" + "FILLER = 'x'\n" * 2000)
    command = [sys.executable, "-m", "tools.deploy", "--port", rig.port, "--source"]
    with subprocess.Popen(
        [*command, "--firmware", tree],
        cwd=build.ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        for _ in range(600):
            rig.pico.run(0.05)
            if copying._TEMPORARY in rig.pico.files():
                break
        process.kill()
    rig.pico.power_cycle()
    rig.pico.run(1.0)
    files = rig.pico.files()
    assert "main.py" not in files
    assert rig.pico.level(2) == 0  # boot.py holds the relay open, nothing closes it
    code, output = rig.deploy("--firmware", tree)
    assert code == 0, output
    assert output.rstrip().endswith("version 3")
    files = rig.pico.files()
    # no other form of our modules is left that would go before the new one
    assert not [name for name in files if name.startswith("firmware/") and name.endswith(".py")]
    assert copying._TEMPORARY not in files


def test_full_flash_changes_nothing(stock_image: Path, tmp_path: Path) -> None:
    rig = _rig(stock_image, {"photo.bin": bytes(1330 * 1024)})
    with rig.pico:
        code, output = rig.deploy("--firmware", _tree(tmp_path / "tree"))
        assert code == 1
        assert "the board's flash is too full" in output
        assert list(rig.pico.files()) == ["photo.bin"]


def test_frozen_image_is_not_deployed_to(tmp_path: Path) -> None:
    image = tmp_path / "image.uf2"
    build.build(_tree(tmp_path / "tree"), image, say=lambda _: None)
    rig = _rig(image, {})
    with rig.pico:
        code, output = rig.deploy("--firmware", tmp_path / "tree")
        assert code == 1
        assert "an image with Tailgate frozen in" in output


def test_something_else_on_the_port_is_said(stock_image: Path, tmp_path: Path) -> None:
    chatter = "import micropython, time\nmicropython.kbd_intr(-1)\n"
    chatter += "while True:\n    print('$GPGGA,1')\n    time.sleep_ms(200)\n"
    rig = _rig(stock_image, {"main.py": chatter})
    with rig.pico:
        code, output = rig.deploy("--firmware", _tree(tmp_path / "tree"))
        assert code == 1
        assert "answers like MicroPython" in output and "GPGGA" in output


def test_firmware_that_does_not_start_is_said(rig: Rig, tmp_path: Path) -> None:
    tree = _tree(tmp_path / "tree")
    (tree / "main.py").write_text("raise RuntimeError('not today')\n")
    code, output = rig.deploy("--firmware", tree)
    assert code == 1
    assert "does not answer" in output


def test_no_such_port() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tools.deploy", "--port", "/dev/ttyNONE9"],
        cwd=build.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "there is no port /dev/ttyNONE9" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_board_and_several_boards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "candidates", list)
    with pytest.raises(ToolError, match="no board was found"):
        ports.choose(None)
    two = [("/dev/a", "one"), ("/dev/b", "two")]
    monkeypatch.setattr(ports, "candidates", lambda: two)
    with pytest.raises(ToolError, match=r"several boards: /dev/a \(one\), /dev/b \(two\)"):
        ports.choose(None)
    monkeypatch.setattr(ports, "candidates", lambda: two[:1])
    assert ports.choose(None) == "/dev/a"
    assert ports.choose("/dev/c") == "/dev/c"


def _identity(**changes: object) -> Identity:
    fields: dict[str, object] = {
        "name": "micropython",
        "version": (1, 26, 1),
        "platform": "rp2",
        "machine": "Raspberry Pi Pico with RP2040",
        "architecture": 4,
        "block": 4096,
        "free_blocks": 300,
        "frozen": False,
    }
    return Identity(**(fields | changes))  # type: ignore[arg-type]


def test_chips() -> None:
    assert _identity().chip == "rp2040"
    assert _identity(platform="esp32", architecture=10, machine="ESP32").chip == "esp32"
    for changes in (
        {"machine": "Raspberry Pi Pico2 with RP2350", "architecture": 7},
        {"platform": "pyboard", "architecture": 6, "machine": "PYBv1.1"},
        {"platform": "esp32", "architecture": 11, "machine": "ESP32C3"},
    ):
        with pytest.raises(ToolError, match="Tailgate runs on"):
            _ = _identity(**changes).chip


def test_stage_leaves_out_nothing_and_says_what_does_not_compile(tmp_path: Path) -> None:
    tree = _tree(tmp_path / "tree")
    files = stage.stage(tree)
    assert sorted(files) == [
        "boot.py",
        "firmware/__init__.mpy",
        "firmware/deep/er/module.mpy",
        "firmware/files.txt",
        "firmware/part.mpy",
        "lib/helper.mpy",
        "main.py",
    ]
    assert files["firmware/part.mpy"][:2] == b"M\x06"
    stage.write(files, tmp_path / "device")
    assert (tmp_path / "device/firmware/deep/er/module.mpy").is_file()
    sources = [path.relative_to(tree).as_posix() for path in tree.rglob("*.py")]
    assert sorted(stage.stage(tree, source=True)) == sorted([*sources, "firmware/files.txt"])
    (tree / "lib" / "helper.py").write_text("x = (\n")
    with pytest.raises(ToolError, match=r"lib/helper\.py does not compile: .*SyntaxError"):
        stage.stage(tree)


def test_flash_refuses_an_image_for_another_chip(tmp_path: Path) -> None:
    esp = tmp_path / "esp32.bin"
    esp.write_bytes(b"\xe9" + bytes(4095))
    pico = tmp_path / "pico.uf2"
    pico.write_bytes(uf2.encode(bytes(4096)))
    flash.check_image("pico", pico)
    flash.check_image("esp32", esp)
    with pytest.raises(ToolError, match="an image for the ESP32"):
        flash.check_image("pico_w", esp)
    with pytest.raises(ToolError, match="an image for the RP2040"):
        flash.check_image("esp32", pico)
    with pytest.raises(ToolError, match="there is no image"):
        flash.check_image("pico", tmp_path / "absent.uf2")


def test_flash_copies_to_a_boards_drive(tmp_path: Path) -> None:
    drive = tmp_path / "RPI-RP2"
    drive.mkdir()
    (drive / "INFO_UF2.TXT").write_text("Model: Raspberry Pi RP2\nBoard-ID: RPI-RP2\n")
    other = tmp_path / "BACKUP"
    other.mkdir()
    assert flash.find_drives([drive, other]) == [drive]
    image = tmp_path / "image.uf2"
    image.write_bytes(uf2.encode(bytes(4096)))
    assert flash.main(["--board", "pico", "--image", str(image), "--drive", str(drive)]) == 0
    assert (drive / "image.uf2").read_bytes() == image.read_bytes()
    assert flash.main(["--board", "pico", "--image", str(image), "--drive", str(other)]) == 1


def test_flash_explains_each_board(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    image = tmp_path / "image.uf2"
    image.write_bytes(uf2.encode(bytes(4096)))
    assert flash.main(["--board", "pico", "--image", str(image), "--no-drive"]) == 0
    assert "BOOTSEL" in capsys.readouterr().out
    assert flash.main(["--board", "pico_w", "--no-drive"]) == 0
    assert "official image" in capsys.readouterr().out
    assert flash.main(["--board", "esp32", "--no-drive"]) == 0
    assert "esptool" in capsys.readouterr().out

"""What the documents say is what the code says: generated blocks, commands, links, scenarios."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from firmware import board as boards
from firmware.interfaces import commands
from firmware.protection import outlet, thermal
from firmware.storage import settings
from tools.docs import blocks, settings_table, trip_curves
from tools.docs.__main__ import BLOCKS
from tools.progress import ToolError
from tools.simulator import scenario

ROOT = blocks.ROOT
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
REFRESH = "out of date: run `python -m tools.docs`"


@pytest.mark.parametrize(
    ("document", "name", "make"), BLOCKS, ids=[f"{d}-{n}" for d, n, _ in BLOCKS]
)
def test_a_generated_block_is_current(document: str, name: str, make: Callable[[], str]) -> None:
    assert blocks.find(document, name) == make(), REFRESH


def test_every_generated_block_is_known() -> None:
    begun = {
        (path.relative_to(ROOT).as_posix(), name)
        for path in DOCUMENTS
        for name in re.findall(r"<!-- begin (\S+):", path.read_text())
    }
    assert begun == {(document, name) for document, name, _ in BLOCKS}


def test_the_settings_table_has_the_schema_row_by_row() -> None:
    text = (ROOT / "docs" / "console.md").read_text()
    for row in settings.SCHEMA:
        assert f"| `{row[settings.NAME]}` |" in text
    for row in settings.OUTLET_SCHEMA:
        assert f"| `<outlet>.{row[settings.NAME]}` |" in text
    assert settings_table.settings().count("\n") == len(settings.SCHEMA) + 2


def test_no_secret_has_a_default_to_print() -> None:
    table = settings_table.settings()
    assert "password" in table
    assert "(set)" not in table


def test_every_command_has_a_chapter() -> None:
    text = (ROOT / "docs" / "console.md").read_text()
    chapters = re.findall(r"^### (\S+)$", text, re.MULTILINE)
    assert chapters == [entry[0] for entry in commands.TABLE]


def test_every_state_and_every_arrow_is_in_the_diagram() -> None:
    text = blocks.find("docs/protection.md", "states")
    for state, event, new, _ in outlet.TRANSITIONS:
        if state != new:
            arrow = re.compile(rf"    {outlet.STATES[state]} --> {outlet.STATES[new]}: (.*)")
            match = arrow.search(text)
            assert match, (state, new)
            assert outlet.EVENTS[event] in match[1].split(", ")


@pytest.mark.parametrize("multiple", [1.5, 2.0, 5.0])
def test_trip_times_are_those_of_the_formula(multiple: float) -> None:
    import math

    r = multiple / 1.05
    for tau, seconds in zip(thermal.TAU_S, trip_curves.trip_times(multiple), strict=True):
        assert seconds == pytest.approx(tau * math.log(r * r / (r * r - 1)), rel=0.01)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_links_lead_somewhere(path: Path) -> None:
    text = path.read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("https://"):
            continue  # a source elsewhere
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        assert file.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
            assert anchor in [_anchor(title) for title in titles], target


def _anchor(title: str) -> str:
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_files_tests_and_scenarios_that_are_named_exist(path: Path) -> None:
    text = path.read_text()
    for name in re.findall(r"SCENARIO=([a-z_0-9]+)\b(?!/)", text):
        assert name in scenario.available() or name == "path", name
    for name in re.findall(r"`((?:firmware|host_tests|tools|docs|lib)/[\w./]+\w)`", text):
        assert (ROOT / name).exists() or (ROOT / f"{name}.py").exists(), name
    tests = "\n".join(p.read_text() for p in (ROOT / "host_tests").rglob("test_*.py"))
    for name in re.findall(r"\b(test_[a-z_0-9]+)…?`", text):
        if name != "test_":
            assert f"def {name}" in tests or f"{name}.py" in text, name
    for name in re.findall(r"-m (tools[\w.]+)", text):
        place = ROOT / name.replace(".", "/")
        assert place.with_suffix(".py").exists() or (place / "__main__.py").exists(), name


def test_the_documents_name_the_boards_that_exist() -> None:
    text = (ROOT / "docs" / "hardware.md").read_text()
    for name in boards.names():
        titles = {"pico_w": "Pico W", "pico": "Pico", "esp32": "ESP32"}
        assert titles.get(name, f"`{name}`") in text


def test_pictures_are_there_and_small() -> None:
    named = {
        (path.parent / name).resolve()
        for path in DOCUMENTS
        for name in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", path.read_text())
    }
    assert named
    for picture in named:
        assert picture.stat().st_size < 300_000, picture.name


def test_a_document_without_the_block_is_named() -> None:
    with pytest.raises(ToolError, match="no block between"):
        blocks.find("README.md", "nothing")


def test_the_terminal_understands_what_the_line_editor_sends() -> None:
    from tools.docs.terminal_picture import Screen

    screen = Screen(10)
    screen.feed("\x1b[36mtruck> \x1b[0mab\r\x1b[K> on\x1b[1D")
    screen.feed("N\r\nlong line that wraps\x1b[")
    screen.feed("1mX")
    assert screen.text() == ["> oN", "long line", "that wraps", "X"]
    assert screen.rows[-1][-1][2]

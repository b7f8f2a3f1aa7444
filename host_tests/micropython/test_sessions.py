"""The console sessions in the documents are what the firmware says today."""

from __future__ import annotations

import re

import pytest

from tools.docs import sessions
from tools.progress import ToolError

REFRESH = "out of date: run `python -m tools.docs.sessions`"


@pytest.fixture(scope="module")
def played() -> dict[str, str]:
    return sessions.play()


@pytest.mark.parametrize("document", sessions.DOCUMENTS)
def test_the_sessions_of_a_document_are_current(document: str, played: dict[str, str]) -> None:
    path = sessions.ROOT / document
    found = sessions.blocks(path)
    assert found
    assert path.read_text("utf-8").count("<!-- session: ") == len(found), "each is before a fence"
    for name, text in found.items():
        assert name in played, f"{name} is in no story"
        assert sessions.plain(text) == sessions.plain(played[name]), f"{name} is {REFRESH}"


def test_each_command_and_each_answer_of_a_session_are_there(played: dict[str, str]) -> None:
    for name, text in played.items():
        assert "internal error" not in text
        asked = len(re.findall(r"^> ", text, re.MULTILINE))
        assert asked, name
        assert len(re.findall(r"^(ok|error:)", text, re.MULTILINE)) == asked, name
    assert max(len(line) for line in played["status"].splitlines()) < 80


def test_what_is_compared() -> None:
    plain = sessions.plain
    assert plain("  bed1  on   12.0   1440  [######....]   60%") == plain(
        "  bed1  on    9.5    912  [#####.....]   47%"
    )
    assert plain("ok bed1") != plain("error: bed1: tripped")
    with pytest.raises(ToolError, match="no such step"):
        sessions.Player()._step(None, "dance")  # type: ignore[arg-type]

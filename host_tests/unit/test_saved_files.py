"""Files that `tools.settings` and `tools.calibrate` do not take: one sentence, no board asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tools.calibrate.__main__ import main as calibrate
from tools.settings.__main__ import main as settings

TOOLS = {
    "settings": (settings, ["--port", "/dev/null", "import"]),
    "calibration": (calibrate, ["/dev/null", "--restore"]),
}


@pytest.mark.parametrize(
    ("what", "content", "says"),
    [
        *((what, None, "cannot read") for what in TOOLS),
        *((what, "{", "is no JSON file") for what in TOOLS),
        *((what, "[]", f"holds no {what}") for what in TOOLS),
        *((what, "{}", f"holds no {what}") for what in TOOLS),
        ("calibration", '{"format":"tailgate-calibration-1"}', "holds no calibration"),
        ("settings", '{"format":"tailgate-calibration-1","calibration":{}}', "holds no settings"),
        ("settings", '{"bed1.limit_a":[1]}', "holds no settings"),
    ],
)
def test_a_file_that_is_of_no_use(
    tmp_path: Path,
    what: str,
    content: str | None,
    says: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    main: Callable[[list[str]], int]
    main, words = TOOLS[what]
    path = tmp_path / "file.json"
    if content is not None:
        path.write_text(content)
    assert main([*words, str(path)]) == 1
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1

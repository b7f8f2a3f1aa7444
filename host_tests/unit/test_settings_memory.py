"""What people ask for leaves nothing behind in the settings' memory."""

from __future__ import annotations

import json
from pathlib import Path

from host_tests.fakes.fake_console_app import FakeApp


def test_asking_for_every_setting_takes_no_memory(tmp_path: Path) -> None:
    app = FakeApp(folder=str(tmp_path))
    settings = app.settings
    held = len(settings._defaults)
    run = app.commands.run
    for name in list(settings.names()):
        value = run("get", [name], "console")["settings"][name]
        if value not in ("(set)", "(not set)"):
            run("set", [name, str(value)], "console")
            run("settings", ["import", json.dumps({name: value})], "console")
    # what the rules of the groups look at has fixed names
    assert len(settings._defaults) - held <= 20, sorted(settings._defaults)

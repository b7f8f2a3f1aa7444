"""The console where memory ends: every line gets its answer, and nothing else is obeyed."""

import pytest

from firmware.interfaces import console, editor, screens
from host_tests.fakes.console_bench import ConsoleBench, quicken


@pytest.fixture
def bench(tmp_path, monkeypatch):
    quicken(monkeypatch)
    return ConsoleBench(str(tmp_path / "data"))


def no_memory(*_):
    raise MemoryError


async def ask(bench, line):
    bench.port.send(line.encode() + b"\n")
    await bench.settle()
    return bench.port.text()


@pytest.mark.parametrize("where", [(console, "split"), (editor.Editor, "take")])
def test_a_line_for_which_there_is_no_memory_is_answered(bench, monkeypatch, where):
    async def script(b):
        with monkeypatch.context() as broken:
            broken.setattr(*where, no_memory)
            assert await ask(b, "on bed1") == ("\r\nerror: not enough memory for this answer\r\n")
        assert b.app.states[2] == "off"
        assert (await ask(b, "version")).startswith("ok")

    bench.session(script)


def test_what_is_left_of_a_line_is_not_taken_for_one(bench, monkeypatch):
    """Memory ends while the first 256 bytes of a longer line are taken; the rest is a command."""
    real = editor.Editor.feed
    left = [100]

    def feed(self, byte):
        left[0] -= 1
        if not left[0]:
            raise MemoryError
        return real(self, byte)

    monkeypatch.setattr(editor.Editor, "feed", feed)

    async def script(b):
        text = await ask(b, "settings import {".ljust(256) + "off all")
        assert text == "error: not enough memory for this line\r\n"
        assert not b.app.controller.log
        assert (await ask(b, "off bed1")).startswith("ok")

    bench.session(script)


def test_an_event_for_which_there_is_no_memory_is_shown_later(bench, monkeypatch):
    async def script(b):
        with monkeypatch.context() as broken:
            broken.setattr(screens, "event", no_memory)
            b.app.trip(2)
            await b.settle()
            assert (await ask(b, "version")).startswith("ok")
        await b.settle()
        assert "bed1 tripped thermal" in b.port.text()

    bench.session(script)


@pytest.mark.parametrize("error", [OSError(5), KeyError("bed1"), MemoryError()])
def test_json_that_fails_half_way_ends_in_an_error(bench, monkeypatch, error):
    class Answer:
        def parts(self):
            yield '"settings":{'
            raise error

    async def script(b):
        with monkeypatch.context() as broken:
            broken.setattr(b.app.commands, "run", lambda *_: Answer())
            text = await ask(b, "get --json")
        first, second, _ = text.split("\r\n")
        assert first.startswith('{"ok":true,') and second.startswith("error: ")
        assert (await ask(b, "version --json")).startswith('{"ok": true')

    bench.session(script)


def test_a_console_that_starts_again_does_not_repeat_itself(bench):
    bench.app.trip(2)

    async def script(b):
        await b.settle()
        return b.port.text()

    assert bench.session(script).count("tripped") == 1
    assert "tripped" not in bench.session(script)

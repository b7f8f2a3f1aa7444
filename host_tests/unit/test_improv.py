"""Wi-Fi from a browser: packets on the console's port, which harm no text."""

import asyncio
import json
import random
import sys

import pytest

from firmware.interfaces import console
from firmware.storage import files
from host_tests.fakes.console_bench import ConsoleBench, quicken
from host_tests.fakes.fake_console_app import FakeApp
from host_tests.fakes.improv_peer import Radio, Reader, call, credentials, framed, texts

PASSWORD = "correct horse battery"
NUMBERS = {"none": 0, "invalid": 1, "unknown": 2, "not joined": 3, "host": 5, "other": 255}
ERROR = {name: (2, bytes((number,))) for name, number in NUMBERS.items()}
READY, JOINING, JOINED = ((1, bytes((number,))) for number in (2, 3, 4))
NOTHING = (4, b"\x01\x00")  # result of call 1 without texts


class Bench(ConsoleBench):
    """A fake radio; packets go in and come out."""

    def __init__(self, folder):
        self.radio = Radio({"Barn": PASSWORD, "Café ☕": "", "x" * 32: "y" * 63}, self._turn)
        ConsoleBench.__init__(self, folder, self.radio)
        self.reader = Reader()

    async def _turn(self):
        await asyncio.sleep(0.05)

    def is_idle(self):
        joining = self.console._joining is not None and not self.console._joining.done()
        return ConsoleBench.is_idle(self) and not joining

    async def settle(self):
        await ConsoleBench.settle(self)
        self.reader.feed(bytes(self.port.out))
        self.port.out = bytearray()

    async def ask(self, data):
        """Send bytes; the packets that came back."""
        self.port.send(data)
        await self.settle()
        return self.reader.take()

    def text(self):
        """The text that came between packets since the last call."""
        text, self.reader.text = self.reader.text.decode(), b""
        return text


@pytest.fixture
def bench(tmp_path, monkeypatch):
    quicken(monkeypatch)
    return Bench(str(tmp_path / "data"))


def test_what_a_browser_asks_first(bench):
    async def script(b):
        assert await b.ask(call(2)) == [ERROR["none"], READY]
        b.radio.ssid = "Barn"
        assert await b.ask(call(2)) == [ERROR["none"], JOINED, (4, b"\x02\x00")]
        none, (kind, data) = await b.ask(call(3))
        assert (none, kind) == (ERROR["none"], 4)
        b.app.settings.set("device.name", "")
        assert texts(data) == (3, ["Tailgate", "0.1.0", b.app.board.chip, "Tailgate"])
        assert texts((await b.ask(call(3)))[1][1])[1][3] == b.app.device_id
        assert [texts(data) for _, data in (await b.ask(call(7)))[1:]] == [(7, ["3"])]
        b.radio.ssid = ""
        assert [texts(data) for _, data in (await b.ask(call(7)))[1:]] == [(7, ["2"])]
        assert b.text() == "", "neither echo nor answer as text"

    bench.session(script)


def test_networks_in_reach(bench):
    async def script(b):
        none, *rows = await b.ask(call(4))
        assert none == ERROR["none"]
        assert [texts(data) for kind, data in rows if kind == 4] == [
            (4, ["Barn", "-44", "YES"]),
            (4, ["Café ☕", "-46", "YES"]),
            (4, ["x" * 32, "-72", "YES"]),
            (4, []),
        ]

    bench.session(script)


@pytest.mark.parametrize(
    "ssid, password", [("Barn", PASSWORD), ("Café ☕", ""), ("x" * 32, "y" * 63)]
)
def test_a_network_that_can_be_joined_is_kept(bench, ssid, password):
    async def script(b):
        b.app.settings.set("wifi.ssid", "Old")
        b.app.settings.set("wifi.password", "old password")
        b.app.settings.save()
        got = await b.ask(credentials(ssid, password))
        assert got == [ERROR["none"], JOINING, JOINED, NOTHING]
        assert b.radio.asked == [(ssid, password)]
        stored, _, _ = files.read(b.app.settings._path)
        values = json.loads(stored).values()
        assert ssid in values and (not password or password in values)
        assert not b.app.settings.changed()
        text = b.text()
        assert f"# Wi-Fi: {ssid}: joined and saved\r\n" in text
        assert not password or password not in text
        assert (await b.ask(b"events --json\n")) == []
        assert not password or password not in b.text()
        assert not any(
            password.encode() in line for line in b.console._editor._history if password
        )

    bench.session(script)


def wifi(settings):
    return {name: settings.get(name) for name in settings.names() if name.startswith("wifi.")}


@pytest.mark.parametrize("ssid, password, why", [
    ("Barn", "wrong horse", "wrong password"), ("Farm", PASSWORD, "no network of that name"),
])  # fmt: skip
def test_a_network_that_cannot_be_joined_changes_nothing(bench, ssid, password, why):
    async def script(b):
        b.app.settings.set("wifi.ssid", "Old")
        b.app.settings.set("wifi.password", "old password")
        b.app.settings.save()
        before = wifi(b.app.settings)
        got = await b.ask(credentials(ssid, password))
        assert got == [ERROR["none"], JOINING, READY, ERROR["not joined"]]
        assert wifi(b.app.settings) == before and not b.app.settings.changed()
        assert b.text() == f"# Wi-Fi: {ssid}: {why}\r\n"
        assert b.app.journal.last_seq == 0
        assert (await b.ask(credentials("Barn", PASSWORD)))[-1] == NOTHING, "and now the right one"

    bench.session(script)


def test_what_cannot_be_saved_is_not_kept(bench, monkeypatch):
    """The browser hears of an error, and what was in force is in force again."""

    def refuse(path, text):
        raise files.StorageError("flash is full")

    async def script(b):
        b.app.settings.set("wifi.ssid", "Old")
        b.app.settings.save()
        before = wifi(b.app.settings)
        monkeypatch.setattr(files, "write", refuse)
        got = await b.ask(credentials("Barn", PASSWORD))
        assert got == [ERROR["none"], JOINING, READY, ERROR["other"]]
        assert "# Wi-Fi: Barn: flash is full\r\n" in b.text()
        assert wifi(b.app.settings) == before and not b.app.settings.changed()

    bench.session(script)


def test_a_save_that_waits_for_a_quiet_moment(bench, monkeypatch):
    tries = []
    write = files.write

    def busy(path, text):
        tries.append(path)
        if len(tries) < 4:
            raise files.NotYet("an outlet carries more than half its rating")
        return write(path, text)

    async def script(b):
        monkeypatch.setattr(files, "write", busy)
        got = await b.ask(credentials("Barn", PASSWORD))
        assert got == [ERROR["none"], JOINING, JOINED, NOTHING]
        assert len(tries) == 4 and not b.app.settings.changed()

    bench.session(script)


def test_a_fourth_network_needs_room(bench):
    async def script(b):
        for number in ("", "2", "3"):
            b.app.settings.set("wifi.ssid" + number, "Known" + number)
        assert await b.ask(credentials("Barn", PASSWORD)) == [ERROR["none"], ERROR["other"]]
        assert b.text() == "# Wi-Fi: 3 networks are known: first wifi forget <ssid>\r\n"
        assert b.radio.asked == []

    bench.session(script)


def test_no_scan_while_an_outlet_is_on(bench):
    """It stops Python for two seconds."""

    async def script(b):
        b.app.states[1] = "on"
        name = b.app.board.outlets[1].name
        assert await b.ask(call(4)) == [ERROR["none"], ERROR["other"]]
        assert b.text().endswith(f"switch {name} off first\r\n")

    bench.session(script)


def test_the_console_answers_while_a_network_is_tried(bench):
    async def script(b):
        b.radio._tries = 40
        b.port.send(credentials("Barn", PASSWORD))
        b.port.send(b"off bed1\n")
        b.port.send(call(2))
        b.port.send(credentials("Other", PASSWORD))
        await asyncio.sleep(0.5)
        assert b.radio.ssid == "", "still trying"
        b.reader.feed(bytes(b.port.out))
        assert b.reader.text.startswith(b"ok bed1\r\n")
        assert [entry[0] for entry in b.app.controller.log] == ["off"]
        assert b.reader.take() == [
            ERROR["none"], JOINING, ERROR["none"], JOINING, ERROR["none"], ERROR["other"],
        ]  # fmt: skip
        b.port.out = bytearray()
        await b.settle()
        assert b.reader.take() == [JOINED, NOTHING]
        assert b.radio.asked == [("Barn", PASSWORD)]

    bench.session(script)


def test_the_name_of_the_device(bench):
    async def script(b):
        assert [texts(data) for _, data in (await b.ask(call(6)))[1:]] == [(6, ["Tailgate"])]
        got = await b.ask(call(6, b"my truck"))
        assert [texts(data) for _, data in got[1:]] == [(6, ["my truck"])]
        assert b.app.settings.get("device.name") == "my truck" and not b.app.settings.changed()
        assert [texts(data) for _, data in (await b.ask(call(5)))[1:]] == [(5, [b.app.device_id])]
        got = await b.ask(call(5, b"my-truck"))
        assert [texts(data) for _, data in got[1:]] == [(5, ["my-truck"])]
        assert await b.ask(call(5, b"my truck!")) == [ERROR["none"], ERROR["host"]]
        assert b.app.settings.get("wifi.hostname") == "my-truck" and not b.app.settings.changed()
        b.text()
        assert await b.ask(call(6, b"x" * 33)) == [ERROR["none"], ERROR["other"]]
        assert b.text().startswith("# Wi-Fi: device.name: 'xxx")
        assert await b.ask(call(6, b"\xff\xfe")) == [ERROR["none"], ERROR["invalid"]]
        assert b.app.settings.get("device.name") == "my truck"

    bench.session(script)


def test_a_board_without_a_radio_knows_no_call(bench):
    async def script(b):
        b.app.network = None
        for packet in (call(2), call(3), call(4), credentials("Barn", PASSWORD)):
            assert await b.ask(packet) == [ERROR["unknown"]]

    bench.session(script)


def test_unknown_calls(bench):
    async def script(b):
        for number in (0, 8, 99, 255):
            assert await b.ask(call(number)) == [ERROR["unknown"]]

    bench.session(script)


GOOD = credentials("Barn", PASSWORD)


@pytest.mark.parametrize("packet", [
    GOOD[:-2] + bytes((GOOD[-2] ^ 1, 10)),  # checksum
    GOOD[:20],  # ends too soon
    framed(3, b""),
    framed(3, b"\x01"),
    framed(3, b"\x02\x01"),  # says one byte, has none
    framed(3, b"\x02\x00x"),
    framed(3, bytes((1, 253)) + b"z" * 253),  # longer than what the console holds
])  # fmt: skip
def test_a_broken_packet_is_invalid_and_the_console_goes_on(bench, packet):
    async def script(b):
        b.port.send(packet)
        await asyncio.sleep(0.5)  # the pause that ends one which is cut short
        await b.settle()
        assert b.reader.take() == [ERROR["invalid"]]
        assert await b.ask(b"on bed1\n") == []
        assert b.text().startswith("ok bed1\r\n")
        assert await b.ask(call(2)) == [ERROR["none"], READY]
        assert b.radio.asked == [] and wifi(b.app.settings)["wifi.ssid"] == ""

    bench.session(script)


@pytest.mark.parametrize("data", [
    b"", b"\x00\x00", b"\x04Barn", b"\x04Barn\x05abcd", b"\x04Barn\x03abcd", b"\xffBarn\x00",
    b"\x02\xff\xfe\x00", b"\x01\n\x00", b"\x21" + b"x" * 33 + b"\x00", b"\x01x\x40" + b"y" * 64,
])  # fmt: skip
def test_credentials_that_are_none(bench, data):
    async def script(b):
        assert await b.ask(call(1, data)) == [ERROR["none"], ERROR["invalid"]]
        assert b.radio.asked == []
        assert wifi(b.app.settings) == wifi(FakeApp(folder="none").settings)

    bench.session(script)


def test_what_devices_send_is_not_answered(bench):
    """An end that echoes what the board sends must not make it talk to itself."""

    async def script(b):
        for kind in (0, 1, 2, 4, 5, 255):
            assert await b.ask(framed(kind, b"\x01") + b"\n") == []
        assert await b.ask(b"IMPROV\x01") == []
        assert b.text() == ""

    bench.session(script)


def test_every_end_of_line_may_stand_in_a_packet(bench):
    """Lengths, texts and checksums that are line feeds or carriage returns."""

    async def script(b):
        checksums = set()
        for size in (9, 10, 12, 13):
            for tail in range(128):
                password = b"\x7f" * 7 + bytes((tail,))
                data = bytes((size,)) + b"n" * size + bytes((8,)) + password
                packet = call(1, data)
                if packet[-2] in (10, 13):
                    checksums.add(packet[-2])
                    got = await b.ask(packet + b"on bed1\n")
                    assert got == [ERROR["none"], ERROR["invalid"]], "no printable password"
                    assert b.text().startswith(("ok bed1\r\n", "# Wi-Fi: wifi.password"))
        assert checksums == {10, 13}

    bench.session(script)


def test_packets_between_lines_and_keys(bench):
    async def script(b):
        b.port.send(b"on bed1\n" + call(2) + b"off bed1\n" + call(2)[:-1] + b"outlets --json\n")
        await b.settle()
        assert b.reader.take() == [ERROR["none"], READY] * 2
        text = b.text()
        assert text.startswith("ok bed1\r\n") and "\x1b" not in text
        assert text.count("ok bed1\r\n") == 2 and '{"ok": true' in text
        # a person has typed half a line: it stays, and the packet is found all the same
        b.port.type("on be")
        await b.settle()
        assert await b.ask(call(2)) == [ERROR["none"], READY]
        b.port.type("d1\r")
        await b.settle()
        assert "ok bed1\r\n" in b.text()

    bench.session(script)


def test_text_that_looks_like_a_packet_is_text(bench):
    async def script(b):
        for line in ("IMPROVE", "IMPROV", "IMPROV1", "improv\x01"):
            assert await b.ask(line.encode() + b"\n") == []
            assert b.text().startswith("error: ")
        assert await b.ask(b"\x00\xf0junk" + call(2)) == [], "not at the start of a line"
        await asyncio.sleep(0.5)
        assert b.text() == ""
        assert await b.ask(call(2)) == [ERROR["none"], READY]

    bench.session(script)


def _spoilt():
    """Credentials as they never should arrive, with what is wrong with them."""
    good = credentials("Barn", PASSWORD)
    for at in range(7):
        yield f"byte {at}", good[:at] + bytes((good[at] ^ 0x1A,)) + good[at + 1 :]
    yield "a carriage return in the head", b"I\r" + good[2:]
    yield "three bytes", b"XMQROX" + good[6:]
    yield "a line's end for the version", good[:6] + b"\n" + good[7:]
    for lost in (1, 2, 3, 4):
        yield f"{lost} lost", good[lost:]
    yield "noise before", b"\xf0\x00ab" + good
    yield "a shorter length", good[:8] + bytes((3,)) + good[9:]
    yield "a longer length", good[:8] + bytes((200,)) + good[9:]
    yield "another type", good[:7] + b"\x0a" + good[8:]
    ten = credentials("Barnyard00", PASSWORD)  # a length that is a line feed
    yield "a line's end in it", b"X" + ten[1:]


@pytest.mark.parametrize("packet", [pytest.param(data, id=name) for name, data in _spoilt()])
@pytest.mark.parametrize("echo", ["auto", "on"])
def test_nothing_of_a_damaged_packet_is_echoed_or_run(bench, packet, echo):
    async def script(b):
        b.app.settings.set("console.echo", echo)
        assert await b.ask(packet) in ([], [ERROR["invalid"]])
        await asyncio.sleep(0.5)
        await b.settle()
        b.port.type("outlets\r")  # draws the line, and what was left in it
        await b.settle()
        b.port.type("\x1b[A")  # the history
        await b.settle()
        text = b.text()
        assert "\nok" in text and "horse" not in text and "Barn" not in text
        assert b.radio.asked == [] and b.app.settings.get("wifi.ssid") == ""
        b.port.send(b"\x03off bed1\n")
        await b.settle()
        assert "ok bed1" in b.text()

    bench.session(script)


def test_keys_that_come_together_are_no_packet(bench):
    """What people and scripts send to clear a line, and a paste with control bytes."""

    async def script(b):
        for keys in (b"\x03off bed1\n", b"\x15\x03\x01off bed1\n", b"OFF\x15off bed1\r"):
            b.app.controller.log.clear()
            b.port.send(keys)
            await b.settle()
            assert [row[:2] for row in b.app.controller.log] == [("off", 2)], keys
        long = b'set device.name "' + b"x" * 239 + b"IMPROV" + b'"\n'
        assert await b.ask(long) == []
        assert "device.name" in b.text(), "of a line in two pieces the second is no packet"

    bench.session(script)


def test_the_module_is_not_kept(bench):
    async def script(b):
        sys.modules.pop("firmware.interfaces.improv", None)
        await b.ask(call(2))
        assert "firmware.interfaces.improv" not in sys.modules

    bench.session(script)


def test_a_browser_that_stops_reading_holds_nothing_up(bench, monkeypatch):
    monkeypatch.setattr(console, "_STALL_MS", 200)

    async def script(b):
        b.port.open = False
        b.port.send((call(4) + call(3)) * 12)
        for _ in range(2000):
            await asyncio.sleep(0.01)
            if b.port.is_idle():
                break
        b.port.send(b"off bed1\n")
        for _ in range(2000):
            await asyncio.sleep(0.01)
            if b.app.controller.log:
                break
        assert b.app.controller.log[-1][0] == "off"

    bench.session(script)


def test_hostile_packets(bench):
    """Damaged calls: each is answered or passed over, and nothing is ever joined by them."""
    rng = random.Random(11)

    async def script(b):
        for _ in range(300):
            data = bytearray(rng.choice((GOOD, call(2), call(3), call(4), call(6, b"my truck"))))
            for _ in range(rng.randrange(1, 4)):
                at = rng.randrange(7, len(data) - 1)
                data[at] ^= 1 << rng.randrange(8)
            b.port.send(bytes(data[: rng.randrange(8, len(data) + 1)]) + b"\n\n")
        await b.settle()
        for kind, data in b.reader.take():
            assert kind in (1, 2, 4) and (kind == 4 or len(data) == 1)
        b.port.send(b"\n" * 300)
        await b.settle()
        assert (await b.ask(call(2)))[-1] == READY
        assert PASSWORD not in b.text()

    bench.session(script)

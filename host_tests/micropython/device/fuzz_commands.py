# Throws payloads at firmware/interfaces/mqtt.py, as a broker would hand them over, on the real
# MicroPython unix port. Run by test_mqtt_interface.py: `fuzz_commands.py SEED COUNT ALLOW`.
# Prints one JSON object: how many were obeyed, refused, not ours, and what was found wrong.

import gc
import json
import random
import sys

from firmware.interfaces.mqtt import Mqtt
from host_tests.fakes.fake_app import FakeApp

BASE = "tailgate/dut/"
SECRETS = ("hush-wifi-1", "hush-mqtt-2")
NAMES = ("cabin1", "cabin2", "bed1", "bed2", "bed240", "bed9", "all", "", "..", "+", "#", "é")
COMMANDS = (
    "status outlets on off reset get set save defaults cal events energy capture version mqtt "
    "wifi mode reboot exit help watch settings time selftest history __init__ run _on "
    "allow_setting"
).split(" ")
SETTINGS = ("bed1.limit_a", "mqtt.allow", "mqtt.password", "wifi.password", "total.limit_w", "x")
LOOSE = (
    "null", "true", "false", "0", "-1", "1e999", "-1e999", "NaN", "1e-400", "9" * 400, "0.1", '""',
    '"\\u0000"', '"\\ud800"', '"' + "x" * 300 + '"', "[]", "{}", "[[]]", '{"id":1}', "[" * 300,
    '{"a":' * 150, "[1," * 200, '"é"', '"yes"', '"all"', '"--force"', '"bed1"', "1.5", '"1e9999"',
    '"limits"', '"-0"', "-", '"\\', "\x00", "\xff", "nul", '"%s%d%n"', '"{value}"',
)  # fmt: skip


class Client:
    """Takes everything; what was published is checked and forgotten."""

    connected = True
    error = ""

    def __init__(self):
        self.answers = []

    def publish(self, topic, payload, qos=0, retain=False, event=False):
        if len(payload) > 2000:
            return 0  # as the ring does
        self.answers.append((topic, payload))
        return 1

    def stats(self):
        return {}


class Fuzz:
    def __init__(self, seed, allow):
        random.seed(seed)
        self.app = FakeApp(device__id="dut", mqtt__host="127.0.0.1")
        self.app.settings.set("wifi.password", SECRETS[0])
        self.app.settings.set("mqtt.password", SECRETS[1])
        self.app.settings.set("mqtt.allow", allow)
        self.app.settings.save = list  # no files
        self.mqtt = self.app.mqtt = Mqtt(self.app, self.app)
        self.mqtt.client = Client()
        self.mqtt.base = BASE
        self.mqtt.device_id = "dut"
        self.number = 0
        self.wrong = []

    def pick(self, things):
        return things[random.getrandbits(30) % len(things)]

    def value(self):
        return self.pick(LOOSE)

    def request(self):
        """Text of a request, more or less in order."""
        self.number += 1
        ident = '"%d"' % self.number if random.getrandbits(4) else self.value()
        name = '"%s"' % self.pick(COMMANDS) if random.getrandbits(4) else self.value()
        fields = ['"id":' + ident, '"cmd":' + name]
        if random.getrandbits(2):
            args = []
            for _ in range(random.getrandbits(2) + (20 if not random.getrandbits(5) else 0)):
                kind = random.getrandbits(2)
                if kind == 0:
                    args.append('"%s"' % self.pick(NAMES))
                elif kind == 1:
                    args.append('"%s"' % self.pick(SETTINGS))
                else:
                    args.append(self.value())
            fields.append('"args":[%s]' % ",".join(args))
        if not random.getrandbits(4):
            fields.append('"expires":' + self.value())
        if not random.getrandbits(5):
            fields.append('"%s":1' % self.pick(("colour", "args", "", "é", "id")))
        return "{%s}" % ",".join(fields)

    def payload(self):
        kind = random.getrandbits(4)
        if kind == 0:
            return bytes([random.getrandbits(8) for _ in range(random.getrandbits(6))])
        if kind == 1:
            return self.value().encode()
        if kind == 2:
            return self.pick((b"ON", b"OFF", b"RESET", b"on", b"ON ", b"", b"ONOFF", b"\x00ON"))
        data = bytearray(self.request().encode())
        if kind < 7 and data:  # damaged
            for _ in range(1 + random.getrandbits(2)):
                at = random.getrandbits(16) % len(data)
                data[at] = random.getrandbits(8)
            if kind == 6:
                data = data[: random.getrandbits(16) % (len(data) + 1)]
        return bytes(data[:1000])

    def topic(self):
        kind = random.getrandbits(4)
        if kind < 9:
            return BASE + "command"
        if kind < 14:
            return "%soutlet/%s/set" % (BASE, self.pick(NAMES))
        return self.pick(
            (BASE, BASE + "outlet/set", BASE + "state", "", "command", "tailgate/x/command",
             BASE + "outlet/bed1/set/set", BASE + "command/x", "outlet/bed1/set", "\u0000",
             BASE + "outlet//set", "homeassistant/status", BASE + "outlet/a/b/set")
        )  # fmt: skip

    def complain(self, why, topic, payload):
        if len(self.wrong) < 5:
            self.wrong.append([why, topic, repr(payload)[:300]])

    def once(self):
        mqtt = self.mqtt
        app = self.app
        topic = self.topic()
        payload = self.payload()
        retained = not random.getrandbits(5)
        dup = not random.getrandbits(5)
        mqtt._tokens = 10
        before = (mqtt.commands, mqtt.refused, mqtt.foreign)
        asked = len(app.controller.log)
        mqtt._message(topic, payload, retained, dup, 1)
        if mqtt._job:
            mqtt._job = None
        obeyed = mqtt.commands - before[0]
        refused = mqtt.refused - before[1]
        if topic == "homeassistant/status":
            if obeyed or refused:
                self.complain("not for us", topic, payload)
        elif obeyed + refused + mqtt.foreign - before[2] != 1:
            self.complain("not counted once", topic, payload)
        if (retained or dup) and obeyed:
            self.complain("obeyed although retained or repeated", topic, payload)
        if refused and not mqtt.client.answers:
            self.complain("refused without a reason", topic, payload)
        if mqtt.errors:
            mqtt.errors = 0
            self.complain(repr(mqtt.client.answers[-1:])[:300], topic, payload)
        if app.controller.log[asked:] and not (obeyed or b'"all"' in payload):
            if not app.controller.veto:
                self.complain("asked the controller and refused", topic, payload)
        for _, make in mqtt._long:
            text = "".join(make())
            if text != "".join(make()):
                self.complain("not the same twice", topic, payload)
            mqtt.client.answers.append((BASE + "response", text))
        mqtt._long.clear()
        for where, text in mqtt.client.answers:
            said = json.loads(text)
            if where != BASE + "response" or not isinstance(said["ok"], bool):
                self.complain("strange answer " + where, topic, payload)
            if not said["ok"] and not 5 < len(said["error"]) < 1500:
                self.complain("strange reason " + said["error"], topic, payload)
            for secret in SECRETS:
                if secret in text:
                    self.complain("a secret came out", topic, payload)
        mqtt.client.answers.clear()
        app.controller.log.clear()

    def run(self, count):
        board = self.app.board
        settings = self.app.settings
        for n in range(count):
            self.once()
            if n == count // 10:
                gc.collect()
                first = gc.mem_alloc()
            for outlet in board.outlets if n % 50 == 0 else ():
                if settings.get(outlet.name + ".limit_a") * 1000 > outlet.rating_ma:
                    self.complain("limit above the rating", outlet.name, b"")
        gc.collect()
        mqtt = self.mqtt
        print(
            json.dumps(
                {
                    "fuzz": count,
                    "obeyed": mqtt.commands,
                    "refused": mqtt.refused,
                    "foreign": mqtt.foreign,
                    "grown": gc.mem_alloc() - first,
                    "limits": settings.get("bed1.limit_a"),
                    "wrong": self.wrong,
                }
            )
        )


Fuzz(int(sys.argv[1]), sys.argv[3]).run(int(sys.argv[2]))

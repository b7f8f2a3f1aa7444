"""MQTT: publishes what report.py says, hands commands to interfaces/commands.py.

Role: the topics under tailgate/<device_id>/ and Home Assistant's discovery.
Called by: outer lane only; `Mqtt(app).run()` is one task of firmware.app. Nothing waits for it:
without broker, network or settings the firmware protects all the same.

Events are not queued here: the journal is the queue. `_sent` and `published` are positions in it,
so an outage of any length costs no memory, and they go out in order when the broker is back: from
flash what the ring in RAM has dropped, then from there.
"""

import asyncio
import json
import random
from time import ticks_add, ticks_diff, ticks_ms

from micropython import const

from firmware import events, pieces, report
from lib import mqtt

_POLL_MS = const(50)  # how soon a change is noticed
_GOODBYE_MS = const(800)  # for the last events before a planned end
_STATE_MS = const(250)  # shortest time between two state messages, however much changes
_RX_BYTES = const(1024)  # longest message accepted, topic included
_WINDOW = const(4)  # events on their way at once; leaves room for responses in the event ring
_BURST = const(10)  # commands at once ...
_REFILL_MS = const(200)  # ... and one more for each of these
_LINK_QUIET_MS = const(60_000)  # one broker_down record a minute at most: the journal is for trips
_AGAIN_MS = const(10_000)  # after a reconnect: what takes long waits until the rest is said
_DOWN_MS = const(5_000)  # shorter interruptions are not worth a record
_SHORT = const(1000)
_ROOM = const(1980)  # bytes that are one message of the client's rings, with the topic
_TURN = const(100)  # bytes of JSON made before others have their turn: 3 ms on an RP2040
_MANY = const(8)  # words of a list: more are made piece by piece
_MAX_ARGS = const(8)
_MAX_ID = const(64)

_ACTIONS = ("ON", "OFF", "RESET")
_FIELDS = ("id", "cmd", "args", "expires")


class _Refused(Exception):
    """A message was not obeyed; the text says why and what would be. A second argument: the reason
    with which it goes on record."""


class _Handshake:
    """A TLS context. A handshake holds everything up for a second: the control lane goes first."""

    def __init__(self, context):
        self._context = context

    def wrap_socket(self, sock, **options):
        pieces.breathe()
        return self._context.wrap_socket(sock, **options)


class Mqtt:
    """The MQTT side of the app. `client` is None until `mqtt.host` is set."""

    def __init__(self, app, source=None):  # on demand
        """`source`: has state, outlet and event, as firmware.report, which it is if not said."""
        self._app = app
        self._report = source or report
        self.client = None
        self.device_id = ""
        self.base = ""
        self.commands = 0  # obeyed
        self.refused = 0
        self.foreign = 0  # messages of topics that it did not subscribe to
        self.unanswered = 0  # answers that found no room: more commands than the line can carry
        self.errors = 0  # exceptions in this task
        self.events_lost = 0  # overwritten in the journal before they could be sent
        self.setup_error = ""  # why there is no client although mqtt.host is set
        self._stop = False
        self.done = False  # run() has said goodbye
        self._passing = False
        # What an earlier start could not publish any more comes first. Flash knows what the broker
        # has with a delay of minutes, so some events may come twice.
        journal = app.journal
        known = app.keeper.published
        self._sent = self.published = max(journal.boot_seq - 1, 0)
        if 0 <= known < self._sent:
            self._sent = self.published = known
        self._past = None  # generator of records on flash, while the ring does not reach so far
        self._pids = []  # [packet id, sequence number] of events on their way, oldest first
        self._shown: list = [None] * len(app.board.outlets)
        self._long = []  # [topic, payload] too long for the client's ring
        self._energy = app.energy
        self._hour = -1  # whose beginning was told on `energy`
        self._again = False  # a broker that has started again may have kept nothing of it
        self._ids = []  # command ids seen last
        self._tokens = _BURST
        self._t_tokens = ticks_ms()
        self._announce_at = None
        self._forget = 0  # 1 asked for, 2 Home Assistant is told, 3 all is gone
        self._job = None  # (topic, request, job) of a command that takes seconds
        self._up = False
        self._t_down = ticks_ms()
        self._t_logged = None
        self._logged_down = False
        app.settings.on_change(self._changed)

    # --- task

    async def run(self):
        """The task. Ends only after stop()."""
        get = self._app.settings.get
        if self.client:  # started again after a crash
            await self.client.stop(0)
            self.client = None
            self._pids.clear()
            self._sent = self.published
            self._past = None
        while not self._stop:
            if get("mqtt.host"):
                try:
                    self._configure()
                    break
                except Exception as e:
                    self._trouble(e)
            await asyncio.sleep_ms(1000)
        if self.client is None:
            return
        self.client.start()
        seen_seq = -1
        self._t_tokens = last_ms = next_ms = ticks_ms()
        while not self._stop:
            try:
                now = ticks_ms()
                # What is older than a week would seem to be in the future, so nothing gets so old.
                if ticks_diff(now, self._t_tokens) > _BURST * _REFILL_MS:
                    self._tokens = _BURST
                    self._t_tokens = now
                self._watch_link(now)
                if self._job:
                    self._work()
                if self.client.connected:
                    seq = self._app.journal.last_seq
                    due = ticks_diff(now, next_ms) >= 0
                    if due or seq != seen_seq or self._passing:
                        await self._publish_outlets()
                    if due or (seq != seen_seq and ticks_diff(now, last_ms) >= _STATE_MS):
                        seen_seq = seq
                        await self._publish_state()
                        last_ms = now
                        next_ms = ticks_add(now, int(get("mqtt.interval_s") * 1000))
                    self._pump()
                    await self._publish_long()
                    energy = self._energy
                    if energy and energy.is_known and energy.periods[0] != self._hour:
                        if not self._forget:
                            await self._publish_hours()
                    if self._announce_at is not None and ticks_diff(now, self._announce_at) >= 0:
                        await self._announce()
                else:
                    last_ms = next_ms = now
            except Exception as e:  # a defect here must not silence the device for good
                self._trouble(e)
                await asyncio.sleep_ms(1000)
            await asyncio.sleep_ms(_POLL_MS)
        await self._goodbye()
        self.done = True

    def stop(self):
        """Have run() say goodbye and end (before a planned reboot)."""
        self._stop = True

    async def _goodbye(self):  # on demand
        # The last events and states first, then that nobody is here any more.
        for _ in range(_GOODBYE_MS // _POLL_MS):
            if not self.client.connected or self.published >= self._app.journal.last_seq:
                break
            await self._publish_outlets()
            self._pump()
            await self._publish_long()
            await asyncio.sleep_ms(_POLL_MS)
        if self.client.connected:
            await self._publish_outlets()
            last = b"" if self._forget else b"offline"
            self.client.publish(self.base + "availability", last, 1, True, True)
        await self.client.stop(1000)

    def _configure(self):  # on demand
        get = self._app.settings.get
        device_id = self._app.device_id
        base = "tailgate/" + device_id + "/"
        context = None
        if get("mqtt.tls"):
            # No certificate to check with is an error, not a reason to trust anybody.
            names = ("mqtt.ca_file", "mqtt.cert_file", "mqtt.key_file")
            files = [_read_file(name, get(name)) for name in names]
            context = _Handshake(mqtt.tls_context(*files))
        self.device_id = device_id
        self.base = base
        self.client = mqtt.Client(
            get("mqtt.host"),
            get("mqtt.port"),
            device_id if device_id.startswith("tailgate") else "tailgate-" + device_id,
            user=get("mqtt.user") or None,
            password=get("mqtt.password") or None,
            # A clean session: commands from before an outage must not arrive after it.
            clean=True,
            will=(base + "availability", "offline", 1, True),
            subscribe=(
                (base + "outlet/+/set", 1),
                (base + "command", 1),
                ("homeassistant/status", 0),
            ),
            on_message=self._message,
            on_oversize=self._oversize,
            on_connect=self._connected,
            on_ack=self._acknowledged,
            hold=self._hold,
            resolve=self._resolve,
            tls=context,
            rx_bytes=_RX_BYTES,
        )

    def _hold(self):
        """Why no connection can be tried now; "" when one can."""
        network = getattr(self._app, "network", None)
        if network is not None and not network.connected:
            return "no network"
        if not self._app.clock.wall() and self._app.settings.get("mqtt.tls"):
            return "waiting for the time: mqtt.tls checks the dates of the broker's certificate"
        return ""

    async def _resolve(self, host):  # on demand
        """Numeric address of a name; never blocks on a board."""
        from firmware.hal.network import lookup

        return await lookup(getattr(self._app, "network", None), host)

    def _trouble(self, error):
        self.errors += 1
        if self.client:
            self.client.error = "mqtt task: " + repr(error)
        elif isinstance(error, (mqtt.MqttError, OSError)):
            self.setup_error = str(error)
        else:
            self.setup_error = repr(error)

    def word(self):
        """State of the connection as every interface names it: `off`, `up` or `down`."""
        if self.client is not None and self.client.connected:
            return "up"
        return "down" if self._app.settings.get("mqtt.host") else "off"

    def status(self):  # on demand
        """For the console's `mqtt` command and for diagnostics."""
        client = self.client
        host = self._app.settings.get("mqtt.host")
        state = {
            "state": self.word(),
            "host": host,
            "device_id": self._app.device_id,
            "commands": self.commands,
            "refused": self.refused,
            "unanswered": self.unanswered,
            "errors": self.errors,
            "events_lost": self.events_lost,
            "events_waiting": self._app.journal.last_seq - self.published,
        }
        if client:
            state.update(client.stats())
        elif self.setup_error:
            state["error"] = self.setup_error
        return state

    def forget(self):  # on demand
        """Remove this device from Home Assistant, until the next start, and what the broker keeps
        of it; nothing is retained any more, but `availability`."""
        self._forget = 1
        self._announce_at = ticks_ms()

    # --- connection

    def _connected(self, session_present):
        self.client.publish(self.base + "availability", "online", 1, True, True)
        for i in range(len(self._shown)):
            self._shown[i] = None
        self._announce_at = ticks_ms()
        self._again = self._hour >= 0
        self._long.clear()

    def _watch_link(self, now):
        up = self.client.connected
        if up != self._up:
            self._up = up
            self._t_down = now
        journal = self._app.journal
        if up:
            if self._again and ticks_diff(now, self._t_down) > _AGAIN_MS:
                self._again = False
                self._hour = -1
            if self._logged_down or self._t_logged is None:
                self._logged_down = False
                self._t_logged = now
                journal.add(events.LINK, -1, events.BROKER_UP, 0, events.BY_MQTT)
            elif ticks_diff(now, self._t_logged) > _LINK_QUIET_MS:
                self._t_logged = ticks_add(now, -_LINK_QUIET_MS)
        elif (
            not self._logged_down
            and self._t_logged is not None
            and ticks_diff(now, self._t_down) >= _DOWN_MS
            and ticks_diff(now, self._t_logged) >= _LINK_QUIET_MS
        ):
            self._logged_down = True
            self._t_logged = now
            journal.add(events.LINK, -1, events.BROKER_DOWN, 0, events.BY_MQTT)

    # --- outbound

    def _answer(self, answer):
        """Publish a dict on `response` (QoS 1); piece by piece (QoS 0) when it is too long for the
        ring, or for the memory that is left."""
        try:
            text = _json(answer)
            if self._said(text):
                return
            if len(text) < _SHORT and self._long:  # the rings are full of others
                self.unanswered += 1
                return
        except MemoryError:
            pass
        self._send_parts(lambda: report.parts(answer, 4), answer["id"])

    def _send_parts(self, parts, ident=None):  # on demand
        """Publish an answer that comes in pieces, as one message (QoS 0)."""
        if len(self._long) < 2:
            self._long.append((self.base + "response", parts))
            return
        answer = {"id": ident, "ok": False, "error": "two long answers are under way: ask again"}
        if not self._said(_json(answer)):
            self.unanswered += 1

    def _said(self, text):
        """Whether a ring took it. A broker that has many commands sends them all before it
        acknowledges answers: what events leave no room for goes with telemetry (QoS 0)."""
        client = self.client
        topic = self.base + "response"
        text = text.encode()
        if client.publish(topic, text, 1, False, True):
            return True
        if not client.telemetry.has_room(len(topic) + len(text)):
            return False
        return client.publish(topic, text)

    async def _publish_long(self):
        while self._long:
            topic, make = self._long.pop(0)
            text = await _joined(make())
            if not text or not self.client.publish(topic, text, 1, False, True):
                await self.client.publish_parts(topic, make)

    async def _publish_hours(self):  # on demand
        """An hour has begun: the last day by the hour, retained, for whoever draws charts."""
        self._hour = self._energy.periods[0]  # not again and again when there is no room for it
        try:
            # one after the other: all at once takes several mains cycles
            await asyncio.sleep_ms(0)
            from firmware import timezone

            await asyncio.sleep_ms(0)
            from firmware.storage import history

            await asyncio.sleep_ms(0)
            from firmware.interfaces import energytable

            await asyncio.sleep_ms(0)
            del timezone, history
            pieces.drop("firmware.interfaces.energytable", "firmware.storage.history")
            pieces.drop("firmware.timezone")
            table = energytable.table(self._app, ["hours", "25"])
            await asyncio.sleep_ms(0)

            def parts():
                yield "{"
                yield from table.parts()

            done = await self.client.publish_parts(self.base + "energy", parts, True)
        except MemoryError:
            return
        if not done and not self.client.connected:
            self._hour = -1

    async def _state(self):
        """report.state(), and others have their turns while it is made."""
        rows = []
        for outlet in self._app.board.outlets:
            rows.append(self._report.outlet(self._app, outlet.index))
            await asyncio.sleep_ms(0)
        state = self._report.state(self._app, rows)
        await asyncio.sleep_ms(0)
        return state

    async def _publish_state(self):
        state = await self._state()
        topic = self.base + "state"
        text = await _joined(report.parts(state, 2))
        if not text or not self.client.publish(topic, text):
            await self.client.publish_parts(topic, lambda: report.parts(state, 2))

    async def _publish_outlets(self):
        """State and reason of each outlet that changed, retained; `on`: the relay is closed.
        QoS 1 and never dropped: the last one is what a newcomer sees."""
        self._passing = False
        for i, outlet in enumerate(self._app.board.outlets):
            await asyncio.sleep_ms(0)
            figures = self._report.outlet(self._app, i)
            if figures["state"] == "closing":
                self._passing = True  # lasts three cycles and ends without an event: look again
                continue
            shown = {"state": figures["state"], "reason": figures["reason"], "on": figures["on"]}
            for more in ("check", "waits"):
                if more in figures:
                    shown[more] = figures[more]
            if self._shown[i] == shown:
                continue
            topic = "%soutlet/%s/state" % (self.base, outlet.name)
            if self.client.publish(topic, _json(shown), 1, not self._forget, True):
                self._shown[i] = shown

    def _pump(self):
        """Hand the next event to the client; each acknowledgement does so, too."""
        journal = self._app.journal
        if len(self._pids) >= _WINDOW or journal.last_seq <= self._sent:
            return
        old = None
        if self._sent + 1 < journal.first_seq:
            old = self._from_flash()
        for record in (old,) if old else journal.since(self._sent):
            event = self._report.event(self._app, record)
            seq = event["seq"]
            pid = self.client.publish(self.base + "event", _json(event), 1, False, True)
            if not pid:
                self._past = None  # that one once more
                return
            self.events_lost += seq - self._sent - 1
            self._sent = seq
            self._pids.append([pid, seq])
            return

    def _from_flash(self):  # on demand
        """The first record after `_sent` that the ring has dropped and flash has, or None."""
        keeper = self._app.keeper
        for last in (False, True):
            if self._past is None:
                self._past = keeper.journal_store.older(self._sent + 1, keeper.log())
            for record in self._past:
                if self._sent < record[0] < self._app.journal.first_seq:
                    if last or record[0] == self._sent + 1:
                        return record
                    break  # what it has passed over may have moved while it waited: once more
            self._past = None
        return None

    def _acknowledged(self, pid):
        for entry in self._pids:
            if entry[0] == pid:
                entry[0] = 0
                break
        else:
            return
        while self._pids and not self._pids[0][0]:
            self.published = self._pids.pop(0)[1]
        self._pump()

    async def _announce(self):  # on demand
        at = self._announce_at
        self._announce_at = None  # what is asked for from now on is another one
        done = False
        try:
            done = await self._announced()
        finally:
            if not done and self._announce_at is None:
                self._announce_at = at

    async def _announced(self):  # on demand
        """Tell Home Assistant; whether that went out."""
        await asyncio.sleep_ms(0)
        topic = discovery_topic(self.device_id)
        settings = self._app.settings
        if self._forget == 2:
            return self._clear()
        if self._forget or not settings.get("mqtt.discovery"):
            # Also what an earlier start has left with the broker.
            done = self.client.publish(topic, b"", 1, True, True)
            if done and self._forget == 1:
                self._forget = 2
                # not at once: Home Assistant still looks at them
                self._announce_at = ticks_add(ticks_ms(), 1000)
            return done
        await asyncio.sleep_ms(0)
        outlets = []
        for outlet in self._app.board.outlets:
            outlets.append((outlet.name, _get(settings, outlet.name + ".name") or outlet.name))
            await asyncio.sleep_ms(0)
        state = await self._state()
        name = settings.get("device.name")
        await asyncio.sleep_ms(0)
        allow = settings.get("mqtt.allow")
        await asyncio.sleep_ms(0)
        arguments = (
            self.device_id,
            name,
            self._app.board.name,
            self._app.version,
            self.base,
            outlets,
            state,
            self._app.board,
            allow,
        )
        pieces.rest()  # the schema, for the names
        return await self.client.publish_parts(topic, lambda: announcement(arguments), True)

    def _clear(self):  # on demand
        """Have the broker forget what it keeps of this device; whether that went out."""
        publish = self.client.publish
        for outlet in self._app.board.outlets:
            if not publish("%soutlet/%s/state" % (self.base, outlet.name), b"", 1, True, True):
                return False
        if not publish(self.base + "energy", b"", 1, True, True):
            return False
        self._forget = 3
        return True

    def _changed(self, name):
        """A setting: what Home Assistant was told of names and permissions must follow."""
        if name.endswith(".name") or name in ("mqtt.allow", "battery.usable_kwh"):
            self._announce_at = ticks_ms()

    # --- inbound

    def _is_ours(self, topic):
        """A broker may send what was never asked for, or what an older session had asked for."""
        base = self.base
        if topic == base + "command":
            return True
        return topic.startswith(base + "outlet/") and topic.endswith("/set")

    def _message(self, topic, payload, retained, dup, qos):
        if topic == "homeassistant/status":
            # Not when retained: it came with our own connection, which announces anyway. The
            # pause spreads a fleet.
            if payload == b"online" and not retained:
                self._announce_at = ticks_add(ticks_ms(), random.getrandbits(11))
            return
        if not self._is_ours(topic):
            self.foreign += 1
            return
        request = None
        command = topic == self.base + "command"
        try:
            if retained:
                raise _Refused(
                    "retained messages are not obeyed: publish without the retain flag",
                    events.RETAINED,
                )
            if dup:
                raise _Refused("repeated delivery (DUP) is not obeyed", events.DUPLICATE)
            if command:
                request = _decode(payload)
                pieces.breathe()
                self._check_request(request)
                pieces.breathe()
                name = request["cmd"]
                args = [_text(arg) for arg in request.get("args", ())]
            else:
                name, args = self._parse_set(topic, payload)
            if name != "off":  # opening an outlet never waits
                self._check_rate()
            result = self._app.commands.run(name, args, source="mqtt")
            self.commands += 1
            pieces.breathe()
        except _Refused as e:
            if len(e.args) > 1:
                self._app.journal.note(events.REFUSED, -1, e.args[1], 0, events.BY_MQTT)
            self._refuse(topic, request, e.args[0])
            return
        except Exception as e:
            if isinstance(e, _command_error()):
                self._refuse(topic, request, str(e), getattr(e, "result", None))
                return
            # A defect in a command: answered all the same, or the sender waits for nothing.
            self.errors += 1
            self._refuse(topic, request, "internal error: " + repr(e))
            return
        if command and hasattr(result, "poll"):
            self._job = (topic, request, result)
        elif command:
            self._result(request, result)

    def _result(self, request, result):
        ident = request["id"]
        if not hasattr(result, "parts"):
            answer = {"id": ident, "ok": True, "result": result}
            if _is_long(result):
                self._send_parts(lambda: report.parts(answer, 4), ident)
            else:
                self._answer(answer)
            return

        def parts():
            yield '{"id":%s,"ok":true,"result":{' % json.dumps(ident)
            for part in result.parts():
                yield part
            yield "}"

        self._send_parts(parts, ident)

    def _work(self):  # on demand
        """A step of a command that takes seconds; its answer when it is done."""
        topic, request, job = self._job
        try:
            result = job.poll()
        except Exception as e:
            self._job = None
            reason = str(e)
            if not isinstance(e, _command_error()):
                self.errors += 1
                reason = "internal error: " + repr(e)
            self._refuse(topic, request, reason)
            return
        if result is not None:
            self._job = None
            self._result(request, result)

    def _oversize(self, topic, length):
        if not self._is_ours(topic):
            self.foreign += 1
            return
        self._refuse(topic, None, "%d bytes: at most %d with the topic" % (length, _RX_BYTES))

    def _refuse(self, topic, request, reason, result=None):
        self.refused += 1
        answer = {"id": _usable_id(request), "ok": False, "error": reason}
        if result is not None:
            answer["result"] = result
        if answer["id"] is None:
            answer["topic"] = topic[len(self.base) :]
        self._answer(answer)

    def _parse_set(self, topic, payload):
        name = topic[len(self.base) + 7 : -4]  # outlet/<name>/set
        known = [outlet.name for outlet in self._app.board.outlets]
        if name not in known:
            raise _Refused("no outlet '%s' (there are: %s)" % (name[:32], " ".join(known)))
        for action in _ACTIONS:
            if payload == action.encode():
                return action.lower(), [name]
        raise _Refused("payload must be one of " + " ".join(_ACTIONS))

    def _check_request(self, request):  # on demand: request
        for field in request:
            if field not in _FIELDS:  # MicroPython's JSON may give other things than texts
                raise _Refused(
                    "unknown field '%s' (allowed: %s)" % (str(field)[:32], " ".join(_FIELDS))
                )
        ident = _usable_id(request)
        if ident is None:
            raise _Refused("id must be a whole number or a text of 1 to %d characters" % _MAX_ID)
        if not isinstance(request.get("cmd"), str):
            raise _Refused("cmd must be a text, such as status")
        args = request.get("args", [])
        if not isinstance(args, list) or len(args) > _MAX_ARGS:
            raise _Refused("args must be a list of at most %d" % _MAX_ARGS)
        for arg in args:
            if not isinstance(arg, (str, int, float)):
                raise _Refused("args may hold texts, numbers, true and false only")
        if "expires" in request:
            self._check_expiry(request["expires"])
        if ident in self._ids:
            raise _Refused(
                "id was used before: repeated commands are not obeyed", events.DUPLICATE
            )
        if len(self._ids) >= 16:
            self._ids.pop(0)
        self._ids.append(ident)

    def _check_expiry(self, expires):  # on demand: request
        # a chip's floats are good to two minutes by now
        if isinstance(expires, bool) or not isinstance(expires, int):
            raise _Refused("expires must be a whole number: seconds since 1970")
        now = self._app.clock.wall()
        if not now:
            raise _Refused("the clock is not set, so expires cannot be checked; leave it out")
        late = now - expires
        if late > 0:
            raise _Refused("expired %d s ago" % late, events.EXPIRED)

    def _check_rate(self):
        now = ticks_ms()
        more = ticks_diff(now, self._t_tokens) // _REFILL_MS
        if more > 0:
            self._tokens = min(_BURST, self._tokens + more)
            self._t_tokens = now
        if not self._tokens:
            raise _Refused(
                "too many commands (%d at once, then %d a second)" % (_BURST, 1000 // _REFILL_MS)
            )
        self._tokens -= 1


def _json(value):
    """Compact: a sixth less on the line and in the rings."""
    return json.dumps(value, separators=(",", ":"))


def _is_long(result):
    """Whether to make JSON of it takes so long that it has to be done in pieces."""
    for name in result:
        row = result[name]
        if isinstance(row, dict):
            for more in row:
                if isinstance(row[more], dict):
                    return True
        elif isinstance(row, list) and row and (len(row) > _MANY or isinstance(row[0], dict)):
            return True
    return False


async def _joined(parts):
    """One text of JSON's pieces; empty when it is longer than the rings take."""
    found = []
    size = turn = 0
    for part in parts:
        if isinstance(part, str):
            part = part.encode()
        found.append(part)
        size += len(part)
        turn += len(part)
        if size > _ROOM:
            return b""
        if turn > _TURN:
            turn = 0
            await asyncio.sleep_ms(0)
    return b"".join(found)


def _command_error():
    # Loaded with the first command, see App.commands.
    from firmware.interfaces.commands import CommandError

    return CommandError


def discovery_topic(device_id):
    """Where the discovery message lives; an empty retained payload there removes the device."""
    return "homeassistant/device/%s/config" % device_id


def announcement(arguments):
    """Generator of the discovery message's pieces; `arguments` of discovery.parts(). Needed once
    a connection: the 10 KB of the two modules are worth more as heap, even one of the other's."""
    parts = pieces.once("firmware.interfaces.discovery").parts
    pieces.breathe()
    for part in parts(*arguments):
        yield part
    parts = None
    if arguments[6].get("power"):  # the state
        parts = pieces.once("firmware.interfaces.discovery_exports").parts
        for part in parts(*arguments):
            yield part
        parts = None
    pieces.breathe()
    parts = pieces.once("firmware.interfaces.discovery_controls").parts
    pieces.breathe()
    for part in parts(*arguments):
        yield part


def _decode(payload):  # on demand: request
    """The JSON object in a command, or _Refused."""
    try:
        request = json.loads(payload)
    except ValueError:
        request = None
    if not isinstance(request, dict):
        raise _Refused('not a JSON object; expected {"id": "1", "cmd": "status", "args": []}')
    return request


def _usable_id(request):  # on demand: request
    """The id to answer with; None when there is none that could be told again."""
    ident = request.get("id") if request else None
    if isinstance(ident, bool) or not isinstance(ident, (int, str)):
        return None
    return ident if 0 < len(str(ident)) <= _MAX_ID else None


def _text(arg):
    """An argument as the console would read it."""
    if isinstance(arg, bool):
        return "on" if arg else "off"
    return str(arg)


def _get(settings, name):
    """A setting that this version may not have."""
    try:
        return settings.get(name)
    except Exception:
        return None


def _read_file(name, path):  # on demand
    if not path:
        return None
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except OSError as e:
        raise mqtt.MqttError("%s: cannot read '%s' (%s)" % (name, path, e))

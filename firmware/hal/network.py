# Wi-Fi where the chip has it: joins one of the known networks, and comes back after a loss.
# Connecting goes on in the radio; begin(), scan() and the first join() stop Python, see there.
# Called by app (begin, then run() as a guarded task), commands, report and whoever provisions
# (join); None on boards without a radio.

import asyncio
import random
import sys

from micropython import const

from firmware import events

try:
    import network
except ImportError:
    network = None

_PLACES = ("", "2", "3")  # wifi.ssid, wifi.ssid2, ...
_TRY_S = const(20)  # for one attempt, its address by DHCP included
_REST_S = const(2)  # after a round in which none was joined; twice as long each time, up to
_REST_MAX_S = const(60)  # this, and up to a half more, so that many boards do not come together
_DOWN_S = const(10)  # shorter interruptions are not worth a record
_QUIET_S = const(60)  # one wifi_down record a minute at most: the journal is for trips

# WLAN.status() of the Pico W; and of the ESP32, as esp_wifi_types.h of ESP-IDF numbers them
_WHY: dict = {
    -3: "wrong password",
    -2: "no network",
    -1: "failed",
    201: "no network",
    15: "wrong password",
    202: "wrong password",
    204: "wrong password",
}
_NO_ADDRESS = const(2)


class Network:
    """The radio. `app`: settings, journal, device_id and watchdog are used."""

    def __init__(self, app):
        self._app = app
        self._wlan = network.WLAN(network.STA_IF)
        self._is_on = False
        self._known = []  # (name, password) in the order in which they are tried
        self._ssid = ""  # of the last attempt
        self._failed = ("", "")  # name and reason of the last one that failed
        self._turn = 0  # attempts begun: an older one leaves the radio alone
        self._trying = False
        self._joining = False
        self._noted = 0  # WIFI_UP or WIFI_DOWN, what the journal has last
        self._noted_s = 0
        self._up_s = 0  # when it was last seen to be up

    @property
    def connected(self) -> bool:
        return self._wlan.isconnected()

    @property
    def dns(self) -> str:
        """Address of the DNS server that the network named, "" when it named none."""
        server = self._wlan.ifconfig()[3]
        return "" if server == "0.0.0.0" else server

    def status(self) -> dict:
        """State in a word, network's name, own address, and strength (dBm) while it is up."""
        up = self._wlan.isconnected()
        if up:
            state = "up"
        elif self._trying:
            state = "connecting"
        elif self._known:
            state = self._failed[1] or "down"
        else:
            state = "off"
        ssid = self._ssid if up or self._trying or not self._known else self._known[0][0]
        status = {"state": state, "ssid": ssid, "address": ""}
        if up:
            status["address"] = self._wlan.ifconfig()[0]
            try:
                status["rssi_dbm"] = self._wlan.status("rssi")
            except (OSError, ValueError):  # not every driver knows
                pass
        return status

    def details(self) -> dict:  # on demand
        """For the command `wifi`: status(), own name, known networks, the last failure."""
        status = self.status()
        status["hostname"] = self._hostname()
        status["known"] = [pair[0] for pair in self._known]
        if self._failed[1]:
            status["last_failure"] = "%s: %s" % self._failed
        return status

    def _hostname(self):
        name = self._app.settings.get("wifi.hostname") or self._app.device_id
        return name.replace("_", "-").strip("-") or "tailgate"  # RFC 952 knows no _

    def _activate(self):  # on demand
        if self._is_on:
            return
        country = self._app.settings.get("wifi.country")
        if country:
            network.country(country)
        network.hostname(self._hostname())  # before the interface comes up, so that DHCP has it
        self._wlan.active(True)
        self._is_on = True
        if sys.platform == "esp32":
            self._wlan.config(reconnects=0)  # run() does that, and the reason of a failure shows

    def begin(self):  # on demand
        """Read the settings, switch the radio on (0.8 s), and with several networks known put the
        strongest first (2 s more). Stops Python: for the start, while every relay is open."""
        settings = self._app.settings
        known = self._known = []
        for place in _PLACES:
            ssid = settings.get("wifi.ssid" + place)
            if ssid and ssid not in [pair[0] for pair in known]:
                known.append((ssid, settings.get("wifi.password" + place)))
        if not known:
            return
        try:
            self._activate()
            if len(known) > 1:
                found = self.scan()
                strength = {row["ssid"]: row["rssi_dbm"] for row in found}
                # a hidden one is not found: it keeps its place among those
                known.sort(key=lambda pair: -strength.get(pair[0], -999))
        except OSError as error:
            self._failed = (known[0][0], "failed")
            print("wifi:", error)

    def scan(self) -> list:  # on demand
        """Names and strengths (dBm) of the networks in reach, the strongest first. Stops Python
        for about 2 s, so no outlet may be on. Raises OSError when the radio cannot do it now."""
        self._activate()
        self._app.watchdog.feed()
        best: dict = {}
        for row in self._wlan.scan():
            try:
                name = row[0].decode()
            except UnicodeError:
                continue
            # a name goes to terminals, and may be anything that somebody sends
            if not name or min(row[0]) < 32 or 127 in row[0]:
                continue
            if row[3] > best.get(name, -999):  # a network may have several transmitters
                best[name] = row[3]
        return [
            {"ssid": name, "rssi_dbm": best[name]} for name in sorted(best, key=lambda n: -best[n])
        ]

    async def run(self):
        """Task: connect, and connect again."""
        rest = _REST_S
        while True:
            if self._joining or not self._known or self._wlan.isconnected():
                rest = _REST_S
                await self._second()
                continue
            for ssid, password in list(self._known):
                if not await self._attempt(ssid, password) or self._joining:
                    break
            else:
                for _ in range(rest + random.getrandbits(8) % (rest // 2 + 1)):
                    await self._second()
                    if self._joining:
                        break
                rest = min(2 * rest, _REST_MAX_S)

    async def _second(self):
        await asyncio.sleep(1)
        self._note()

    async def _attempt(self, ssid, password):
        """Try one network; "" or the reason in some words. The newest attempt has the radio."""
        self._turn += 1
        turn = self._turn
        wlan = self._wlan
        self._ssid = ssid
        self._trying = True
        reason = "no answer"
        try:
            if not self._is_on:
                self._activate()
            wlan.disconnect()
            wlan.connect(ssid, password or None)
            for _ in range(_TRY_S):
                await self._second()
                if turn != self._turn:
                    return "given up"
                if wlan.isconnected():
                    reason = ""
                    break
                status = wlan.status()
                if status in _WHY:
                    reason = _WHY[status]
                    break
                if status == _NO_ADDRESS:
                    reason = "no address"
        except OSError:
            reason = "failed"
            await self._second()
        self._trying = False
        if reason:
            self._failed = (ssid, reason)
            return reason
        # after a loss this one is tried first
        self._known = [(ssid, password)] + [pair for pair in self._known if pair[0] != ssid]
        return ""

    async def join(self, ssid, password):  # on demand
        """Leave the present network for this one; "" or the reason in words. After a failure
        run() goes back to the old one. It stores nothing: until the next start it is one of the
        known networks. Switches the radio on when it is off: 0.8 s, which a lease outlasts."""
        if not 0 < len(ssid.encode()) <= 32:
            return "a network's name has 1 to 32 bytes"
        if password and not 8 <= len(password.encode()) <= 63:
            return "a Wi-Fi password has 8 to 63 characters"
        if self._joining:
            return "another network is being joined"
        self._joining = True
        try:
            reason = await self._attempt(ssid, password)
            if reason and self._is_on:
                self._wlan.disconnect()  # it must not come up late
            return reason
        finally:
            self._turn += 1  # also when the one who asked has gone
            self._trying = self._joining = False

    def _note(self):
        """Once a second: what the journal should know of the link."""
        journal = self._app.journal
        now = journal.now_s
        up = self._wlan.isconnected()
        if up:
            self._up_s = now
            if self._failed[0] == self._ssid:
                self._failed = ("", "")
            if self._noted == events.WIFI_UP:
                return
            self._noted = events.WIFI_UP
        else:
            if self._noted != events.WIFI_UP or now - self._up_s < _DOWN_S:
                return
            if now - self._noted_s < _QUIET_S:
                return
            self._noted = events.WIFI_DOWN
        self._noted_s = now
        journal.add(events.LINK, -1, self._noted, 0, events.BY_CONTROL)


def make(app):
    """A Network, or None where the chip has no radio."""
    return None if network is None else Network(app)


async def lookup(net, host):  # on demand
    """Numeric address of `host`, asked of the network's DNS server without blocking. Without a
    Network (the unix port) `host` itself: the system resolves it. Raises datagram.NoAnswer."""
    if net is None:
        return host
    from lib import datagram

    server = net.dns
    if not server and not datagram.is_address(host):
        raise datagram.NoAnswer("the network named no DNS server")
    return await datagram.lookup(host, server)

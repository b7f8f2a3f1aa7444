# Wi-Fi where the chip has it. Never blocks for long: connecting goes on in the radio.
# Called by a guarded task of app; None on boards without a radio.

import asyncio

try:
    import network
except ImportError:
    network = None

# WLAN.status() of the Pico W
_STATES = ("wrong password", "no network", "failed", "idle", "connecting", "no address", "up")
_FIRST = -3
_RETRY_S = 20


class Network:
    """Joins the network of the settings and comes back after a loss."""

    def __init__(self, settings):
        self._settings = settings
        self._wlan = network.WLAN(network.STA_IF)

    @property
    def connected(self) -> bool:
        return self._wlan.isconnected()

    def status(self) -> dict:
        """State in a word, network name, own address."""
        up = self._wlan.isconnected()
        status = self._wlan.status()
        state = "up" if up else "down"
        if not up and isinstance(status, int) and _FIRST <= status < _FIRST + len(_STATES):
            state = _STATES[status - _FIRST]
        address = self._wlan.ifconfig()[0] if up else ""
        return {"state": state, "ssid": self._settings.get("wifi.ssid"), "address": address}

    def scan(self) -> list:  # on demand
        """Names and strengths (dBm) of the networks in reach. Stops Python for about 2 s."""
        self._wlan.active(True)
        found = []
        for row in self._wlan.scan():
            found.append({"ssid": row[0].decode(), "rssi_dbm": row[3]})
        return found

    async def run(self):
        """Task: connect, and connect again."""
        ssid = self._settings.get("wifi.ssid")
        if not ssid:
            return
        country = self._settings.get("wifi.country")
        if country:
            network.country(country)
        self._wlan.active(True)
        while True:
            if not self._wlan.isconnected():
                self._wlan.connect(ssid, self._settings.get("wifi.password"))
                for _ in range(_RETRY_S):
                    await asyncio.sleep(1)
                    if self._wlan.isconnected():
                        break
            await asyncio.sleep(2)


def make(settings):
    """A Network, or None where the chip has no radio."""
    return None if network is None else Network(settings)

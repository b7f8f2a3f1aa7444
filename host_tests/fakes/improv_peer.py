# The other end of Improv, as a browser has it: packets made, and found again among lines of text.
# Written after the standard's text, apart from the firmware's code. Runs on CPython and on
# MicroPython.


def call(number, data=b""):
    """The bytes of a call, with the end of line that browsers append."""
    return framed(3, bytes((number, len(data))) + data) + b"\n"


def framed(kind, data, version=1):
    """The bytes of a packet."""
    body = b"IMPROV" + bytes((version, kind, len(data))) + data
    total = 0
    for byte in body:
        total += byte
    return body + bytes((total % 256,))


def credentials(ssid, password):
    """The call that sends a network's name and password."""
    ssid = ssid.encode()
    password = password.encode()
    return call(1, bytes((len(ssid),)) + ssid + bytes((len(password),)) + password)


class Radio:
    """A radio among `networks` (name: password). It takes `tries` turns of `sleep()` to join."""

    def __init__(self, networks, sleep, tries=3):
        self.networks = networks
        self.asked = []
        self.ssid = ""
        self._sleep = sleep
        self._tries = tries

    @property
    def connected(self):
        return self.ssid != ""

    def scan(self):
        rows = [{"ssid": name, "rssi_dbm": -40 - len(name)} for name in sorted(self.networks)]
        return rows + [{"ssid": "", "rssi_dbm": -90}] + [dict(row, rssi_dbm=-99) for row in rows]

    async def join(self, ssid, password):
        self.asked.append((ssid, password))
        for _ in range(self._tries):
            await self._sleep()
        if ssid not in self.networks:
            return "no network of that name"
        if self.networks[ssid] != password:
            return "wrong password"
        self.ssid = ssid
        return ""


class Reader:
    """Splits what a board sends: `packets` are (type, data), `text` is the rest.

    A packet counts only at the start of a line."""

    def __init__(self):
        self.packets = []
        self.text = b""
        self._held = b""

    def feed(self, data):
        """Take bytes; ValueError for a packet with a wrong checksum."""
        self._held += data
        while self._held:
            at_start = self.text == b"" or self.text[-1:] == b"\n"
            if at_start and b"IMPROV\x01".startswith(self._held[:7]):
                if len(self._held) < 10 or len(self._held) < 10 + self._held[8]:
                    return
                size = 10 + self._held[8]
                whole = self._held[:size]
                if framed(whole[7], whole[9:-1]) != whole:
                    raise ValueError(repr(whole))
                self.packets.append((whole[7], whole[9:-1]))
                self._held = self._held[size:]
                if self._held[:1] == b"\n":
                    self._held = self._held[1:]
            else:
                end = self._held.find(b"\n") + 1 or len(self._held)
                self.text += self._held[:end]
                self._held = self._held[end:]

    def take(self):
        """The packets since the last call."""
        taken = self.packets
        self.packets = []
        return taken


def texts(data):
    """(call, list of texts) of a result; ValueError when its lengths do not fit."""
    if data[1] != len(data) - 2:
        raise ValueError(repr(data))
    found = []
    at = 2
    while at < len(data):
        end = at + 1 + data[at]
        if end > len(data):
            raise ValueError(repr(data))
        found.append(data[at + 1 : end].decode())
        at = end
    return data[0], found

"""The trip latch on flash: which outlets tripped, why, when, and how hot all of them were.

Role: a tripped outlet stays tripped across resets and power cuts until somebody clears it, and
an outlet that was hot does not start cold.
Called by: boot (load) and the outer lane's storage task (save), as soon as a trip has opened
its relay. Some 100 to 250 bytes, which littlefs keeps in its metadata log (0.3 erases a save).
The heat alone is saved at most once a minute, and only when it has changed by 5 %.
"""

import json

from firmware.storage import files


class LatchStore:
    """`latch.json` in a folder.

    After load(): `trusted` is False when the newest version was damaged, so that a trip may be
    missing: no outlet may be closed by itself then. `on` are the outlets that were on, `heat`
    the permille of each outlet that was warm, `trips` the ages in seconds of its last trips,
    and `epoch` the time of all that, or 0. `serial` grows with each version."""

    def __init__(self, folder: str):
        self._folder = folder
        self._path = files.join(folder, "latch.json")
        self._last = ""
        self.on = []
        self.heat = {}
        self.trips = {}
        self.epoch = 0
        self.serial = 0
        self.trusted = True
        self.note = ""

    def load(self) -> dict:  # on demand: boot
        """{outlet name: (reason, trip count, heat in permille, epoch s or 0)}. Never raises."""
        data, _, self.note = files.read(self._path)
        self.trusted = not self.note
        self.serial = 0
        self._clear()
        return {} if data is None else self.take(data)

    def _clear(self):  # on demand: boot
        self.on = []
        self.heat = {}
        self.trips = {}
        self.epoch = 0

    def take(self, data) -> dict:  # on demand: boot
        """What load() returns, of the text of a version that compose() made."""
        latched = {}
        try:
            stored = json.loads(data)
            self._clear()
            self.serial = int(stored.get("n", 0))
            for name in stored["latched"]:
                reason, count, heat_permille, epoch = stored["latched"][name]
                latched[name] = (int(reason), int(count), int(heat_permille), int(epoch))
            if self.trusted:
                self.on = [str(name) for name in stored["on"]]
            self._load_heat(stored)
        except (ValueError, TypeError, LookupError, AttributeError):
            self.trusted = False
            self.note = "%s is not a trip latch" % self._path
        return latched

    def _load_heat(self, stored):  # on demand: boot
        heat = stored.get("heat", {})
        self.heat = {str(name): int(heat[name]) for name in heat}
        uptime, self.epoch = [int(x) for x in stored.get("at", (0, 0))]
        trips = stored.get("trips", {})
        for name in trips:
            self.trips[str(name)] = [max(0, uptime - int(t)) for t in trips[name]]

    def compose(self, latched: dict, on=(), heat=None, trips=None, at=(0, 0)) -> str:
        """The text of a new version, or "" when it says what the last one said. `heat` as load()
        gives it, `trips`: uptimes of the last trips, `at`: uptime and epoch of now."""
        stored: dict = {"latched": latched, "on": list(on)}
        if trips:
            stored["trips"] = trips
        if heat:
            stored["heat"] = heat
        text = json.dumps(stored)
        if text == self._last:
            return ""
        if heat or trips:
            stored["at"] = at
        stored["n"] = self.serial + 1
        text, self._last = json.dumps(stored), text  # all or nothing, should memory end here
        self.serial += 1
        return text

    def write(self, text: str):
        """Replace the file. Raises files.StorageError; the older version is intact then."""
        try:
            files.make_folder(self._folder)
            files.replace_file(self._path, text)
        except files.StorageError:
            self._last = ""
            raise

    def save(self, latched: dict, on=(), heat=None, trips=None, at=(0, 0)) -> bool:
        """Write when it differs from what was last written; returns whether it did. Raises
        files.StorageError; the older version is intact then."""
        text = self.compose(latched, on, heat, trips, at)
        if text:
            self.write(text)
        return text != ""

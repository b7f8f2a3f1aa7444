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
    and `epoch` the time of all that, or 0."""

    def __init__(self, folder: str):
        self._folder = folder
        self._path = files.join(folder, "latch.json")
        self._last = ""
        self.on = []
        self.heat = {}
        self.trips = {}
        self.epoch = 0
        self.trusted = True
        self.note = ""

    def load(self) -> dict:  # on demand: boot
        """{outlet name: (reason, trip count, heat in permille, epoch s or 0)}. Never raises."""
        data, _, self.note = files.read(self._path)
        self.trusted = not self.note
        self.on = []
        self.heat = {}
        self.trips = {}
        self.epoch = 0
        latched = {}
        if data is None:
            return latched
        try:
            stored = json.loads(data)
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

    def save(self, latched: dict, on=(), heat=None, trips=None, at=(0, 0)) -> bool:
        """Write when it differs from what was last written; returns whether it did. `heat` as
        load() gives it, `trips`: uptimes of the last trips, `at`: uptime and epoch of now.

        Raises files.StorageError; the older version is intact then."""
        stored = {"latched": latched, "on": list(on)}
        if trips:
            stored["trips"] = trips
        if heat:
            stored["heat"] = heat
        text = json.dumps(stored)
        if text == self._last:
            return False
        if heat or trips:
            stored["at"] = at
        files.make_folder(self._folder)
        files.write(self._path, json.dumps(stored))
        self._last = text
        return True

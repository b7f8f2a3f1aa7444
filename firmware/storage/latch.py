"""The trip latch on flash: which outlets tripped, why, and how hot they were.

Role: a tripped outlet stays tripped across resets and power cuts until somebody clears it.
Called by: boot (load) and the outer lane's storage task (save), as soon as a trip has opened
its relay. Some 100 bytes, which littlefs keeps in its metadata log (0.3 erases a save).
"""

import json

from firmware.storage import files


class LatchStore:
    """`latch.json` in a folder.

    After load(): `trusted` is False when the newest version was damaged, so that a trip may be
    missing: no outlet may be closed by itself then. `on` are the outlets that were on."""

    def __init__(self, folder: str):
        self._folder = folder
        self._path = files.join(folder, "latch.json")
        self._last = ""
        self.on = []
        self.trusted = True
        self.note = ""

    def load(self) -> dict:
        """{outlet name: (reason, trip count, heat in permille, epoch s or 0)}. Never raises."""
        data, _, self.note = files.read(self._path)
        self.trusted = not self.note
        self.on = []
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
        except (ValueError, TypeError, KeyError):
            self.trusted = False
            self.note = "%s is not a trip latch" % self._path
        return latched

    def save(self, latched: dict, on=()) -> bool:
        """Write when it differs from what was last written; returns whether it did.

        Raises files.StorageError; the older version is intact then."""
        text = json.dumps({"latched": latched, "on": list(on)})
        if text == self._last:
            return False
        files.make_folder(self._folder)
        files.write(self._path, text)
        self._last = text
        return True

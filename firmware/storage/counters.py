"""Energy counters on flash: two slots written in turn, so that a cut costs one interval at most.

Role: keep a small table of numbers (mWh per outlet, and whatever else grows) across power cuts.
Called by: boot (load) and the outer lane's storage task (save).

Wear: the table of five outlets is about 150 bytes, which littlefs keeps inside its metadata
log. Measured with 4 KiB blocks (test_storage.py): 0.07 block erases a save. Saved each 60 s
for ten years: 5.26 million saves x 0.07 = 368 000 erases, which littlefs spreads over the 200
free blocks of a Pico W (it moves a metadata pair after 100 erases): 1840 each; the limit is
10 000. Above 256 bytes a save costs 0.15 erases, above 512 bytes 1.1: keep the table small.
"""

import json

from firmware.storage import files


class CounterStore:
    """Two checksummed slots, `<stem>.0` and `<stem>.1`. `note` says what load() found wrong."""

    def __init__(self, folder: str, names, stem: str = "energy"):
        self._folder = folder
        self._stem = files.join(folder, stem)
        self._names = tuple(names)
        self._serial = 0  # of the newest slot; its parity is the slot's number
        self.note = ""

    def load(self) -> dict:  # on demand
        """{name: number} of the newest good slot; names that it lacks start at 0. Never raises."""
        best = {}
        notes = []
        self._serial = 0
        for slot in (0, 1):
            path = "%s.%d" % (self._stem, slot)
            if files.size(path) == 0:
                continue  # the power went when it had just been created
            data, _, note = files.read(path)
            if note:
                notes.append(note)
            if data is None:
                continue
            try:
                serial, table = json.loads(data)
                if serial > self._serial:
                    best = dict(table)
                    self._serial = serial
            except (ValueError, TypeError):
                notes.append("%s is not a table of counters" % path)
        if notes:
            notes.append("the other slot is used" if best else "counting starts at 0")
        self.note = "; ".join(notes)
        for name in self._names:
            if not isinstance(best.get(name), int):
                best[name] = 0
        return best

    def save(self, values: dict):
        """Write the older slot. Raises files.StorageError; the newer slot is intact then."""
        files.make_folder(self._folder)
        serial = self._serial + 1
        path = "%s.%d" % (self._stem, serial & 1)
        files.overwrite(path, json.dumps([serial, values]))
        self._serial = serial

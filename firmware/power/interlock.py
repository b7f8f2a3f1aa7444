# The interlock of home backup: which of three contacts may move, whatever the layers above want.
# Grid and source are never both closed, and the neutral is bonded at the vehicle exactly while the
# vehicle alone feeds the home. Called by power/transfer.py each turn of the control task; the
# outputs are what goes to the pins. Pure integer logic, allocates nothing.
#
# Every contact has an auxiliary contact that says where it is (mirror contact, IEC 60947-4-1 annex
# F): a command alone proves nothing. A contact counts as open when it was told to open *and* is
# seen open, both for the dead time.

from micropython import const

# contacts, bits
GRID = const(1)  # home to the grid
SOURCE = const(2)  # home to the vehicle
BOND = const(4)  # the vehicle's neutral to protective earth
CONTACTS = (GRID, SOURCE, BOND)
NAMES = ("grid", "source", "bond")

# why a contact may not move
FREE = const(0)
WAITS = const(1)  # the other one is open, not yet for the dead time
OTHER = const(2)  # the other one is closed, or not known to be open
UNBONDED = const(3)  # the neutral is not bonded yet
BONDED = const(4)  # the neutral is still bonded at the vehicle
LIVE = const(5)  # the source is closed: its bond may not open
BROKEN = const(6)  # the contact does not do as told, or nobody confirmed a repair
WHY = ("", "dead time", "the other side is closed", "neutral not bonded", "neutral still bonded",
       "the source is closed", "a contact does not do as told")  # fmt: skip


class Interlock:
    """`outputs`: bits that are commanded closed. `welded`, `stuck`: bits of contacts that did not
    open or close within their time; they stay so until clear()."""

    def __init__(self):
        self.outputs = 0
        self.seen = 7  # nothing is known to be open before it was seen
        self.welded = 0
        self.stuck = 0
        self.dead_ms = 50
        self.follow_ms = 200
        self.bonds = True
        self._open_ms = [0, 0, 0]  # told and seen open for so long
        self._wrong_ms = [0, 0, 0]  # told one thing and seen another for so long

    def configure(self, dead_ms: int, follow_ms: int, bonds: bool):
        """`dead_ms`: both open before the other one closes, 20 to 2000 ms. `follow_ms`: in which a
        contact has to follow, 50 to 2000 ms. `bonds`: the transfer switch switches the neutral, so
        that the vehicle is a separately derived system and has to bond it (NEC 250.30); False: it
        stays bonded at the service panel and never at the vehicle."""
        self.dead_ms = dead_ms
        self.follow_ms = follow_ms
        self.bonds = bonds

    def is_open(self, contact: int) -> bool:
        """Told to be open and seen open for the dead time."""
        return self._open_ms[contact >> 1] >= self.dead_ms

    def is_closed(self, contact: int) -> bool:
        """Told to be closed, and seen so."""
        return self.outputs & self.seen & contact != 0

    def look(self, seen: int, ms: int) -> int:
        """Take up what the auxiliary contacts say, `ms` after the last time; returns the contacts
        that were found broken now."""
        self.seen = seen
        outputs = self.outputs
        open_ms = self._open_ms
        wrong_ms = self._wrong_ms
        found = 0
        i = 0
        for contact in CONTACTS:
            told = outputs & contact
            if told or seen & contact:
                open_ms[i] = 0
            elif open_ms[i] < self.dead_ms:
                open_ms[i] += ms
            if told == seen & contact:
                wrong_ms[i] = 0
            elif wrong_ms[i] < self.follow_ms:
                wrong_ms[i] += ms
                if wrong_ms[i] >= self.follow_ms:
                    found |= contact
                    if told:
                        self.stuck |= contact
                    else:
                        self.welded |= contact
            i += 1
        # A source that is closed, welded or on its way, gets its bond where the grid is open.
        if self.bonds and seen & SOURCE and self.closing(BOND) == FREE:
            self.close(BOND)
        # Whatever was commanded: what is seen closed on the other side opens this one, and an
        # islanded home without its bond is not fed.
        if self.outputs & SOURCE and (seen & GRID or (self.bonds and not self.is_closed(BOND))):
            self.outputs &= ~SOURCE
        if self.outputs & GRID and seen & SOURCE:
            self.outputs &= ~GRID
        return found

    def closing(self, contact: int) -> int:
        """Why `contact` may not close now, or FREE."""
        broken = self.welded | self.stuck
        if broken & contact:
            return BROKEN
        other = SOURCE if contact == GRID else GRID
        if contact == BOND:
            if not self.bonds:
                return BROKEN
            other = GRID
        if (self.outputs | self.seen | self.welded) & other:
            return OTHER
        if not self.is_open(other):
            return WAITS
        if contact == GRID:
            if (self.outputs | self.seen | self.welded) & BOND:
                return BONDED
            if not self.is_open(BOND):
                return WAITS
        elif contact == SOURCE:
            if self.bonds and not self.is_closed(BOND):
                return UNBONDED
            if not self.bonds and not self.is_open(BOND):
                return BONDED
        return FREE

    def close(self, contact: int) -> int:
        """Close a contact; FREE, or why not, and then nothing changes."""
        if self.outputs & contact:
            return FREE
        why = self.closing(contact)
        if why == FREE:
            self.outputs |= contact
            self._open_ms[contact >> 1] = 0
            self._wrong_ms[contact >> 1] = 0
        return why

    def open(self, contact: int) -> int:
        """Open a contact. Only the bond waits: until its source is open, for the dead time."""
        if contact == BOND and self.outputs & BOND and not self.is_open(SOURCE):
            return LIVE
        if self.outputs & contact:
            self.outputs &= ~contact
            self._wrong_ms[contact >> 1] = 0
        return FREE

    def clear(self) -> int:
        """The owner says that it is repaired; returns the contacts that still do not do as told,
        which stay broken."""
        wrong = (self.outputs ^ self.seen) & 7
        self.welded &= wrong
        self.stuck &= wrong
        return self.welded | self.stuck

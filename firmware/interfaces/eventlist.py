# What `events` is asked for, and its answer: from the journal's ring in RAM, and from flash when
# that does not reach back far enough: its files, then the strip. Loaded when asked for, and
# dropped again. Called by the outer lane (commands).

import json

from micropython import const

from firmware import events
from firmware.storage import journal

_DEFAULT = const(20)
_CATCH_UP = const(64)  # how many at once for a reader who asks `since` a number
_MOST = const(2000)  # more than flash holds
_SMALL = const(20)  # so many are a table in RAM; a longer answer is given record by record
_EPOCH = const(0x1000000)
_AT_ONCE = const(15)  # one less than the records that are read before the control lane's turn
_TRIPS = (events.TRIPPED, events.LOCKOUT, events.FAULT, events.LEASE)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

FORMS = (
    ("[count]|all", "the newest, 20 when not said; all: those on flash, too"),
    ("<outlet> <kind> <reason>", "only such: events bed1 tripped peak"),
    ("trips", "what protection has opened"),
    ("by <source>", "who asked or found it: by mqtt"),
    ("for <reason>", "a reason that is a kind as well: for lease"),
    ("since <seq> [count]", "those after that number, oldest first"),
    ("since boot|90s|15m|2h|3d", "of this start; of the last so long"),
    ("since 2026-11-22[T18:00:00[Z]]", "from that day or time on, local or UTC"),
)


class Refused(Exception):
    """A word was not understood; the text says which and what is."""


def _cut(word):
    return word if len(word) <= 32 else word[:32] + "..."


def _digits(word):
    """The number that a word of digits stands for, or -1."""
    return int(word) if 0 < len(word) < 9 and _is_digits(word.encode()) else -1


def _is_digits(data):
    for byte in data:
        if not 48 <= byte <= 57:
            return False
    return True


def _add(to, table, word):
    """Note the number of a word in a list; False when the table has no such word."""
    number = events.number(table, word)
    if number >= 0 and number not in to:
        to.append(number)
    return number >= 0


class Query:
    """What is asked for. Words of one sort widen it, words of different sorts narrow it."""

    def __init__(self, app, words):
        self._journal = app.journal
        self._board = app.board
        self._settings = app.settings
        self.count = 0  # 0: not said
        self.since = 0
        self.from_old = False  # the oldest first, for who catches up
        self._kinds = []
        self._outlets = []
        self._reasons = []
        self._sources = []
        self._last_s = 0  # of so many seconds only
        self._after = 0  # seconds since 1970
        i = 0
        while i < len(words):
            word = words[i]
            if word in ("since", "by", "for") and i + 1 < len(words):
                i += 1
                self._pair(word, words[i])
            else:
                self._word(word)
            i += 1

    def _pair(self, what, word):
        if what == "since":
            self._since(word)
            return
        is_source = what == "by"
        table: tuple = events.SOURCES if is_source else events.REASONS
        if not _add(self._sources if is_source else self._reasons, table, word):
            sort = "source" if is_source else "reason"
            raise Refused("no %s '%s' (there are: %s)" % (sort, _cut(word), " ".join(table)))

    def _since(self, word):
        if _digits(word) >= 0:
            self.since = _digits(word)
            self.from_old = True
        elif word == "boot":
            self.since = self._journal.boot_seq - 1
            self.count = self.count or _MOST
        elif _digits(word[:-1]) > 0 and word[-1] in _UNITS:
            self._last_s = _digits(word[:-1]) * _UNITS[word[-1]]
            self.count = self.count or _MOST
        elif word[4:5] == "-":
            self._after = self._moment(word)
            self.count = self.count or _MOST
        else:
            raise Refused(
                "since '%s' is not understood (allowed: a number, boot, a time such as 90s, 15m, "
                "2h, 3d, or a date such as 2026-11-22)" % _cut(word)
            )

    def _moment(self, word):
        """Seconds since 1970 of a day or a time; without a zone it is local."""
        from firmware.interfaces import timecommand
        from firmware.timezone import Zone

        if len(word) == 10:
            word += "T00:00:00"
        try:
            if len(word) > 19:
                return timecommand.parse(word)
            moment = timecommand.parse(word + "Z")
        except timecommand.Refused as error:
            raise Refused("since " + str(error))
        zone = Zone(self._settings.get("time.zone"))
        return moment - zone.offset(moment - zone.offset(moment))

    def _word(self, word):
        outlet = self._board.outlet_index(word)
        if word == "all":
            self.count = _MOST
        elif _digits(word) >= 0:
            self.count = _digits(word)
            if not 1 <= self.count <= _MOST:
                raise Refused("the count of events is 1 to %d, or all" % _MOST)
        elif word == "trips":
            self._kinds.extend(_TRIPS)
        elif outlet >= 0:
            self._outlets.append(outlet)
        elif not (
            _add(self._kinds, events.KINDS, word)
            or _add(self._reasons, events.REASONS, word)
            or _add(self._sources, events.SOURCES, word)
        ):
            raise Refused(
                "'%s' is no count, outlet, kind, reason or source (outlets: %s; kinds: %s; "
                "more: help events)"
                % (
                    _cut(word),
                    " ".join([outlet.name for outlet in self._board.outlets]),
                    " ".join(events.KINDS),
                )
            )

    def fits(self, record) -> bool:
        """Whether a record is asked for."""
        return (
            (not self._kinds or record[journal.KIND] in self._kinds)
            and (not self._outlets or record[journal.OUTLET] in self._outlets)
            and (not self._reasons or record[journal.REASON] in self._reasons)
            and (not self._sources or record[journal.SOURCE] in self._sources)
            and (not self._last_s or self._is_late(record))
            and (not self._after or record[journal.WHEN] >= self._after)
        )

    def _is_late(self, record):
        book = self._journal
        if record[journal.SEQ] >= book.boot_seq:
            return book.now_s - record[journal.UPTIME_S] <= self._last_s
        # of an earlier start: only where the clock was set then and is set now
        when = record[journal.WHEN]
        now = book.epoch_offset_s + book.now_s
        return when >= _EPOCH and book.epoch_offset_s > 0 and now - when <= self._last_s


class Listing:
    """The events that a query asks for, as long as they can be read; without those that come
    later. `number`: how many they are."""

    def __init__(self, app, report, query):
        self._app = app
        self._report = report
        self._query = query
        book = app.journal
        self._first = book.first_seq
        self._last = book.last_seq
        # whether to read flash, because the ring does not reach back far enough
        self._deep = query.from_old and query.since + 1 < self._first
        self._skip = 0
        self._length = -1  # of the rows as text
        wanted = query.count or (_CATCH_UP if query.from_old else _DEFAULT)
        found = self._count(wanted)
        if not self._deep and found < wanted and query.since + 1 < self._first:
            self._deep = True
            found = self._count(wanted)
        if query.from_old:
            self.number = min(found, wanted)
        else:
            self._skip = max(found - wanted, 0)
            self.number = found - self._skip

    def _all(self):
        """Generator of the records in the order of their numbers, read one by one."""
        book = self._app.journal
        seq = self._query.since
        keeper = getattr(self._app, "keeper", None)
        if self._deep and keeper is not None:
            turn = 0
            for record in keeper.journal_store.older(seq + 1, keeper.log()):
                turn += 1
                if turn & _AT_ONCE == 0:
                    self._app.breathe()
                if record[journal.SEQ] >= min(book.first_seq, self._last + 1):
                    break
                seq = record[journal.SEQ]
                yield record
        for record in book.since(seq):
            if record[journal.SEQ] > self._last:
                break
            if not record[journal.SEQ] & _AT_ONCE:
                self._app.breathe()
            yield record

    def _count(self, wanted):
        found = 0
        for record in self._all():
            if self._query.fits(record):
                found += 1
                if self._query.from_old and found == wanted:
                    break
        return found

    def records(self):
        """Generator of the records."""
        skip = self._skip
        left = self.number
        for record in self._all():
            if left and self._query.fits(record):
                if skip:
                    skip -= 1
                else:
                    left -= 1
                    yield record

    def table(self) -> dict:
        """The answer at once, for a few of them."""
        rows = []
        for record in self.records():
            self._app.breathe()  # to put one into words takes 4 ms
            rows.append(self._report.event(self._app, record))
        return {"events": rows, "first_seq": self._first, "last_seq": self._last}

    def parts(self):
        """The same JSON object in pieces, from behind its opening brace. MQTT asks twice, and the
        second time must be as long: by then old records may be gone, or the clock be set."""
        yield '"events":['
        length = 0
        for record in self.records():
            event = self._report.event(self._app, record)
            text = ("," if length else "") + json.dumps(event, separators=(",", ":"))
            if 0 <= self._length < length + len(text):
                continue
            length += len(text)
            yield text
        if self._length < 0:
            self._length = length
        while length < self._length:
            length += 1
            yield " "
        yield '],"first_seq":%d,"last_seq":%d}' % (self._first, self._last)

    def lines(self):
        """A table for people."""
        from firmware.interfaces import screens

        for line in screens.events_table(self._app, self.records()):
            yield line


def answer(app, report, words):
    """What the command gives back: a dict, or a Listing when that would be long."""
    found = Listing(app, report, Query(app, words))
    return found.table() if found.number <= _SMALL and not found._deep else found

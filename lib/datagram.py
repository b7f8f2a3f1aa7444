# Questions by UDP that never block: one datagram out, one back, under a deadline.
# Knows nothing of the product. Called by outer-lane tasks.
#
#   address = await datagram.lookup("broker.lan", "192.168.1.1")   # DNS, RFC 1035
#   seconds = await datagram.network_time("192.168.1.7")           # SNTP, RFC 4330
#
# Why not socket.getaddrinfo(): it stops Python until DNS has answered, which can take seconds.

import asyncio
import random
import socket
from time import ticks_diff, ticks_ms

_TICK_MS = 20
_TRY_MS = 1500  # a resolver on the same network answers within some ms
_TRIES = 3
_DNS_PORT = 53
_MDNS = ("224.0.0.251", 5353)  # names that end with .local: asked of everybody (RFC 6762, 5.1)
_NTP_PORT = 123
_NTP_EPOCH = 2_208_988_800  # 1970 in the seconds of NTP, which count from 1900
_NTP_ERA = 1 << 32  # the counter wraps in 2036
_OLDEST = 1_704_067_200  # 2024: a server that says less is not to be believed


class NoAnswer(Exception):
    """The question could not be answered; the text says why."""


class Refused(NoAnswer):
    """A time server does not want to be asked (kiss-o'-death, RFC 4330, 8): leave it alone."""


async def _ask(address, question, accept, anybody=False):
    """Send `question` until accept(answer) is not None; returns that. `anybody`: may answer."""
    info = socket.getaddrinfo(address[0], address[1])[0]  # numeric: does not ask anybody
    why = "no answer"
    for _ in range(_TRIES):
        sock = socket.socket(info[0], socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            if anybody:
                sock.sendto(question, info[-1])
            else:
                # Connected: an answer from anybody else does not come through.
                sock.connect(info[-1])
                sock.send(question)
            start = ticks_ms()
            while ticks_diff(ticks_ms(), start) < _TRY_MS:
                try:
                    answer = sock.recv(512)
                except OSError as error:
                    if error.errno != 11:  # EAGAIN: nothing there yet
                        raise
                    answer = None
                if answer:
                    result = accept(answer)
                    if result is not None:
                        return result
                await asyncio.sleep_ms(_TICK_MS)
        except OSError as error:
            why = "error %s" % error.errno
            await asyncio.sleep_ms(_TICK_MS)
        finally:
            sock.close()
    raise NoAnswer("%s from %s" % (why, address[0]))


def is_address(host):
    """Whether `host` is a numeric IPv4 address, which needs no lookup."""
    parts = host.split(".")
    if len(parts) != 4:
        return False
    for part in parts:
        if not 0 < len(part) < 4:
            return False
        for char in part:
            if not "0" <= char <= "9":
                return False
        if int(part) > 255:
            return False
    return True


def _skip_name(packet, at):
    """Offset behind the name at `at`; raises IndexError on a cut packet."""
    while True:
        length = packet[at]
        if length >= 0xC0:  # a pointer ends the name
            return at + 2
        at += 1
        if not length:
            return at
        at += length


def _dns_answer(packet, asked):
    """The first IPv4 address of an answer, "" when the name does not exist, None: not to what was
    asked."""
    try:
        if packet[:2] != asked[:2] or not packet[2] & 0x80:
            return None
        if packet[12 : len(asked)] != asked[12:]:  # the question comes back with the answer
            return None
        if packet[3] & 15:
            return ""
        at = 12
        for _ in range(packet[4] << 8 | packet[5]):
            at = _skip_name(packet, at) + 4
        for _ in range(packet[6] << 8 | packet[7]):
            at = _skip_name(packet, at)
            kind = packet[at] << 8 | packet[at + 1]
            length = packet[at + 8] << 8 | packet[at + 9]
            at += 10
            if kind == 1 and length == 4:
                return "%d.%d.%d.%d" % (packet[at], packet[at + 1], packet[at + 2], packet[at + 3])
            at += length
    except IndexError:
        return None
    return ""


def hosts(text, port=_NTP_PORT):
    """[(name or address, port)] of a text like "pool.ntp.org, 192.168.1.7:1123"; ValueError with
    the word that is none."""
    found = []
    for word in text.replace(",", " ").split():
        host, colon, digits = word.partition(":")
        number = int(digits) if digits.isdigit() and len(digits) < 6 else 0
        good = 0 < len(host) < 64 and (not colon or 0 < number < 65536)
        for byte in host.encode():
            if not (97 <= byte | 32 <= 122 or 48 <= byte <= 57 or byte == 45 or byte == 46):
                good = False
        if not good:
            raise ValueError(word)
        found.append((host, number or port))
    return found


async def lookup(host, server, port=_DNS_PORT):
    """IPv4 address of `host`, asked of the DNS server at the address `server`; of everybody on the
    network when the name ends with `.local`.

    Raises NoAnswer: no reply within 4.5 s, no such name, or a name that DNS cannot carry."""
    if is_address(host):
        return host
    ident = random.getrandbits(16)
    question = bytearray(b"\0\0\1\0\0\1\0\0\0\0\0\0")  # recursion desired, one question
    question[0] = ident >> 8
    question[1] = ident & 255
    for label in host.rstrip(".").split("."):
        raw = label.encode()
        if not 0 < len(raw) < 64:
            raise NoAnswer("'%s' is no host name" % host[:64])
        question.append(len(raw))
        question.extend(raw)
    if len(question) > 266:
        raise NoAnswer("'%s' is too long for a host name" % host[:64])
    question.extend(b"\0\0\1\0\1")  # end of the name, type A, class IN
    address = (server, port)
    anybody = host.rstrip(".").lower().endswith(".local")
    if anybody:
        address = _MDNS
    found = await _ask(address, question, lambda packet: _dns_answer(packet, question), anybody)
    if not found:
        raise NoAnswer("%s knows no address of %s" % (address[0], host))
    return found


def _ntp_answer(packet, cookie):
    """Seconds since 1970 of an SNTP answer to `cookie`, None when it is not usable."""
    if len(packet) < 48 or packet[0] & 7 != 4 or bytes(packet[24:32]) != cookie:
        return None  # not a server's, or an answer to somebody else's question
    if packet[1] == 0:
        code = bytes(packet[12:16])  # DENY, RSTR, RATE, ...
        raise Refused("refused (%s)" % (code.decode() if code.isalpha() else "no reason given"))
    if packet[1] > 15 or packet[0] >> 6 == 3:
        return None  # its own clock is not set
    seconds = 0
    for byte in packet[40:44]:
        seconds = seconds << 8 | byte
    if not seconds:
        return None  # it does not know the time (RFC 4330, 5)
    seconds -= _NTP_EPOCH
    if seconds < _OLDEST:
        seconds += _NTP_ERA
    return seconds if seconds < _OLDEST + _NTP_ERA else None


async def network_time(server, port=_NTP_PORT):
    """Seconds since 1970 (UTC) from the SNTP server at the address `server`; good to a second.

    Raises NoAnswer; Refused when the server does not want to be asked again."""
    question = bytearray(48)
    question[0] = 0x23  # version 4, client
    for i in range(40, 48):  # comes back as the originate time: only our server can know it
        question[i] = random.getrandbits(8)
    cookie = bytes(question[40:48])
    return await _ask((server, port), question, lambda packet: _ntp_answer(packet, cookie))

"""Host names to addresses: asked of the network's DNS server (RFC 1035), kept, and used again when it is silent.

A board asks through this file, since its own look-up holds up everything for as long as DNS is away, longer than the
watchdog of an RP2 waits.  For names that end in `.local` it asks everybody in the network (RFC 6762 §5.1), once, and
the answer comes back to it alone (§6.7).  Where the board names no server, names go to the system's look-up.
"""

import os
import socket
import struct

import udp

PORT = 53
GROUP = ("224.0.0.251", 5353)
_A, _IN = 1, 1
_WORDS = ("", "malformed", "failure of the server", "no such name", "not implemented", "refused")


class Names:
    """Looks names up and keeps what it found.  `server()` is the DNS server's address in digits, or None for the
    system's look-up, asked anew each time: it comes with the network."""

    def __init__(self, server, port=PORT, group=GROUP):
        self.known = {}
        self._server = server
        self._port = port
        self._group = group
        self._doubtful = []

    async def find(self, host):
        """The address of `host`, in digits where the name server was asked.

        Looked up once, and again only after `doubt`; then an answer that does not come leaves the address that was
        there.  Raises `OSError` where there is none.
        """
        if host in self.known and host not in self._doubtful:
            return self.known[host]
        try:
            self.known[host] = await self._look_up(host)
        except OSError as failure:
            if host not in self.known:
                raise OSError(-2, "no address for %s: %s" % (host, failure))
            return self.known[host]
        if host in self._doubtful:
            self._doubtful.remove(host)
        return self.known[host]

    def doubt(self, host):
        """Nothing answers at the address of `host`: look it up anew the next time."""
        if host in self.known and host not in self._doubtful:
            self._doubtful.append(host)

    async def _look_up(self, host):
        if is_address(host):
            return host
        server = self._server()
        if server is None:
            return _system(host)
        number = os.urandom(2)
        asked = question(number, host)
        is_local = host.rstrip(".").endswith(".local")
        place = self._group if is_local else (server, self._port)
        answer = await udp.ask(place, asked, lambda got: got[:2] == number and len(got) >= len(asked), is_local)
        return address_in(answer, asked)


def _system(host):
    """The system's look-up, IPv4 first; it holds up everything until it is done."""
    try:
        found = socket.getaddrinfo(host, 0, socket.AF_INET, socket.SOCK_STREAM)
    except OSError:
        found = socket.getaddrinfo(host, 0, 0, socket.SOCK_STREAM)
    place = found[0][-1]
    if isinstance(place, tuple):
        return place[0]
    family, octets = socket.sockaddr(place)[:2]  # the unix port of MicroPython
    return socket.inet_ntop(family, octets)


def is_address(host):
    """Whether this is an IPv4 address in digits, or an IPv6 address."""
    parts = host.split(".")
    return ":" in host or (len(parts) == 4 and all(part.isdigit() and int(part) < 256 for part in parts))


def question(number, host):
    """The message that asks for the IPv4 address of a name; `OSError` for what is no host name."""
    labels = host.rstrip(".").split(".")
    if not all(1 <= len(label.encode()) <= 63 for label in labels) or len(host) > 253:
        raise OSError(-2, "%s is no host name" % host)
    name = b"".join(bytes([len(label.encode())]) + label.encode() for label in labels)
    return number + b"\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + name + b"\x00" + struct.pack(">HH", _A, _IN)


def address_in(answer, asked):
    """The first IPv4 address of an answer to this question, in digits; raises `OSError` where it holds none."""
    flags, _, count = struct.unpack(">HHH", answer[2:8])
    if not flags & 0x8000 or answer[12 : len(asked)].lower() != asked[12:].lower():
        raise OSError(-2, "an answer to another question")
    if flags & 15:
        raise OSError(-2, "DNS says " + (_WORDS[flags & 15] if flags & 15 < len(_WORDS) else "error %d" % (flags & 15)))
    at = len(asked)
    for _ in range(min(count, 32)):
        at = _after_name(answer, at)
        if at + 10 > len(answer):
            break
        kind, of_class, _, size = struct.unpack(">HHIH", answer[at : at + 10])
        at += 10
        if (kind, of_class, size) == (_A, _IN, 4) and at + 4 <= len(answer):
            return ".".join(str(part) for part in answer[at : at + 4])
        at += size
    raise OSError(-2, "DNS knows no IPv4 address of it")


def _after_name(answer, at):
    """Where the name at this place ends: after a pointer, or after the empty label."""
    while at < len(answer):
        size = answer[at]
        if size & 0xC0:
            return at + 2
        at += 1 + size
        if not size:
            return at
    return len(answer)

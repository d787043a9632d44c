"""Open a TCP connection, with TLS if wanted, without holding up other tasks; a cancelled attempt leaves no socket.

MicroPython's own `open_connection` forgets its socket when it is cancelled, and on the unix port nothing else closes
it.  Only the name look-up blocks there, on every port: give brokers by address where that matters.
"""

import asyncio
import select
import socket
import sys

_EINPROGRESS = (115, 119, 36)  # Linux, ESP32 and lwIP, BSD
_POLL_MS = 20


async def dial(host, port, tls=None, server_name=None):
    """(reader, writer) of a new connection to an address; `server_name` is what a certificate is checked for, the
    host unless given.  Raises `OSError`."""
    if sys.implementation.name != "micropython":
        return await asyncio.open_connection(host, port, ssl=tls, server_hostname=server_name or host if tls else None)
    address = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)[0]
    plain = socket.socket(address[0], address[1], address[2])
    try:
        await _connect(plain, address[-1])
        wrapped = _wrapped(plain, tls, server_name or host) if tls else plain
        stream = asyncio.StreamReader(wrapped)
    except BaseException:
        plain.close()
        raise
    return stream, stream


async def _connect(plain, address):
    plain.setblocking(False)
    try:
        plain.connect(address)
    except OSError as failure:
        if failure.errno not in _EINPROGRESS:
            raise
    poll = select.poll()
    poll.register(plain, select.POLLOUT)
    while not poll.poll(0):
        await asyncio.sleep(_POLL_MS / 1000)


def _wrapped(plain, tls, server_name):
    wrapped = tls.wrap_socket(plain, server_side=False, do_handshake_on_connect=False, server_hostname=server_name)
    wrapped.setblocking(False)
    return wrapped

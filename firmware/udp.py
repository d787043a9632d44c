"""One question and its answer over UDP, without holding up other tasks.

The look-ups that MicroPython brings (names, NTP) hold up everything while no answer comes, longer than the watchdog of
an RP2 waits.  These do not.
"""

import asyncio
import select
import socket

TRIES = 2
WAIT_MS = 2000
_POLL_MS = 20
_MAX = 512


async def ask(address, question, fits, is_group=False):
    """The first answer from (host, port) for which `fits(answer)` holds; raises `OSError` where none comes in time.

    `host` is an address in digits; an answer to a group's address may come from anybody.  Sent `TRIES` times,
    `WAIT_MS` apart.
    """
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        opened.setblocking(False)
        place = socket.getaddrinfo(address[0], address[1])[0][-1]  # an RP2 warns of any further argument
        if not is_group:
            opened.connect(place)
        poll = select.poll()
        poll.register(opened, select.POLLIN)
        for _ in range(TRIES):
            if is_group:
                opened.sendto(question, place)
            else:
                opened.send(question)
            answer = await _answer(opened, poll, fits)
            if answer is not None:
                return answer
    finally:
        opened.close()
    raise OSError(110, "%s:%d does not answer" % address)


async def _answer(opened, poll, fits):
    for _ in range(WAIT_MS // _POLL_MS):
        await asyncio.sleep(_POLL_MS / 1000)
        while poll.poll(0):
            answer = opened.recv(_MAX)
            if fits(answer):
                return answer
    return None

"""Time from a server by SNTP (RFC 5905 §14), with the bound on its error that the exchange itself gives."""

import os
import struct

import udp
from clock import elapsed_ms, ticks_ms

PORT = 123
_TO_UNIX = 2208988800  # 1900-01-01 to 1970-01-01
_ERA = 1 << 32
_EARLIEST = 1735689600  # 2025-01-01; the era of NTP's seconds that is not before this one is meant


async def ask(address, port=PORT):
    """(Unix milliseconds now, bound on their error in ms) by the server at an address in digits.

    The bound is half the time that the answer took, with what the server states of its own root (delay and dispersion).
    Raises `OSError` where no server with a clock that is set answers.
    """
    nonce = os.urandom(8)
    asked_at = ticks_ms()
    answer = await udp.ask((address, port), b"\x23" + bytes(39) + nonce, lambda got: _fits(got, nonce))
    took_ms = elapsed_ms(asked_at)
    delay, dispersion = struct.unpack(">II", answer[4:12])
    seconds, fraction = struct.unpack(">II", answer[40:48])
    seconds -= _TO_UNIX
    while seconds < _EARLIEST:
        seconds += _ERA
    root_ms = (delay // 2 + dispersion) * 1000 >> 16
    return seconds * 1000 + (fraction * 1000 >> 32) + took_ms // 2, took_ms // 2 + root_ms + 1


def _fits(answer, nonce):
    """Whether this is a server's answer to our question, from a clock that is set: only who saw it knows the nonce."""
    if len(answer) < 48 or answer[24:32] != nonce or answer[0] & 7 != 4:
        return False
    return answer[0] >> 6 != 3 and 1 <= answer[1] <= 15 and answer[40:44] != bytes(4)

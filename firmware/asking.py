"""Questions to the gateway about updates, and answers that may be late, lost or another's (protocol.md §10.3)."""

import asyncio

import cbor
from link import within

_PIECE = 2048  # bytes asked for at once: with its packet, twice that in memory
_ANSWER_S = 10
_ASKS = 6  # times that a piece is asked for before the update waits


class Wait(Exception):
    """It cannot go on now, and may later."""


class Asking:
    """Asks by `ask(payload)`, which raises `LinkDown`; `take` is told of all that comes.

    `offer` is the last statement that came, of whomever, until somebody takes it away.
    """

    def __init__(self, ask):
        self._ask = ask
        self._answer = None
        self._came = asyncio.Event()
        self.offer = None

    def take(self, payload):
        """Something came from the gateway; quick."""
        if payload[:1] == b"\xd2":
            self.offer = payload
        else:
            self._answer = payload
        self._came.set()

    async def newest(self, target, number):
        """A statement that is newer than this release for this target, as the gateway says; None without one."""
        ask = cbor.encode([1, target, number])
        for _ in range(2):
            self._answer = None
            await self._ask(ask)
            if await self.until(_ANSWER_S, lambda: self.offer or self._answer):
                raw, self.offer = self.offer, None
                return raw
        return None

    async def piece(self, digest, at, left):
        """Bytes from `at` of what has this SHA-256, `left` at most and at least one.  Raises `Wait`."""
        most = min(_PIECE, left)
        ask = cbor.encode([1, digest, at, most])
        for _ in range(_ASKS):
            self._answer = None
            await self._ask(ask)
            if await self.until(_ANSWER_S, lambda: self._answer):
                piece = self._matching(digest, at, most)
                if piece is not None:
                    return piece
        raise Wait("the gateway does not answer")

    async def until(self, seconds, there):
        """Wait until something is there, so many seconds at most; returns whether it is."""
        return bool(there()) or await within(self._comes(there), seconds)

    async def _comes(self, there):
        while not there():
            self._came.clear()
            await self._came.wait()

    def _matching(self, digest, at, most):
        """The piece that was asked for, out of the answer that came; None where it is another."""
        try:
            fields = cbor.decode(self._answer or b"")
        except (ValueError, MemoryError):
            return None
        if not isinstance(fields, list) or len(fields) != 4 or fields[:3] != [1, digest, at]:
            return None
        piece = fields[3]
        if not isinstance(piece, bytes) or len(piece) > most:
            return None
        if not piece:
            raise Wait("the gateway does not have what the operator released")
        return piece

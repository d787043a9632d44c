"""A recording on its way: read on, signed and stored as fast as the gateway frees what was."""

import asyncio

import packs
from outbox import OutboxError
from sensors import REPLAYED

RETRY_S = 5


class Replay:
    """One recording; `run` ends with it.  `store(method, payload, positions)` signs, `freed` is set when anything goes.

    Where the storage refuses a statement its rows are tried again: the position moves with what is stored.
    """

    def __init__(self, recording, settings, chain, outbox, store, freed, say):
        self._recording = recording
        self._settings = settings
        self._chain = chain
        self._outbox = outbox
        self._store = store
        self._freed = freed
        self._say = say

    async def run(self):
        """Replay to the end."""
        recording = self._recording
        position = self._chain.positions.get(recording.key, recording.start)
        end = False
        while not end:
            while self._outbox.count >= self._settings["backlog"]:
                self._freed.clear()
                await self._freed.wait()
            payload, after, end = self._next_pack(position)
            if payload and not await self._store_rows(payload, after):
                end = False
                continue
            position = after
            await asyncio.sleep(recording.pause_ms / 1000 if payload else 0)
        self._say("%s: the recording is replayed to its end; %d statements wait" % (recording.name, self._outbox.count))

    def _next_pack(self, position):
        """(payload or None, position after it, end): as many rows as go into one statement; one too large for any is
        told and left out."""
        recording = self._recording
        most = recording.rows_per_statement
        while True:
            rows, after, end = recording.rows(position, most, self._say)
            payload = packs.of_rows(self._settings["name"] + "/", rows) if rows else None
            if payload and len(payload) > packs.MAX_SIZE and len(rows) == 1:
                said = (recording.name, position, packs.MAX_SIZE)
                self._say("%s: the row at or after byte %d is left out: its readings take more than %d bytes" % said)
                payload = None
            if not payload or len(payload) <= packs.MAX_SIZE:
                return payload, after, end
            most = max(1, most // 2)

    async def _store_rows(self, payload, after):
        positions = dict(self._chain.positions)
        positions[self._recording.key] = after
        try:
            self._store(REPLAYED, payload, positions)
        except OutboxError as failure:
            self._say("%s waits: %s" % (self._recording.name, failure))
            await asyncio.sleep(RETRY_S)
            return False
        return True

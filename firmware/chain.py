"""The node's own chain: whatever it signs gets the next seq, the entry before, and a place in the outbox."""

import cbor
import statement
from outbox import DAMAGED
from record import MAX_MARK
from sensors import REPLAYED

_WHY = ("the outbox was full", "the storage was damaged")
_NO_STATE = (0, {})
_MAX_POSITION = _MAX_BOOTS = 0xFFFFFFFF


def _state(mark):
    """(boot count, {recording: position}) kept with the newest statement."""
    return cbor.decode(mark) if mark else _NO_STATE


class Chain:
    """Signs and stores.  A statement is on the medium when a call returns; `OutboxError` means that it is not.

    `boot_count` is this start's.  `positions` says, for each recording by its key, up to where a stored statement has
    it.  `beacon` is the nonce of the newest beacon, or None; it goes into what is signed from then on.
    """

    def __init__(self, signer, sub, outbox, clock):
        count, self.positions = _state(outbox.mark)
        self.boot_count = count + 1
        self.beacon = None
        self._signer = signer
        self._sub = sub
        self._outbox = outbox
        self._clock = clock

    def go_on(self, nonce):
        """This is no new start but a wake from a sleep, with the beacon of before."""
        self.boot_count -= 1
        self.beacon = nonce

    def boot(self, software, cause, board, sensors):
        """Say that the node started, and with what."""
        self._forget_positions({sensor.key for sensor in sensors if sensor.method == REPLAYED})
        listed = [[s.name, s.driver, s.method, _cut(s.detail)] for s in sensors]
        body = {0: "boot", 1: _cut(cause), 2: _cut(board), 3: listed}
        return self._store(statement.BODY, cbor.encode(body), software=software)

    def _forget_positions(self, keys):
        """Make room for a position of each recording of `keys`, at the cost of those that are replayed no more."""
        gone = sorted(key for key in self.positions if key not in keys)
        largest = dict(self.positions)
        largest.update(dict.fromkeys(keys, _MAX_POSITION))
        while gone and len(cbor.encode([_MAX_BOOTS, largest])) > MAX_MARK:
            del self.positions[gone[-1]], largest[gone.pop()]

    def readings(self, method, payload, positions=None):
        """Sign a SenML pack; `positions` replaces those of the recordings it was taken from."""
        return self._store(statement.READINGS, payload, method=method, positions=positions)

    def updated(self, entry, had, number, outcome, reason):
        """Say what became of an update: the operator's statement by its entry, the release before and the one named."""
        body = {0: "updated", 1: entry, 2: had, 3: number, 4: outcome, 5: _cut(reason)}
        return self._store(statement.BODY, cbor.encode(body))

    def tell_dropped(self):
        """Sign a gap statement for each range that was dropped and not told of; yields each as text once stored."""
        due = self._outbox.due()
        while due:
            first, last, why = due
            body = {0: "gap", 1: first, 2: last, 3: _WHY[why == DAMAGED]}
            self._store(statement.BODY, cbor.encode(body), gap=(first, last))
            yield "seq %d to %d had to be given up: %s" % (first, last, _WHY[why == DAMAGED])
            due = self._outbox.due()

    def _store(self, content_type, payload, software=None, method=None, gap=None, positions=None):
        seq, entry = self._outbox.head
        iat, quality = self._clock.now()
        positions = self.positions if positions is None else positions
        signed = statement.sign(
            self._signer,
            self._sub,
            seq + 1,
            entry,
            content_type,
            payload,
            iat,
            quality,
            self.boot_count,
            beacon=self.beacon,
            software=software,
            method=method,
        )
        self._outbox.append(seq + 1, signed, cbor.encode([self.boot_count, positions]), gap)
        self.positions = positions
        return seq + 1


def _cut(text):
    """Text of at most 200 bytes (protocol.md §3.2)."""
    while len(text.encode()) > 200:
        text = text[:-1]
    return text

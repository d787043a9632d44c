"""Fault table, power: no acknowledgement before its sync, and every disk that a power cut may leave holds the promise.

One gateway is recorded call by call while nodes talk to it; what its disk holds after a cut at any moment is made from
the record.
"""

from contextlib import suppress
from pathlib import Path

from earmark import ack
from earmark.cose import kid
from earmark.errors import EarmarkError
from fault_report import Counts, fault_row
from fault_scene import Scene
from faults import chance, promises_of, reopen
from syscalls import Event, after_power_cut, packets_sent, read_events, recording

PUBACK, PUBLISH = 0x40, 0x30


class Recorded:
    """The record of one gateway: its store's files at the start, its events, and the promises by place."""

    def __init__(self, folder: Path, counts: Counts, seconds: float) -> None:
        with Scene(folder, "recorded", counts) as scene:
            scene.gateway.stop()
            self.start = {suffix: _content(Path(f"{scene.farm.database}{suffix}")) for suffix in ("", "-wal")}
            scene.gateway.prefix = recording(folder / "trace")
            scene.gateway.start()
            scene.talk(seconds)
            for node in scene.nodes:
                node.send_until_acknowledged()
            scene.gateway.kill()
        self.farm = scene.farm
        self.wal = f"{scene.farm.database.resolve()}-wal"
        self.events: list[Event] = read_events(folder / "trace")
        self.told: list[tuple[int, set[bytes], bytes]] = []
        self.pubacks = 0
        self._unsynced = self._places_unsynced()
        said = {kid(node.signing.key): node.said for node in scene.nodes}
        for place, packet in packets_sent(self.events):
            self._take(place, packet, said)

    def _take(self, place: int, packet: bytes, said: dict[bytes, dict[int, bytes]]) -> None:
        """Note a promise, and that it was made only when nothing of the write-ahead log was unsynced."""
        if packet[0] & 0xF0 == PUBACK:
            self.pubacks += 1
        elif packet[0] & 0xF0 == PUBLISH:
            with suppress(EarmarkError):
                answer = ack.decode(_payload(packet), self.farm.signer("gateway").key)
                raws = {said[answer.kid][seq] for first, last in answer.runs for seq in range(first, last + 1)}
                self.told.append((place, raws, answer.checkpoint))
        else:
            return
        assert not self._unsynced[place], f"{packet[:2].hex()} was sent before the sync"

    def _places_unsynced(self) -> list[bool]:
        """For each place, whether the write-ahead log has writes that no sync followed yet."""
        unsynced, places = False, []
        for event in self.events:
            places.append(unsynced)
            if event.target == self.wal and event.kind != "send":
                unsynced = event.kind != "sync"
        return places


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def _payload(packet: bytes) -> bytes:
    at = 1
    while packet[at] & 0x80:
        at += 1
    topic = int.from_bytes(packet[at + 1 : at + 3], "big")
    return packet[at + 3 + topic + (2 if packet[0] & 6 else 0) :]


@fault_row(bounded=40, full=600, limit_s=600)
def test_power_cut_with_unsynced_writes_lost(runs: int, counts: Counts, tmp_path: Path) -> None:
    """The database file is synced only when the log is folded into it, so its writes may be lost or torn as well."""
    recorded = Recorded(tmp_path, counts, seconds=1.0 if runs < 100 else 4.0)
    assert recorded.told
    assert recorded.pubacks
    draw = chance("power cuts")
    copy = tmp_path / "cut.db"
    for _ in range(runs):
        place = draw.randrange(len(recorded.events))
        for suffix, start in recorded.start.items():
            target = recorded.wal.removesuffix("-wal") + suffix
            Path(f"{copy}{suffix}").write_bytes(after_power_cut(start, recorded.events[:place], target, draw))
        Path(f"{copy}-shm").unlink(missing_ok=True)
        promises = promises_of(recorded.farm)
        for told_at, raws, checkpoint in recorded.told:
            if told_at < place:
                promises.acknowledged |= raws
                promises.checkpoints |= {checkpoint} - {b""}
        reopen(recorded.farm, promises, counts, copy)
        counts.faults += 1
        counts.acknowledged += len(promises.acknowledged)

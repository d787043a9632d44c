"""A farm with a short history, made without a broker: every method, holes, a beacon, an anchor, a quarantine."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent / "vectors"))

from evidences import MESSAGE

import chain
from earmark import beacon, cbor, operator
from earmark.block import Header, decode_header
from earmark.config import Farm, create_farm
from earmark.evidence import EVM, ChainBlock
from earmark.log import Log
from earmark.statement import Clock
from earmark.store import AnchorRow
from earmark.store.sqlite import SqliteStore
from earmark.verifier import receive
from farm import NOW_S, Signing

UNSET = Clock(0, 0, 30)
TEXT = """\
[farm]
site = "home"
[broker]
listen = "127.0.0.1"
port = {port}
[log]
seal_every_s = 0.2
"""
ANCHOR = """\
[[anchor]]
chain = "eip155:1337"
rpc_file = "keys/rpc"
key_file = "keys/anchor"
"""


class SampleFarm:
    """The farm, its nodes, and the chain's blocks that it leads to."""

    def __init__(self, folder: Path, text: str = TEXT.format(port=1883) + ANCHOR) -> None:
        self.farm: Farm = create_farm(folder, text)
        operator.found(self.farm)
        self.field = Signing(3, "field-1")
        self.shed = Signing(4, "shed-2")
        self.stranger = Signing(9, "porch-9")
        self.nonce = beacon.nonce(MESSAGE)
        self.beacon: ChainBlock = chain.BEACON.block
        self.anchored: ChainBlock = self.beacon

    @property
    def did(self) -> str:
        """The operator's did."""
        return self.farm.signer("operator").did

    def write(self, step: Callable[[Log, SqliteStore], Any]) -> Any:
        """Open the log, as a gateway would, for one step."""
        store = SqliteStore(self.farm.database)
        try:
            gateway = self.farm.signer("gateway")
            return step(Log(store, self.farm.operator_key(), gateway, lambda: NOW_S * 1000), store)
        finally:
            store.close()

    def admit(self, *raws: bytes) -> None:
        """Let the log decide over these messages."""
        arrivals = [receive(raw, "earmark/v1/home/x/up", NOW_S * 1000) for raw in raws]
        self.write(lambda log, _: log.admit(arrivals))

    def seal(self) -> Header:
        """Seal a block, and return its header."""
        block = self.write(lambda log, _: log.seal(self.nonce))
        return decode_header(block.header)

    def anchor(self, header: Header, state: str = "final") -> None:
        """Put an anchor of a block into the store, with real evidence."""
        found = chain.anchor(header.hash)
        self.anchored = found.block
        row = AnchorRow(chain.CHAIN, EVM, chain.CHAIN, header.height, header.hash, state, reference="0xabc")
        final = AnchorRow(**{name: getattr(row, name) for name in row.__slots__} | {"evidence": found.evidence(0)})
        self.put(lambda store: store.put_anchor(final if state == "final" else row))

    def put(self, change: Callable[[SqliteStore], Any]) -> None:
        """Change the store in one transaction."""
        store = SqliteStore(self.farm.database)
        with store.transaction():
            change(store)
        store.close()

    def fill(self) -> "SampleFarm":
        """Leaves 0-2 enrol; 3-8 field-1 (seq 1-5, 8); 9-11 shed-2 (boot, modelled, gap over 3-4); block 0, anchored;
        12 field-1 seq 9, block 1; 13 shed-2 replayed with an unset clock, unsealed.  Quarantine: two held, one refused.
        """
        self.put(lambda store: store.add_beacon(self.nonce, MESSAGE, cbor.encode([chain.BEACON.header]), NOW_S * 1000))
        operator.enrol(self.farm, self.field.key, "field-1")
        operator.enrol(self.farm, self.shed.key, "shed-2")
        read = [self.field.read(1290 + number, beacon=self.nonce) for number in range(8)]
        boot = {0: "boot", 1: "power on", 2: "host", 3: [["air", "modelled", 1, "a greenhouse"]]}
        self.admit(*read[:5], read[7], self.shed.say(boot, boot_count=1, software="0.1.0"))
        gone = [self.shed.read(500, method=1, beacon=self.nonce) for _ in range(3)]
        self.admit(gone[0], self.shed.say({0: "gap", 1: 3, 2: 4, 3: "outbox full"}, boot_count=1))
        self.anchor(self.seal())
        self.admit(self.field.read(2000, beacon=self.nonce))
        self.seal()
        unset = [{-2: "shed-2/", 0: "t", 1: "Cel", 2: 7}]
        self.admit(self.shed.say(unset, boot_count=1, method=2, clock=UNSET, issued_at_s=0))
        self.admit(self.stranger.read(), self.stranger.read(), b"junk\x1b[2J")
        return self

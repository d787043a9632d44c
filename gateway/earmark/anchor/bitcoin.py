"""Anchoring on Bitcoin through one's own node: a transaction to oneself with the digest in an OP_RETURN output.

The node is Bitcoin Core as it comes: no wallet, no index of transactions, pruned or not.  It finds a transaction by
its id only in the pool, so one in a block is found by what the node does know, which is every unspent output:

- Our change is unspent from the block that has the transaction until the next anchor spends it, and `gettxout` says
  how deep it is: that gives the block, whose list of ids must have the transaction.
- Where there is no change, or it is spent, the coins that the transaction spends tell.  As long as all are unspent,
  neither it nor a rival is in a block.  Once one is spent, the spender is ours or a rival that makes ours void, and
  its block is looked for from the tip down: a transaction in it has the coin as an input.  The transaction's lock time
  ends the search, for nothing of ours is at or below that height.
- A coin that is neither unspent nor spent was taken back by a reorganisation deeper than `depth` of the purse.  What
  made it may come back, so ours is sent again, and is given up for void only after a day of blocks without it.
"""

from typing import Literal

from earmark import ots
from earmark.anchor import btctx
from earmark.anchor.btckey import BitcoinKey
from earmark.anchor.btctx import Anchor, Coin, Payload, Spend
from earmark.anchor.core import BlockEntry, Core
from earmark.anchor.purse import Purse
from earmark.anchor.rpc import Rpc, RpcError
from earmark.anchor.target import Deferred, Place, Progress, Signed, State
from earmark.errors import AnchorError, EncodingError, ProofError
from earmark.evidence.bitcoin import EASIEST, OTS, check_bitcoin_header, check_ots, encode_ots
from earmark.evidence.chain import ChainBlock

WITHIN_BLOCKS = 6
"""How soon a block should have an anchor, for the estimate of its fee: an hour."""

LEAST_RATE = 1_000
"""Satoshi per 1,000 vbytes: what nodes relay and what a replacement adds, unless this one asks for more."""

HEAD_DEPTH = 2
"""Blocks on top of the one that is the beacon: one or two are now and then taken back, and a node's statement that
names a block which nobody finds later proves nothing."""

REORG_MOST = 100
"""Blocks below the tip that an anchor's lock time is at: a rival in a block that a reorganisation puts lower than the
tip was is still found.  Bitcoin's own rules reckon with no deeper one: miners' rewards have to wait as long."""

LOST_AFTER = 144
"""Blocks after which a coin that is neither unspent nor spent is given up: a day."""

WALK = 144
"""Blocks that one poll looks through for who spent a coin; the next poll goes on from there."""

LOW_ANCHORS = 24
LOW_SEARCH_BLOCKS = 6
"""With funds for fewer anchors than that, new ones are looked for, every so many blocks."""

_KEPT = 8
_KNOWN_CODE = -27
_KNOWN = ("already in", "already known", "txn-already", "txn-same")
_ADVICE = (
    ("missing", "a coin that it spends is spent or gone: it is looked for, and signed anew once that is final"),
    ("conflict", "another transaction of this key waits: use the key for nothing else"),
    ("insufficient fee", "it pays too little to replace what waits; it is replaced in its time"),
    ("fee not met", "it pays less than the node asks by now; it is replaced in its time"),
    ("max-fee", "the node's -maxtxfee or maxfeerate is below the fee cap: lower the cap"),
)


class BitcoinTarget:
    """A `Target` on the Bitcoin chain `chain` (CAIP-2) through the JSON-RPC of a Bitcoin Core node.

    A payload is [[raw transaction, …], [satoshi of each coin, …]] in CBOR: all of them spend the same coins for the
    same digest, each paying more than the one before.  `key` is the 32-byte secp256k1 key of a P2WPKH address that is
    used for nothing else and holds little.  No transaction pays more than `fee_cap_sat_vb` for each vbyte.  Final is
    `confirmations` deep (its block counts as 1).  `patient` is the same node with minutes to answer.
    """

    def __init__(
        self,
        rpc: Rpc,
        chain: str,
        key: bytes,
        *,
        name: str = "",
        fee_cap_sat_vb: float = 50.0,
        confirmations: int = 6,
        patient: Rpc | None = None,
    ) -> None:
        if chain not in EASIEST:
            raise AnchorError(f"{chain!r} is none of Bitcoin's chains: correct the configuration")
        self._key = BitcoinKey(key, chain)
        self.place = Place(name or chain, OTS, chain)
        self._core = Core(rpc, patient or rpc)
        self._cap = round(fee_cap_sat_vb * 1000)
        self._confirmations = confirmations
        # One deeper than final: whatever a reorganisation of that depth takes back, its coins stay.
        self._purse = Purse(self._core, self._key.script, confirmations + 1)
        self._is_checked = False
        self._found: dict[str, tuple[str, ChainBlock, bytes]] = {}
        self._walked: tuple[Coin, str] | None = None

    def __repr__(self) -> str:
        return f"BitcoinTarget({self.place.name!r}, {self.address})"

    @property
    def address(self) -> str:
        """The address that pays."""
        return self._key.address

    def check_chain(self) -> None:
        """Raise `AnchorError` unless the node serves the configured chain.

        Every other method does this once by itself; call it at start to hear of a mistake early.
        """
        if self._is_checked:
            return
        served = "bip122:" + self._core.block_hash(0)[:32]
        if served != self.place.chain:
            raise AnchorError(f"the node serves {served}, not {self.place.chain}: correct the configuration")
        self._is_checked = True

    def sign(self, digest: bytes, most: int) -> Signed:
        """Build and sign a transaction that carries `digest`; see `Target.sign`."""
        if len(digest) != 32:
            raise EncodingError(f"a digest of {len(digest)} bytes cannot be anchored: 32 are")
        self.check_chain()
        rate, height = self._rate(), self._core.height()
        spent = self._choose(rate, height)
        self._check_cost(spent.fee, most)
        raw = self._key.sign(digest, spent, max(0, height - REORG_MOST))
        return Signed(btctx.encode_payload([raw], spent.coins), spent.fee)

    def replace(self, payload: bytes, most: int) -> Signed:
        """Sign the same digest and coins with a fee at least an eighth higher; see `Target.replace`."""
        self.check_chain()
        old = btctx.decode_payload(payload)
        if old.newest.key != self._key.public:
            raise AnchorError("the payload was signed with another key than the configured one: only that replaces it")
        if any(self._is_spent(coin) for coin in old.coins):
            raise AnchorError("a coin of the anchor is spent in a block: no higher fee helps, it waits to be final")
        rate, fee = self._rate(), old.fee(old.newest)
        step = max(LEAST_RATE, self._core.pool_rates()[1])
        least = fee + max(-(-fee // 8), btctx.fee_of(step, btctx.vsize(len(old.coins), has_change=True)))
        spent = btctx.spend(old.coins, rate, least)
        if spent is None:
            raise AnchorError(
                f"the coins of the anchor hold {sum(coin.amount for coin in old.coins)} satoshi, a replacement needs "
                f"{least}: it waits as it is, until the fees on {self.place.chain} fall"
            )
        if spent.fee > btctx.most_fee(spent, self._cap):
            raise self._deferred(-(-1000 * spent.fee // btctx.vsize(len(spent.coins), has_change=spent.change > 0)))
        self._check_cost(spent.fee, most)
        raw = self._key.sign(old.newest.digest, spent, old.newest.lock_time)
        return Signed(btctx.encode_payload([*old.raws, raw], spent.coins), spent.fee)

    def send(self, payload: bytes) -> bytes:
        """Broadcast the newest transaction of a stored payload; see `Target.send`."""
        self.check_chain()
        sent = btctx.decode_payload(payload)
        txid = sent.newest.txid
        try:
            self._core.send(sent.raws[-1])
        except RpcError as error:
            if not (_says_known(error) or self.poll(payload).state in ("mined", "final")):
                raise AnchorError(_advise(error)) from error
            return payload
        if self._block_of(sent.newest) is None:
            raise AnchorError(f"the node took {txid}, but has it neither in its pool nor in a block: it is sent again")
        return payload

    def poll(self, payload: bytes) -> Progress:
        """Look up every transaction of a payload; see `Target.poll`.  `evidence` was checked with `check_ots`."""
        self.check_chain()
        asked = btctx.decode_payload(payload)
        is_waiting = False
        for anchor in reversed(asked.anchors):
            block_hash = self._block_of(anchor)
            if block_hash:
                return self._mined(asked, anchor, block_hash)
            is_waiting |= block_hash == ""
        return Progress("pending", asked.newest.txid) if is_waiting else self._missing(asked)

    def head(self) -> tuple[ChainBlock, bytes]:
        """Return the block `HEAD_DEPTH` below the tip and its header; see `Target.head`."""
        self.check_chain()
        height = max(0, self._core.height() - HEAD_DEPTH)
        header = self._core.header(self._core.block_hash(height))
        return self._check_header(header, height), header

    def anchors_left(self) -> int | None:
        """Return how many anchors the coins pay for at today's fees; see `Target.anchors_left`."""
        self.check_chain()
        fee = btctx.fee_of(self._asked_rate(), btctx.vsize(1, has_change=True))
        if self._held() < LOW_ANCHORS * fee:
            self._purse.search(self._core.height(), LOW_SEARCH_BLOCKS)
        return self._held() // fee

    # money

    def _held(self) -> int:
        return sum(coin.amount for coin in self._purse.coins()) + self._purse.waiting

    def _asked_rate(self) -> int:
        """Return today's rate in satoshi per 1,000 vbytes: the node's estimate, at least what its pool asks.

        Where it has no estimate, what its pool asks: a transaction that this is too little for is replaced.
        """
        return max(LEAST_RATE, self._core.pool_rates()[0], self._core.fee_rate(WITHIN_BLOCKS) or 0)

    def _rate(self) -> int:
        rate = self._asked_rate()
        if rate > self._cap:
            raise self._deferred(rate)
        return rate

    def _deferred(self, rate: int) -> Deferred:
        return Deferred(
            f"deferred: {self.place.chain} asks {_shown(rate)} sat/vB, the cap is {_shown(self._cap)} sat/vB; it is "
            "tried again, raise the cap if this lasts"
        )

    def _choose(self, rate: int, height: int) -> Spend:
        """Return which coins pay: those in mind, else what a search finds."""
        needed = btctx.fee_of(rate, btctx.vsize(1, has_change=True))
        coins = self._purse.coins()
        spent = btctx.choose(coins, rate, self._cap)
        if spent is None and self._purse.waiting < needed and self._purse.search(height):
            coins = self._purse.coins()
            spent = btctx.choose(coins, rate, self._cap)
        if spent is not None:
            return spent
        if self._purse.waiting >= needed:
            raise Deferred(
                f"deferred: {self._purse.waiting} satoshi at {self.address} are not {self._confirmations + 1} blocks "
                "deep yet; it is tried again"
            )
        held = sum(coin.amount for coin in coins) + self._purse.waiting
        raise AnchorError(
            f"{self.address} holds {held} satoshi on {self.place.chain}, an anchor needs {needed}: send funds there"
        )

    def _check_cost(self, fee: int, most: int) -> None:
        if fee > most:
            raise Deferred(
                f"deferred: an anchor on {self.place.chain} costs {fee} satoshi, {max(0, most)} are left of the "
                "month's budget; it is tried again, raise month_budget if this lasts"
            )

    # where a transaction is

    def _is_spent(self, coin: Coin) -> bool:
        return self._core.output(coin.txid, coin.vout, with_pool=False) is None

    def _block_of(self, anchor: Anchor) -> str | None:
        """Return the hash of the block that has a transaction, "" where it is in the pool, None where neither shows."""
        txid = anchor.txid
        if txid in self._found and self._is_active(self._found[txid][0]):
            return self._found[txid][0]
        where = self._core.whereabouts(txid)
        if where == "" or (where and self._is_active(where)):
            return where
        change = self._core.output(txid, 1, with_pool=False) if anchor.change else None
        if change is None or change.script != anchor.script:
            return None
        tip = self._core.entry(change.tip)
        if tip is None or not 1 <= change.confirmations <= tip.height:
            raise AnchorError(f"the node places {txid} in no block of its chain: it is asked again")
        return self._core.block_hash(tip.height - change.confirmations + 1)

    def _is_active(self, block_hash: str) -> bool:
        entry = self._core.entry(block_hash)
        return entry is not None and entry.confirmations > 0

    def _missing(self, asked: Payload) -> Progress:
        """Tell what became of a payload that is in neither pool nor block, as far as that shows: by its coins."""
        reference = asked.newest.txid
        spent = next((coin for coin in asked.coins if self._is_spent(coin)), None)
        if spent is not None:
            return self._displaced(asked, spent)
        if all(self._core.output(coin.txid, coin.vout, with_pool=True) for coin in asked.coins):
            return Progress("unknown", reference)
        reason = "another transaction that spends its coin waits in the pool: use the key for nothing else"
        return Progress("pending", reference, reason=reason)

    def _displaced(self, asked: Payload, coin: Coin) -> Progress:
        """Tell what became of a payload one of whose coins is not unspent on the chain any more."""
        reference = asked.newest.txid
        entry = self._spender(coin, asked.newest.lock_time)
        if entry is None:
            signed_at = asked.newest.lock_time + REORG_MOST
            return Progress("void" if self._core.height() >= signed_at + LOST_AFTER else "unknown", reference)
        mined = set(self._core.txids(entry.hash))
        for anchor in asked.anchors:
            if anchor.txid in mined:
                return self._mined(asked, anchor, entry.hash)
        state: State = "void" if entry.confirmations >= self._confirmations else "pending"
        reason = f"block {entry.height} has another transaction that spends its coin; waiting until that is final"
        return Progress(state, reference, reason=reason)

    def _spender(self, coin: Coin, above: int) -> BlockEntry | None:
        """Return the active chain's block above a height that has a transaction which spends a coin, the newest first.

        Raises `AnchorError` where it was not found in so many blocks, and goes on there at the next call.
        """
        height = self._core.height()
        is_next = self._walked is not None and self._walked[0] == coin
        block_hash = self._walked[1] if self._walked and is_next else self._core.block_hash(height)
        self._walked = None
        for _ in range(WALK):
            entry = self._core.entry(block_hash)
            if entry is None or entry.confirmations < 1:
                raise AnchorError(f"the chain moved on from block {block_hash} meanwhile: it is asked again")
            height = entry.height
            if height <= above:
                return None
            try:
                if btctx.spends(self._core.block(block_hash), coin):
                    return entry
            except EncodingError as error:
                raise AnchorError(f"the node's block {block_hash} cannot be read: {error}") from error
            block_hash = entry.previous
        self._walked = coin, block_hash
        raise AnchorError(f"its coin is spent; who spent it is looked for: nobody in block {height} or later")

    # evidence

    def _mined(self, asked: Payload, anchor: Anchor, block_hash: str) -> Progress:
        entry = self._core.entry(block_hash)
        if entry is None or entry.confirmations < 1:
            raise AnchorError(f"block {block_hash} was taken back meanwhile: it is asked again")
        block, evidence = self._evidence(anchor, entry)
        if anchor.change:
            self._purse.remember(anchor.txid, 1)
        state: Literal["mined", "final"] = "final" if entry.confirmations >= self._confirmations else "mined"
        return Progress(state, anchor.txid, block, entry.confirmations, evidence, asked.fee(anchor))

    def _evidence(self, anchor: Anchor, entry: BlockEntry) -> tuple[ChainBlock, bytes]:
        """Build the evidence for a mined transaction and check it as a stranger would."""
        txid = anchor.txid
        if txid in self._found and self._found[txid][0] == entry.hash:
            return self._found[txid][1:]
        header = self._core.header(entry.hash)
        self._check_header(header, entry.height)
        txids = self._core.txids(entry.hash)
        if txid not in txids:
            raise AnchorError(
                f"the node places {txid} in block {entry.hash}, which does not list it: it is asked again, use another "
                "node if this lasts"
            )
        path = btctx.merkle_ops([bytes.fromhex(listed)[::-1] for listed in txids], txids.index(txid))
        ops = (*ots.around(anchor.bare, anchor.digest_at), ots.HASH, ots.HASH, *path)
        evidence = encode_ots(ots.Branch(ops, ots.bitcoin(entry.height)), header)
        try:
            block = check_ots(self.place.chain, evidence, anchor.digest)
        except ProofError as error:
            raise AnchorError(f"the node's block {entry.hash} does not prove the anchor: {error}") from error
        while len(self._found) >= _KEPT:
            del self._found[next(iter(self._found))]
        self._found[txid] = entry.hash, block, evidence
        return block, evidence

    def _check_header(self, header: bytes, height: int) -> ChainBlock:
        try:
            return check_bitcoin_header(self.place.chain, header, height)
        except ProofError as error:
            raise AnchorError(f"the node's block {height} is none of {self.place.chain}: {error}") from error


def _shown(rate: int) -> str:
    """Return a rate in satoshi per vbyte, from one per 1,000."""
    return f"{rate // 1000}.{rate % 1000:03}".rstrip("0").rstrip(".")


def _says_known(error: RpcError) -> bool:
    message = error.message.lower()
    return error.code == _KNOWN_CODE or any(words in message for words in _KNOWN)


def _advise(error: RpcError) -> str:
    for words, advice in _ADVICE:
        if words in error.message.lower():
            return f"{error}: {advice}"
    return str(error)

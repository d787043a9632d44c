"""The coins that a Bitcoin key can spend on anchors."""

from earmark.anchor.btctx import Coin
from earmark.anchor.core import Core

MATURITY = 100
"""Blocks that a miner's reward has to be deep before it may be spent."""

MOST_COINS = 100
"""So many are kept of what a search finds, the largest: dust that others send makes no work."""


class Purse:
    """Outputs that were seen to be a script's, and which of them may be spent now.

    A coin may be spent from `depth` blocks on.  Were it taken back by a reorganisation, an anchor that spends it could
    neither be mined nor be known never to be.
    """

    def __init__(self, core: Core, script: bytes, depth: int) -> None:
        self._core = core
        self._script = script
        self._depth = depth
        self._known: set[tuple[str, int]] = set()
        self._searched_at: int | None = None
        self.waiting = 0
        """Satoshi that the last look found not deep enough yet."""

    def remember(self, txid: str, vout: int) -> None:
        """Keep an output in mind: the change of an anchor."""
        self._known.add((txid, vout))

    def coins(self) -> list[Coin]:
        """Return the coins in mind that may be spent now, each looked up; forget those that are gone."""
        self.waiting = 0
        found = [self._look_up(txid, vout) for txid, vout in sorted(self._known)]
        return [coin for coin in found if coin is not None]

    def search(self, height: int, every: int = 1) -> bool:
        """Look through all coins of the chain, but no sooner than `every` blocks after the last time; say whether.

        New coins come with new blocks, so that asking again before is of no use.
        """
        if self._searched_at is not None and abs(height - self._searched_at) < every:
            return False
        self._known.update(self._core.coins(self._script)[:MOST_COINS])
        self._searched_at = height
        return True

    def _look_up(self, txid: str, vout: int) -> Coin | None:
        output = self._core.output(txid, vout, with_pool=True)
        if output is None or output.script != self._script:
            self._known.discard((txid, vout))
            return None
        if output.confirmations < (max(self._depth, MATURITY) if output.is_coinbase else self._depth):
            self.waiting += output.amount
            return None
        return Coin(txid, vout, output.amount)

"""A Bitcoin key of the tests and what it spends, written with embit: one input, one output, no anchor."""

from typing import Any

from embit import ec, script
from embit.networks import NETWORKS
from embit.transaction import Transaction, TransactionInput, TransactionOutput

_REPLACEABLE = 0xFFFFFFFD
_ALL = b"\x01"


class Purse:
    """A key with its P2WPKH address; `address` begins with Bitcoin Core's `bcrt1`."""

    def __init__(self, secret: bytes) -> None:
        self._key = ec.PrivateKey(secret)
        self._public = self._key.get_public_key()
        self._script = script.p2wpkh(self._public)
        self.address: str = self._script.address(NETWORKS["regtest"])
        self.public: bytes = self._public.sec()
        self.script: bytes = self._script.data

    def spend(self, coin: dict[str, Any], fee: int = 1_000) -> tuple[str, str]:
        """Return id and bytes, in hexadecimal, of a transaction that pays a coin, as bcoin has it, back to the key."""
        spent = TransactionInput(bytes.fromhex(coin["hash"]), coin["index"], sequence=_REPLACEABLE)
        transaction = Transaction(2, [spent], [TransactionOutput(coin["value"] - fee, self._script)], 0)
        digest = transaction.sighash_segwit(0, script.p2pkh_from_p2wpkh(self._script), coin["value"])
        signature = self._key.sign(digest).serialize() + _ALL
        transaction.vin[0].witness = script.Witness([signature, self.public])
        return transaction.txid().hex(), transaction.serialize().hex()

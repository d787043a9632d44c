"""The key that pays for anchors on Bitcoin: its address, and the transactions that it signs."""

from typing import Any

from earmark.anchor.btctx import REPLACEABLE, Spend
from earmark.anchor.extras import import_extra
from earmark.errors import AnchorError
from earmark.evidence.bitcoin import MAINNET, REGTEST

_VERSION = 2
_OP_RETURN = b"\x6a\x20"
_SIGHASH_ALL = b"\x01"
_NETWORKS = {MAINNET: "main", REGTEST: "regtest"}
_OTHER_NETWORK = "test"


class BitcoinKey:
    """A secp256k1 key (32 bytes) and its P2WPKH address.  Signatures are deterministic and of low R."""

    def __init__(self, key: bytes, chain: str) -> None:
        ec, script, networks = (_embit(name) for name in ("ec", "script", "networks"))
        try:
            self._key = ec.PrivateKey(key)
        except (ec.ECError, ValueError):
            raise AnchorError("the anchor key is not a secp256k1 private key of 32 bytes") from None
        public = self._key.get_public_key()
        paid = script.p2wpkh(public)
        self.public: bytes = public.sec()
        self.script: bytes = paid.data
        self.address: str = paid.address(networks.NETWORKS[_NETWORKS.get(chain, _OTHER_NETWORK)])

    def sign(self, digest: bytes, spent: Spend, lock_time: int) -> bytes:
        """Return the transaction that carries a digest, pays as told and can be mined above the height `lock_time`."""
        script, transaction = _embit("script"), _embit("transaction")
        ours = script.Script(self.script)
        inputs = [
            transaction.TransactionInput(bytes.fromhex(coin.txid), coin.vout, sequence=REPLACEABLE)
            for coin in spent.coins
        ]
        outputs = [transaction.TransactionOutput(0, script.Script(_OP_RETURN + digest))]
        outputs += [transaction.TransactionOutput(spent.change, ours)] if spent.change else []
        made = transaction.Transaction(_VERSION, inputs, outputs, lock_time)
        for at, coin in enumerate(spent.coins):
            message = made.sighash_segwit(at, script.p2pkh_from_p2wpkh(ours), coin.amount)
            signature = self._key.sign(message).serialize() + _SIGHASH_ALL
            inputs[at].witness = script.Witness([signature, self.public])
        return bytes(made.serialize())


def _embit(name: str) -> Any:
    return import_extra(f"embit.{name}", "bitcoin")

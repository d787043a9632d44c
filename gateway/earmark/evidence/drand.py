"""Rounds of drand: what independent operators sign together every few seconds, checked offline.  docs/protocol.md §6.1.

The network's key comes from whoever checks: the public networks are pinned here, and none is ever taken from a file.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from earmark.errors import ProofError
from earmark.evidence.chain import ChainBlock

if TYPE_CHECKING:
    from py_arkworks_bls12381 import G1Point

SIGNATURE_SIZE = 48
MOST_ROUND = 1 << 64

_PREFIX = "drand:"
_SUITE = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_"
_COEFFICIENT_SIZE = 16


@dataclass(frozen=True, slots=True)
class Network:
    """A network of drand under the scheme `bls-unchained-g1-rfc9380`: signatures on G1, rounds not chained.

    `hash` is its chain hash (32 bytes), `key` its public key, a compressed point of G2 (96 bytes), `genesis_s` the time
    of round 1 in Unix seconds.
    """

    name: str
    hash: bytes
    key: bytes
    genesis_s: int
    period_s: int

    @property
    def id(self) -> str:
        """What beacons call it, in the form of a CAIP-2 id."""
        return _PREFIX + self.hash.hex()[:32]

    def time_of(self, number: int) -> int:
        """Return the time before which nobody has the round, by the network's own schedule."""
        return self.genesis_s + (number - 1) * self.period_s


QUICKNET = Network(
    name="quicknet",
    hash=bytes.fromhex("52db9ba70e0cc0f6eaf7803dd07447a1f5477735fd3f661792ba94600c84e971"),
    key=bytes.fromhex(
        "83cf0f2896adee7eb8b5f01fcad3912212c437e0073e911fb90022d3e760183c"
        "8c4b450b6a0a6c3ac6a5776a2d1064510d1fec758c921cc22b0e17e63aaf4bcb"
        "5ed66304de9cf809bd274ca73bab4af5a6e9c76a4bc09e76eae8991ef5ece45a"
    ),
    genesis_s=1_692_803_367,
    period_s=3,
)
NETWORKS: Mapping[str, Network] = MappingProxyType({QUICKNET.id: QUICKNET})
"""The public networks by their ids."""


def can_verify() -> bool:
    """Say whether this installation has what BLS signatures are verified with; it has wheels for 64-bit machines."""
    try:
        import py_arkworks_bls12381  # noqa: F401
    except ImportError:
        return False
    return True


def make_round(network: Network, number: int, signature: bytes) -> ChainBlock:
    """Return a round as beacons name it; its signature is not looked at."""
    return ChainBlock(network.id, number, hashlib.sha256(signature).digest(), network.time_of(number))


def check_round(source: ChainBlock, signature: bytes, networks: Mapping[str, Network] = NETWORKS) -> None:
    """Raise `ProofError` unless evidence has the form of a round's, and of a known network the time is the round's.

    Whether the signature is the network's is what `verify` says.
    """
    name, _, reference = source.chain.partition(":")
    if f"{name}:" != _PREFIX or len(reference) != 32 or not set(reference) <= set("0123456789abcdef"):
        raise ProofError(f"{source.chain[:50]!r} is not `drand:` and the first 32 hexadecimal digits of a chain hash")
    if len(signature) != SIGNATURE_SIZE or hashlib.sha256(signature).digest() != source.hash:
        raise ProofError(f"a beacon whose evidence is not the signature of {source.chain} that it is the hash of")
    network = networks.get(source.chain)
    if source.number < 1 or (network and network.time_of(source.number) != source.time_s):
        raise ProofError(f"a beacon with another time than that of round {source.number} of {source.chain}")


def verify(network: Network, rounds: Sequence[tuple[int, bytes]]) -> None:
    """Raise `ProofError` unless each (number, signature) is a round of the network.

    All of them together in two pairings: each signature is multiplied by a number that whoever made them could not
    choose, being a hash over them all, so that false ones do not cancel out.  Only where `can_verify`.
    """
    if not rounds:
        return
    points = [_points(number, signature) for number, signature in rounds]
    seed = hashlib.sha256(b"".join(number.to_bytes(8, "big") + signature for number, signature in rounds)).digest()
    weights = [hashlib.sha256(seed + place.to_bytes(8, "big")).digest() for place in range(len(rounds))]
    pairs = [
        (*pair, int.from_bytes(weight[:_COEFFICIENT_SIZE], "big")) for pair, weight in zip(points, weights, strict=True)
    ]
    low, high = 0, len(pairs)
    if _holds(network, pairs):
        return
    while high - low > 1:  # the first half that does not hold has a false one
        middle = (low + high) // 2
        low, high = (middle, high) if _holds(network, pairs[low:middle]) else (low, middle)
    raise ProofError(f"the signature of round {rounds[low][0]} is not that of drand's {network.name}")


def verify_known(
    rounds: Iterable[tuple[ChainBlock, bytes]], networks: Mapping[str, Network] = NETWORKS
) -> frozenset[ChainBlock]:
    """Return those of (round, signature), each in the form that `check_round` asks for, that are of a known network.

    Each is verified once.  Empty where this installation cannot verify; `ProofError` for a false signature.
    """
    known = {pair for pair in rounds if pair[0].chain in networks}
    if not known or not can_verify():
        return frozenset()
    for network in networks.values():
        mine = sorted((block.number, signature) for block, signature in known if block.chain == network.id)
        verify(network, mine)
    return frozenset(block for block, _ in known)


def _points(number: int, signature: bytes) -> "tuple[G1Point, G1Point]":
    """Return a signature's point, and the point that a round's number is hashed to."""
    from py_arkworks_bls12381 import G1Point

    try:
        point = G1Point.from_compressed_bytes(signature)
    except ValueError as error:
        raise ProofError(f"the signature of round {number} is no point of BLS12-381's G1: {error}") from error
    if point == G1Point.identity() or point.to_compressed_bytes() != signature:
        raise ProofError(f"the signature of round {number} is not a point in its one encoding")
    return point, G1Point.hash_to_curve(hashlib.sha256(number.to_bytes(8, "big")).digest(), _SUITE)


def _holds(network: Network, pairs: "Sequence[tuple[G1Point, G1Point, int]]") -> bool:
    """Say whether e(Σ wS, generator) = e(Σ wH, key)."""
    from py_arkworks_bls12381 import GT, G1Point, G2Point, Scalar

    weights = [Scalar(weight) for _, _, weight in pairs]
    signatures = G1Point.multiexp_unchecked([signature for signature, _, _ in pairs], weights)
    hashes = G1Point.multiexp_unchecked([hashed for _, hashed, _ in pairs], weights)
    return GT.pairing_check([signatures, -hashes], [G2Point(), G2Point.from_compressed_bytes(network.key)])

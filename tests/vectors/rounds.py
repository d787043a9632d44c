"""drand.json: rounds of drand (§6.1), two that the public network quicknet signed, the others of our own networks."""

import hashlib
from dataclasses import replace
from typing import Any

from actors import T0
from py_arkworks_bls12381 import G1Point, G2Point, Scalar

from earmark import beacon, cbor
from earmark.evidence import ChainBlock
from earmark.evidence.drand import QUICKNET, Network, make_round

SUITE = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_"
FIELD = 0x1A0111EA397FE69A4B1BA7B6434BACD764774B84F38512BF6730D2A0F6B0F6241EABFFFEB153FFFFB9FEFFFFFFFFAAAB
QUICKNET_GROUP = bytes.fromhex("f477d5c89f21a17c863a7f937c6a6d15859414d2be09cd448d4279af331c5d3e")
REAL = {
    1000: "b44679b9a59af2ec876b1a6b1ad52ea9b1615fc3982b19576350f93447cb1125e342b73a8dd2bacbe47e4b6b63ed5e39",
    657413: "b713718a38ae728dfd477991af2822e08d2f305e47718cef9f7848ce4050e7be41076862b98fad56e91a6b85b89cd97b",
}
"""Rounds of quicknet as its relays published them in 2023."""

Round = tuple[ChainBlock, bytes]


class Signers:
    """A network whose secret is the hash of its name: anybody can sign its rounds, so that it is for tests alone."""

    def __init__(self, name: str, genesis_s: int = T0 - 3_000_000, period_s: int = 3) -> None:
        self._secret = Scalar.from_be_bytes_mod_order(_filler(name, 32))
        key, self.group = (G2Point() * self._secret).to_compressed_bytes(), _filler(f"group of {name}", 32)
        self.network = Network(name, chain_hash(key, genesis_s, period_s, self.group, name), key, genesis_s, period_s)

    def sign(self, number: int, suite: bytes = SUITE, over: bytes = b"") -> bytes:
        """The signature of a round."""
        digest = hashlib.sha256(over or number.to_bytes(8, "big")).digest()
        return (G1Point.hash_to_curve(digest, suite) * self._secret).to_compressed_bytes()

    def round(self, number: int) -> Round:
        """A round and its signature."""
        signature = self.sign(number)
        return make_round(self.network, number, signature), signature


def chain_hash(key: bytes, genesis_s: int, period_s: int, group: bytes, name: str) -> bytes:
    """The hash by which drand names a network, of its parameters."""
    octets = period_s.to_bytes(4, "big") + genesis_s.to_bytes(8, "big") + key + group + name.encode()
    return hashlib.sha256(octets).digest()


def _filler(name: str, size: int) -> bytes:
    return hashlib.shake_256(f"earmark vectors: drand, {name}".encode()).digest(size)


OWN, OTHERS = Signers("earmark-test"), Signers("earmark-other")
NEWEST = 1_000_000


def real(number: int) -> Round:
    """A round of quicknet and its signature."""
    signature = bytes.fromhex(REAL[number])
    return make_round(QUICKNET, number, signature), signature


def row(rounds: list[Round]) -> tuple[bytes, tuple[bytes, ...]]:
    """A beacon's message and evidence."""
    return beacon.encode([block for block, _ in rounds]), tuple(signature for _, signature in rounds)


def told(network: Network) -> dict[str, Any]:
    """A network's parameters."""
    parameters = {"genesis_s": network.genesis_s, "period_s": network.period_s}
    return {"name": network.name, "hash": network.hash.hex(), "key": network.key.hex()} | parameters


def vectors() -> dict[str, Any]:
    """The content of drand.json."""
    valid = [
        _valid("a round of quicknet", QUICKNET, real(1000)),
        _valid("a later one", QUICKNET, real(657413)),
        _valid("round 1", OWN.network, OWN.round(1)),
        _valid("another network's round", OWN.network, OWN.round(NEWEST)),
    ]
    refused = [
        {
            "name": name,
            "error": "ProofError",
            "why": why,
            "network": told(OWN.network),
            "bytes": _bytes((block, signature)),
        }
        for why, rows in (("form", _wrong_forms()), ("signature", _wrong_signatures()))
        for name, block, signature in rows
    ]
    groups = {"quicknet": QUICKNET_GROUP.hex(), OWN.network.name: OWN.group.hex()}
    return {"group_hashes": groups, "valid": valid, "must_reject": refused}


def _valid(name: str, network: Network, made: Round) -> dict[str, Any]:
    source = {"chain": made[0].chain, "round": made[0].number, "time_s": made[0].time_s}
    return {"name": name, "network": told(network), "source": source, "bytes": _bytes(made)}


def _bytes(made: Round) -> str:
    """The row of a proof file's label 7."""
    message, evidence = row([made])
    return cbor.encode([message, list(evidence)]).hex()


def _wrong_forms() -> list[tuple[str, ChainBlock, bytes]]:
    block, signature = OWN.round(NEWEST)
    short, double = signature[:-1], signature * 2
    return [
        ("signature cut short", make_round(OWN.network, NEWEST, short), short),
        ("signature of 96 bytes", make_round(OWN.network, NEWEST, double), double),
        ("no signature", make_round(OWN.network, NEWEST, b""), b""),
        ("randomness of another signature", replace(block, hash=hashlib.sha256(OWN.sign(1)).digest()), signature),
        ("a second too early", replace(block, time_s=block.time_s - 1), signature),
        ("a round too late", replace(block, time_s=block.time_s + 3), signature),
        ("round 0", make_round(OWN.network, 0, OWN.sign(0)), OWN.sign(0)),
        ("id of 31 digits", replace(block, chain=block.chain[:-1]), signature),
        ("id in capitals", replace(block, chain="drand:" + block.chain[6:].upper()), signature),
        ("a name in the id's place", replace(block, chain="drand:earmark-test"), signature),
    ]


def _wrong_signatures() -> list[tuple[str, ChainBlock, bytes]]:
    right = OWN.sign(NEWEST)
    number, unreduced = _unreduced()
    numbered = NEWEST.to_bytes(8, "big")
    signatures = {
        "signature of the round before": OWN.sign(NEWEST - 1),
        "signature by another network": OTHERS.sign(NEWEST),
        "signature negated": bytes([right[0] ^ 0x20]) + right[1:],
        "signature of no point": _no_point(right),
        "a point outside the prime-order subgroup": _outside(),
        "the point at infinity": b"\xc0" + bytes(47),
        "the point at infinity with bytes left over": b"\xc0" + bytes(46) + b"\1",
        "signature without the mark of a compressed point": bytes([right[0] & 0x7F]) + right[1:],
        "signed under the suite of G2": OWN.sign(NEWEST, b"BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_NUL_"),
        "signed over the previous signature too": OWN.sign(NEWEST, over=OWN.sign(NEWEST - 1) + numbered),
        "signed over the round's number in eight bytes turned round": OWN.sign(NEWEST, over=numbered[::-1]),
    }
    rows = [(name, make_round(OWN.network, NEWEST, octets), octets) for name, octets in signatures.items()]
    return [*rows, ("x not reduced", make_round(OWN.network, number, unreduced), unreduced)]


def _unreduced() -> tuple[int, bytes]:
    """A round whose signature's x is small enough to be written once more with the field's size added."""
    mask = (1 << 381) - 1
    for number in range(1, 100):
        octets = int.from_bytes(OWN.sign(number), "big")
        if (octets & mask) + FIELD <= mask:
            return number, (octets + FIELD).to_bytes(48, "big")
    raise AssertionError("no such round among the first hundred")


def _no_point(right: bytes) -> bytes:
    """The next x for which there is no point on the curve."""
    for step in range(1, 100):
        octets = (int.from_bytes(right, "big") + step).to_bytes(48, "big")
        x = int.from_bytes(octets, "big") & (1 << 381) - 1
        if pow((x**3 + 4) % FIELD, (FIELD - 1) // 2, FIELD) != 1:
            return octets
    raise AssertionError("a hundred points in a row")


def _outside() -> bytes:
    """A point on the curve with a small x, which the prime-order subgroup does not have."""
    for x in range(1, 100):
        if pow((x**3 + 4) % FIELD, (FIELD - 1) // 2, FIELD) == 1:
            octets = (1 << 383 | x).to_bytes(48, "big")
            if not G1Point.from_compressed_bytes_unchecked(octets).is_in_subgroup():
                return octets
    raise AssertionError("all in the subgroup")

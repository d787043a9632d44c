"""A second reader of drand's rounds, written from docs/protocol.md alone (§6.1); the curve's arithmetic is py_ecc's."""

import functools
import hashlib
import re
from typing import Any

from py_ecc.bls.hash_to_curve import hash_to_G1
from py_ecc.bls.point_compression import decompress_G1, decompress_G2
from py_ecc.optimized_bls12_381 import (
    FQ12,
    G2,
    curve_order,
    final_exponentiate,
    is_inf,
    multiply,
    neg,
    normalize,
    pairing,
)

from second_statement import need, sha256

SUITE = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_"

Network = tuple[str, bytes, int, int]
"""Chain hash, key, time of round 1, period."""

QUICKNET: Network = (
    "52db9ba70e0cc0f6eaf7803dd07447a1f5477735fd3f661792ba94600c84e971",
    bytes.fromhex(
        "83cf0f2896adee7eb8b5f01fcad3912212c437e0073e911fb90022d3e760183c8c4b450b6a0a6c3ac6a5776a2d106451"
        "0d1fec758c921cc22b0e17e63aaf4bcb5ed66304de9cf809bd274ca73bab4af5a6e9c76a4bc09e76eae8991ef5ece45a"
    ),
    1692803367,
    3,
)


def known(networks: list[Network]) -> dict[str, Network]:
    """The networks by the ids that beacons have."""
    return {"drand:" + network[0][:32]: network for network in networks}


def round_of(source: tuple[str, int, bytes, int], signature: bytes, networks: dict[str, Network]) -> bool:
    """Whether the round's signature is that of a network that the verifier knows; refused where it is wrong."""
    chain, number, randomness, time_s = source
    need(re.fullmatch("drand:[0-9a-f]{32}", chain) and len(signature) == 48 and sha256(signature) == randomness)
    need(number >= 1)
    if chain not in networks:
        return False
    _, key, genesis_s, period_s = networks[chain]
    need(time_s == genesis_s + (number - 1) * period_s)
    need(is_signed(key, number, signature))
    return True


@functools.cache
def is_signed(key: bytes, number: int, signature: bytes) -> bool:
    encoded = int.from_bytes(signature, "big")
    try:
        point = decompress_G1(encoded)
    except ValueError:
        return False
    if is_inf(point) or not is_inf(multiply(point, curve_order)) or encoded != compressed(point):
        return False
    digest = hashlib.sha256(number.to_bytes(8, "big")).digest()
    hashed = hash_to_G1(digest, SUITE, hashlib.sha256)
    public = decompress_G2((int.from_bytes(key[:48], "big"), int.from_bytes(key[48:], "big")))
    product = pairing(G2, point, final_exponentiate=False) * pairing(public, neg(hashed), final_exponentiate=False)
    return bool(final_exponentiate(product) == FQ12.one())


def compressed(point: Any) -> int:
    x, y = (coordinate.n for coordinate in normalize(point))
    modulus = type(point[0]).field_modulus
    return int(1 << 383 | (y * 2 // modulus) << 381 | x)

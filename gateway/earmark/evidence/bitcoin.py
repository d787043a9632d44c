"""Headers of Bitcoin blocks, and evidence in the form of an OpenTimestamps path to one.  docs/protocol.md §7.2."""

import hashlib

from earmark import cbor, ots
from earmark.errors import EncodingError, ProofError
from earmark.evidence.chain import DIGEST_SIZE, MAX_EVIDENCE, ChainBlock

OTS = "ots"
"""The kind of the evidence that `check_ots` checks."""

HEADER_SIZE = 80
MOST_OPS = 160
"""Operations of evidence: with those from a statement to its block's hash there are fewer than the 255 that the stock
client reads."""
MAINNET = "bip122:000000000019d6689c085ae165831e93"
REGTEST = "bip122:0f9188f13cb7b2c71f2a335e3a4fc328"

EASIEST = {
    MAINNET: 1 << 184,
    "bip122:000000000933ea01ad0ee984209779ba": 0xFFFF << 208,  # testnet 3
    "bip122:00000000da84f2bafbbc53dee25a72ae": 0xFFFF << 208,  # testnet 4
    "bip122:00000008819873e925422c1ff0f99f7c": 0x377AE << 216,  # signet
    REGTEST: 0x7FFFFF << 232,
}
"""Each chain's easiest target that is believed: on the main chain a difficulty of 2^40, a hundredth of today's."""

_ROOT = slice(36, 68)


def double_sha256(octets: bytes) -> bytes:
    """Return SHA-256 of SHA-256, Bitcoin's hash of headers, transactions and tree nodes."""
    return hashlib.sha256(hashlib.sha256(octets).digest()).digest()


def is_bitcoin(chain: str) -> bool:
    """Say whether this CAIP-2 id is one of the Bitcoin chains that are known here."""
    return chain in EASIEST


def merkle_root(header: bytes) -> bytes:
    """Return the root of the block's transactions, in the order of bytes that the header has."""
    return header[_ROOT]


def check_bitcoin_header(chain: str, header: bytes, number: int) -> ChainBlock:
    """Check a header's form and work, and return its block under the number that it is said to have.

    The number is not in the header, so it is not checked.  `ProofError` for another chain, another length, or less
    work than the header states or than a block of that chain can have.
    """
    if chain not in EASIEST:
        raise ProofError(f"chain {chain[:50]!r} is not a Bitcoin chain that this version knows")
    if len(header) != HEADER_SIZE:
        raise ProofError(f"a Bitcoin header of {len(header)} bytes; it has {HEADER_SIZE}")
    target = _target(header[72:76])
    digest = double_sha256(header)
    if target > EASIEST[chain]:
        raise ProofError(f"a Bitcoin header that asks for too little work to be of {chain}")
    if int.from_bytes(digest, "little") > target:
        raise ProofError("a Bitcoin header without the work that it states")
    return ChainBlock(chain, number, digest[::-1], int.from_bytes(header[68:72], "little"))


def _target(bits: bytes) -> int:
    """Return the number that a hash must not exceed, from the header's compact form."""
    mantissa, size = int.from_bytes(bits[:3], "little"), bits[3]
    if not 0 < mantissa < 1 << 23 or not 3 <= size <= 32:
        raise ProofError(f"a Bitcoin header whose target {bits.hex()} is not in its usual form")
    return mantissa << 8 * (size - 3)


def encode_ots(branch: ots.Branch, header: bytes) -> bytes:
    """Encode evidence from the way of a digest to a Bitcoin block's Merkle root, and that block's header."""
    return cbor.encode([ots.encode([branch]), header])


def decode_ots(evidence: bytes) -> tuple[ots.Branch, bytes]:
    """Return the one branch and the header of `ots` evidence, unchecked; `EncodingError` for another form."""
    if len(evidence) > MAX_EVIDENCE:
        raise EncodingError(f"evidence: {len(evidence)} bytes, at most {MAX_EVIDENCE} are read")
    match cbor.decode(evidence):
        case [bytes(timestamp), bytes(header)]:
            branches = ots.decode(timestamp)
        case _:
            raise EncodingError("evidence: not [timestamp, header]")
    if len(branches) != 1 or ots.encode(branches) != timestamp:
        raise EncodingError(f"evidence: a timestamp of {len(branches)} branches; it has one, without a fork")
    if len(branches[0].ops) > MOST_OPS:
        raise EncodingError(f"evidence: {len(branches[0].ops)} operations, at most {MOST_OPS} are read")
    return branches[0], header


def check_ots(chain: str, evidence: bytes, digest: bytes) -> ChainBlock:
    """Check that a Bitcoin block's Merkle root was made of `digest` (32 bytes), and return that block.

    It establishes: whoever knows that the returned hash is a block of `chain` knows that `digest` existed before that
    block.  It does not establish that the block is on the chain, nor its number.  Raises `ProofError` naming what
    failed.  docs/protocol.md §7.2.
    """
    if len(digest) != DIGEST_SIZE:
        raise ProofError(f"the anchored digest has {len(digest)} bytes, not {DIGEST_SIZE}")
    try:
        branch, header = decode_ots(evidence)
        height = branch.attestation.height
        result = ots.commit(digest, branch.ops)
    except EncodingError as error:
        raise ProofError(str(error)) from error
    if height is None:
        raise ProofError("evidence: the timestamp does not end in a Bitcoin block")
    block = check_bitcoin_header(chain, header, height)
    if result != merkle_root(header):
        raise ProofError(f"the timestamp leads to {result.hex()[:64]}, not to the Merkle root of block {height}")
    return block

"""Evidence that a digest was on a public chain, or with an authority, checked offline.  docs/protocol.md §6 and §7.

Nothing here is trusted and nothing is looked up: a check ends in the `ChainBlock` that the evidence
leads to, and it is the caller who compares its hash with one that the verifier took from elsewhere.  A time stamp leads
nowhere by itself: `check_under` needs the verifier's certificate of the authority.
"""

from collections.abc import Callable

from earmark.errors import ProofError
from earmark.evidence.bitcoin import OTS, check_bitcoin_header, check_ots, is_bitcoin
from earmark.evidence.chain import ChainBlock
from earmark.evidence.evm import EVM, check_evm, check_evm_header
from earmark.evidence.rfc3161 import RFC3161, Authority, check_under, read_stamp

__all__ = ["EVM", "OTS", "RFC3161", "Authority", "ChainBlock", "check", "check_header", "check_under", "read"]

_CHECKS: dict[str, Callable[[str, bytes, bytes], ChainBlock]] = {EVM: check_evm, OTS: check_ots}


def check(kind: str, chain: str, evidence: bytes, digest: bytes) -> ChainBlock:
    """Check evidence on a chain for a digest (32 bytes), and return the chain's block that it leads to.

    `ProofError` where it does not, or the kind is not known; time stamps are `check_under`'s.
    """
    if kind not in _CHECKS:
        raise ProofError(f"anchor evidence of unknown kind {kind[:40]!r}")
    return _CHECKS[kind](chain, evidence, digest)


def read(kind: str, chain: str, evidence: bytes, digest: bytes) -> ChainBlock:
    """Return what evidence in a farm's own store leads to; `ProofError` where it is not for this digest.

    As `check`, and for time stamps what they say: the farm held them against the authority's certificate before it
    stored them.  Not for evidence from anybody else.
    """
    return read_stamp(chain, evidence, digest) if kind == RFC3161 else check(kind, chain, evidence, digest)


def check_header(source: ChainBlock, header: bytes) -> None:
    """Raise `ProofError` unless this is the header of a block that a beacon names.  docs/protocol.md §6."""
    if is_bitcoin(source.chain):
        block = check_bitcoin_header(source.chain, header, source.number)
    else:
        block = check_evm_header(source.chain, header)
    if block != source:
        raise ProofError(f"a beacon whose header is not block {source.number} of {source.chain}")

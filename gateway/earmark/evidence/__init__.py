"""Evidence that a digest was on a public chain, or with an authority, checked offline.  docs/protocol.md §6 and §7.

Nothing here is trusted and nothing is looked up: a check ends in the `ChainBlock` that the evidence
leads to, and it is the caller who compares its hash with one that the verifier took from elsewhere.  A time stamp leads
nowhere by itself: `check_under` needs the verifier's certificate of the authority.  A round of drand needs no
comparison: `drand.verify` holds it against the network's key.
"""

from collections.abc import Callable, Mapping

from earmark.errors import ProofError
from earmark.evidence.bitcoin import OTS, check_bitcoin_header, check_ots, is_bitcoin
from earmark.evidence.chain import ChainBlock
from earmark.evidence.drand import NETWORKS, Network, check_round
from earmark.evidence.evm import EVM, check_evm, check_evm_header
from earmark.evidence.rfc3161 import RFC3161, Authority, check_under, read_stamp

__all__ = ["EVM", "OTS", "RFC3161", "Authority", "ChainBlock", "check", "check_source", "check_under", "read"]

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


def check_source(source: ChainBlock, octets: bytes, networks: Mapping[str, Network] = NETWORKS) -> None:
    """Raise `ProofError` unless this is a beacon's evidence for one of its sources, docs/protocol.md §6.

    A block's header, or of drand a round's signature, of which `drand.verify` says whether it is the network's.
    """
    if source.is_round:
        return check_round(source, octets, networks)
    if is_bitcoin(source.chain):
        block = check_bitcoin_header(source.chain, octets, source.number)
    else:
        block = check_evm_header(source.chain, octets)
    if block != source:
        raise ProofError(f"a beacon whose header is not block {source.number} of {source.chain}")
    return None

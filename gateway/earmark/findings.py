"""What the steps of a check found, in words, docs/protocol.md §9."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime

from earmark.cosignature import Cosignature
from earmark.evidence import Authority, ChainBlock
from earmark.evidence.bitcoin import is_bitcoin
from earmark.evidence.drand import NETWORKS
from earmark.note import VerifierKey
from earmark.registry import Enrolment
from earmark.report import Step

MOST_NAMES = 8

_NO_WITNESS = "that the gateway keeps no second log, which tells others something else: no witness of yours says so"
_WITNESSED = (
    "that the gateway keeps no second log for those who ask for no cosignature of the {} witness(es) of yours here, or "
    "for others too where such a witness itself signed two histories"
)


def say_not_before(before: Sequence[ChainBlock | None]) -> list[Step]:
    """Say for how many statements a block of the verifier's, or a round of drand, shows when they were signed at the
    earliest.
    """
    said, found = [], [block for block in before if block]
    if found:
        first = min(found, key=lambda block: block.time_s)
        finding = f"{len(found):,} statement(s) signed after {where(first)}, or a later one that counts"
        said.append(Step(7, True, finding))
    missing = len(before) - len(found)
    if missing:
        said.append(Step(7, False, f"{missing:,} statement(s) with no beacon that counts for you"))
    return said


def say_unproven(sources: Sequence[ChainBlock], networks: Collection[str]) -> Step:
    """Say what it takes to make a beacon of these sources count, when none does with what the verifier brought.

    A round of one of `networks` is among them only where this installation cannot verify it.
    """
    advice = []
    unknown = [source for source in sources if source.is_round and source.chain not in networks]
    if any(source.is_round and source.chain in networks for source in sources):
        advice.append("this installation lacks py_arkworks_bls12381, which verifies drand's signatures: pip install it")
    if unknown:
        advice.append("that network of drand is not known here")
    if len(unknown) < len(sources):
        advice.append("compare that hash with your own view of the chain")
    return Step(7, False, f"carries {', '.join(map(where, sources))}: {'; or '.join(advice)}")


def say_not_after(
    judged: Sequence[tuple[ChainBlock, bool]],
    stamps: Sequence[tuple[str, ChainBlock | None]] = (),
    authorities: Sequence[Authority] = (),
) -> list[Step]:
    """Say which anchors show when all of it existed at the latest: (block, whether it is one of the verifier's).

    `stamps` are (authority's id, what its token says, None where the verifier has no certificate of it).
    """
    missing = [authority for authority in authorities if authority.id not in dict(stamps)]
    said = [Step(8, False, f"no time stamp by {each.name}, {each.id}") for each in missing]
    if not judged and not stamps:
        return [Step(8, False, "no anchor in this file yet: ask for a newer proof"), *said]
    for chain, stamp in stamps:
        if stamp:
            finding = f"existed before {_time(stamp.time_s)}, by the word of {chain}, whose certificate is one of yours"
            said.append(Step(8, True, finding))
        else:
            finding = f"a time stamp by {chain}, not looked into: bring that authority's certificate"
            said.append(Step(8, False, finding))
    return said + [
        Step(8, True, f"existed before {where(block)}, which is one of yours")
        if is_vouched
        else Step(8, False, f"leads to {where(block)}: compare that hash with your own view of the chain")
        for block, is_vouched in judged
    ]


def say_signers(signers: Collection[Enrolment | None]) -> list[Step]:
    """Say who signed (None: the operator), and of which keys the operator said that they were in other hands."""
    names = sorted({node.name if node else "the operator" for node in signers})
    more = f" and {len(names) - MOST_NAMES:,} more" if len(names) > MOST_NAMES else ""
    signed = f"signed by {', '.join(names[:MOST_NAMES])}{more}; enrolled before, and not ended before, by leaf order"
    stolen = [node for node in signers if node and node.since is not None]
    return [Step(6, True, signed), *(Step(6, True, say_stolen(node)) for node in stolen)]


def say_stolen(node: Enrolment) -> str:
    """Say from which leaf on a key was in other hands, and that what is shown of it is from before."""
    return (
        f"the operator said at leaf {node.said_at} that {node.name}'s key was in other hands from leaf {node.since} on:"
        " what is shown of it stands below that leaf"
    )


def say_witness(witness: VerifierKey, witnessed: Mapping[VerifierKey, Cosignature]) -> Step:
    """Say whether one of the verifier's witnesses cosigned, and when."""
    if witness not in witnessed:
        return Step(10, False, f"no cosignature by {witness.name}, {witness.id.hex()}")
    return Step(10, True, f"witnessed by {witness.name} at {_time(witnessed[witness].time_s)} of its clock")


def _time(seconds: int) -> str:
    """Return Unix seconds in UTC, or as they are where they are beyond any calendar."""
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        return f"{seconds} s after 1970"


def where(block: ChainBlock) -> str:
    """Name a chain's block, a round of drand, or an authority's time stamp.

    The hash of a Bitcoin header does not cover its height, so that this is only said (§7).
    """
    if block.is_stamp:
        return f"time stamp {block.number:x} by {block.chain}"
    if block.is_round:
        network = NETWORKS.get(block.chain)
        name = f"drand's {network.name}, {_time(block.time_s)}" if network else f"{block.chain}, 0x{block.hash.hex()}"
        return f"round {block.number} of {name}"
    if is_bitcoin(block.chain):
        return f"block 0x{block.hash.hex()} of {block.chain} (number {block.number}, as the file says)"
    return f"block {block.number} of {block.chain}, 0x{block.hash.hex()}"


def not_established(
    methods: Collection[str], witnesses: int, stamped: str = "", *, by_rounds: bool = False
) -> tuple[str, ...]:
    """Say what a file does not show that has statements of these methods, and cosignatures of so many witnesses.

    `stamped` is the id of the authority that alone dates all of it, if one does; `by_rounds` says that rounds of drand
    show what was signed after them.
    """
    return (
        "that a sensor told the truth, or stood where its name says",
        "that nothing was left out between the statements shown",
        _WITNESSED.format(witnesses) if witnesses else _NO_WITNESS,
        "that the operator revoked no key after this block was sealed, or in a statement that the gateway held back, "
        "nor said there that it was in other hands earlier",
        *([f"that the key and the clock of {stamped} were right: the time rests on its word"] if stamped else []),
        *(["that not enough of drand's operators to do so signed a round before its time"] if by_rounds else []),
        *(
            f"that anything was measured where a reading is {method}: its signer says that it is not"
            for method in ("modelled", "replayed")
            if method in methods
        ),
    )

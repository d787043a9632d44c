"""`earmark check`: a proof file against the verifier's own operator did and block hashes.

No network, no farm, no clock.  Nothing is trusted because the file says it.
"""

import argparse
import gc
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from earmark import cose
from earmark.bulk import WORTH, Examination
from earmark.cli.arguments import a_block, an_operator, authorities, witnesses
from earmark.cli.screen import Screen
from earmark.cosignature import Cosignature
from earmark.errors import ProofError
from earmark.evidence import ChainBlock
from earmark.export import describe, iso, iso_ms
from earmark.proof import check
from earmark.report import TITLES, Report, Subject


def add_arguments(command: str, parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `check`."""
    parser.add_argument("file", metavar="FILE", type=Path, help="the proof file")
    parser.add_argument(
        "--operator",
        metavar="DID",
        required=True,
        type=an_operator,
        help="the grower's did (did:key:z6Mk…), or a file that holds it; have it from the grower, not with the file",
    )
    parser.add_argument(
        "--block",
        metavar="CHAIN=0xHASH",
        action="append",
        default=[],
        type=a_block,
        help="hash of a chain's block that you looked up yourself; may be given several times",
    )
    parser.add_argument(
        "--witness",
        metavar="VKEY",
        action="append",
        default=[],
        type=witnesses,
        help="verifier key of a witness whose word counts for you, or a file with some; may be given several times",
    )
    parser.add_argument(
        "--tsa",
        metavar="FILE",
        action="append",
        default=[],
        type=authorities,
        help="PEM file with the certificate of a time-stamping authority whose word counts for you, from the authority "
        "itself; may be given several times",
    )
    parser.add_argument("--all", action="store_true", help="show every reading (default: the first 20)")


def run(args: argparse.Namespace, screen: Screen) -> int:
    """Check, and say step by step what is established; 1 where a step fails."""
    try:
        with ExitStack() as stack:
            stack.enter_context(uncollected())
            known = [witness for given in args.witness for witness in given]
            encoded = args.file.read_bytes()
            trusted = [authority for given in args.tsa for authority in given]
            report = check(encoded, args.operator, args.block, known, lambda raws: _begin(raws, stack, screen), trusted)
    except ProofError as error:
        if not screen.as_json:
            from earmark.cli.verdict import tell_failure

            tell_failure(error, args.operator, screen)
        screen.document({"holds": False, "step": error.step, "title": TITLES[error.step], "reason": str(error)})
        return 1
    if not screen.as_json:
        from earmark.cli.verdict import tell

        tell(report, args, screen)
    else:
        screen.document(describe_report(report))
    return 0


@contextmanager
def uncollected() -> Iterator[None]:
    """Look for no garbage, nor at the end of the process: what a check makes it keeps, and to look through it again and
    again takes a quarter of its time.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was:
            gc.enable()


def _begin(raws: Sequence[bytes], stack: ExitStack, screen: Screen) -> Examination:
    """Begin to examine statements, with a progress bar where there are many; all of it ends with the stack."""
    examination = stack.enter_context(Examination(raws))
    if len(raws) >= WORTH:
        examination.progress = stack.enter_context(screen.progress("statements"))
    return examination


def describe_report(report: Report) -> dict[str, Any]:
    """Return what a check established, as JSON says it."""
    header = report.header
    return {
        "holds": True,
        "operator": cose.did(report.registry.operator),
        "gateway": cose.did(report.registry.gateway),
        "origin": report.registry.origin,
        "block": {
            "height": header.height,
            "leaves": header.size,
            "hash": header.hash.hex(),
            "sealed_at": iso_ms(header.sealed_at_ms),
        },
        "steps": [
            {"number": step.number, "title": step.title, "proven": step.proven, "finding": step.finding}
            for step in report.steps
        ],
        "not_before": describe_block(report.not_before),
        "not_after": describe_block(report.not_after),
        "stamps": [
            {"authority": chain, "proven": stamp is not None, "stamp": describe_block(stamp)}
            for chain, stamp in report.stamps
        ],
        "witnessed": [_describe_cosignature(each) for each in report.witnessed],
        "misdated": [subject.index for subject in report.misdated()],
        "subjects": [_describe_subject(subject) for subject in report.subjects],
        "to_compare": [describe_block(block) for block in report.to_compare()],
        "not_established": list(report.not_established),
    }


def describe_block(block: ChainBlock | None) -> dict[str, Any] | None:
    """Return a chain's block as JSON says it."""
    if block is None:
        return None
    time = {"time": iso(block.time_s), "time_s": block.time_s}
    return {"chain": block.chain, "number": block.number, "hash": f"0x{block.hash.hex()}"} | time


def _describe_cosignature(cosignature: Cosignature) -> dict[str, Any]:
    time = {"time": iso(cosignature.time_s), "time_s": cosignature.time_s}
    return {"witness": cosignature.name, "key_id": cosignature.key_id.hex()} | time


def _describe_subject(subject: Subject) -> dict[str, Any]:
    signer = subject.signer
    enrolment = signer and {
        "name": signer.name,
        "enrolled_at": signer.enrolled_at,
        "revoked_at": signer.revoked_at,
        "rotated_at": signer.rotated_at,
        "successor": cose.did(signer.successor) if signer.successor else None,
        "compromised_since": signer.since,
        "reason": signer.reason or None,
    }
    by = {"enrolment": enrolment, "not_before": describe_block(subject.not_before)}
    return describe(subject.index, subject.statement) | by

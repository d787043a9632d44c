"""`earmark check`: a proof file against the verifier's own operator did and block hashes.

No network, no farm, no clock.  Nothing is trusted because the file says it.
"""

import argparse
import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from earmark import cose
from earmark.bulk import TYPICAL, WORTH, Pool
from earmark.cli.arguments import a_block, an_operator
from earmark.cli.screen import Screen
from earmark.errors import ProofError
from earmark.evidence import ChainBlock
from earmark.export import describe, iso, iso_ms
from earmark.proof import check
from earmark.report import TITLES, Report, Subject
from earmark.verifier import Verdict

PROGRESS_STATEMENTS = 500


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
    parser.add_argument("--all", action="store_true", help="show every reading (default: the first 20)")


def run(args: argparse.Namespace, screen: Screen) -> int:
    """Check, and say step by step what is established; 1 where a step fails."""
    try:
        with Pool(args.file.stat().st_size // TYPICAL) as pool, uncollected():
            encoded = args.file.read_bytes()
            report = check(encoded, args.operator, args.block, lambda raws: _examine_all(raws, pool, screen))
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
    """Look for no garbage: what a check makes it keeps, and to look through it again and again takes a quarter of its
    time.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _examine_all(raws: Sequence[bytes], pool: Pool, screen: Screen) -> Iterator[Verdict]:
    if len(raws) < WORTH:
        yield from pool.examine_all(raws)
        return
    with screen.progress("statements") as progress:
        for done, verdict in enumerate(pool.examine_all(raws), 1):
            if done % PROGRESS_STATEMENTS == 0:
                progress(done, len(raws))
            yield verdict


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


def _describe_subject(subject: Subject) -> dict[str, Any]:
    signer = subject.signer
    enrolment = signer and {
        "name": signer.name,
        "enrolled_at": signer.enrolled_at,
        "revoked_at": signer.revoked_at,
        "reason": signer.reason or None,
    }
    by = {"enrolment": enrolment, "not_before": describe_block(subject.not_before)}
    return describe(subject.index, subject.statement) | by

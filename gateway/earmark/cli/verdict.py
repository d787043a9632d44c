"""What `earmark check` says to a person."""

import argparse
from collections import Counter
from collections.abc import Iterator
from itertools import islice

from earmark import cose
from earmark.anchor.devchain import DEVELOPMENT_CHAIN
from earmark.cli.screen import Screen
from earmark.cli.words import count, span, utc, value_text
from earmark.errors import ProofError
from earmark.evidence import ChainBlock
from earmark.evidence.bitcoin import is_bitcoin
from earmark.evidence.drand import NETWORKS
from earmark.export import describe_body, to_json
from earmark.registry import Enrolment
from earmark.report import TITLES, Report, Step, Subject
from earmark.statement import CLOCK_SOURCES

MOST_ROWS = 20
MOST_BLOCKS = 4
MOST_SIGNERS = 8

ESTABLISHES = {
    1: "the file is whole; this proves nothing else",
    2: "which keys the operator enrolled, rotated and revoked, and where in the log",
    3: "the operator's gateway committed to this log",
    4: "the block, whose hash is what is anchored, is over this log",
    5: "every statement shown stands at its place in the log",
    6: "who signed what, with a key that was enrolled and had not ended, nor was in other hands",
    7: "the earliest time at which the statements can have been signed",
    8: "the latest time at which the statements can have been made",
    9: "every hash that you gave belongs to this file's story",
    10: "those witnesses saw one history of this log up to this block, and none of them cosigns another",
}
"""What each step of protocol §9 is good for, where it holds."""

_TIMES = 7
"""From this step on a check that finds no fault may still have proven nothing."""

_METHODS = {
    "modelled": "MODELLED: the readings of {} are computed, not measured. The signer says so itself.",
    "replayed": "REPLAYED: the readings of {} come from a recording, not measured then. The signer says so itself.",
}


def tell(report: Report, args: argparse.Namespace, screen: Screen) -> None:
    """Say what a check that held established."""
    _say_operator(report.registry.operator, screen)
    for number in range(1, len(TITLES)):
        steps = [step for step in report.steps if step.number == number]
        _say_step(number, steps, _state(number, steps, report), screen)
    screen.say()
    screen.say("The proof holds, under the operator that you named.", style="bold green")
    _say_signers(report, screen)
    _say_statements(report, MOST_ROWS if not args.all else None, screen)
    _say_window(report, screen)
    _say_what_to_compare(report, args, screen)
    screen.heading("This does not establish")
    for text in report.not_established:
        screen.say(f"- {text}", indent=2)


def tell_failure(error: ProofError, operator: bytes, screen: Screen) -> None:
    """Say which step failed, and why."""
    _say_operator(operator, screen)
    for number in range(1, error.step):
        screen.say(f"{number} {TITLES[number]}: {'holds' if number < _TIMES else 'no fault found'}")
    screen.say(f"{error.step} {TITLES[error.step]}: FAILS", style="bold red")
    screen.say(str(error).removeprefix(f"step {error.step} ({TITLES[error.step].lower()}): "), indent=4)
    screen.say()
    screen.say("The proof does not hold. Nothing in this file is established.", style="bold red")


def _say_operator(operator: bytes, screen: Screen) -> None:
    screen.say("Checked against the operator that you named")
    screen.copyable(cose.did(operator))
    screen.say()


def _state(number: int, steps: list[Step], report: Report) -> str:
    if number >= 9 and not steps:
        return "none given"
    if number == 7:
        proven = [subject.not_before is not None for subject in report.subjects]
    elif number == 8:
        proven = [report.not_after is not None]  # one anchor dates all of it
    else:
        proven = [step.proven for step in steps]
    if all(proven):
        return "holds"
    return "partly proven" if any(proven) else "NOT PROVEN"


def _say_step(number: int, steps: list[Step], state: str, screen: Screen) -> None:
    screen.say(f"{number} {TITLES[number]}: {state}", style="" if state in ("holds", "none given") else "yellow")
    if any(step.proven for step in steps):
        screen.say(f"shows {ESTABLISHES[number]}", indent=4, style="dim")
    for step in sorted(steps, key=lambda step: not step.proven)[:MOST_BLOCKS]:
        screen.say(step.finding, indent=4)
    if len(steps) > MOST_BLOCKS:
        screen.say(f"and {len(steps) - MOST_BLOCKS:,} more such blocks", indent=4)


def _say_signers(report: Report, screen: Screen) -> None:
    screen.heading("Signed by")
    subjects: dict[bytes, list[Subject]] = {}
    for subject in report.subjects:
        subjects.setdefault(subject.claims.key, []).append(subject)
    for key, those in list(subjects.items())[:MOST_SIGNERS]:
        signer = those[0].signer
        screen.say(f"{signer.name if signer else 'the operator'}, {count(len(those), 'statement')}", indent=2)
        screen.copyable(cose.did(key), indent=4)
        if signer:
            screen.say(_enrolment(signer), indent=4)
        for clock in sorted({_clock(*subject.claims.clock) for subject in those}):
            screen.say(clock, indent=4)
    if len(subjects) > MOST_SIGNERS:
        screen.say(f"and {len(subjects) - MOST_SIGNERS:,} more signers; --json has all", indent=2)


def _enrolment(signer: Enrolment) -> str:
    text = f"enrolled by the operator at leaf {signer.enrolled_at}"
    if signer.rotated_at is not None:
        text += f"; ROTATED at leaf {signer.rotated_at}, after these: its name went to {cose.did(signer.successor)}"
    if signer.revoked_at is not None:
        text += f"; REVOKED at leaf {signer.revoked_at}, after these"
    if signer.since is not None:
        text += f"; IN OTHER HANDS from leaf {signer.since} on, as the operator said at leaf {signer.said_at}"
    return f"{text}: {signer.reason}" if signer.reason else text


def _clock(number: int, error_s: int) -> str:
    if number == 0:
        return "its own clock was not set, so its times are unknown"
    source = {1: "kept over a sleep or by a battery", 4: "set by its host system"}
    how = source.get(number, f"set by {CLOCK_SOURCES[number]}")
    return f"its own clock was {how}; it states an error of at most {error_s} s"


def _say_statements(report: Report, most: int | None, screen: Screen) -> None:
    said = [subject for subject in report.subjects if subject.claims.method is not None]
    if said:
        screen.heading("Readings")
        methods = Counter(subject.method for subject in said)
        for method, text in _METHODS.items():
            if methods[method]:
                screen.say(text.format(count(methods[method], "statement")), indent=2, style="yellow")
        rows = list(islice(_readings(said), most and most + 1))
        screen.table(("leaf", "taken at (UTC)", "reading", "value", "unit", ""), rows[:most], right=(0, 3))
        if most and len(rows) > most:
            screen.say(f"… and more, of {count(len(said), 'statement')} in all; --all shows all", indent=2)
    others = [subject for subject in report.subjects if subject.claims.method is None]
    if others:
        screen.heading("Other statements")
        for subject in others[:most]:
            _say_body(subject, screen)
        if most and len(others) > most:
            screen.say(f"… and {len(others) - most:,} more; --all shows all", indent=2)


def _readings(subjects: list[Subject]) -> Iterator[tuple[str, ...]]:
    for subject in subjects:
        method = subject.method if subject.method == "measured" else subject.method.upper()
        for reading in subject.statement.readings:
            taken = utc(reading.taken_at_s).removesuffix(" UTC") if reading.taken_at_s else "not known"
            yield f"{subject.index}", taken, reading.name, value_text(reading.value), reading.unit, method


def _say_body(subject: Subject, screen: Screen) -> None:
    body = describe_body(subject.statement).items()
    said = ", ".join(f"{label} {value if isinstance(value, str) else to_json(value)}" for label, value in body)
    screen.say(f"leaf {subject.index}, {subject.statement.kind}: {said}", indent=2)


def _say_window(report: Report, screen: Screen) -> None:
    screen.heading("When")
    after, before = report.not_before, report.not_after
    known = sum(subject.not_before is not None for subject in report.subjects)
    it = "It" if len(report.subjects) == 1 else "All of it"
    if after:
        screen.say(f"{it} was signed after {_when(after)}.", indent=2)
    elif known:
        part = f"proven for {known:,} of {len(report.subjects):,} statements only; --json says for which"
        screen.say(f"Signed after: {part}", indent=2, style="yellow")
    else:
        screen.say("Signed after: not proven", indent=2, style="yellow")
    if any(subject.not_before in report.rounds for subject in report.subjects):
        screen.say(
            "drand's independent operators sign a random number together, every few seconds. Nobody knew this one "
            "before, and the statement holds it. Its signature was checked here, with nothing asked of anybody.",
            indent=2,
            style="dim",
        )
    if before:
        screen.say(f"{it} existed before {_when(before)}.", indent=2)
        firm = [block for block, is_vouched in report.anchors if is_vouched]
        if before.is_stamp and firm:
            earliest = min(firm, key=lambda block: block.time_s)
            screen.say(f"Without that authority's word: before {_when(earliest)}.", indent=2)
    else:
        screen.say("Existed before: not proven", indent=2, style="yellow")
    if after and before:
        screen.say(_width(before.time_s - after.time_s), indent=2)
    signers = {subject.claims.key: subject.signer for subject in report.subjects}.values()
    for signer in [signer for signer in signers if signer and signer.since is not None][:MOST_SIGNERS]:
        text = f"{signer.name}'s key was in other hands from leaf {signer.since} on. What is shown of it was in the log"
        screen.say(f"{text} before: the order of the leaves says so, and nobody's clock.", indent=2, style="yellow")
    wrong = report.misdated()
    if wrong:
        leaves = ", ".join(str(subject.index) for subject in wrong[:MOST_BLOCKS])
        text = f"WRONG CLOCK: by the chain {count(len(wrong), 'statement')} cannot be from when it says (leaf {leaves}"
        screen.say(f"{text}{', …' if len(wrong) > MOST_BLOCKS else ''}).", indent=2, style="yellow")
    if any(block and is_bitcoin(block.chain) for block in (after, before)):
        screen.say("Bitcoin's own clock is good to about two hours; the order of its blocks is exact.", indent=2)
    if any(block and block.chain == DEVELOPMENT_CHAIN for block in (after, before)):
        screen.say("The development chain shows how this works, and is worth nothing.", indent=2, style="yellow")


def _width(seconds: int) -> str:
    if seconds < 0:
        return f"The chains' own clocks contradict each other by {span(-seconds)}: count on the order of blocks only."
    return f"That is a window of {span(seconds)}, whatever the signer's clock said."


def _when(block: ChainBlock) -> str:
    if block.is_stamp:
        return f"{utc(block.time_s)} (the authority {block.chain} says so)"
    if block.chain in NETWORKS:
        return f"{utc(block.time_s)} (round {block.number} of drand's {NETWORKS[block.chain].name})"
    said = ", as the file says" if is_bitcoin(block.chain) else ""  # no hash covers a Bitcoin block's number
    return f"{utc(block.time_s)} (block {block.number} of {block.chain}{said})"


def _say_what_to_bring(report: Report, screen: Screen) -> None:
    missing = [chain for chain, stamp in report.stamps if stamp is None]
    if missing:
        screen.heading("Time stamps that were not looked into")
        for chain in missing:
            screen.copyable(chain, indent=2)
        screen.say(
            "Each is an authority's. If its word counts for you, have its certificate from the authority itself, and "
            "check again with --tsa FILE.",
            indent=2,
        )


def _say_what_to_compare(report: Report, args: argparse.Namespace, screen: Screen) -> None:
    blocks = report.to_compare()
    _say_what_to_bring(report, screen)
    if not blocks:
        if not report.anchors and not report.stamps:
            screen.say("This file has no anchor: ask the grower for it again, once there is one.", indent=2)
        return
    screen.heading("To prove the times")
    screen.say(
        "Look these up where you trust what you see: a node of your own, or two explorers that are independent. "
        "If a hash there is the same, check again with",
        indent=2,
    )
    for block in blocks[:MOST_BLOCKS]:
        screen.copyable(f"--block {block.place}=0x{block.hash.hex()}", indent=4)
        worth = "; the development chain, worth nothing" if block.chain == DEVELOPMENT_CHAIN else ""
        what = "round" if block.is_round else "block"
        screen.say(f"{what} {block.number}, which says of itself {utc(block.time_s)}{worth}", indent=6, style="dim")
    if len(blocks) > MOST_BLOCKS:
        screen.say(f"and {len(blocks) - MOST_BLOCKS:,} more; --json has all under to_compare", indent=4)

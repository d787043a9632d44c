"""The releases of a farm: kept by hash, served to its nodes piece by piece, and how far each node is (§10.3)."""

import logging
import time
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from earmark.config import Farm
from earmark.errors import ConfigError, CorruptLog, EarmarkError
from earmark.keys import replace_private
from earmark.mqtt import Message
from earmark.registry import Enrolment, Registry, Update
from earmark.release import MANIFEST, Manifest, Piece, Wanted, answer_piece, decode, decode_ask, sha256, targets_of
from earmark.statement import Statement
from earmark.statement import decode as decode_statement
from earmark.store import Store

MOST_A_SECOND = 64
"""Asks of one node that are answered in a second; it repeats the others."""

LOOK_BACK = 1000
"""Statements of a node before those that came after an update which are looked through too: not all come in order."""

PENDING, OTHER_TARGET = "pending", "other-target"
_FINAL = ("confirmed", "returned", "refused")

_log = logging.getLogger(__name__)


def read_release(path: Path) -> tuple[bytes, dict[bytes, bytes]]:
    """Return a release's manifest and its files by digest, from its folder or manifest; `ConfigError` names what is
    wrong.
    """
    folder = path if path.is_dir() else path.parent
    name = folder / MANIFEST if path.is_dir() else path
    try:
        raw = name.read_bytes()
        manifest = decode(raw)
        files = {file.digest: (folder / file.path).read_bytes() for file in manifest.files}
    except OSError as error:
        raise ConfigError(
            f"{error.filename} cannot be read ({error.strerror}): `earmark node build` makes it"
        ) from error
    except EarmarkError as error:
        raise ConfigError(f"{name} is no manifest of a release: {error}") from error
    for file in manifest.files:
        if sha256(files[file.digest]) != file.digest:
            raise ConfigError(f"{folder / file.path} is not the file that {name} lists: build the release again")
    return raw, files


def keep_release(farm: Farm, raw: bytes, files: dict[bytes, bytes]) -> Manifest:
    """Put a release where the gateway serves it from; on disk, synced, when this returns."""
    farm.releases.mkdir(mode=0o700, exist_ok=True)
    for digest, content in {**files, sha256(raw): raw}.items():
        path = farm.releases / digest.hex()
        if not path.exists():
            replace_private(path, content)
    return decode(raw)


class Releases:
    """Answers what nodes ask.  What a node gets, it holds against the operator's signature: nothing here is trusted."""

    def __init__(
        self,
        farm: Farm,
        registry: Callable[[], Registry],
        statement: Callable[[int], bytes],
        answer: Callable[[list[tuple[str, bytes]]], None],
    ) -> None:
        self._folder = farm.releases
        self._site = farm.config.farm.site
        self._registry = registry
        self._statement = statement
        self._send = answer
        self._second = 0
        self._asked: Counter[str] = Counter()

    def take(self, messages: Sequence[Message]) -> None:
        """Answer asks; what is none is passed over."""
        answers = []
        for message in messages:
            parts = message.topic.split("/")
            if len(parts) == 5 and not self._is_too_much(parts[3]):
                with suppress(EarmarkError, OSError):
                    answers.append((self._topic(parts[3]), self._answer(parts[3], message.payload)))
        if answers:
            self._send(answers)

    def announce(self, leaves: Iterable[int]) -> None:
        """Send the updates among these leaves to the nodes that they are for."""
        registry = self._registry()
        leaves = set(leaves)
        for update in registry.updates():
            if update.index in leaves:
                raw = self._statement(update.index)
                names = [node.name for node in registry.nodes() if node.ended_at is None and update.is_for(node.name)]
                self._send([(self._topic(name), raw) for name in names])

    def _topic(self, name: str) -> str:
        return f"earmark/v1/{self._site}/{name}/answer"

    def _is_too_much(self, name: str) -> bool:
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._asked = second, Counter()
        self._asked[name] += 1
        return self._asked[name] > MOST_A_SECOND

    def _answer(self, name: str, raw: bytes) -> bytes:
        ask = decode_ask(raw)
        if isinstance(ask, Wanted):
            update = self._registry().update_for(name, ask.target, ask.above)
            return self._statement(update.index) if update else raw
        return answer_piece(ask, self._piece(ask))

    def _piece(self, ask: Piece) -> bytes:
        try:
            with (self._folder / ask.digest.hex()).open("rb") as file:
                file.seek(ask.offset)
                return file.read(ask.most)
        except FileNotFoundError:
            return b""


def newest_update(registry: Registry, name: str, targets: Sequence[str]) -> Update | None:
    """Return the last update that is for a node of this name and of one of these targets, else the last of any."""
    meant = [update for update in registry.updates() if update.is_for(name)]
    fitting = [update for update in meant if update.target in targets]
    return next(reversed(fitting or meant), None)


@dataclass(frozen=True, slots=True)
class NodeRelease:
    """What the log says of a node's firmware: the newest update for it, how far that is, why, and what it runs.

    `state` is what the node said last of the update, `pending` before, `other-target` where all are for other boards,
    "" where there is none; `software` and `board` are those of the newest start, "" where its boot statement is
    missing, and `targets` those that the board may be of, none where that is not known.
    """

    update: Update | None
    state: str
    reason: str
    software: str
    board: str
    targets: tuple[str, ...]


def node_release(store: Store, registry: Registry, node: Enrolment) -> NodeRelease:
    """Return what the log says of a node's firmware."""
    said = _Said(store, node)
    boot = said.newest_boot()
    software, board = (boot.software or "", str((boot.body or {})[2])) if boot else ("", "")
    targets = targets_of(board)
    update = newest_update(registry, node.name, targets)
    state, reason = said.last_word(update) if update else ("", "")
    if update and targets and update.target not in targets:
        state, reason = OTHER_TARGET, f"it is for {update.target}, the node for {' or '.join(targets)}"
    return NodeRelease(update, state, reason, software, board, targets)


class _Said:
    """What the log has of a node, by place in the order of `seq`."""

    def __init__(self, store: Store, node: Enrolment) -> None:
        self._store = store
        self._chain = store.chain(node.key, node.name)
        self._runs = self._chain.runs if self._chain else ()
        self._ends = list(accumulate(last - first + 1 for first, last in self._runs))
        self._count = self._ends[-1] if self._ends else 0

    def _at(self, place: int) -> tuple[int, bytes]:
        """Return leaf and bytes of the statement at a place."""
        run = bisect_right(self._ends, place)
        found = (
            self._store.find(self._chain.id, self._runs[run][1] - (self._ends[run] - 1 - place))
            if self._chain
            else None
        )
        if found is None:
            raise CorruptLog(f"the log lacks a statement of its own at place {place} of a node's chain")
        return found

    def newest_boot(self) -> Statement | None:
        """Return the boot statement of the newest start, None where the log has not got it."""
        if not self._count:
            return None
        newest = self._starts(self._count - 1)
        first = bisect_left(range(self._count), newest, key=self._starts)
        boot = decode_statement(self._at(first)[1])
        return boot if boot.kind == "boot" else None

    def last_word(self, update: Update) -> tuple[str, str]:
        """Return the state and the reason that the node said last of an update."""
        state, reason = PENDING, ""
        after = bisect_right(range(self._count), update.index, key=lambda place: self._at(place)[0])
        for place in range(max(0, after - LOOK_BACK), self._count):
            raw = self._at(place)[1]
            if b"updated" not in raw:
                continue
            statement = decode_statement(raw)
            body = statement.body or {}
            if statement.kind == "updated" and body[1] == update.entry:
                state, reason = body[4], body[5]
                if state in _FINAL:
                    break
        return state, reason

    def _starts(self, place: int) -> int:
        return decode_statement(self._at(place)[1]).boot_count or 0

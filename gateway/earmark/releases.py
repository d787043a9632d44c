"""The releases of a farm: kept by hash, served to its nodes piece by piece, and how far each node is (§10.3)."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from earmark.config import Farm
from earmark.errors import ConfigError, EarmarkError
from earmark.keys import replace_private
from earmark.mqtt import Message
from earmark.registry import Enrolment, Registry, Update
from earmark.release import MANIFEST, Manifest, Piece, Wanted, answer_piece, decode, decode_ask, sha256
from earmark.statement import decode as decode_statement
from earmark.store import Store

MOST_A_SECOND = 64
"""Asks of one node that are answered in a second; it repeats the others."""

LOOK_BACK = 1000
"""Statements of a node among which its last word on updates is sought."""

PENDING = "pending"

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


def newest_update(registry: Registry, name: str) -> Update | None:
    """Return the last update that is for a node of this name, whatever its target."""
    return next((update for update in reversed(registry.updates()) if update.is_for(name)), None)


def update_state(store: Store, registry: Registry, node: Enrolment) -> tuple[Update | None, str, str, str]:
    """Return the newest update for a node, its state there, the reason, and the software of the node's newest boot.

    The state is what the node said last of it, `pending` before; an update of another target than the node's stays so.
    """
    update = newest_update(registry, node.name)
    chain = store.chain(node.key, node.name)
    state, reason, software = PENDING if update else "", "", ""
    for seq in _backwards(chain.runs if chain else ()):
        found = store.find(chain.id, seq) if chain else None
        if found is None or not (b"updated" in found[1] or b"boot" in found[1]):
            continue
        statement = decode_statement(found[1])
        body = statement.body or {}
        if statement.kind == "updated" and update and state == PENDING and body[1] == update.entry:
            state, reason = body[4], body[5]
        elif statement.kind == "boot" and not software:
            software = statement.software or ""
        if software and state != PENDING:
            break
    return update, state, reason, software


def _backwards(runs: Sequence[tuple[int, int]]) -> list[int]:
    found: list[int] = []
    for first, last in reversed(runs):
        found += range(last, max(first - 1, last - LOOK_BACK + len(found)), -1)
        if len(found) >= LOOK_BACK:
            break
    return found

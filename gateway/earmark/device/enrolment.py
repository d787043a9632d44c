"""A board's way into a farm: its key, made on it and shown to hold; its settings; and the first start as a node.

Each step may be cut off and done again: a key that is there stays, a file is there in full or not at all.
"""

import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from earmark import cose
from earmark.device import install
from earmark.device.board import Board
from earmark.device.fingerprint import blinks
from earmark.errors import DeviceError

HOME = install.HOME
NEXT = f"{HOME}/next"
_PROMISE = b"earmark enrolment\x00"
_NONCE = 32
BLINK_MS = 250
_BLINK_S = 60.0


@dataclass(frozen=True, slots=True)
class About:
    """What a board says of itself: `key` is its node's public key, `node` of its node.json what is no secret.

    `coming` is a key that waits to take the other's place, `is_moving` says whether that was begun and not settled.
    """

    platform: str
    machine: str
    version: tuple[int, ...]
    mpy: int
    memory: int
    node: dict[str, Any] | None
    key: bytes | None
    coming: bytes | None
    is_moving: bool

    @property
    def runs(self) -> str:
        """MicroPython's version, as people write it."""
        return ".".join(map(str, self.version))


def look(board: Board) -> About:
    """Ask a board what it is, and whose node."""
    said = board.call("about", "about")
    key, coming = (None if said[name] is None else _key(said[name]) for name in ("key", "next"))
    what = said["platform"], said["machine"], tuple(said["version"]), said["mpy"], said["memory"], said["node"]
    return About(*what, key, coming, said["moving"])


def make_key(board: Board, folder: str = HOME) -> bytes:
    """Let the board make its key in a folder, where it has none, and sign a nonce with it; return the public half.

    `DeviceError` where the firmware is missing, or the signature is not the key's.
    """
    path = f"{folder}/identity"
    board.call("keys", "use_slot", install.whole_slot(board))
    key = _key(board.call("keys", "make", path, timeout_s=60))
    nonce = secrets.token_bytes(_NONCE)
    signature = bytes.fromhex(board.call("keys", "promise", path, nonce.hex(), timeout_s=60))
    try:
        VerifyKey(key).verify(_PROMISE + nonce, signature)
    except (BadSignatureError, ValueError) as error:
        raise DeviceError(
            f"the board on {board.device} does not sign with the key that it shows: nothing was enrolled; take another "
            "board, and keep this one out of use"
        ) from error
    return key


def show(board: Board, key: bytes, led: int | str) -> None:
    """Let the board's lamp blink the key's four numbers, twice."""
    board.call("keys", "blink", led, blinks(key), 2, BLINK_MS, timeout_s=_BLINK_S)


def newest_seq(board: Board) -> int:
    """Return the `seq` of the newest statement that the board's outbox has."""
    board.call("keys", "use_slot", install.whole_slot(board))
    return int(board.call("keys", "newest", HOME, timeout_s=60))


def settings_on(board: Board) -> dict[str, Any]:
    """Return the board's node.json, empty where it has none or one that is no JSON; it holds secrets."""
    text = board.call("files", "text", f"{HOME}/node.json")
    try:
        held = json.loads(text) if text else {}
    except ValueError:
        return {}
    return held if isinstance(held, dict) else {}


def set_up(board: Board, settings: dict[str, Any], authority: Path | None, folder: str = HOME) -> None:
    """Write a node's settings, and beside them the certificate that its TLS trusts."""
    if authority is not None:
        install.write(board, f"{HOME}/{authority.name}", authority.read_bytes())
    install.write(board, f"{folder}/node.json", json.dumps(settings, ensure_ascii=False).encode())


def put_away(board: Board, former: bytes) -> None:
    """Put the key, outbox and settings that the board had in a folder of their own, and those in `next` in their place.

    Where that was begun before it goes on from there, whatever `former` is; `settle` ends it.
    """
    board.call("keys", "put_away", HOME, f"former-{cose.kid(former).hex()}")


def settle(board: Board) -> None:
    """Forget that keys were changed, once everything that belongs to the change is done."""
    board.call("keys", "settle", HOME)


def _key(digits: str) -> bytes:
    key = bytes.fromhex(digits)
    if not cose.is_point(key):
        raise DeviceError("the board's key file is damaged: begin anew with `earmark node flash --erase`")
    return key

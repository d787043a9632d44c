"""Earmark's firmware on a board: what is there is kept where it is the same, and the loader is written last."""

import base64
import hashlib
from collections.abc import Callable, Mapping
from functools import partial

from earmark.device.board import Board, OnBoard
from earmark.errors import DeviceError

HOME = "/earmark"
LOADER = "/main.py"
SLOT = "/a"
SLOTS = SLOT, "/b"
UPDATES = SLOTS[1], f"{HOME}/slots.0", f"{HOME}/slots.1"
"""The second slot, and which of the two runs: what is flashed is the only one, whatever was updated before."""
PIECE = 1024
SPARE = 64 << 10
"""Bytes of flash that stay free: settings, the slots' state, and an outbox that can hold something."""

Progress = Callable[[int, int], None]


def install(board: Board, files: Mapping[str, bytes], progress: Progress) -> int:
    """Put files on the board, in their order; return how many bytes had to be written.

    The loader is to be the last: it goes before anything else does, so that a board that is unplugged half-way runs
    nothing, and the same call completes it.  What else is in the first slot goes, and with it the second slot and the
    memory of updates.  Settings, key and outbox stay.  `DeviceError`, with the board as it was, where the flash has not
    enough room.
    """
    due = {path: content for path, content in files.items() if digest_on(board, path) != _digest(content)}
    if due and LOADER in files:
        due[LOADER] = files[LOADER]
    total = sum(map(len, due.values()))
    stale = {path: size for path, size in board.call("files", "below", SLOT) if path not in files or path in due}
    if due:
        other = sum(size for _, size in board.call("files", "below", SLOTS[1]))
        _check_room(board, total, sum(stale.values()) + other)
    if LOADER in due:
        board.call("files", "remove", LOADER)
    for path in (*UPDATES, *stale):
        board.call("files", "remove", path)
    done = 0
    for path, content in due.items():
        write(board, path, content, partial(_onwards, progress, done, total))
        done += len(content)
    return total


def _onwards(progress: Progress, before: int, total: int, done: int) -> None:
    progress(before + done, total)


def write(board: Board, path: str, content: bytes, progress: Callable[[int], None] = lambda done: None) -> None:
    """Write a file that is there in full or not at all; what stood at the path stays until then."""
    try:
        board.call("files", "begin", path)
        for at in range(0, len(content), PIECE):
            board.call("files", "add", base64.b64encode(content[at : at + PIECE]))
            progress(min(at + PIECE, len(content)))
        is_whole = board.call("files", "end", path, _digest(content))
    except OnBoard as error:
        raise _refused(board, path, error) from error
    if not is_whole:
        raise DeviceError(f"{path} was not written as it was sent: check the cable, and give the same command again")


def digest_on(board: Board, path: str) -> str | None:
    """Return the SHA-256 of a file on the board in hexadecimal digits, None where there is none."""
    found: str | None = board.call("files", "digest", path)
    return found


def whole_slot(board: Board) -> str:
    """Return the slot that the loader starts: the one that was confirmed last, or the other where only that is whole.

    An update fills the other one, or is on trial there.  `DeviceError` where none is whole.
    """
    active: int = board.call("files", "active_slot", HOME)
    for slot in (SLOTS[active], SLOTS[1 - active]):
        if board.call("files", "is_there", f"{slot}/release.cbor"):
            return slot
    raise DeviceError(f"Earmark is not on the board on {board.device}: `earmark node flash` puts it there")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _check_room(board: Board, wanted: int, stale: int) -> None:
    free, total = board.call("files", "room")
    if free + stale < wanted + SPARE:
        raise DeviceError(
            f"the board's flash has {free // 1024:,} of {total // 1024:,} KiB free, and {(wanted + SPARE) // 1024:,} "
            "are needed: remove files of yours, or begin anew with --erase, which takes key and outbox too"
        )


def _refused(board: Board, path: str, error: OnBoard) -> DeviceError:
    if "28" in error.raised or "ENOSPC" in error.raised:
        return DeviceError(f"the board's flash is full: {path} was not written; remove files of yours, or use --erase")
    return error

"""A board on a serial port comes into the farm: `earmark node enroll NAME`, and `node rotate NAME --port PORT`."""

import argparse
import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from earmark import cose, operator
from earmark.access import node_settings, trusted_authority
from earmark.cli.boards import confirm, kit_settings, wifi_of
from earmark.cli.farms import reading
from earmark.cli.nodelist import describe_node
from earmark.cli.screen import Screen
from earmark.cli.words import count
from earmark.config import Farm
from earmark.device import enrolment
from earmark.device.board import Board, open_board
from earmark.device.enrolment import HOME, NEXT, About
from earmark.device.fingerprint import blinks, fingerprint
from earmark.device.ports import choose
from earmark.errors import ConfigError, DeviceError
from earmark.log import load_registry
from earmark.registry import Enrolment

DEFAULT_SENSORS = [{"driver": "waiting"}]
"""What a board without a kit reports: how many statements wait in its outbox, which needs no wire."""


def enrol_board(farm: Farm, args: argparse.Namespace, name: str, screen: Screen) -> dict[str, Any]:
    """Enrol the board on the port under a name, start it, and follow it to its first reading; return the document."""
    with open_board(choose(args.port)) as board:
        about = _about(board)
        folder = _folder(farm, about, name, board, args.new_key)
        key = enrolment.make_key(board, folder)
        settings = _settings(farm, board, name, key, args, screen)
        _compare(board, key, settings, args.yes, screen)
        known = _known(farm, key)
        if known and known.name != name:
            raise ConfigError(f"the key that waits on the board is {known.name}'s: enrol it under that name")
        leaf = known.enrolled_at if known else operator.enrol(farm, key, name)  # where it is refused the board stays
        enrolment.set_up(board, settings, _authority(farm, settings), folder)
        if folder == NEXT and about.key is not None:
            enrolment.put_away(board, about.key)
        screen.say(f"{name} is enrolled at leaf {leaf}; from there on the log takes what this key signs:")
        screen.copyable(cose.did(key))
        _start(board, screen)
        first = first_reading(farm, board, key, name, args.wait, screen)
    return {"name": name, "did": cose.did(key), "enrolled_at": leaf, "port": board.device} | first


def rotate_board(farm: Farm, args: argparse.Namespace, screen: Screen) -> tuple[bytes, bytes, int]:
    """Give a node's name to a new key on the board, with an outbox of its own; return (former key, key, leaf).

    A board that has the old key makes a new one; any other, such as one that replaces it, brings its own.  Where an
    earlier call was cut off after its statement, no second one is signed.
    """
    with open_board(choose(args.port)) as board:
        was_moving = enrolment.look(board).is_moving
        about, node = _about(board), operator.find_key(farm, args.name)
        if was_moving and about.key == node.key:
            screen.say("A rotation that was cut off is finished; for another one give the command again.")
        elif about.coming != node.key:
            node = _rotate(farm, board, about, node, args, screen)
        if about.key is not None and about.key != node.key:
            enrolment.put_away(board, about.key)
        _start(board, screen)
    former = next(each for each in _nodes(farm) if each.successor == node.key)
    assert former.rotated_at is not None
    return former.key, node.key, former.rotated_at


def _rotate(
    farm: Farm, board: Board, about: About, node: Enrolment, args: argparse.Namespace, screen: Screen
) -> Enrolment:
    if node.ended_at is not None:
        raise ConfigError(f"{node.name} ended at leaf {node.ended_at}: `earmark node enroll` gives its name away anew")
    folder = NEXT if about.key == node.key else HOME
    if folder == NEXT:
        _check_delivered(farm, board, node, args.yes)
    elif about.key is not None and (wrong := _unfit(farm, about, node.name)):
        raise ConfigError(
            f"the board on {board.device} {wrong}. Take another one, or begin anew with `earmark node flash --erase`, "
            "which takes its key and outbox"
        )
    key = enrolment.make_key(board, folder)
    settings = _settings(farm, board, node.name, key, args, screen)
    _compare(board, key, settings, args.yes, screen)
    enrolment.set_up(board, settings, _authority(farm, settings), folder)
    operator.rotate(farm, node.key, key, args.reason)
    return operator.find_key(farm, node.name)


def first_reading(
    farm: Farm, board: Board, key: bytes, name: str, wait_s: float, screen: Screen
) -> dict[str, int | float | None]:
    """Follow the board until its first reading is in the log; return its leaf and after how many seconds, None where
    none came in time or no gateway runs.
    """
    began = time.monotonic()
    with farm.lock() as is_ours:
        if is_ours:
            screen.say("No gateway runs here: `earmark run`; the board keeps what it signs until then.")
            return {"first_reading": None, "seconds": None}
    screen.say("Waiting for its first reading; meanwhile it says:")
    for line in _lines(board, began + wait_s):
        if line:
            screen.say(line, indent=2, style="dim")
        leaf = _reading_of(farm, key, name)
        if leaf is not None:
            seconds = round(time.monotonic() - began, 1)
            screen.say(f"The first reading of {name} is in the log, at leaf {leaf}, {seconds} s after the start.")
            return {"first_reading": leaf, "seconds": seconds}
    screen.say(f"No reading came within {wait_s:.0f} s: `earmark node doctor` looks for the cause.", style="yellow")
    return {"first_reading": None, "seconds": None}


def _lines(board: Board, until_s: float) -> Iterator[str]:
    """Give what the board says, and an empty text each second; a board on its own USB is gone while it starts."""
    with contextlib.suppress(DeviceError):
        yield from board.lines(until_s)
    while time.monotonic() < until_s:
        time.sleep(1)
        yield ""


def _reading_of(farm: Farm, key: bytes, name: str) -> int | None:
    with reading(farm) as store:
        leaf: int | None = describe_node(store, Enrolment(key, name, 0))["newest_readings_leaf"]
        return leaf


def _about(board: Board) -> About:
    """Look at the board, after finishing a change of keys that was cut off."""
    about = enrolment.look(board)
    if not about.is_moving:
        return about
    enrolment.put_away(board, b"")
    return enrolment.look(board)


def _folder(farm: Farm, about: About, name: str, board: Board, is_new: bool) -> str:
    """Return where the key to enrol is, or is to be made; `ConfigError` where the board has one that cannot be."""
    if about.key is None:
        return HOME
    wrong = _unfit(farm, about, name)
    if wrong is None:
        return HOME
    if not is_new:
        raise ConfigError(
            f"the board on {board.device} {wrong}. With --new-key it makes another key; the old one and what it signed "
            "are put away on the board"
        )
    return NEXT


def _unfit(farm: Farm, about: About, name: str) -> str | None:
    """Return why the key that a board has cannot be enrolled here under this name, None where it can."""
    ours = node_settings(farm, name, b"")
    theirs = about.node or {}
    if theirs.get("gateway_key") not in (None, ours["gateway_key"]):
        return f"is the node {theirs.get('name')} of the site {theirs.get('site')}, another farm's"
    known = _known(farm, about.key or b"")
    if known is None:
        return None
    if known.ended_at is not None:
        return f"has a key that ended at leaf {known.ended_at}"
    return None if known.name == name else f"is {known.name} already; `earmark node revoke` frees it of that name"


def _nodes(farm: Farm) -> list[Enrolment]:
    with reading(farm) as store:
        return load_registry(store, farm.operator_key()).nodes()


def _known(farm: Farm, key: bytes) -> Enrolment | None:
    return next((node for node in _nodes(farm) if node.key == key), None)


def _check_delivered(farm: Farm, board: Board, node: Enrolment, is_sure: bool) -> None:
    """`ConfigError` where the board has signed what the log has not got: after the rotation it would be refused."""
    newest = enrolment.newest_seq(board)
    with reading(farm) as store:
        chain = store.chain(node.key, node.name)
    got = sum(last - first + 1 for first, last in chain.runs) if chain else 0
    if newest > got and not is_sure:
        raise ConfigError(
            f"{count(newest - got, 'statement')} of {node.name} are not in the log yet, and would be refused after the "
            "rotation: start the board, let it deliver them, or say --yes. Nothing was done"
        )


def _settings(
    farm: Farm, board: Board, name: str, key: bytes, args: argparse.Namespace, screen: Screen
) -> dict[str, Any]:
    """Return the node.json to write: what the board has, then the kit's, then the farm's."""
    held = enrolment.settings_on(board)
    wifi = wifi_of(args, held, screen)
    settings = {"sensors": DEFAULT_SENSORS} | held | kit_settings(args) | ({"wifi": wifi} if wifi else {})
    ours = node_settings(farm, name, key)
    if args.host:
        ours["broker"]["host"] = args.host
    kept = {name: value for name, value in held.get("broker", {}).items() if name in ("keepalive_s", "retry_s")}
    return settings | ours | {"broker": kept | ours["broker"]}


def _authority(farm: Farm, settings: dict[str, Any]) -> Path | None:
    return trusted_authority(farm) if "tls" in settings["broker"] else None


def _compare(board: Board, key: bytes, settings: dict[str, Any], is_sure: bool, screen: Screen) -> None:
    """Show the key's fingerprint on both sides, and ask whether it is the board's."""
    screen.say("The fingerprint of the board's key:")
    screen.copyable(fingerprint(key), style="bold")
    led = settings.get("status_led")
    if led is None:
        question = f"Is the board on {board.device} the one that you mean?"
    else:
        numbers = " ".join(map(str, blinks(key)))
        screen.say(f"Its lamp blinks the numbers {numbers}, twice.")
        enrolment.show(board, key, led)
        question = f"Did the lamp of the board that you mean blink {numbers}?"
    if not is_sure:
        confirm(question, screen)


def _start(board: Board, screen: Screen) -> None:
    try:
        enrolment.settle(board)
        board.restart()
    except DeviceError:
        screen.say("All is done. The board did not restart by itself: switch it off and on.", style="yellow")

"""`earmark log consistency`: that a later block continues an earlier one, as a file, and its check."""

import argparse
from pathlib import Path
from typing import Any

from earmark.block import Checkpoint
from earmark.cli.arguments import a_height, a_log
from earmark.cli.farms import farm_of, reading
from earmark.cli.files import write_whole
from earmark.cli.parser import UsageError
from earmark.cli.screen import Screen
from earmark.cli.words import count
from earmark.config import Farm
from earmark.consistency import check_file, encode_file, prove_continuation
from earmark.errors import BadSignature, ConfigError, EncodingError, ProofError
from earmark.log import load_registry
from earmark.note import ED25519, VerifierKey
from earmark.store import SealedBlock, Store
from earmark.tiles import TileTree

MOST_FILE = 65_536


def add_arguments(command: str, parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `log consistency`."""
    parser.usage = (
        "earmark log consistency [--farm DIR] [--json] [-o FILE]\n"
        "                               --from HEIGHT --to HEIGHT\n"
        "       earmark log consistency [--json] --check FILE [--log VKEY | --farm DIR]"
    )
    parser.add_argument("--from", dest="older", metavar="HEIGHT", type=a_height, help="the earlier block")
    parser.add_argument("--to", dest="newer", metavar="HEIGHT", type=a_height, help="the later block")
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="file to write (default: by the heights)")
    parser.add_argument("--check", metavar="FILE", type=Path, help="check such a file instead")
    parser.add_argument(
        "--log", metavar="VKEY", type=a_log, help="the log's verifier key (with --check; default: the farm's log)"
    )


def run(args: argparse.Namespace, screen: Screen) -> int:
    """Write or check."""
    asks = args.older is not None and args.newer is not None
    if asks == bool(args.check) or (args.log and not args.check) or (asks and args.older > args.newer):
        raise UsageError(
            "earmark log consistency", "name two blocks with --from and a later --to, or a file with --check"
        )
    return _check(args, screen) if args.check else _write(args, screen)


def _write(args: argparse.Namespace, screen: Screen) -> int:
    farm = farm_of(args)
    with reading(farm) as store:
        older, newer = _block(store, args.older), _block(store, args.newer)
        tree = TileTree(store.size(), store.tile)
        continuation = prove_continuation(older.size, newer.size, newer.checkpoint, tree.subtree)
        log = _own(farm, store)
    encoded = encode_file(older.checkpoint, continuation)
    old, new = check_file(encoded, log.name, log.key)
    path = args.output or Path(f"blocks-{older.height}-{newer.height}.consistency")
    write_whole(path, [encoded], _is_ours)
    screen.say(f"{path}: {count(len(encoded), 'byte')}, checked", style="bold")
    _tell(old, new, log, screen)
    screen.say("Whoever gets it checks it with this log's verifier key, which you give apart from it:", indent=2)
    screen.copyable(f"earmark log consistency --check {path} --log {log.encode()}", indent=4)
    screen.document({"file": str(path), "bytes": len(encoded)} | _describe(old, new, log))
    return 0


def _block(store: Store, height: int) -> SealedBlock:
    block, newest = store.block(height), store.newest_block()
    if block is None:
        until = f"the newest is {newest.height}" if newest else "none is sealed yet"
        raise ConfigError(f"there is no block {height}: {until}")
    return block


def _own(farm: Farm, store: Store) -> VerifierKey:
    registry = load_registry(store, farm.operator_key())
    return VerifierKey(registry.origin, ED25519, registry.gateway)


def _is_ours(path: Path) -> bool:
    """Say whether a file is of this form, which a newer one may replace."""
    with path.open("rb") as file:
        return file.read(8) == b"earmark/"


def _check(args: argparse.Namespace, screen: Screen) -> int:
    log = args.log
    if log is None:
        farm = farm_of(args)
        with reading(farm) as store:
            log = _own(farm, store)
    with args.check.open("rb") as file:
        encoded = file.read(MOST_FILE)
    try:
        old, new = check_file(encoded, log.name, log.key)
    except (EncodingError, BadSignature, ProofError) as error:
        screen.say("It does not hold.", style="bold red")
        screen.say(str(error), indent=2)
        screen.document({"holds": False, "reason": str(error)})
        return 1
    screen.say("It holds, under the log's key that you named.", style="bold green")
    _tell(old, new, log, screen)
    screen.document({"holds": True} | _describe(old, new, log))
    return 0


def _tell(old: Checkpoint, new: Checkpoint, log: VerifierKey, screen: Screen) -> None:
    leaves = [count(each.size, "leaf", "leaves") for each in (old, new)]
    screen.say(f"block {new.height} with {leaves[1]} continues block {old.height} with {leaves[0]} of", indent=2)
    screen.copyable(log.name, indent=4)


def _describe(old: Checkpoint, new: Checkpoint, log: VerifierKey) -> dict[str, Any]:
    ends = {
        name: {"block": each.height, "leaves": each.size, "root": each.root.hex(), "hash": each.block_hash.hex()}
        for name, each in (("from", old), ("to", new))
    }
    return {"log": log.encode()} | ends

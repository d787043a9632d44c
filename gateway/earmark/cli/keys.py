"""`earmark key seal` and `unseal`: the passphrase on a farm's private keys."""

import argparse

from earmark import keys
from earmark.cli.farms import farm_of
from earmark.cli.passphrases import add_new_passphrase, add_passphrase_file, new_passphrase
from earmark.cli.screen import Screen
from earmark.config import ROLES
from earmark.cose import Signer


def add_arguments(command: str, parser: argparse.ArgumentParser) -> None:
    """Add the arguments of one of the two."""
    parser.add_argument("role", metavar="ROLE", choices=ROLES, help="whose key: operator or gateway")
    add_passphrase_file(parser)
    if command == "key seal":
        add_new_passphrase(parser)


def run(args: argparse.Namespace, screen: Screen) -> int:
    """Write the key anew, sealed or plain, in the place of the old file."""
    farm = farm_of(args)
    is_sealed = args.command == "key seal"
    seed = farm.seed(args.role)
    path = farm.key_file(args.role)
    keys.write_seed(path, seed, new_passphrase(args) if is_sealed else None)
    if is_sealed:
        screen.say(f"{path} is sealed. Without the passphrase the key is lost: nobody can open it or make another.")
        screen.say(
            "What it was before may still be on this medium and in copies: destroy those, and let nobody have the "
            "medium."
        )
    else:
        screen.say(f"{path} is plain now: whoever reads the file has the key.")
    document = {"role": args.role, "file": str(path), "did": Signer(seed).did, "sealed": is_sealed}
    screen.document(document)
    return 0

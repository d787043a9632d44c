"""`earmark init`: a new farm."""

import argparse
import json
import shlex
from pathlib import Path

from earmark import cose, operator
from earmark.anchor.calendars import PUBLIC, PUBLIC_HEADERS
from earmark.anchor.drand import PUBLIC as RELAYS
from earmark.cli.arguments import a_port
from earmark.cli.farms import folder_of
from earmark.cli.screen import Screen
from earmark.config import Farm, create_farm, open_farm
from earmark.errors import ConfigError
from earmark.mqtt import parse_url
from earmark.settings import DEVELOPMENT, BrokerSettings, LogSettings

PLAIN_PORT = 1883
CALENDARS = "calendars"

_HEAD = """\
# The settings of this farm. What is not set here has the default that docs/operating.md names.

[farm]
# In topics and in the log's origin: not to be changed later.
site = {site}
"""
_EMBEDDED = """
[broker]
# The address and port that the embedded broker listens on, with TLS by the certificate of the farm's own authority:
# nodes are set up with authority.pem. To do without, only on a network that is the farm's own: tls = false.
listen = {listen}
port = {port}
tls = {tls}
# To use a broker of your own instead; its password stands in keys/broker.json under "gateway".
# embedded = false
# url = "mqtts://broker.example:8883"
# user = "gateway"
# authority = "broker-ca.pem"
"""
_OWN = """
[broker]
# The password stands in keys/broker.json under "gateway"; `authority` signed the broker's certificate (mqtts), the
# farm's own authority.pem where it is not set.
embedded = false
url = {url}
user = {user}
{authority}
"""
_TAIL = """
[log]
# A block is sealed this many seconds after the first unsealed statement, or at this many statements.
seal_every_s = {seal_every_s}
seal_after = {seal_after}
"""
_ANCHOR = """
# Where block hashes are anchored. Without an [[anchor]] blocks are signed, but nothing shows when they existed.
# The usual way: OpenTimestamps calendars put the hash into Bitcoin, for nothing, without an account or a key. What they
# answer is checked against headers from `headers`, or from a Bitcoin node of yours (`rpc_file`).
{calendars}
# A chain of your own choice, which costs a fee for each anchor:
# `rpc_file` holds the URL of the chain's JSON-RPC endpoint, `key_file` the private key (hex) of an account that
# is used for nothing else and has little in it; `every_s` is the time between two anchors, in seconds.
# [[anchor]]
# chain = "eip155:1"
# rpc_file = {rpc_file}
# key_file = {key_file}
# every_s = 3600
# fee_cap_gwei = 30

# A second witness that answers at once: a time-stamping authority (RFC 3161), whose word and clock a buyer then trusts.
# `tsa_certificate` is its root's, from the authority itself; with the `every_s` of another table both take one block.
# [[anchor]]
# tsa_url = "https://tsa.example/tsr"
# tsa_certificate = {tsa_certificate}
# every_s = 3600
"""
_BEACON = """
[beacon]
# What readings are signed after: every ten minutes the nodes get the newest round of drand, a public random number that
# nobody knew before. Buyers check it offline. The relays are asked in turn, without an account, a key or a fee.
{drand}"""
_DRAND = "drand = {relays}\n"
_CALENDARS = """[[anchor]]
calendars = {calendars}
headers = {headers}
every_s = 3600
"""
_DEVELOPMENT = """
# A chain in the gateway's own process, to try things out: an anchor on it is worth nothing to anybody.
[[anchor]]
chain = "development"
every_s = 60
"""


def add_arguments(command: str, parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `init`."""
    parser.add_argument("dir", metavar="DIR", nargs="?", type=Path, help="the new farm's folder (default: as --farm)")
    parser.add_argument("--farm", metavar="DIR", type=Path, help="another way to name the folder")
    parser.add_argument("--site", required=True, metavar="NAME", help="the site's name: 1 to 32 of a-z, 0-9 and -")
    parser.add_argument("--port", type=a_port, help="broker's port (default: 8883, or 1883 with --plain)")
    parser.add_argument("--plain", action="store_true", help="broker without TLS: on a network of the farm's own")
    parser.add_argument(
        "--listen", metavar="ADDR", default=BrokerSettings().listen, help="broker's address (default: all)"
    )
    parser.add_argument("--broker", metavar="URL", help="use this broker instead: mqtt://host:port, mqtts:// with TLS")
    parser.add_argument("--user", default="", help="the user there (with --broker)")
    parser.add_argument(
        "--authority", metavar="FILE", default="", help="PEM file of its authority (default: the farm's)"
    )
    parser.add_argument(
        "--anchor",
        choices=[CALENDARS, DEVELOPMENT],
        help="anchor on Bitcoin through public calendars, free of charge; or on the built-in chain, worth nothing",
    )


def run(args: argparse.Namespace, screen: Screen) -> int:
    """Make the farm and say what comes next."""
    folder = args.dir or folder_of(args)
    if (folder / "earmark.toml").exists() and not operator.is_founded(begun := open_farm(folder)):
        farm = begun  # an earlier `init` was cut off before the log began
    else:
        farm = create_farm(folder, _settings(args, folder))
    operator.found(farm)
    _tell(farm, screen)
    screen.document(
        {
            "farm": str(folder),
            "site": farm.config.farm.site,
            "operator": cose.did(farm.operator_key()),
            "gateway": farm.signer("gateway").did,
            "broker": _url(farm.config.broker),
            "anchors": [anchor.called for anchor in farm.config.anchor],
        }
    )
    return 0


def _settings(args: argparse.Namespace, folder: Path) -> str:
    if args.broker:
        parse_url(args.broker)
        given = _absolute(Path(args.authority or "broker-ca.pem"))
        authority = f"authority = {given}" if args.authority else f"# authority = {given}"
        broker = _OWN.format(url=_quoted(args.broker), user=_quoted(args.user), authority=authority)
    elif args.user or args.authority:
        raise ConfigError("--user and --authority are for a broker of your own: name it with --broker")
    else:
        port = args.port or (PLAIN_PORT if args.plain else BrokerSettings().port)
        broker = _EMBEDDED.format(listen=_quoted(args.listen), port=port, tls=str(not args.plain).lower())
    log = LogSettings()
    head = _HEAD.format(site=_quoted(args.site))
    tail = _TAIL.format(seal_every_s=round(log.seal_every_s), seal_after=log.seal_after)
    keys = folder / "keys"
    files = {"rpc_file": _absolute(keys / "rpc-url"), "key_file": _absolute(keys / "anchor.key")}
    files["tsa_certificate"] = _absolute(folder / "tsa.pem")
    public = _CALENDARS.format(calendars=json.dumps(PUBLIC), headers=json.dumps(PUBLIC_HEADERS))
    anchor = _ANCHOR.format(calendars=_set_or_not(args.anchor == CALENDARS, public), **files)
    is_public = args.anchor == CALENDARS
    beacon = _BEACON.format(drand=_set_or_not(is_public, _DRAND.format(relays=json.dumps(RELAYS))))
    return head + broker + tail + beacon + (_DEVELOPMENT if args.anchor == DEVELOPMENT else anchor)


def _set_or_not(is_set: bool, table: str) -> str:
    """Return a table, as a comment unless it is set."""
    return table if is_set else "".join(f"# {line}\n" for line in table.splitlines())


def _url(broker: BrokerSettings) -> str:
    return broker.url or f"mqtt{'s' if broker.tls else ''}://{broker.listen}:{broker.port}"


def _absolute(path: Path) -> str:
    """Return a path that means the same wherever the gateway is started."""
    return _quoted(str(path.absolute()))


def _quoted(text: str) -> str:
    """Return a TOML string; what JSON leaves unescaped and TOML refuses is refused when the settings are read back."""
    return json.dumps(text, ensure_ascii=False)


def _tell(farm: Farm, screen: Screen) -> None:
    config, folder = farm.config, str(farm.folder)
    screen.say(f"The farm {config.farm.site} is in {folder}.")
    screen.heading("Your did, which buyers check your proofs against")
    screen.copyable(cose.did(farm.operator_key()))
    screen.say("Also in operator.did. Give it to buyers yourself; a proof file never carries the trust.", indent=2)
    screen.heading("Your keys")
    screen.say(
        f"{farm.folder / 'keys' / 'operator.key'} enrols and revokes nodes, and nobody can replace it: copy it to a "
        "medium that you keep offline. gateway.key beside it signs blocks; authority.key gives the broker its "
        "certificate; broker.json holds what the broker's passwords come of.",
        indent=2,
    )
    screen.heading("Anchors")
    screen.say(_on_anchors(farm), indent=2)
    screen.heading("Next")
    at = "" if folder == "." else f" --farm {shlex.quote(folder)}"
    steps = [
        (f"earmark run{at}", "start the gateway"),
        (f"earmark node simulate{at}", "try it with a node on this machine"),
        (f"earmark node enroll DID NAME{at}", "let a node in"),
    ]
    for step, does in steps:
        screen.copyable(step)
        screen.say(does, indent=6, style="dim")


def _on_anchors(farm: Farm) -> str:
    if any(anchor.calendars for anchor in farm.config.anchor):
        return (
            "Block hashes go to public OpenTimestamps calendars, which put them into Bitcoin free of charge, within "
            "some hours. They learn 32 bytes an hour and this machine's address, and nothing else of the farm. The "
            "newest round of drand, which readings are signed after, comes from public relays in the same way."
        )
    if farm.config.anchor:
        return (
            "The development chain lives in the gateway's own process. It shows how anchoring works, and is worth "
            "nothing to a buyer: anybody who holds its file can rewrite it."
        )
    return (
        "None is set: blocks are signed, but not anchored, so nothing shows a stranger when they existed. "
        "Set an [[anchor]] in earmark.toml when you want that; the one with `calendars` there costs nothing. What is "
        "in the log by then is covered too."
    )

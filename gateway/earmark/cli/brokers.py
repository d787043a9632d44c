"""`earmark broker mosquitto`: the farm's users and rights for a Mosquitto of the grower's own."""

import argparse
from pathlib import Path

from earmark import mosquitto
from earmark.access import Users, broker_address, gateway_user
from earmark.certificates import authority_file, issue, machine_names, server_name
from earmark.cli.farms import farm_of
from earmark.cli.screen import Screen
from earmark.cli.words import count
from earmark.config import Farm
from earmark.errors import ConfigError
from earmark.keys import replace_private


def add_arguments(command: str, parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `broker mosquitto`."""
    parser.add_argument(
        "--out", metavar="DIR", type=Path, required=True, help="folder for the files, such as a new one"
    )


def run(args: argparse.Namespace, screen: Screen) -> int:
    """Write the files, over what an earlier call wrote."""
    farm = farm_of(args)
    if farm.config.broker.embedded:
        raise ConfigError(
            "this farm uses the embedded broker, which needs no files: set [broker] embedded and url first"
        )
    folder = args.out.resolve()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    users = Users(farm)()
    site = farm.config.farm.site
    host, port, authority = broker_address(farm)
    files = {
        "passwords": mosquitto.passwords(users),
        "acl": mosquitto.access_list(site, users, gateway_user(farm)),
        "mosquitto.conf": mosquitto.configuration(
            folder, port, _tls(farm, folder, host, authority), farm.config.broker.max_connections
        ),
    }
    for name, text in files.items():
        replace_private(folder / name, text)
    screen.say(f"{count(len(users), 'user')} with passwords and rights in {folder}.")
    screen.say(
        "Mosquitto's user must be able to read them. After each change of nodes: this command again, then reload:"
    )
    screen.copyable(f"chown -R mosquitto: {folder} && systemctl reload mosquitto")
    screen.document({"folder": str(folder), "files": sorted(files), "users": sorted(users)})
    return 0


def _tls(farm: Farm, folder: Path, host: str, authority: Path | None) -> str:
    """Return the listener's lines, and see to the certificate where it is for the farm's own authority to give."""
    if authority is None:
        return "# Without TLS: only on a network that is the farm's own."
    if authority != authority_file(farm):
        return (
            "# The certificate that the authority in [broker] signed: name its files here.\n# certfile …\n# keyfile …"
        )
    path = folder / "tls.pem"
    replace_private(path, issue(farm, [server_name(farm.config.farm.site), host, *machine_names()]))
    return f"certfile {path}\nkeyfile {path}"

"""Who may connect to the farm's broker, and how: a user and password for the gateway and every enrolled node.

A node's user is its name; its password comes of the farm's secret and the node's key, so that it begins with the
enrolment, ends with the revocation or rotation, and stands nowhere that could contradict the registry.
"""

import base64
import hmac
import ipaddress
import threading
from pathlib import Path
from typing import Any

from earmark.certificates import authority_file, machine_names, server_name
from earmark.config import NODES_SECRET, Farm
from earmark.cose import did
from earmark.log import load_registry
from earmark.mqtt import parse_url
from earmark.rights import GATEWAY_USER
from earmark.statement import REGISTRY
from earmark.store.sqlite import SqliteStore

PASSWORD_BYTES = 18


def node_password(farm: Farm, key: bytes) -> str:
    """Return the broker's password of the node with this public key: 144 bits that nobody finds without the secret."""
    secret = farm.passwords()[NODES_SECRET].encode()
    return base64.urlsafe_b64encode(hmac.digest(secret, b"broker " + key, "sha256")[:PASSWORD_BYTES]).decode()


def gateway_user(farm: Farm) -> str:
    """Return the gateway's user."""
    return GATEWAY_USER if farm.config.broker.embedded else farm.config.broker.user or GATEWAY_USER


class Users:
    """The passwords by user, as the registry has them now; may be asked often and from any thread."""

    def __init__(self, farm: Farm) -> None:
        self._farm = farm
        self._seen: object = None
        self._users: dict[str, str] = {}
        self._lock = threading.Lock()

    def __call__(self) -> dict[str, str]:
        """Return them: the gateway's, and those of the nodes that are enrolled and hold."""
        farm, operator = self._farm, self._farm.operator_key()
        store = SqliteStore(farm.database)
        try:
            with self._lock:
                chain = store.chain(operator, REGISTRY)
                if self._seen != chain or not self._users:
                    nodes = [node for node in load_registry(store, operator).nodes() if node.ended_at is None]
                    named = {node.name: node_password(farm, node.key) for node in nodes}
                    self._users = named | {gateway_user(farm): farm.passwords()[GATEWAY_USER]}
                    self._seen = chain
                return self._users
        finally:
            store.close()


def broker_address(farm: Farm) -> tuple[str, int, Path | None]:
    """Return where this machine reaches the farm's broker: host, port, and the authority that TLS trusts, if any."""
    settings = farm.config.broker
    if settings.embedded:
        host = settings.name or ("127.0.0.1" if settings.is_everywhere else settings.listen)
        return host, settings.port, trusted_authority(farm) if settings.tls else None
    host, port, is_tls = parse_url(settings.url)
    return host, port, trusted_authority(farm) if is_tls else None


def trusted_authority(farm: Farm) -> Path:
    """Return the file of the authority that the broker's certificate comes from: the user's, else the farm's own."""
    own = farm.config.broker.authority
    return farm.folder / own if own else authority_file(farm)


def node_settings(farm: Farm, name: str, key: bytes, *, is_here: bool = False) -> dict[str, Any]:
    """Return what a node's node.json needs of the farm; `is_here` for a node on this machine.

    Elsewhere the authority's file lies in the node's folder, and the embedded broker is where this machine's network
    is; which of several networks that is, the grower knows.
    """
    host, port, authority = broker_address(farm)
    broker: dict[str, Any] = {"host": host, "port": port, "user": name, "password": node_password(farm, key)}
    if not is_here and farm.config.broker.embedded and host == "127.0.0.1":
        broker["host"] = network_address()
    if authority:
        broker["tls"] = {"ca": str(authority.resolve()) if is_here else authority.name}
        if authority == authority_file(farm):
            broker["tls"]["server_name"] = server_name(farm.config.farm.site)
    keys = {"gateway_key": _gateway_did(farm), "operator_key": did(farm.operator_key())}
    return {"site": farm.config.farm.site, "name": name} | keys | {"broker": broker}


def network_address() -> str:
    """Return this machine's first address that others can reach, the loopback's where there is none."""
    for name in machine_names():
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            continue
        if address.version == 4 and not (address.is_loopback or address.is_link_local):
            return name
    return "127.0.0.1"


def _gateway_did(farm: Farm) -> str:
    store = SqliteStore(farm.database)
    try:
        return did(load_registry(store, farm.operator_key()).gateway)
    finally:
        store.close()

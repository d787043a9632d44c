"""The files that make a Mosquitto 2.0 the farm's broker: configuration, passwords and access list."""

import base64
import hashlib
import secrets
from collections.abc import Mapping
from pathlib import Path

from earmark.rights import GATEWAY_USER, MAX_MESSAGE, rights

ITERATIONS = 101
"""Mosquitto's own number; the passwords are random, so that more would only make every connection slower."""

IN_FLIGHT = 1000
"""More than the gateway's largest batch: it acknowledges a batch at once, and would wait for ever with less."""

QUEUED = 1_000_000
"""As good as no bound.  0 would say that, but with it Mosquitto before 2.0.22 ends the connection of whoever publishes
what it may not, in place of dropping the message (its issue 3244).
"""

_CONF = """\
# Written by `earmark broker mosquitto`; include it in Mosquitto's configuration, or use it as that.
per_listener_settings false
listener {port}
allow_anonymous false
password_file {folder}/passwords
acl_file {folder}/acl
{tls}
# What one client may take.
max_connections {max_connections}
message_size_limit {max_message}
# The gateway acknowledges in batches; and what was acknowledged to a node is not dropped on the way to it.
max_inflight_messages {in_flight}
max_queued_messages {queued}
set_tcp_nodelay true
"""


def configuration(folder: Path, port: int, tls: str, max_connections: int) -> str:
    """Return the configuration for files that lie in `folder`; `tls` is "" or the lines of the listener's TLS."""
    limits = {"max_message": MAX_MESSAGE, "in_flight": IN_FLIGHT, "queued": QUEUED}
    return _CONF.format(folder=folder, port=port, tls=tls, max_connections=max_connections, **limits)


def passwords(users: Mapping[str, str]) -> str:
    """Return the password file: PBKDF2-HMAC-SHA512, as `mosquitto_passwd` writes it."""
    return "".join(f"{user}:{_hashed(password)}\n" for user, password in sorted(users.items()))


def access_list(site: str, users: Mapping[str, str], gateway: str = GATEWAY_USER) -> str:
    """Return the access list: what is not in it is not allowed."""
    lines = []
    for user in sorted(users):
        may = rights(site, user, gateway)
        lines += [f"user {user}", *(f"topic write {topic}" for topic in may.write)]
        lines += [*(f"topic read {topic}" for topic in may.read), ""]
    return "\n".join(lines)


def _hashed(password: str) -> str:
    salt = secrets.token_bytes(12)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, ITERATIONS)
    return f"$7${ITERATIONS}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"

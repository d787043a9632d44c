"""What the board is, and whose node it has been.  Of its key only the public half is read."""

import gc
import json
import os
import sys
from binascii import hexlify


def about():
    """{platform, machine, version, mpy, free (bytes of memory), node (of node.json), key}; None for what is not there.

    `node` holds nothing that is secret.  `next` is a key that waits to take the other's place, `moving` whether that
    was begun.
    """
    gc.collect()
    described = os.uname() if hasattr(os, "uname") else None
    return {
        "platform": sys.platform,
        "machine": described[4] if described else sys.platform,
        "version": list(sys.implementation.version[:3]),
        "mpy": getattr(sys.implementation, "_mpy", 0),
        "wide": sys.maxsize > 2147483647,
        "memory": gc.mem_free() + gc.mem_alloc(),
        "node": _node(),
        "key": key("/earmark/identity"),
        "next": key("/earmark/next/identity"),
        "moving": _is_there("/earmark/next/former"),
    }


def _node():
    try:
        with open("/earmark/node.json") as file:
            held = json.load(file)
    except OSError:
        return None
    except ValueError:
        return {}
    node = {name: held.get(name) for name in ("site", "name", "gateway_key")}
    node["wifi"] = (held.get("wifi") or {}).get("ssid")
    node["sensors"] = len(held.get("sensors") or ())
    node["status_led"] = held.get("status_led")
    return node


def key(path):
    """The public half of a key file in hexadecimal digits, None where there is none."""
    try:
        with open(path, "rb") as file:
            file.seek(32)
            return hexlify(file.read(33)).decode()
    except OSError:
        return None


def _is_there(path):
    try:
        os.stat(path)
        return True
    except OSError:
        return False

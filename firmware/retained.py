"""What a node keeps in memory over a deep sleep, so that a wake is no new start (protocol.md §3).

Nothing here is needed: where it is lost or damaged the node starts anew, with a boot statement.
"""

import struct
from binascii import crc32

import cbor

_VERSION = 1
_FIELDS = ("boot_count", "seq", "clock", "wakes", "reached", "nonce", "checkpoint", "names")


def encode(state):
    """The bytes to keep of {field: value} (`_FIELDS`)."""
    content = cbor.encode([_VERSION] + [state[field] for field in _FIELDS])
    return content + struct.pack(">I", crc32(content))


def decode(kept, boot_count, seq):
    """The fields again, or None where they are not of this start of the node and of the storage's newest statement."""
    content = kept[:-4]
    if len(kept) < 5 or struct.pack(">I", crc32(content)) != kept[-4:]:
        return None
    try:
        values = cbor.decode(content)
    except ValueError:
        return None
    if not isinstance(values, list) or len(values) != len(_FIELDS) + 1 or values[0] != _VERSION:
        return None
    state = dict(zip(_FIELDS, values[1:]))
    return state if (state["boot_count"], state["seq"]) == (boot_count, seq) else None

"""Where a node keeps what it signed: an outbox for each key, and beside `identity` that key's lease."""

from binascii import hexlify

from files import Folder
from lease import Lease
from outbox import Outbox

MOST_OUTBOX_BYTES = 4194304


def open_outbox(where, kid, settings, sync):
    """The outbox of the key with this kid in a node's directory, made where there is none.

    Where the settings leave `outbox_bytes` open it takes half of the room that it and the file system have: the rest is
    for the other slot of an update, and for littlefs to spread its erases over.
    """
    key = hexlify(kid).decode()
    folder = Folder(where + "/outbox/" + key, sync)
    most = settings["outbox_bytes"]
    if most is None:
        own = sum(folder.size(name) for name in folder.names())
        most = max(2 * settings["segment_bytes"], min(MOST_OUTBOX_BYTES, (folder.room() + own) // 2))
    return Outbox(folder, most, settings["segment_bytes"], Lease(Folder(where, sync), key + ".lease"))


def of_others(where, kid, sync):
    """The names in the outbox folder that are not this key's: what other keys signed is never sent under this one."""
    return [name for name in Folder(where + "/outbox", sync).names() if name != hexlify(kid).decode()]

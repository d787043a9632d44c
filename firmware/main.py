"""Start the node: `main.py --dir DIR`, settings in DIR/node.json; `--identity` makes the key and prints its did.

Exits 0 when done, 2 when called or set up wrongly, 3 when it could not run, 4 to be started again by its loader.
"""

import asyncio
import gc
import sys

if __file__ and "/" in __file__ and __file__.rsplit("/", 1)[0] not in sys.path:
    sys.path.insert(0, __file__.rsplit("/", 1)[0])

import app
import board
import ed25519
import identity
import storage
from files import make_folder
from link import stop, within
from outbox import OutboxError
from pulse import Pulse
from say import Log
from sensors import SensorError

_SET_UP_WRONG, _FAILED, _RESTART = 2, 3, 4  # the last: its loader starts it anew
_USAGE = "usage: main.py --dir DIR [--identity]"


_STOPPED_S = 600  # on boards, before another attempt


class _SetUpWrongly(Exception):
    """node.json does not do."""


def _arguments(given, root):
    """(directory, identity only); raises `ValueError`."""
    where = root
    only_identity = False
    left = list(given)
    while left:
        word = left.pop(0)
        if word == "--dir" and left:
            where = left.pop(0)
        elif word == "--identity":
            only_identity = True
        else:
            raise ValueError(word)
    return where.rstrip("/") or "/", only_identity


def _signer(machine, where):
    return identity.load_or_create(where + "/identity", machine.urandom, machine.SYNC)


def _set_up(machine, where, signing):
    """(settings, what holds the directory, clock, log, sensors); what checked the settings is not kept in memory."""
    import settings

    try:
        chosen = settings.load(where + "/node.json")
        held = machine.lock(where)
        clock = machine.clock(chosen)
        say = Log(clock)
        say("Ed25519: " + signing)
        return chosen, held, clock, say, settings.make_sensors(chosen, clock, machine)
    except settings.SettingsError as wrong:
        raise _SetUpWrongly("node.json: %s" % wrong)
    finally:
        for checked in ("settings", "bus.kinds"):
            sys.modules.pop(checked, None)


def _live(machine, where, signing, slots):
    """Run the node; returns whether it is to be started again."""
    chosen, held, clock, say, sensors = _set_up(machine, where, signing)
    gc.collect()
    signer = _signer(machine, where)
    outbox = storage.open_outbox(where, signer.kid, chosen, machine.SYNC)
    for name in storage.of_others(where, signer.kid, machine.SYNC):
        say("outbox/%s is of another key and stays as it is: keep it for as long as somebody may ask for it" % name)
    node = app.Node(chosen, signer, outbox, sensors, machine, clock, say, slots)
    asyncio.run(node.run())
    del held
    return node.restarting


def _stopped(machine, where, status):
    """A board that cannot run says so on its light for a while and tries again; a process only ends.

    After wrong settings the watchdog is left alone: it did not run yet, and somebody will want the serial line.
    """
    if machine.restart is None:
        return
    import settings

    try:
        led = machine.led(settings.light(where + "/node.json"))
    except (OSError, ValueError, TypeError):
        led = None
    asyncio.run(_wait(machine, led or bool, status == _FAILED))
    machine.restart()


async def _wait(machine, led, is_watched):
    """Show that nothing runs; the watchdog of the node that ended cannot be switched off, only fed."""
    import light

    feeding = [asyncio.create_task(machine.watchdog(Pulse(), print))] if is_watched else []
    await within(light.show(led, lambda: "stopped"), _STOPPED_S)
    await stop(feeding)


def main(given, slots=None):
    """Run until done; returns the exit status.  `slots` is the loader's, where one started this."""
    if hasattr(gc, "threshold"):
        # Collect early: what lives long then stays together, and a large block is still to be had after weeks.
        gc.threshold((gc.mem_free() + gc.mem_alloc()) // 4)
    machine = board.current()
    try:
        where, only_identity = _arguments(given, machine.ROOT)
    except ValueError as word:
        print("%s: %s" % (word, _USAGE))
        return _SET_UP_WRONG
    status = _run(machine, where, only_identity, slots)
    if status not in (0, _RESTART) and not only_identity:
        _stopped(machine, where, status)
    return status


def _run(machine, where, only_identity, slots):
    try:
        signing = ed25519.choose()
        make_folder(where, machine.SYNC)
        if only_identity:
            print(_signer(machine, where).did)
        elif _live(machine, where, signing, slots):
            return _RESTART
    except _SetUpWrongly as wrong:
        print(wrong)
        return _SET_UP_WRONG
    except (OSError, RuntimeError, ValueError, MemoryError, OutboxError, SensorError) as failure:
        print("the node cannot run: %s" % failure)
        return _FAILED
    except Exception as failure:  # nobody is there who would start a board again
        if machine.restart is None:
            raise
        getattr(sys, "print_exception", print)(failure)
        return _FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The boards: the only code that knows hardware, its network, its storage and what keeps its clock.

A board module has
    NAME                     what the boot statement says
    ROOT                     the directory of the node's files unless another is named
    SYNC                     `file(stream)` and `folder(path)`: put them on the medium (files.py)
    urandom(n)               n random bytes from the system's generator
    reset_cause()            why it started, in a few words
    lock(path)               keeps a second process off the node's directory for as long as the result lives
    clock(settings)          the node's `clock.Clock`
    tls(settings)            an SSLContext for broker.tls
    async network(settings, clock, say)   brings the network and the clock up and keeps them so; may return at once
    async watchdog()         feeds the watchdog for ever; may return at once
"""

import sys


def current():
    """The module of the board that this runs on."""
    if sys.platform == "esp32":
        from . import esp32 as board
    elif sys.platform == "rp2":
        from . import rp2 as board
    else:
        from . import linux as board
    return board

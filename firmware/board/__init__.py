"""The boards: the only code that knows hardware, its network, its storage and what keeps its clock.

A board module has
    NAME                     what the boot statement says
    ROOT                     the directory of the node's files unless another is named
    SYNC                     `file(stream)` and `folder(path)`: put them on the medium (files.py)
    urandom(n)               n random bytes from the system's generator
    restart                  `restart()` starts the board anew; None where the node is a process among others
    reset_cause()            why it started, in a few words
    lock(path)               keeps a second process off the node's directory for as long as the result lives
    clock(settings)          the node's `clock.Clock`
    tls(settings)            an SSLContext for broker.tls
    i2c, uart, onewire       (settings) → the bus that one entry of `buses` describes, as bus/ has it; ValueError says
                             what this board needs
    adc(pin, attenuation_db), pulses(pin)   → a function that measures microvolts, or counts pulses
    name_server()            the DNS server's address in digits, or None: the system looks names up
    online()                 whether there is a network
    async network(settings, clock, names, say)   brings the network and the clock up and keeps them so; may return
    network_off()            switches the radio off before a sleep
    async watchdog(pulse, say)   feeds the watchdog while no loop of `pulse.Pulse` is stuck, for ever
    led(named)               `switch(on)` of the light that `status_led` names, or None where there is none
    kept()                   after a deep sleep (what `sleep` was to keep, milliseconds slept); else None
    async sleep(ms, keep)    sleep; returns afterwards, or never: then the board starts anew, and `kept` gives `keep`
    SLEEP_DRIFT              one part in so many that the time of such a sleep may be wrong
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

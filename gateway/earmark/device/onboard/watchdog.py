"""Keeps the watchdog of an interrupted node fed: its program no longer does, and nothing can switch it off."""

import os


def feed():
    """Feed it every other second from now on, where a node was here; return whether."""
    if "earmark" not in os.listdir("/"):
        return False
    import machine

    dog = machine.WDT(timeout=8000)
    try:
        timer = machine.Timer(-1)
    except ValueError:  # where timers are numbered
        timer = machine.Timer(0)
    timer.init(period=2000, mode=machine.Timer.PERIODIC, callback=lambda _: dog.feed())
    return True

"""Looks at the node from inside: each function returns [state, what was seen]; state is well, ill or none.

Uses the firmware of the slot; nothing of it runs meanwhile.  What is secret is not said.
"""

import asyncio
import os
import sys
import time

_settings = {}


def use(slot):
    """Take the firmware's modules from a slot, read the settings; return their sensors as [[name, driver, bus], …]."""
    global _settings
    if slot not in sys.path:
        sys.path.insert(0, slot)
    import settings

    _settings = settings.load("/earmark/node.json")
    return [[each.get("name") or each["driver"], each["driver"], each.get("bus")] for each in _settings["sensors"]]


def key():
    """That the signature code is right, and how long one takes."""
    import board
    import ed25519
    import identity

    code = ed25519.choose()
    machine = board.current()
    signer = identity.load_or_create("/earmark/identity", machine.urandom, machine.SYNC)
    began = time.ticks_ms()
    signer.sign(b"\x00" * 300)
    return [
        "well",
        "%s, a signature by %s code takes %d ms" % (signer.did, code, time.ticks_diff(time.ticks_ms(), began)),
    ]


def outbox():
    """That the outbox opens, and what is in it."""
    import board
    import identity
    import storage

    block, _, total, free = os.statvfs("/")[:4]
    machine = board.current()
    kid = identity.load_or_create("/earmark/identity", machine.urandom, machine.SYNC).kid
    box = storage.open_outbox("/earmark", kid, _settings, machine.SYNC)
    said = "newest seq %d, %d KiB, %d of %d KiB of flash free" % (
        box.head[0],
        box.size // 1024,
        block * free // 1024,
        block * total // 1024,
    )
    if box.damage:
        return ["ill", said + "; " + "; ".join(box.damage)]
    return ["well" if block * free > 65536 else "ill", said]


def buses():
    """[[name, kind, state, what was seen], …] of the buses that node.json declares."""
    found = []
    for name, bus in sorted((_settings.get("buses") or {}).items()):
        try:
            state, said = _scan(bus)
        except (OSError, ValueError, TypeError) as wrong:
            state, said = "ill", str(wrong)
        found.append([name, bus["kind"], state, said])
    return found


def _scan(bus):
    import machine

    if bus["kind"] == "i2c":
        pins = machine.Pin(bus["scl"]), machine.Pin(bus["sda"])
        there = machine.SoftI2C(scl=pins[0], sda=pins[1], freq=bus.get("hz") or 100000).scan()
    elif bus["kind"] == "onewire":
        import onewire

        there = onewire.OneWire(machine.Pin(bus["pin"])).scan()
        there = [int.from_bytes(rom, "little") for rom in there]
    else:
        return "none", "a serial line cannot be scanned; its sensors below can be asked"
    if not there:
        return "ill", "nothing answers"
    return "well", "answers: " + ", ".join("0x%02x" % each for each in there)


def sensor(place):
    """Ask one sensor for its readings."""
    import board
    import settings
    from sensors import SensorError

    machine = board.current()
    alone = dict(_settings)
    alone["sensors"] = [_settings["sensors"][place]]
    try:
        asked = settings.make_sensors(alone, machine.clock(_settings), machine)[0]
        if not hasattr(asked, "read"):
            return ["none", "a recording"]
        readings = asyncio.run(asked.read())
    except (SensorError, settings.SettingsError, OSError, ValueError) as wrong:
        return ["ill", str(wrong)]
    said = ", ".join("%s %s" % (each[0], each[2]) for each in readings)
    return ["ill" if "/error " in said else "well", said or "no reading yet"]


def radio(seconds):
    """Join the Wi-Fi of the settings."""
    wifi = _settings["wifi"]
    if not wifi:
        return ["ill", "no Wi-Fi is set"]
    import network

    station = network.WLAN(network.STA_IF)
    station.active(True)
    names = [row[0].decode() for row in station.scan()]
    if not station.isconnected():
        station.connect(wifi["ssid"], wifi["password"])
    if wifi["ssid"] not in names and "" not in names:  # a hidden one has no name
        seconds = 0
    until = time.ticks_add(time.ticks_ms(), seconds * 1000)
    while not station.isconnected() and time.ticks_diff(until, time.ticks_ms()) > 0:
        time.sleep_ms(200)
    if station.isconnected():
        return ["well", "joined %s as %s" % (wifi["ssid"], station.ifconfig()[0])]
    if wifi["ssid"] not in names:
        return ["ill", "%s is not among the %d that it hears" % (wifi["ssid"], len(names))]
    return ["ill", "%s is there and does not let it in (status %s)" % (wifi["ssid"], station.status())]


def clock():
    """Ask the time server."""
    import ntptime

    ntptime.host = _settings["ntp_host"]
    try:
        ntptime.settime()
    except (OSError, OverflowError) as failure:
        return ["ill", "no time from %s: %s" % (ntptime.host, failure)]
    return ["well", "%04d-%02d-%02d %02d:%02d:%02d UTC by " % time.gmtime()[:6] + str(ntptime.host)]


def broker():
    """Open a connection to the broker."""
    import socket

    host, port = _settings["broker"]["host"], _settings["broker"]["port"]
    try:
        line = socket.socket()
        line.settimeout(10)
        line.connect(socket.getaddrinfo(host, port)[0][-1])
        line.close()
    except OSError as failure:
        return ["ill", "%s port %d: %s" % (host, port, failure)]
    return ["well", "%s port %d takes connections" % (host, port)]

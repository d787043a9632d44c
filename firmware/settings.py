"""The node's settings, node.json: every one by name, with its default; an unknown or missing one is refused.

`TABLE` is the reference: {name: (default, what it means)}; `REQUIRED` where there is no default.
"""

import json
from binascii import unhexlify

import bus
import identity
import senml
import sensors
import storage
from bus import kinds
from sensors import REQUIRED

TABLE = {
    "site": (REQUIRED, "name of the site: a-z, 0-9 and -, at most 32"),
    "name": (REQUIRED, "name of the node, as enrolled: a-z, 0-9 and -, at most 32"),
    "gateway_key": (REQUIRED, "the gateway's public key: its did, or 64 hexadecimal digits"),
    "broker": (REQUIRED, "the MQTT broker: host, port and so on"),
    "sensors": (REQUIRED, "list of sensors, each with its driver and that driver's settings"),
    "mode": ("always-on", "always-on, or deep-sleep: between two measurements the board sleeps"),
    "send_every": (1, "with deep-sleep: every how many measurements it connects and sends"),
    "awake_s": (30, "with deep-sleep: seconds that it waits for the network and the gateway's answer, at most"),
    "status_led": (None, "pin, or name, of the light that says how the node is"),
    "buses": ({}, '{"i2c0": {"kind": "i2c", …}, …}: what sensors hang on, by names that they use as `bus`'),
    "interval_s": (60, "seconds from one measurement to the next"),
    "clock_error_s": (1, "bound on the error of the host's clock that the statements state, in seconds"),
    "window": (32, "statements sent and not acknowledged by the gateway, at most"),
    "resend_s": (30, "seconds without the gateway's answer after which statements are sent again"),
    "backlog": (256, "statements in the outbox above which a replay waits"),
    "outbox_bytes": (
        None,
        "bytes of the outbox above which the oldest statements are dropped; "
        "half of what the file system has room for, at most 4194304, where none is set",
    ),
    "segment_bytes": (16384, "bytes of one file of the outbox"),
    "status_s": (60, "seconds from one status line to the next"),
    "exit_when_done": (False, "end once all recordings are replayed and everything is acknowledged"),
    "wifi": (None, 'on boards: {"ssid": …, "password": …}'),
    "operator_key": (None, "the operator's public key: whose releases the node takes; without it, none"),
    "update_s": (300, "seconds from one question for an update to the next"),
    "trial_s": (900, "seconds in which a new release must reach the gateway"),
    "ntp_host": ("pool.ntp.org", "on boards: where the time is asked"),
}
BROKER = {
    "host": (REQUIRED, "name or address"),
    "port": (0, "TCP port; 0 for 1883, or 8883 with tls"),
    "user": (None, "user name; the farm's own broker knows the node by its name"),
    "password": (None, "password; `earmark node enroll` shows it"),
    "tls": (None, '{"ca": file, "certificate": file, "key": file, "server_name": name}'),
    "keepalive_s": (30, "seconds from one ping to the next"),
    "connect_s": (15, "seconds that an attempt to connect may take"),
    "retry_s": ([1, 60], "shortest and longest delay before the next attempt to connect, in seconds"),
}
TLS = {
    "ca": (REQUIRED, "file of the authority that the broker's certificate comes from, PEM or DER"),
    "certificate": (None, "file of the node's own certificate"),
    "key": (None, "file of its private key"),
    "server_name": (None, "name in the broker's certificate where it is not the host"),
}
WIFI = {
    "ssid": (REQUIRED, "the network's name"),
    "password": (None, "its password; none where it is open"),
}
_TEXTS = ("host", "user", "password", "ca", "certificate", "key", "server_name", "ssid")
_NEEDED = ("host", "ca", "ssid")
_FILES = ("ca", "certificate", "key")
_POSITIVE = (
    "interval_s",
    "window",
    "resend_s",
    "backlog",
    "outbox_bytes",
    "segment_bytes",
    "status_s",
    "send_every",
    "awake_s",
    "update_s",
    "trial_s",
)
_MODES = ("always-on", "deep-sleep")
_NAME = "abcdefghijklmnopqrstuvwxyz0123456789-"
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_MIN_SEGMENT, _MAX_SEGMENT = 1024, 65536  # half of the smallest outbox, and as many bytes kept in reserve
_MAX_S = 432000  # five days: MicroPython counts no further than six at once where words have 32 bits
_MAX_WINDOW = 1024  # far below the 65,535 packet ids of MQTT
_MAX_RECORDINGS = 16  # as many positions as fit into a record's mark


class SettingsError(Exception):
    """node.json does not do; says which setting, and what to write."""


def load(path):
    """The settings in a file, complete and checked; files of TLS are found beside it.  Raises `SettingsError`."""
    try:
        with open(path) as stream:
            given = json.load(stream)
    except OSError as failure:
        raise SettingsError("cannot read %s (%s): write it, docs/firmware.md has one" % (path, failure))
    except ValueError as failure:
        raise SettingsError("%s is not JSON (%s)" % (path, failure))
    settings = check(given)
    tls = settings["broker"]["tls"] or {}
    for name in _FILES:
        if tls.get(name) and not tls[name].startswith("/"):
            tls[name] = path[: path.rfind("/") + 1] + tls[name]
    return settings


def light(path):
    """`status_led` alone, of a file that may be wrong in all else; None where it says none."""
    try:
        with open(path) as stream:
            return json.load(stream).get("status_led")
    except (OSError, ValueError, AttributeError):
        return None


def check(given):
    """Fill in the defaults; raises `SettingsError`."""
    settings = filled(given, {name: row[0] for name, row in TABLE.items()}, "")
    for name in ("site", "name"):
        checked_name(settings[name], name)
    _check_numbers(settings)
    if settings["mode"] not in _MODES:
        raise SettingsError("mode must be one of %s" % ", ".join(_MODES))
    if not isinstance(settings["status_led"], (int, str, type(None))) or settings["status_led"] is True:
        raise SettingsError("status_led must be the number or the name of a pin")
    if not isinstance(settings["ntp_host"], str) or not settings["ntp_host"]:
        raise SettingsError("ntp_host must be a text: " + TABLE["ntp_host"][1])
    if not isinstance(settings["exit_when_done"], bool):
        raise SettingsError("exit_when_done must be true or false")
    if settings["exit_when_done"] and settings["mode"] != "always-on":
        raise SettingsError("exit_when_done goes with mode always-on only")
    settings["wifi"] = settings["wifi"] if settings["wifi"] is None else _wifi(settings["wifi"])
    settings["broker"] = _broker(settings["broker"])
    settings["gateway_key"] = public_key(settings["gateway_key"])
    settings["buses"] = _buses(settings["buses"])
    settings["operator_key"] = settings["operator_key"] and public_key(settings["operator_key"], "operator_key")
    if not isinstance(settings["sensors"], list) or len(settings["sensors"]) > 32:
        raise SettingsError("sensors must be a list of at most 32: " + TABLE["sensors"][1])
    return settings


def _check_numbers(settings):
    for name in _POSITIVE:
        if settings[name] is None and TABLE[name][0] is None:
            continue
        if not _whole(settings[name]) or settings[name] < 1:
            raise SettingsError("%s must be a whole number from 1 on: %s" % (name, TABLE[name][1]))
        if name.endswith("_s") and settings[name] > _MAX_S:
            raise SettingsError("%s must be at most %d (five days): %s" % (name, _MAX_S, TABLE[name][1]))
    if not _whole(settings["clock_error_s"]) or not 0 <= settings["clock_error_s"] < 2**32:
        raise SettingsError("clock_error_s must be a whole number from 0 on: " + TABLE["clock_error_s"][1])
    most = settings["outbox_bytes"] or storage.MOST_OUTBOX_BYTES
    if not _MIN_SEGMENT <= settings["segment_bytes"] <= min(_MAX_SEGMENT, most // 2):
        raise SettingsError("segment_bytes must be from 1024 to 65536, and outbox_bytes at least twice that")
    if settings["window"] > _MAX_WINDOW:
        raise SettingsError("window must be at most %d" % _MAX_WINDOW)


def filled(given, defaults, where):
    """`given` with the defaults filled in; raises `SettingsError` that names what is unknown or missing."""
    if not isinstance(given, dict):
        raise SettingsError('%s must be {"setting": value, …}' % (where.rstrip(".") or "node.json"))
    for name in given:
        if name not in defaults:
            known = ", ".join(sorted(defaults))
            raise SettingsError("unknown setting %s%s: take it out, or use one of %s" % (where, name, known))
    result = dict(defaults)
    result.update(given)
    for name in sorted(result):
        if result[name] is REQUIRED:
            raise SettingsError("missing setting %s%s: add it to node.json" % (where, name))
    return result


def make_sensors(settings, clock, machine=None):
    """The sensors that complete settings name, on a board's buses; raises `SettingsError`."""
    made = []
    buses = bus.Buses(settings["buses"], machine)
    owner = {}
    for at, entry in enumerate(settings["sensors"]):
        where = "sensors[%d]" % at
        try:
            sensor = _make_sensor(dict(entry), where + ".", clock, buses)
            for quantity in sensor.quantities:
                senml.pack(settings["name"] + "/", 0, [(quantity, None, 0)])
        except (ValueError, TypeError, KeyError, AttributeError) as wrong:
            raise SettingsError("%s: %s" % (where, wrong))
        for quantity in sensor.quantities:
            if quantity in owner:
                said = (where, quantity, owner[quantity])
                raise SettingsError("%s: '%s' is the name of a quantity of %s; rename one, or give a prefix" % said)
            owner[quantity] = where
        made.append(sensor)
    if settings["mode"] == "deep-sleep" and any(sensor.method == sensors.REPLAYED for sensor in made):
        raise SettingsError("sensors: a recording cannot be replayed in mode deep-sleep; use always-on")
    if settings["mode"] == "deep-sleep" and any(sensor.driver == "flow" for sensor in made):
        raise SettingsError("sensors: a board that sleeps counts no pulses; use mode always-on with flow")
    _check_recordings([sensor for sensor in made if sensor.method == sensors.REPLAYED])
    return made


def _check_recordings(recordings):
    """Refuse two that would share one position, and more than have room for theirs."""
    if len({recording.key for recording in recordings}) < len(recordings):
        raise SettingsError("sensors: two of them replay the same recording; put all its columns into one")
    if len(recordings) > _MAX_RECORDINGS:
        raise SettingsError("sensors: more than %d recordings; join some, or use another node" % _MAX_RECORDINGS)


def _make_sensor(entry, where, clock, buses):
    name = entry.pop("driver", None)
    if name not in sensors.DRIVERS:
        raise SettingsError("%sdriver must be one of %s" % (where, ", ".join(sensors.DRIVERS)))
    module = sensors.driver(name)
    own_name = entry.pop("name", name.replace("_", "-"))
    checked_name(own_name, where + "name")
    return module.make(own_name, filled(entry, module.SETTINGS, where), clock, buses)


def _with_kind(kind):
    defaults = dict(kinds.KINDS[kind])
    defaults["kind"] = kind
    return defaults


def _buses(given):
    if not isinstance(given, dict):
        raise SettingsError("buses must be " + TABLE["buses"][1])
    checked = {}
    for name, entry in given.items():
        where = "buses.%s" % name
        checked_name(name, where)
        kind = entry.get("kind") if isinstance(entry, dict) else None
        if kind not in kinds.KINDS:
            raise SettingsError("%s.kind must be one of %s" % (where, ", ".join(sorted(kinds.KINDS))))
        checked[name] = filled(entry, _with_kind(kind), where + ".")
        try:
            kinds.check(checked[name])
        except ValueError as wrong:
            raise SettingsError("%s: %s" % (where, wrong))
    return checked


def _wifi(given):
    wifi = filled(given, {name: row[0] for name, row in WIFI.items()}, "wifi.")
    _check_texts(wifi, "wifi.")
    return wifi


def _broker(given):
    broker = filled(given, {name: row[0] for name, row in BROKER.items()}, "broker.")
    if broker["tls"] is not None:
        broker["tls"] = filled(broker["tls"], {name: row[0] for name, row in TLS.items()}, "broker.tls.")
        _check_texts(broker["tls"], "broker.tls.")
    _check_texts(broker, "broker.")
    if not _whole(broker["port"]) or not 0 <= broker["port"] < 65536:
        raise SettingsError("broker.port must be a whole number from 0 to 65535")
    for name in ("keepalive_s", "connect_s"):
        if not _whole(broker[name]) or not 1 <= broker[name] < 65536:
            raise SettingsError("broker.%s must be a whole number from 1 to 65535" % name)
    retry_s = broker["retry_s"]
    numbers = isinstance(retry_s, list) and all(isinstance(delay, (int, float)) for delay in retry_s)
    if not numbers or len(retry_s) != 2 or not 0 < retry_s[0] <= retry_s[1] <= _MAX_S:
        raise SettingsError("broker.retry_s must be [shortest, longest], in seconds, at most %d" % _MAX_S)
    broker["port"] = broker["port"] or (8883 if broker["tls"] else 1883)
    return broker


def _check_texts(given, where):
    for name in _TEXTS:
        value = given.get(name, "none")
        if not isinstance(value, (str, type(None))) or (name in _NEEDED and not value):
            raise SettingsError("%s%s must be a text, in double quotes" % (where, name))


def _whole(value):
    return isinstance(value, int) and not isinstance(value, bool)


def checked_name(value, setting):
    """Refuse what is not a name (protocol.md §2)."""
    fits = isinstance(value, str) and 1 <= len(value) <= 32 and value[0] != "-"
    if not fits or any(character not in _NAME for character in value):
        raise SettingsError("%s must be 1 to 32 of a-z, 0-9 and -, the first not -" % setting)


def public_key(text, setting="gateway_key"):
    """The 32 bytes of a public key written as did or as hexadecimal digits (protocol.md §2)."""
    try:
        if text.startswith("did:key:z"):
            number = 0
            for character in text[9:]:
                number = number * 58 + _BASE58.index(character)
            key = number.to_bytes(34, "big")[2:]
            if identity.did(key) == text:
                return key
        elif len(text) == 64:
            return unhexlify(text)
    except (AttributeError, TypeError, ValueError, OverflowError):
        pass
    raise SettingsError("%s must be a did (did:key:z…), or a key as 64 hexadecimal digits" % setting)

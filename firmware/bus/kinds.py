"""The kinds of buses that node.json may declare, for whoever checks it: a running node has no more need of this.

`KINDS` is the reference of the setting `buses`: {kind: {setting: default}}.
"""

from bus import whole

KINDS: dict[str, dict[str, object]] = {
    "i2c": {"number": None, "scl": None, "sda": None, "hz": 100000},
    "uart": {
        "number": None,
        "path": None,
        "tx": None,
        "rx": None,
        "direction": None,
        "baud": 9600,
        "parity": "none",
        "stop_bits": 1,
    },
    "onewire": {"pin": None, "path": "/sys/bus/w1/devices"},
}
_PINS = ("scl", "sda", "tx", "rx", "direction", "pin", "number")


def check(settings):
    """Refuse, by ValueError, a bus's settings that no board could do with; `KINDS` fills them in before."""
    for name in _PINS:
        if settings.get(name) is not None:
            whole(settings[name], name, 0, 255)
    if not isinstance(settings.get("path", ""), (str, type(None))):
        raise ValueError("path must be a text")  # noqa: TRY004 - settings refuse by ValueError
    if settings["kind"] == "i2c":
        whole(settings["hz"], "hz", 1000, 1000000)
    elif settings["kind"] == "uart":
        whole(settings["baud"], "baud", 300, 1000000)
        whole(settings["stop_bits"], "stop_bits", 1, 2)
        if settings["parity"] not in ("none", "even", "odd"):
            raise ValueError("parity must be none, even or odd")

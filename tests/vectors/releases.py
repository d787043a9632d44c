"""release.json: the manifest of a release, and what a node asks and is answered (§10.3)."""

import hashlib
from typing import Any

from earmark import cbor, release

FILE = b"M\x06\x00\x1f" + bytes(60)
DIGEST = hashlib.sha256(FILE).digest()
ROWS = [["app.mpy", 64, DIGEST], ["board/esp32.mpy", 64, DIGEST]]
FIELDS = {1: 7, 2: "earmark-node 0.2.0", 3: "esp32", 4: 11014, 5: ROWS}


def _valid(name: str, fields: dict[int, Any]) -> dict[str, Any]:
    raw = cbor.encode(fields)
    files = [[path, size, digest.hex()] for path, size, digest in fields[5]]
    release.decode(raw)
    about = {"number": fields[1], "version": fields[2], "target": fields[3], "mpy": fields[4]}
    return {"name": name, **about, "files": files, "bytes": raw.hex(), "digest": hashlib.sha256(raw).hexdigest()}


def _refused() -> list[tuple[str, bytes]]:
    wrong: dict[str, Any] = {
        "a list": list(FIELDS.values()),
        "without its files": {label: FIELDS[label] for label in range(1, 5)},
        "a further label": {**FIELDS, 6: 1},
        "release 0": {**FIELDS, 1: 0},
        "release 2^32": {**FIELDS, 1: 1 << 32},
        "no version": {**FIELDS, 2: ""},
        "33 bytes of version": {**FIELDS, 2: "x" * 33},
        "a target that is no name": {**FIELDS, 3: "ESP32"},
        "an mpy below 0": {**FIELDS, 4: -1},
        "no files": {**FIELDS, 5: []},
        "129 files": {**FIELDS, 5: [[f"f{number:03}.py", 0, bytes(32)] for number in range(129)]},
        "files out of order": {**FIELDS, 5: ROWS[::-1]},
        "a file twice": {**FIELDS, 5: [ROWS[0], ROWS[0]]},
        "a file without its digest": {**FIELDS, 5: [["app.mpy", 64]]},
        "a digest of 31 bytes": {**FIELDS, 5: [["app.mpy", 64, DIGEST[:31]]]},
        "a size below 0": {**FIELDS, 5: [["app.mpy", -1, DIGEST]]},
        "a file above a mebibyte": {**FIELDS, 5: [["app.mpy", (1 << 20) + 1, DIGEST]]},
    }
    paths = "/app.mpy", "../app.mpy", "a/b/app.mpy", "app.txt", "App.mpy", "app", "", "a//app.mpy", "x" * 45 + ".mpy"
    wrong |= {f"the path {path!r}": {**FIELDS, 5: [[path, 64, DIGEST]]} for path in paths}
    raw = cbor.encode(FIELDS)
    long = cbor.encode({**FIELDS, 5: [["a" * 40 + f"{n:03}.py", 1 << 20, bytes(32)] for n in range(128)]})
    rest = [("a byte left over", raw + b"\0"), ("cut short", raw[:-1]), ("more than 8,192 bytes", long)]
    return [*((name, cbor.encode(value)) for name, value in wrong.items()), *rest]


def _asks() -> dict[str, Any]:
    wanted = release.encode_ask(release.Wanted("esp32", 6))
    piece = release.Piece(DIGEST, 32, 4096)
    wrong: list[Any] = [
        [2, "esp32", 6],
        [1, "ESP32", 6],
        [1, "esp32", -1],
        [1, "esp32"],
        [1, DIGEST[:31], 0, 1],
        [1, DIGEST, -1, 1],
        [1, DIGEST, (1 << 20) + 1, 1],
        [1, DIGEST, 0, 0],
        [1, DIGEST, 0, 4097],
        {1: "esp32"},
    ]
    return {
        "wanted": {"target": "esp32", "above": 6, "ask": wanted.hex(), "nothing": wanted.hex()},
        "piece": {
            "file": FILE.hex(),
            "offset": 32,
            "most": 4096,
            "ask": release.encode_ask(piece).hex(),
            "answer": release.answer_piece(piece, FILE[32:]).hex(),
            "missing": release.answer_piece(piece, b"").hex(),
        },
        "must_reject_asks": [cbor.encode(ask).hex() for ask in wrong],
    }


def vectors() -> dict[str, Any]:
    """The content of release.json."""
    sources = {**FIELDS, 1: (1 << 32) - 1, 3: "linux", 4: 0, 5: [["main.py", 0, hashlib.sha256(b"").digest()]]}
    return {
        "valid": [_valid("two files of an ESP32", FIELDS), _valid("sources, of which one is empty", sources)],
        "must_reject": [{"name": name, "bytes": raw.hex()} for name, raw in _refused()],
        **_asks(),
    }

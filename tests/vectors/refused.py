"""What §3.3 refuses: each case differs from a valid statement in one thing, and is signed again after the change."""

from typing import Any

from actors import CELLAR, GATEWAY, OPERATOR, ORIGIN, SEEDS, STRANGER, T0, TOMATO
from loose import Pairs, Raw, encode, fraction, head, sign1, small_order_r, unreduced

from earmark import cose

BODY = "application/vnd.earmark+cbor"
CLAIMS = {
    1: TOMATO.did,
    2: "tomato-1",
    6: T0 + 1,
    267: 1,
    -65537: [2, bytes(range(32))],
    -65538: [2, 1, 60],
    -65539: 0,
}
HEADER = {1: -8, 3: 112, 4: TOMATO.kid}
RECORD = {-2: "tomato-1/", -3: T0, 0: "air", 1: "Cel", 2: 21}
PACK = Raw(encode([RECORD]))
FIRST = {-2: "tomato-1/", -3: T0, 0: "air"}

Case = tuple[str, str, bytes]


def without(fields: dict[Any, Any], label: Any) -> dict[Any, Any]:
    return {key: value for key, value in fields.items() if key != label}


def make(claims: Any = CLAIMS, header: Any = HEADER, payload: Any = PACK, signer: cose.Signer = TOMATO) -> bytes:
    """A statement with these parts in it, signed as they are; a header without claims gets the claims."""
    whole = header if isinstance(header, Raw) or 15 in header else {**header, 15: claims}
    protected, octets = encode(whole), payload if isinstance(payload, Raw) else encode(payload)
    return encode_sign1([protected, {}, bytes(octets), sign1(signer, protected, bytes(octets))])


def encode_sign1(parts: Any) -> bytes:
    return b"\xd2" + encode(parts)


def _parts() -> list[Any]:
    protected, payload = encode({**HEADER, 15: CLAIMS}), encode([RECORD])
    return [protected, {}, payload, sign1(TOMATO, protected, payload)]


def _envelopes() -> list[Case]:
    whole, (protected, _, payload, signature) = make(), _parts()
    wide = [Raw(head(2, len(protected), 2) + protected), {}, payload, signature]
    chunks = Raw(b"\x5f" + encode(payload) + b"\xff")
    long = make(payload=[{**FIRST, 3: "x" * (8193 - len(make(payload=[{**FIRST, 3: "x" * 7000}])) + 7000)}])
    return [
        ("nothing", "cut short", b""),
        ("the tag alone", "cut short", b"\xd2"),
        ("last byte missing", "cut short", whole[:-1]),
        ("a byte left over", "trailing byte", whole + b"\0"),
        ("untagged", "no tag 18", whole[1:]),
        ("tag 17", "another tag", b"\xd1" + whole[1:]),
        ("tag 18 in two bytes", "not shortest", b"\xd8\x12" + whole[1:]),
        ("array without a length", "indefinite length", b"\xd2\x9f" + whole[2:] + b"\xff"),
        ("three items", "wrong shape", encode_sign1([protected, {}, payload])),
        ("five items", "wrong shape", encode_sign1([protected, {}, payload, signature, signature])),
        ("tagged twice", "wrong shape", b"\xd2" + whole),
        ("length of the header in three bytes", "not shortest", encode_sign1(wide)),
        ("header not in a byte string", "wrong type", encode_sign1([{**HEADER, 15: CLAIMS}, {}, payload, signature])),
        (
            "unprotected header with a kid",
            "unprotected",
            encode_sign1([protected, {4: TOMATO.kid}, payload, signature]),
        ),
        ("unprotected header an array", "unprotected", encode_sign1([protected, [], payload, signature])),
        ("payload detached", "no payload", encode_sign1([protected, {}, None, signature])),
        ("payload as text", "wrong type", encode_sign1([protected, {}, "21", signature])),
        ("payload in chunks", "indefinite length", encode_sign1([protected, {}, chunks, signature])),
        ("signature of 63 bytes", "length", encode_sign1([protected, {}, payload, signature[:63]])),
        ("signature of 65 bytes", "length", encode_sign1([protected, {}, payload, signature + b"\0"])),
        ("8,193 bytes", "oversize", long),
    ]


def _headers() -> list[Case]:
    far = cose.Signer(bytes(32))
    encoded = encode({**HEADER, 15: CLAIMS})
    return [
        ("alg missing", "missing header", make(header=without(HEADER, 1))),
        ("alg ES256", "alg", make(header={**HEADER, 1: -7})),
        ("alg as text", "alg", make(header={**HEADER, 1: "EdDSA"})),
        ("alg a fraction equal to -8", "alg", make(header={**HEADER, 1: fraction(-1, -80)})),
        ("content type missing", "missing header", make(header=without(HEADER, 3))),
        ("content type CBOR", "content type", make(header={**HEADER, 3: 60})),
        ("content type of bodies over readings", "content type", make(header={**HEADER, 3: BODY})),
        ("kid missing", "missing header", make(header=without(HEADER, 4))),
        ("kid of another key", "wrong kid", make(header={**HEADER, 4: far.kid})),
        ("kid of 32 bytes", "wrong kid", make(header={**HEADER, 4: TOMATO.kid * 4})),
        ("claims missing", "missing header", make(header=Raw(encode(HEADER)))),
        ("claims an array", "wrong type", make(claims=[1, 2])),
        ("unknown header", "unknown header", make(header={**HEADER, 33: b""})),
        ("critical header", "unknown header", make(header={**HEADER, 2: [15]})),
        ("header with a byte left over", "trailing byte", make(header=Raw(encoded + b"\0"))),
        ("header empty", "missing header", make(header=Raw(b""))),
        ("header an array", "wrong type", make(header=Raw(b"\x80"))),
        (
            "header keys unsorted",
            "unsorted keys",
            make(header=Raw(encode(Pairs(reversed([*HEADER.items(), (15, CLAIMS)]))))),
        ),
        (
            "header key twice",
            "duplicate key",
            make(header=Raw(encode(Pairs([(1, -8), *HEADER.items(), (15, CLAIMS)])))),
        ),
        ("header without a length", "indefinite length", make(header=Raw(b"\xbf" + encoded[1:] + b"\xff"))),
    ]


def _claims() -> list[Case]:
    did = TOMATO.did
    other = "did:key:z6LS" + did[12:]
    values: list[tuple[str, str, int, list[Any]]] = [
        (
            "iss",
            "did",
            1,
            [did.replace("z", "z1", 1), other, did[:-1], did[:-1] + "0", did.upper(), did[8:], TOMATO.key],
        ),
        ("sub", "name", 2, ["", "-tomato", "Tomato", "a" * 33, "tomato/1", "tomäto", 1]),
        ("iat", "range", 6, [-1, 1 << 40, fraction(-1, 17900000010), "1790000001", None]),
        ("nonce", "length", 10, [b"", bytes(15), bytes(17), "0123456789abcdef", None]),
        ("boot count", "range", 267, [-1, 1 << 32, True]),
        (
            "chain",
            "range",
            -65537,
            [[0, bytes(32)], [1 << 53, bytes(32)], [-1, bytes(32)], [2, bytes(31)], [2, bytes(33)]],
        ),
        ("chain shape", "shape", -65537, [[2], [2, bytes(32), 0], [bytes(32), 2], 2, {0: 2, 1: bytes(32)}]),
        (
            "clock",
            "range",
            -65538,
            [[5, 1, 60], [-1, 1, 60], [2, 1 << 32, 60], [2, 1, 1 << 32], [2, -1, 60], [2, 1, -1]],
        ),
        ("clock shape", "shape", -65538, [[2, 1], [2, 1, 60, 0], 2, [True, 1, 60], [2, None, 60]]),
        ("method", "range", -65539, [3, -1, "measured", False]),
    ]
    found = [
        (f"{claim} {number}", why, make({**CLAIMS, label: value}))
        for claim, why, label, wrong in values
        for number, value in enumerate(wrong, 1)
    ]
    for label in CLAIMS:
        found.append((f"claim {label} missing", "missing claim", make(without(CLAIMS, label))))
    for label in (0, 3, 4, 5, 7, 8, 9, 268, -65536, -65540, "iss"):
        found.append((f"claim {label}", "unknown claim", make({**CLAIMS, label: 1})))
    unset = {**CLAIMS, 6: 0, -65538: [0, 0, 5]}
    timeless = [without(RECORD, -3)]
    return [
        *found,
        ("software version on readings", "forbidden claim", make({**CLAIMS, 271: ["0.1.0"]})),
        ("unset clock with a time", "clock", make({**unset, 6: T0}, payload=timeless)),
        ("unset clock with an error bound", "clock", make({**unset, -65538: [0, 1, 5]}, payload=timeless)),
        ("unset clock, reading with a time", "time", make(unset)),
        ("unset clock, reading with a relative time", "time", make(unset, payload=[{**timeless[0], 6: -5}])),
        ("clock set, reading without a time", "time", make(payload=timeless)),
        ("clock set, time below 2^28", "time", make(payload=[{**RECORD, -3: (1 << 28) - 1}])),
        ("claims unsorted", "unsorted keys", make(Pairs(reversed(CLAIMS.items())))),
        ("claim twice", "duplicate key", make(Pairs([(1, TOMATO.did), *CLAIMS.items()]))),
    ]


def _numbers() -> list[Case]:
    nines = head(2, 8) + b"\xff" * 8
    wrong: list[tuple[str, str, bytes]] = [
        *((f"21 in {size} bytes", "not shortest", head(0, 21, size)) for size in (1, 2, 4, 8)),
        ("255 in two bytes", "not shortest", head(0, 255, 2)),
        ("65535 in four bytes", "not shortest", head(0, 65535, 4)),
        ("2^32-1 in eight bytes", "not shortest", head(0, (1 << 32) - 1, 8)),
        ("-1 in one byte", "not shortest", head(1, 0, 1)),
        ("half float", "float", bytes.fromhex("f94d40")),
        ("single float", "float", bytes.fromhex("fa41a80000")),
        ("double float", "float", bytes.fromhex("fb4035000000000000")),
        ("not a number", "float", bytes.fromhex("f97e00")),
        ("infinity", "float", bytes.fromhex("f97c00")),
        ("undefined", "simple value", b"\xf7"),
        ("simple value 16", "simple value", b"\xf0"),
        ("simple value 255", "simple value", b"\xf8\xff"),
        ("false in two bytes", "simple value", b"\xf8\x14"),
        ("null", "wrong type", b"\xf6"),
        ("a break", "indefinite length", b"\xff"),
        ("reserved length", "reserved", b"\x1c"),
        ("bignum", "tag", b"\xc2" + nines),
        ("negative bignum", "tag", b"\xc3" + nines),
        ("epoch time", "tag", b"\xc1\x15"),
        ("bigfloat", "tag", b"\xc5\x82\x20\x15"),
        ("rational", "tag", b"\xd8\x1e\x82\x15\x02"),
        ("shared value", "tag", b"\xd8\x1c\x15"),
        ("reference to a shared value", "tag", b"\xd8\x1d\x00"),
        ("self-described CBOR", "tag", b"\xd9\xd9\xf7\x15"),
        ("tag 18 again", "wrong type", b"\xd2\x15"),
        ("2^53", "range", encode(1 << 53)),
        ("-2^53", "range", encode(-(1 << 53))),
        ("text", "wrong type", encode("21")),
        ("array", "wrong type", encode([21])),
        ("nine deep", "depth", b"\x81" * 7 + b"\x15"),
        ("two hundred deep", "depth", b"\x81" * 200 + b"\x15"),
        ("array longer than the statement", "cut short", b"\x9b" + b"\xff" * 8),
        *((f"fraction 10^{e}", "exponent", fraction(e, 21)) for e in (0, 1, -19, 1 << 40, -(1 << 40))),
        *((f"mantissa {m}", "mantissa", fraction(-1, m)) for m in (1 << 53, -(1 << 53))),
        ("fraction of a bignum", "mantissa", fraction(-1, Raw(b"\xc2" + nines))),
        ("fraction of a float", "mantissa", fraction(-1, Raw(b"\xf9\x4d\x40"))),
        ("fraction of true", "mantissa", fraction(-1, True)),
        ("fraction with three items", "shape", b"\xc4" + encode([-1, 210, 0])),
        ("fraction in a longer array head", "not shortest", b"\xc4\x98\x02" + encode(-1) + encode(210)),
        ("fraction with an exponent in two bytes", "not shortest", b"\xc4\x82\x38\x00\x18\xd2"),
        ("tag 4 in two bytes", "not shortest", b"\xd8\x04" + encode([-1, 210])),
    ]
    return [(f"value: {name}", why, make(payload=[{**RECORD, 2: Raw(value)}])) for name, why, value in wrong]


def _records() -> list[Case]:
    utf8 = {"cut short": "e282", "overlong": "c0af", "a surrogate": "eda080", "beyond 10FFFF": "f4908080"}
    broken = [
        (f"text that is {name}", "UTF-8", [{**FIRST, 3: Raw(head(3, len(octets) // 2) + bytes.fromhex(octets))}])
        for name, octets in utf8.items()
    ]
    packs: list[tuple[str, str, Any]] = [
        ("empty pack", "record count", []),
        ("257 records", "record count", [RECORD, *[{2: 1}] * 256]),
        ("a map for a pack", "wrong type", RECORD),
        ("a record that is no map", "wrong type", [RECORD, [0, 1]]),
        *((f"label {label}", "unknown label", [{**RECORD, label: 1}]) for label in (-1, -5, -6, 5, 7, 8, 9)),
        ("text for a label", "unknown label", [{**RECORD, "n": "air"}]),
        ("bytes for a label", "key type", [{**RECORD, b"n": 1}]),
        ("no value", "value count", [FIRST]),
        ("two values", "value count", [{**RECORD, 3: "21"}]),
        ("no base name", "base name", [without(RECORD, -2)]),
        ("base name again", "base name", [RECORD, {-2: "tomato-1/", 2: 1}]),
        ("base name of another", "base name", [{**RECORD, -2: "cellar-2/"}]),
        ("base name without its slash", "base name", [{**RECORD, -2: "tomato-1"}]),
        ("name with a blank", "name", [{**RECORD, 0: "a b"}]),
        ("name with a letter beyond ASCII", "name", [{**RECORD, 0: "größe"}]),
        ("name of 97 characters", "name", [{**RECORD, 0: "a" * 88}]),
        ("name of bytes", "wrong type", [{**RECORD, 0: b"air"}]),
        ("unit of a number", "wrong type", [{**RECORD, 1: 1}]),
        ("a truth as number", "wrong type", [{**RECORD, 2: True}]),
        ("a number as truth", "wrong type", [{**FIRST, 4: 1}]),
        ("a number as text", "wrong type", [{**FIRST, 3: 1}]),
        ("time finer than milliseconds", "time", [{**RECORD, 6: fraction(-4, 1)}]),
        ("base time finer than milliseconds", "time", [{**RECORD, -3: fraction(-4, T0 * 10000)}]),
        ("time of text", "wrong type", [{**RECORD, 6: "1"}]),
        (
            "record keys unsorted",
            "unsorted keys",
            [Pairs(sorted(RECORD.items(), key=lambda i: encode(i[0]), reverse=True))],
        ),
        ("label twice", "duplicate key", [Pairs([(0, "a"), (0, "b"), (2, 1), (-2, "tomato-1/"), (-3, T0)])]),
        ("pack without a length", "indefinite length", Raw(b"\x9f" + encode(RECORD) + b"\xff")),
        ("pack with a byte left over", "trailing byte", Raw(encode([RECORD]) + b"\0")),
        ("payload empty", "cut short", Raw(b"")),
    ]
    return [(name, why, make(payload=pack)) for name, why, pack in broken + packs]


UPDATE = {0: "update", 1: 7, 2: "0.2.0", 3: "esp32", 4: bytes(32), 5: 3900, 6: ORIGIN, 7: ["cellar-2", "tomato-1"]}
UPDATED = {0: "updated", 1: bytes(32), 2: 6, 3: 7, 4: "confirmed", 5: ""}


def _wrong_update() -> list[tuple[str, str, Any]]:
    return [
        ("release 0", "bounds", {**UPDATE, 1: 0}),
        ("release 2^32", "bounds", {**UPDATE, 1: 1 << 32}),
        ("a release that is true", "type", {**UPDATE, 1: True}),
        ("no version", "text length", {**UPDATE, 2: ""}),
        ("33 bytes of version", "text length", {**UPDATE, 2: "x" * 33}),
        ("a target that is no name", "name", {**UPDATE, 3: "ESP32"}),
        ("a digest of 31 bytes", "key", {**UPDATE, 4: bytes(31)}),
        ("a digest of text", "type", {**UPDATE, 4: "0" * 32}),
        ("a manifest of no bytes", "bounds", {**UPDATE, 5: 0}),
        ("a manifest of 8,193 bytes", "bounds", {**UPDATE, 5: 8193}),
        ("a site for its origin", "origin", {**UPDATE, 6: "hillside"}),
        ("an origin of bytes", "origin", {**UPDATE, 6: ORIGIN.encode()}),
        ("an origin in upper case", "origin", {**UPDATE, 6: ORIGIN.upper()}),
        ("a node for its nodes", "type", {**UPDATE, 7: "tomato-1"}),
        ("a node that is no name", "name", {**UPDATE, 7: ["-"]}),
        ("a node of bytes", "name", {**UPDATE, 7: [b"tomato-1"]}),
        ("a node twice", "order", {**UPDATE, 7: ["tomato-1", "tomato-1"]}),
        ("nodes out of order", "order", {**UPDATE, 7: ["tomato-1", "cellar-2"]}),
        ("101 nodes", "count", {**UPDATE, 7: [f"n{number:03}" for number in range(101)]}),
        ("no nodes", "missing label", without(UPDATE, 7)),
        ("a further label", "unknown label", {**UPDATE, 8: 1}),
    ]


def _wrong_updated() -> list[tuple[str, str, Any]]:
    return [
        ("an entry of 31 bytes", "key", {**UPDATED, 1: bytes(31)}),
        ("an entry of text", "type", {**UPDATED, 1: "0" * 32}),
        ("a release below 0", "bounds", {**UPDATED, 2: -1}),
        ("a release of 2^32", "bounds", {**UPDATED, 3: 1 << 32}),
        ("an outcome that is none", "outcome", {**UPDATED, 4: "done"}),
        ("an outcome that is a number", "type", {**UPDATED, 4: 2}),
        ("201 bytes of reason", "text length", {**UPDATED, 5: "x" * 201}),
        ("no reason", "missing label", without(UPDATED, 5)),
        ("a further label", "unknown label", {**UPDATED, 6: 1}),
    ]


def _node_bodies() -> list[Case]:
    claims = without(CLAIMS, -65539)
    started = {**claims, 271: ["0.1.0"]}
    boot = {0: "boot", 1: "power-on", 2: "esp32", 3: [["air", "sht31", 0, ""]]}
    gap = {0: "gap", 1: 1, 2: 1, 3: "full"}
    long = "x" * 201
    cases: list[tuple[str, str, Any, Any]] = [
        ("kind unknown", "unknown kind", claims, {0: "pest"}),
        *(
            (f"kind {kind}, reserved", "unknown kind", claims, {0: kind, 1: 1})
            for kind in ("rotation", "lot", "update", "updated")
        ),
        ("kind missing", "unknown kind", claims, without(gap, 0)),
        ("kind a number", "unknown kind", claims, {**gap, 0: 4}),
        ("body an array", "unknown kind", claims, []),
        ("readings in a body's place", "unknown kind", claims, [RECORD]),
        ("gap with a method", "forbidden claim", CLAIMS, gap),
        ("gap without its reason", "missing label", claims, without(gap, 3)),
        ("gap with a further label", "unknown label", claims, {**gap, 4: 1}),
        *((f"updated with {name}", why, claims, wrong) for name, why, wrong in _wrong_updated()),
        ("updated with a method", "forbidden claim", CLAIMS, UPDATED),
        ("updated with a software version", "forbidden claim", started, UPDATED),
        ("updated without a boot count", "missing claim", without(claims, 267), UPDATED),
        ("gap from 0", "gap", claims, {**gap, 1: 0}),
        ("gap that ends before it begins", "gap", {**claims, -65537: [9, bytes(32)]}, {**gap, 1: 3, 2: 2}),
        ("gap up to its own seq", "gap", claims, {**gap, 2: 2}),
        ("gap without a word", "text length", claims, {**gap, 3: ""}),
        ("gap with 201 bytes of reason", "text length", claims, {**gap, 3: long}),
        ("gap without a boot count", "missing claim", without(claims, 267), gap),
        ("boot without a software version", "missing claim", claims, boot),
        ("boot with a method", "forbidden claim", {**started, -65539: 0}, boot),
        ("boot without a boot count", "missing claim", without(started, 267), boot),
        *(
            (f"boot with software version {number}", "software", {**claims, 271: wrong}, boot)
            for number, wrong in enumerate(["0.1.0", [], ["0.1.0", "0.1.0"], [""], ["x" * 33], [1]], 1)
        ),
        *(
            (f"boot with sensors {number}", "sensors", started, {**boot, 3: wrong})
            for number, wrong in enumerate(
                [
                    [["air", "sht31", 0, ""]] * 33,
                    [["air", "sht31", 0]],
                    [["air", "sht31", 3, ""]],
                    [["", "sht31", 0, ""]],
                    [["air", "", 0, ""]],
                    [["air", "sht31", 0, long]],
                    ["air"],
                    {},
                ],
                1,
            )
        ),
        ("boot with an empty cause", "text length", started, {**boot, 1: ""}),
        ("boot with 201 bytes of board", "text length", started, {**boot, 2: long}),
    ]
    return [(name, why, make(fields, {**HEADER, 3: BODY}, body)) for name, why, fields, body in cases]


def _operator_bodies() -> list[Case]:
    claims = {**without(without(CLAIMS, 267), -65539), 1: OPERATOR.did, 2: "registry"}
    header = {**HEADER, 3: BODY, 4: OPERATOR.kid}
    node = {0: "enrolment", 1: CELLAR.key, 2: "node", 3: "cellar-2"}
    gateway = {0: "enrolment", 1: GATEWAY.key, 2: "gateway", 3: ORIGIN}
    revocation = {0: "revocation", 1: CELLAR.key, 2: "stolen"}
    rotation = {0: "rotation", 1: TOMATO.key, 2: CELLAR.key, 3: "a new board"}
    off_curve = b"\x02" + bytes(31)
    cases: list[tuple[str, str, Any, Any]] = [
        ("enrolment with a boot count", "forbidden claim", {**claims, 267: 1}, node),
        ("revocation with a boot count", "forbidden claim", {**claims, 267: 1}, revocation),
        ("enrolment with a method", "forbidden claim", {**claims, -65539: 0}, node),
        ("enrolment of a key of 31 bytes", "key", claims, {**node, 1: CELLAR.key[:31]}),
        ("enrolment of a key of text", "key", claims, {**node, 1: CELLAR.did}),
        ("enrolment of a key off the curve", "key", claims, {**node, 1: off_curve}),
        ("enrolment of a key of small order", "key", claims, {**node, 1: b"\1" + bytes(31)}),
        ("enrolment of a key that is not canonical", "key", claims, {**node, 1: b"\xee" + b"\xff" * 30 + b"\x7f"}),
        ("enrolment in the role of operator", "role", claims, {**node, 2: "operator"}),
        ("enrolment of a node under an origin", "name", claims, {**node, 3: ORIGIN}),
        ("enrolment of a node under no name", "name", claims, {**node, 3: ""}),
        ("enrolment of a gateway under a name", "origin", claims, {**gateway, 3: "hillside"}),
        ("enrolment of a gateway under another's origin", "origin", claims, {**gateway, 1: CELLAR.key}),
        (
            "enrolment of a gateway with a site that is no name",
            "origin",
            claims,
            {**gateway, 3: ORIGIN.replace("h", "H")},
        ),
        ("enrolment of a gateway under a number", "origin", claims, {**gateway, 3: 7}),
        ("enrolment without a name", "missing label", claims, without(node, 3)),
        ("enrolment with a further label", "unknown label", claims, {**node, 4: 1}),
        ("revocation of a key of 33 bytes", "key", claims, {**revocation, 1: bytes(33)}),
        ("revocation without a word", "text length", claims, {**revocation, 2: ""}),
        ("revocation with 201 bytes of reason", "text length", claims, {**revocation, 2: "x" * 201}),
        ("revocation with a since of text", "type", claims, {**revocation, 3: "x"}),
        ("revocation with a since below 0", "bounds", claims, {**revocation, 3: -1}),
        ("revocation with a since of 2^53", "bounds", claims, {**revocation, 3: 1 << 53}),
        ("revocation with a since that is true", "type", claims, {**revocation, 3: True}),
        ("revocation with a further label", "unknown label", claims, {**revocation, 4: 1}),
        ("revocation with a since and a further label", "unknown label", claims, {**revocation, 3: 1, 4: 1}),
        ("rotation with a boot count", "forbidden claim", {**claims, 267: 1}, rotation),
        ("rotation of a key of 31 bytes", "key", claims, {**rotation, 1: TOMATO.key[:31]}),
        ("rotation to a key of 33 bytes", "key", claims, {**rotation, 2: CELLAR.key + b"\0"}),
        ("rotation to a key off the curve", "key", claims, {**rotation, 2: off_curve}),
        ("rotation to a key of small order", "key", claims, {**rotation, 2: b"\1" + bytes(31)}),
        ("rotation to a did", "key", claims, {**rotation, 2: CELLAR.did}),
        ("rotation without a new key", "missing label", claims, without(rotation, 2)),
        ("rotation without a word", "text length", claims, {**rotation, 3: ""}),
        ("rotation with 201 bytes of reason", "text length", claims, {**rotation, 3: "x" * 201}),
        ("rotation with a since", "unknown label", claims, {**rotation, 4: 1}),
        ("update with a boot count", "forbidden claim", {**claims, 267: 1}, UPDATE),
        ("update with a software version", "forbidden claim", {**claims, 271: ["0.1.0"]}, UPDATE),
        *((f"update with {name}", why, claims, wrong) for name, why, wrong in _wrong_update()),
    ]
    return [(name, why, make(fields, header, body, OPERATOR)) for name, why, fields, body in cases]


def _signatures() -> list[Case]:
    protected, unprotected, payload, signature = _parts()
    message = b"\x84\x6aSignature1" + encode(protected) + b"\x40" + encode(payload)
    small = b"\1" + bytes(31)
    claims, header = {**CLAIMS, 1: cose.did(small)}, {**HEADER, 4: cose.kid(small)}
    anyone = encode_sign1([encode({**header, 15: claims}), {}, payload, small + bytes(32)])
    signatures = [
        ("a bit of R flipped", "R", bytes([signature[0] ^ 1]) + signature[1:]),
        ("a bit of S flipped", "S", signature[:32] + bytes([signature[32] ^ 1]) + signature[33:]),
        ("all zeros", "signature", bytes(64)),
        ("by another key", "signature", sign1(STRANGER, protected, payload)),
        ("over the payload alone", "signature", TOMATO.sign(payload)),
        ("over another payload", "signature", sign1(TOMATO, protected, payload[:-1] + b"\x16")),
        ("over another header", "signature", sign1(TOMATO, encode({**HEADER, 1: -19, 15: CLAIMS}), payload)),
        ("S not reduced", "S", unreduced(signature)),
        ("R of small order", "R", small_order_r(SEEDS[TOMATO.key], message)),
    ]
    found = [(f"signature: {n}", w, encode_sign1([protected, unprotected, payload, s])) for n, w, s in signatures]
    return [*found, ("a key of small order, for which anyone can sign", "key", anyone)]


def cases() -> list[dict[str, str]]:
    """The must-reject list of statement.json."""
    groups = _envelopes, _headers, _claims, _numbers, _records, _node_bodies, _operator_bodies
    refused = [(row, "EncodingError") for group in groups for row in group()]
    refused += [(row, "BadSignature") for row in _signatures()]
    return [{"name": name, "error": error, "why": why, "bytes": octets.hex()} for (name, why, octets), error in refused]

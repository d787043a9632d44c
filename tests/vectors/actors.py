"""Who speaks in the vectors, when, and how their words stand in JSON.  Everything here is fixed."""

import hashlib
from decimal import Decimal
from typing import Any

from earmark import cose, statement
from earmark.statement import Clock

T0 = 1_790_000_000
SITE = "hillside"
KEPT, NTP, HOST = 1, 2, 4


def seed(name: str) -> bytes:
    """The seed of an actor's key: public, and for tests only."""
    return hashlib.sha256(f"earmark vectors: {name}".encode()).digest()


OPERATOR, GATEWAY, TOMATO, CELLAR, STRANGER = (
    cose.Signer(seed(name)) for name in ("operator", "gateway", "tomato-1", "cellar-2", "stranger")
)
SEEDS = {
    signer.key: seed(name)
    for signer, name in (
        (OPERATOR, "operator"),
        (GATEWAY, "gateway"),
        (TOMATO, "tomato-1"),
        (CELLAR, "cellar-2"),
        (STRANGER, "stranger"),
    )
}
WITNESS, NEIGHBOUR = (cose.Signer(seed(name)) for name in ("witness", "neighbour"))
ORIGIN = statement.origin(SITE, GATEWAY.key)


def plain(value: Any) -> Any:
    """The JSON form of a payload: label → string, bytes → {"bytes": hex}, fraction → {"fraction": [e, m]}."""
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, Decimal):
        exponent = int(value.as_tuple().exponent)
        return {"fraction": [exponent, int(value.scaleb(-exponent))]}
    if isinstance(value, dict):
        return {str(label): plain(item) for label, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def enrolment(seq: int, prev: bytes, key: bytes, role: str, name: str) -> dict[str, Any]:
    """The inputs of an operator's enrolment."""
    return operator_says(seq, prev, {0: "enrolment", 1: key, 2: role, 3: name})


def operator_says(seq: int, prev: bytes, body: dict[int, Any]) -> dict[str, Any]:
    """The inputs of a statement on the operator's registry chain."""
    clock = Clock(HOST, 2, 86_400)
    return {"sub": "registry", "seq": seq, "prev": prev, "payload": body, "issued_at_s": T0, "clock": clock}


def sign(signer: cose.Signer, inputs: dict[str, Any]) -> bytes:
    """The signed bytes of these inputs."""
    return statement.sign(signer, **inputs)


def case(name: str, signer: cose.Signer, inputs: dict[str, Any], alg: int = cose.EDDSA) -> dict[str, Any]:
    """A valid statement as it stands in the vectors: its inputs, from which it can be rebuilt, and its bytes."""
    raw = sign(signer, inputs)
    if alg != cose.EDDSA:
        sign1 = cose.decode_sign1(raw)
        raw = cose.sign1(signer, sign1.header | {cose.ALG: alg}, sign1.payload or b"")
    clock = inputs["clock"]
    beacon = inputs.get("beacon")
    return {
        "name": name,
        "alg": alg,
        "seed": SEEDS[signer.key].hex(),
        "sub": inputs["sub"],
        "seq": inputs["seq"],
        "prev": inputs["prev"].hex(),
        "issued_at_s": inputs["issued_at_s"],
        "clock": [clock.source, clock.error_s, clock.uptime_s],
        "beacon": beacon.hex() if beacon else None,
        "boot_count": inputs.get("boot_count"),
        "software": inputs.get("software"),
        "method": inputs.get("method"),
        "payload": plain(inputs["payload"]),
        "bytes": raw.hex(),
        "entry": statement.decode(raw).entry.hex(),
    }

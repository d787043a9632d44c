"""cosignature.json and consistency.json (§5.4, §5.5)."""

from dataclasses import replace
from typing import Any

from actors import GATEWAY, NEIGHBOUR, ORIGIN, STRANGER, T0, WITNESS, seed
from small_log import Log, first_log

from earmark import block, consistency, cose, cosignature, note
from earmark.cosignature import Cosignature
from earmark.note import COSIGNATURE, ED25519, VerifierKey, b64
from earmark.proof import Proof

NAME, OTHER = "witness.example/seaside", "witness.example/hillside"
VKEY = VerifierKey(NAME, COSIGNATURE, WITNESS.key)
NEIGHBOURS = VerifierKey(OTHER, COSIGNATURE, NEIGHBOUR.key)
LOG = VerifierKey(ORIGIN, ED25519, GATEWAY.key)
AT_S = T0 + 9


def text_of(checkpoint: bytes) -> bytes:
    """The part of a checkpoint that is signed."""
    return checkpoint[: checkpoint.index(b"\n\n") + 1]


def cosigned(checkpoint: bytes, signer: cose.Signer = WITNESS, name: str = NAME, time_s: int = AT_S) -> Cosignature:
    """A witness' cosignature of a checkpoint."""
    return cosignature.cosign(signer, name, text_of(checkpoint), time_s)


def lines_of(checkpoint: bytes, count: int) -> list[Cosignature]:
    """So many cosignatures under names of their own, in order."""
    return [cosigned(checkpoint, name=f"w.example/{number:02}") for number in range(count)]


def cosignatures() -> dict[str, Any]:
    """The content of cosignature.json."""
    checkpoint = block.sign_checkpoint(GATEWAY, ORIGIN, first_log().header(bytes(range(16))))
    own, other = cosigned(checkpoint), cosigned(checkpoint, NEIGHBOUR, OTHER, T0 + 8)
    both = cosignature.join(checkpoint, [own, other])
    first, last = (number - 1 for number in (1, 1 << 63))
    valid = [
        _row("one witness", cosignature.join(checkpoint, [own]), [own]),
        _row("two witnesses", both, [other, own]),
        _row("no witness", checkpoint, []),
        _row("16 witnesses", cosignature.join(checkpoint, lines_of(checkpoint, 16)), lines_of(checkpoint, 16)),
        *(
            _row(f"at {time_s} s", cosignature.join(checkpoint, [found]), [found])
            for time_s in (first + 1, last)
            for found in [cosigned(checkpoint, time_s=time_s)]
        ),
        _row("two keys of one name", *_two_keys(checkpoint)),
    ]
    refused = [(name, "EncodingError", text) for name, text in _malformed(checkpoint, own, other).items()]
    refused += [(name, "BadSignature", text) for name, text in _unsigned(checkpoint, own).items()]
    return {
        "seed": seed("witness").hex(),
        "vkey": VKEY.encode(),
        "neighbour": NEIGHBOURS.encode(),
        "log": LOG.encode(),
        "valid": valid,
        "must_reject": [{"name": n, "error": e, "text": t.decode()} for n, e, t in refused],
        "refused_keys": _refused_keys(),
    }


def _row(name: str, text: bytes, found: list[Cosignature]) -> dict[str, Any]:
    told = [{"name": each.name, "key_id": each.key_id.hex(), "time_s": each.time_s} for each in found]
    return {"name": name, "text": text.decode(), "cosignatures": told}


def _two_keys(checkpoint: bytes) -> tuple[bytes, list[Cosignature]]:
    found = [cosigned(checkpoint), cosigned(checkpoint, NEIGHBOUR)]
    found.sort(key=lambda each: each.key_id)
    return cosignature.join(checkpoint, found), found


def _malformed(checkpoint: bytes, own: Cosignature, other: Cosignature) -> dict[str, bytes]:
    line, before = own.encode().encode(), other.encode().encode()
    blob = own.key_id + own.time_s.to_bytes(8, "big") + own.signature

    def made(octets: bytes, name: str = NAME) -> bytes:
        return checkpoint + note.encode_line(name, octets).encode()

    def at(time_s: int) -> bytes:
        return made(own.key_id + time_s.to_bytes(8, "big") + own.signature)

    gateways = checkpoint[checkpoint.index(b"\n\n") + 2 :]
    return {
        "17 witnesses": checkpoint + "".join(each.encode() for each in lines_of(checkpoint, 17)).encode(),
        "out of order": checkpoint + line + before,
        "twice the same": checkpoint + line + line,
        "two times of one witness": checkpoint + line + cosigned(checkpoint, time_s=AT_S + 1).encode().encode(),
        "the gateway's line twice": checkpoint + gateways,
        "no last line end": checkpoint + line[:-1],
        "a line more at the end": checkpoint + line + b"\n",
        "an empty line between": checkpoint + b"\n" + line,
        "a hyphen for the dash": checkpoint + line.replace("\u2014".encode(), b"-"),
        "carriage returns": checkpoint + line.replace(b"\n", b"\r\n"),
        "a name with a plus": made(blob, "witness.example+seaside"),
        "a name of 129 characters": made(blob, "w" * 129),
        "a name beyond ASCII": made(blob, "zeuge.example/h\u00fcgel"),
        "no name": made(blob, ""),
        "a signature of 63 bytes": made(blob[:-1]),
        "a signature of 65 bytes": made(blob + b"\0"),
        "a note's signature without a time": made(own.key_id + own.signature),
        "time 0": at(0),
        "time 2^63": at(1 << 63),
        "base64 without padding": checkpoint + line.replace(b"=", b""),
        "base64 with bits left over": checkpoint + line.replace(b64(blob)[-4:].encode(), _loose(blob)),
    }


def _loose(blob: bytes) -> bytes:
    """The last four characters of a base64 text with bits set that belong to no byte."""
    right = b64(blob)[-4:]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    last = right.rstrip("=")
    return (last[:-1] + alphabet[alphabet.index(last[-1]) + 1] + "=" * right.count("=")).encode()


def _unsigned(checkpoint: bytes, own: Cosignature) -> dict[str, bytes]:
    """Texts of the form whose cosignature under the witness' name and key id does not verify."""

    def with_line(found: Cosignature) -> bytes:
        return cosignature.join(checkpoint, [found])

    other = block.sign_checkpoint(GATEWAY, ORIGIN, first_log().header())
    plain = Cosignature(NAME, VKEY.id, AT_S, WITNESS.sign(text_of(checkpoint)))
    return {
        "another time": with_line(replace(own, time_s=own.time_s + 1)),
        "of another checkpoint": with_line(cosigned(other)),
        "by another key": with_line(replace(cosigned(checkpoint, STRANGER), key_id=VKEY.id)),
        "over the text alone": with_line(plain),
        "over the text without its last line end": with_line(
            replace(own, signature=cosignature.cosign(WITNESS, NAME, text_of(checkpoint)[:-1], AT_S).signature)
        ),
        "a bit flipped": with_line(replace(own, signature=own.signature[:-1] + bytes([own.signature[-1] ^ 1]))),
    }


def _refused_keys() -> list[dict[str, str]]:
    right = VKEY.encode()
    name, identifier, encoded = right.split("+", 2)
    torsion = VerifierKey(NAME, COSIGNATURE, bytes(32))
    wrong = {
        "empty": "",
        "a log's key": LOG.encode(),
        "no id": f"{name}+{encoded}",
        "another id": f"{name}+{int(identifier, 16) ^ 1:08x}+{encoded}",
        "id in capitals": f"{name}+{'ABCDEF01'}+{encoded}",
        "another name": f"{OTHER}+{identifier}+{encoded}",
        "no name": f"+{identifier}+{encoded}",
        "a name with a blank": right.replace("seaside", "sea side"),
        "a key of 31 bytes": f"{name}+{identifier}+{b64(bytes([COSIGNATURE]) + WITNESS.key[:-1])}",
        "base64 of another alphabet": f"{name}+{identifier}+{encoded[:-1]}_",
        "a blank at the end": right + " ",
        "a key of small order": torsion.encode(),
    }
    return [{"name": n, "vkey": text} for n, text in wrong.items()]


def bad_lines(checkpoint: bytes) -> dict[str, bytes]:
    """Checkpoints whose cosignature lines are not of the form."""

    def lines(*names: str) -> bytes:
        return "".join(cosigned(checkpoint, name=name).encode() for name in names).encode()

    wrong = {
        "cosignatures out of order": lines(NAME, OTHER),
        "one cosignature twice": lines(NAME, NAME),
        "17 cosignatures": "".join(each.encode() for each in lines_of(checkpoint, 17)).encode(),
        "a cosignature without its line end": lines(NAME)[:-1],
        "a cosignature whose base64 is cut": lines(NAME).replace(b"==\n", b"\n"),
    }
    return {f"checkpoint with {name}": checkpoint + octets for name, octets in wrong.items()}


def false_witnesses(proof: Proof) -> list[tuple[str, bytes]]:
    """Proof files with a line under the witness' name and key id that the witness did not make."""
    own, other = cosigned(proof.checkpoint), block.sign_checkpoint(GATEWAY, ORIGIN, first_log().header())
    wrong = {
        "a cosignature of another checkpoint": cosigned(other),
        "a cosignature with another time": replace(own, time_s=own.time_s - 1),
        "a cosignature by another key": replace(cosigned(proof.checkpoint, STRANGER), key_id=VKEY.id),
    }
    return [
        (name, replace(proof, checkpoint=cosignature.join(proof.checkpoint, [found])).encode())
        for name, found in wrong.items()
    ]


def _log_of(count: int) -> Log:
    whole, part = first_log(), Log()
    part.statements, part.registry = whole.statements[:count], [index for index in whole.registry if index < count]
    return part


def _signed(log: Log, height: int) -> bytes:
    return block.sign_checkpoint(GATEWAY, ORIGIN, replace(log.header(), height=height))


def consistencies() -> dict[str, Any]:
    """The content of consistency.json."""
    old, new = _signed(_log_of(4), 5), _signed(_log_of(9), 7)
    continuation = consistency.prove_continuation(4, 9, new, first_log().subtree)
    odd = consistency.prove_continuation(7, 9, new, first_log().subtree)
    text = consistency.encode_file(old, continuation)
    same = consistency.encode_file(new, consistency.prove_continuation(9, 9, new, first_log().subtree))
    valid = [
        ("blocks 5 and 7", text, 5, 7),
        ("blocks 6 and 7", consistency.encode_file(_signed(_log_of(7), 6), odd), 6, 7),
        ("one block", same, 7, 7),
    ]
    forked = _log_of(4)
    forked.statements = [*forked.statements[:3], first_log().statements[7]]
    lines = text.split(b"\n")
    proof = lines[8 : lines.index(b"", 8)]
    stranger = block.sign_checkpoint(STRANGER, ORIGIN, replace(_log_of(4).header(), height=5))
    again = replace(_log_of(9).header(), height=7, sealed_at_ms=1)
    malformed = {
        "empty": b"",
        "one checkpoint": old,
        "no empty line between": text.replace(b"\n\nold", b"\nold"),
        "no old size": text.replace(b"old 4\n", b""),
        "old size with a leading zero": text.replace(b"old 4", b"old 04"),
        "64 hashes": text.replace(proof[0] + b"\n", (proof[0] + b"\n") * 64, 1),
        "a hash of 31 bytes": text.replace(proof[0], b"A" * 40 + b"AA=="),
        "a hash without padding": text.replace(proof[0], proof[0][:-1]),
        "a byte left over": text + b"\n",
        "a cosignature line": text + cosigned(new).encode().encode(),
    }
    forged = {"the first by a stranger": consistency.encode_file(stranger, continuation)}
    broken = {
        "a hash missing": text.replace(proof[0] + b"\n", b"", 1),
        "a hash twice": text.replace(proof[0] + b"\n", (proof[0] + b"\n") * 2, 1),
        "a hash altered": text.replace(proof[0], b64(bytes(32)).encode()),
        "from another size": text.replace(b"old 4", b"old 5"),
        "another first history": consistency.encode_file(_signed(forked, 5), continuation),
        "the later one first": consistency.encode_file(new, replace(continuation, old=9, proof=(), checkpoint=old)),
        "two blocks of one height": consistency.encode_file(
            new, replace(continuation, old=9, proof=(), checkpoint=block.sign_checkpoint(GATEWAY, ORIGIN, again))
        ),
        "two blocks of one size": consistency.encode_file(
            _signed(_log_of(9), 6), replace(continuation, old=9, proof=())
        ),
    }
    rows = [(n, e, t) for e, group in _by_error(malformed, forged, broken) for n, t in group.items()]
    return {
        "log": LOG.encode(),
        "valid": [{"name": n, "text": t.decode(), "from": a, "to": b} for n, t, a, b in valid],
        "must_reject": [{"name": n, "error": e, "text": t.decode()} for n, e, t in rows],
    }


def _by_error(*groups: dict[str, bytes]) -> list[tuple[str, dict[str, bytes]]]:
    return list(zip(("EncodingError", "BadSignature", "ProofError"), groups, strict=True))

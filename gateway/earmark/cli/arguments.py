"""What stands in arguments: dids, block hashes, leaf ranges; wrong ones are told apart from proofs that do not hold."""

import argparse
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from earmark.cose import key_of
from earmark.errors import ConfigError, EncodingError
from earmark.evidence import Authority
from earmark.evidence.rfc3161 import read_authorities
from earmark.note import COSIGNATURE, ED25519, VerifierKey, decode_verifier_key

_BLOCK = re.compile(
    r"(drand:[0-9a-f]{32}/[1-9][0-9]{0,19}|(?!drand:)[-a-z0-9]{3,8}:[-_a-zA-Z0-9]{1,32})=0x([0-9a-fA-F]{64})"
)
_RANGE = re.compile(r"([0-9]{1,16})(?:-([0-9]{1,16}))?")
_MOST_DID_FILE = 4096
_MOST_WITNESS_FILE = 65_536
_MOST_CERTIFICATE_FILE = 1 << 20


def a_block(text: str) -> tuple[str, bytes]:
    """Read `CHAIN=0xHASH`, a CAIP-2 id (of drand's networks with `/` and the round's number) and a 32-byte hash."""
    match = _BLOCK.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not CHAIN=0xHASH, such as eip155:1=0x… with 64 hexadecimal digits; a round of drand "
            "is named by its number too, drand:…/1000=0x…"
        )
    return match[1], bytes.fromhex(match[2])


def a_range(text: str) -> range:
    """Read `N` or `FIRST-LAST`, both included."""
    match = _RANGE.fullmatch(text)
    first = int(match[1]) if match else 0
    last = int(match[2]) if match and match[2] else first
    if match is None or last < first:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number, or FIRST-LAST")
    return range(first, last + 1)


def a_count(text: str) -> int:
    """Read a whole number from 1 on."""
    if not text.isdecimal() or not 0 < int(text) < 1 << 53:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def a_height(text: str) -> int:
    """Read a block's height."""
    if not text.isdecimal() or not text.isascii() or int(text[:20]) >= 1 << 53:
        raise argparse.ArgumentTypeError(f"{text!r} is not a block's height, a whole number from 0 on")
    return int(text)


def a_log(text: str) -> VerifierKey:
    """Read the verifier key of a log."""
    try:
        return decode_verifier_key(text, ED25519)
    except EncodingError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def a_port(text: str) -> int:
    """Read a TCP port."""
    if not text.isdecimal() or not 0 < int(text) < 65_536:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port, 1 to 65535")
    return int(text)


def seconds(text: str) -> float:
    """Read a number of seconds from 0 on."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0 on")
    return value


def a_reason(text: str) -> str:
    """Read a text that a revocation or rotation may carry: 1 to 200 bytes."""
    if not 1 <= len(text.encode()) <= 200:
        raise argparse.ArgumentTypeError(f"a reason of {len(text.encode())} bytes; it has 1 to 200")
    return text


def a_moment(text: str) -> int | datetime:
    """Read a leaf, or a time: ISO 8601, in UTC where it names no other zone."""
    if text.isdecimal() and text.isascii() and int(text[:20]) < 1 << 53:
        return int(text)
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a leaf nor a time such as 2026-11-23T19:40:00Z"
        ) from None
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)


def an_operator(text: str) -> bytes:
    """Return the key of a did, or of the did that a file holds; the file may hold nothing else."""
    if text.startswith("did:"):
        return _key(text, "")
    path = Path(text)
    try:
        with path.open("rb") as file:
            held = file.read(_MOST_DID_FILE).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"--operator: {text} is neither a did (did:key:z6Mk…) nor a file with one: {_why(error)}"
        ) from error
    return _key(held, f"{text}: ")


def witnesses(text: str) -> list[VerifierKey]:
    """Return the key that a text is, or those of a file: one a line, empty lines and lines with # left out."""
    if "+" in text and not Path(text).is_file():
        return [_witness(text, "")]
    path = Path(text)
    try:
        with path.open("rb") as file:
            lines = file.read(_MOST_WITNESS_FILE).decode().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"--witness: {text} is neither a witness' verifier key (NAME+ID+KEY) nor a file with some: {_why(error)}"
        ) from error
    return [_witness(line.strip(), f"{text}: ") for line in lines if line.strip() and not line.startswith("#")]


def authorities(text: str) -> list[Authority]:
    """Return the time-stamping authorities whose certificates a PEM file holds."""
    try:
        with Path(text).open("rb") as file:
            return read_authorities(file.read(_MOST_CERTIFICATE_FILE))
    except OSError as error:
        raise ConfigError(f"--tsa: {text} is no file with certificates: {_why(error)}") from error
    except EncodingError as error:
        raise argparse.ArgumentTypeError(f"{text}: {error}") from error


def _witness(text: str, where: str) -> VerifierKey:
    try:
        return decode_verifier_key(text, COSIGNATURE)
    except EncodingError as error:
        raise argparse.ArgumentTypeError(f"{where}{error}") from error


def _why(error: OSError | UnicodeDecodeError) -> str:
    return "not text" if isinstance(error, UnicodeDecodeError) else error.strerror or "not readable"


def _key(text: str, where: str) -> bytes:
    try:
        return key_of(text)
    except EncodingError as error:
        raise argparse.ArgumentTypeError(f"{where}{error}") from error


def joined(ranges: Sequence[range], most: int) -> list[int]:
    """Return the numbers of all ranges, ascending, each once; `ConfigError` beyond `most`."""
    if sum(map(len, ranges)) > most:
        raise ConfigError(f"more than {most:,} statements; a proof file holds at most that many, so make several")
    return sorted({number for numbers in ranges for number in numbers})

"""Time stamps by an authority, RFC 3161: final at once, and worth that authority's word."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from earmark import cbor, der
from earmark.anchor.http import Http
from earmark.anchor.pace import Pace
from earmark.anchor.target import Place, Progress, Signed
from earmark.errors import AnchorError, EncodingError, ProofError
from earmark.evidence import RFC3161, Authority, ChainBlock
from earmark.evidence.chain import DIGEST_SIZE, MAX_EVIDENCE
from earmark.evidence.rfc3161 import check_stamp, read_nonce, read_stamp
from earmark.evidence.token import SHA256

TIMEOUT_S = 10.0
_HEADERS = {
    "Content-Type": "application/timestamp-query",
    "Accept": "application/timestamp-reply",
    "User-Agent": "earmark",
}
_FAILURES = {
    0: "it does not know the algorithm SHA-256",
    2: "it does not take such requests",
    5: "it could not read the request",
    14: "its clock is not available",
    15: "it does not stamp under its policy",
    16: "an extension is unknown",
    17: "something that it needs is not available",
    25: "a fault of its own",
}
_TRUE = der.encode(der.BOOLEAN, b"\xff")


@dataclass(frozen=True, slots=True)
class _Payload:
    """The request as it was signed for, and the token once there is one: CBOR `[authority, digest, nonce, token]`."""

    authority: str
    digest: bytes
    nonce: int
    token: bytes = b""

    def encode(self) -> bytes:
        return cbor.encode([self.authority, self.digest, self.nonce, self.token])

    @property
    def request(self) -> bytes:
        algorithm = der.encode(der.SEQUENCE, der.oid(SHA256), der.encode(der.NULL))
        imprint = der.encode(der.SEQUENCE, algorithm, der.encode(der.OCTETS, self.digest))
        return der.encode(der.SEQUENCE, der.integer(1), imprint, der.integer(self.nonce), _TRUE)


class TsaTarget:
    """A `Target` that has digests stamped by one authority, over HTTP.

    A payload holds the nonce of its request, so that an answer to another one is told apart, and the token.  An answer
    counts once its token checks under `authority`, as a verifier would check it.  A payload that was signed for another
    authority, and has no token, is void: the settings name another one since.
    """

    def __init__(
        self,
        url: str,
        authority: Authority,
        *,
        name: str,
        timeout_s: float = TIMEOUT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` gives seconds that only go forward.  `AnchorError` for a URL that is none."""
        self.place = Place(name, RFC3161, authority.id, has_head=False)
        self._authority = authority
        self._http = Http(url, timeout_s)
        self._pace = Pace(clock)

    def __repr__(self) -> str:
        return f"TsaTarget({self.place.name!r}, {self._http.endpoint})"

    def sign(self, digest: bytes, most: int) -> Signed:
        """Return the payload without a token yet; see `Target.sign`."""
        if len(digest) != DIGEST_SIZE:
            raise EncodingError(f"a digest of {len(digest)} bytes cannot be stamped: {DIGEST_SIZE} are")
        return Signed(_Payload(self.place.chain, digest, secrets.randbits(63) | 1).encode())

    def replace(self, payload: bytes, most: int) -> Signed:
        """Return it as it is: it costs nothing; see `Target.replace`."""
        return Signed(payload)

    def send(self, payload: bytes) -> bytes:
        """Have it stamped, and return the payload with the token; see `Target.send`.

        Where an answer was lost, another token for the same request is as good.
        """
        kept = _decode(payload)
        if kept.token:
            return payload
        if kept.authority != self.place.chain:
            raise AnchorError(f"it was to be stamped by {kept.authority}, the settings name {self.place.chain}")
        if self._pace.is_resting:
            raise AnchorError(self._pace.trouble or f"{self._http.endpoint} was slow: it is left alone for a while")
        return replace(kept, token=self._pace.judge(lambda: self._ask(kept))).encode()

    def poll(self, payload: bytes) -> Progress:
        """Say whether there is a token; see `Target.poll`."""
        kept = _decode(payload)
        if not kept.token:
            if kept.authority != self.place.chain:
                return Progress("void", "", reason="the settings name another authority by now: signed anew")
            return Progress("unknown", "")
        try:
            block = self._read(kept)
        except ProofError as error:
            raise AnchorError(f"the stored time stamp does not check: {error}") from error
        return Progress("final", f"{block.number:x}", block, 1, kept.token)

    def head(self) -> tuple[ChainBlock, bytes]:
        """Raise `AnchorError`: an authority has no blocks; `Place.has_head` says so."""
        raise AnchorError(f"{self.place.name} is no chain: it has no blocks to take beacons from")

    def anchors_left(self) -> int | None:
        """Return None: Earmark pays for nothing here."""
        return None

    def _read(self, kept: _Payload) -> ChainBlock:
        if kept.authority == self.place.chain:
            return check_stamp(self._authority, kept.token, kept.digest)
        return read_stamp(kept.authority, kept.token, kept.digest)

    def _ask(self, kept: _Payload) -> bytes:
        """Return the token that the authority gives for a request, checked."""
        status, body = self._http.post(kept.request, _HEADERS, MAX_EVIDENCE)
        where = self._http.endpoint
        if status != 200:
            raise AnchorError(f"{where} answers HTTP {status}: is tsa_url the address of an RFC 3161 authority?")
        try:
            token = read_response(body, self._http.hide)
            check_stamp(self._authority, token, kept.digest)
            nonce = read_nonce(token)
        except (EncodingError, ProofError) as error:
            raise AnchorError(f"{where}: {error}") from error
        if nonce != kept.nonce:
            raise AnchorError(f"{where} answers another request: the nonce is not the one that was sent")
        return token


def read_response(octets: bytes, hide: Callable[[str], str] = str) -> bytes:
    """Return the token of a TimeStampResp; `EncodingError` for another form, `AnchorError` where it was refused.

    `hide` takes out of the authority's words what is not to be told.
    """
    try:
        response = der.Fields(der.value(octets, der.SEQUENCE).content)
        said = der.Fields(response.take(der.SEQUENCE).content)
        status = der.number(said.take(der.INTEGER))
        words, failure = said.maybe(der.SEQUENCE), said.maybe(0x03)
        token = response.maybe(der.SEQUENCE)
        response.end()
        texts = [each.content.decode(errors="replace") for each in der.values(words.content)] if words else []
    except EncodingError as error:
        raise EncodingError(f"the answer is no TimeStampResp: {error}") from error
    if status > 1 or token is None:
        reasons = [*_failures(failure.content if failure else b""), *texts]
        why = ": " + hide("; ".join(reasons))[:200] if reasons else ""
        raise AnchorError(f"refuses to stamp (status {status}){why}")
    return token.raw


def _failures(bits: bytes) -> list[str]:
    """Return what a PKIFailureInfo, a BIT STRING, names."""
    number = int.from_bytes(bits[1:5].ljust(4, b"\0"), "big")
    return [text for bit, text in _FAILURES.items() if number >> (31 - bit) & 1]


def _decode(payload: bytes) -> _Payload:
    match cbor.decode(payload):
        case [str(authority), bytes(digest), int(nonce), bytes(token)]:
            return _Payload(authority, digest, nonce, token)
    raise EncodingError("the payload is not one of a time stamp")

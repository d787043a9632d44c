"""The OpenTimestamps codec; the stock client reads what it writes in test_ots_client.py."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earmark import ots
from earmark.errors import EncodingError

DIGEST = hashlib.sha256(b"a file").digest()

ops = st.one_of(
    st.just(ots.HASH),
    st.binary(min_size=1, max_size=40).map(ots.append),
    st.binary(min_size=1, max_size=40).map(ots.prepend),
)
attestations = st.one_of(
    st.integers(0, 10**7).map(ots.bitcoin),
    st.just(ots.pending("https://calendar.example/a")),
    st.builds(ots.Attestation, st.binary(min_size=8, max_size=8), st.binary(max_size=30)),
)
branches = st.builds(ots.Branch, st.lists(ops, max_size=8).map(tuple), attestations)


@given(st.lists(branches, min_size=1, max_size=8))
def test_branches_come_back(some: list[ots.Branch]) -> None:
    found = ots.decode(ots.encode(some))
    assert sorted(map(repr, found)) == sorted(map(repr, some))
    assert ots.decode(ots.encode(found)) == ots.decode(ots.encode(ots.decode(ots.encode(found))))


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(octets: bytes) -> None:
    try:
        found = ots.decode(octets)
    except EncodingError:
        return
    assert 1 <= len(found) <= ots.MAX_BRANCHES


@given(branches, st.data())
def test_a_timestamp_cut_short_is_refused(branch: ots.Branch, data: st.DataObject) -> None:
    encoded = ots.encode([branch])
    cut = data.draw(st.integers(0, len(encoded) - 1))
    with pytest.raises(EncodingError):
        ots.decode(encoded[:cut])
    with pytest.raises(EncodingError):
        ots.decode(encoded + b"\0")


def test_what_operations_make_of_a_message() -> None:
    made = ots.commit(b"b", [ots.prepend(b"a"), ots.append(b"c"), ots.HASH])
    assert made == hashlib.sha256(b"abc").digest()
    assert ots.commit(b"middle", ots.around(b"the middle of it", slice(4, 10))) == b"the middle of it"
    for tag in (0x02, 0x03, 0x67, 0xF2, 0xF3):
        with pytest.raises(EncodingError, match=f"operation {tag:02x}"):
            ots.commit(b"", [(tag, b"")])
    with pytest.raises(EncodingError, match="beyond 4096"):
        ots.commit(bytes(32), [ots.append(bytes(4065))])


def test_a_file() -> None:
    branch = ots.Branch((ots.HASH,), ots.bitcoin(850_000))
    encoded = ots.encode_file(DIGEST, [branch])
    assert encoded.startswith(ots.MAGIC + b"\x01\x08" + DIGEST)
    assert ots.decode_file(encoded) == (DIGEST, [branch])
    assert branch.attestation.height == 850_000
    for wrong in (b"", encoded[:40], b"\0" + encoded, encoded[:31] + b"\x02" + encoded[32:]):
        with pytest.raises(EncodingError):
            ots.decode_file(wrong)
    with pytest.raises(EncodingError, match="31 bytes"):
        ots.encode_file(DIGEST[1:], [branch])


@pytest.mark.parametrize(
    ("octets", "complaint"),
    [
        (b"", "cut short"),
        (b"\xff", "cut short"),
        (b"\xff\xff", "unknown operation ff"),
        (b"\x09", "unknown operation 09"),
        (b"\xf0\x00", "0 bytes"),
        (b"\xf0\x81\x20" + bytes(4097), "4097 bytes"),
        (b"\xf0\x81\x00a", "shortest form"),
        (b"\xf0" + b"\xff" * 9 + b"\x01", "63 bits"),
        (b"\x08" * 300 + b"\0", "more than 256 operations"),
        (b"\xff\0" + bytes(9) + (b"\xff\0" + bytes(9)) * 80 + b"\0" + bytes(9), "more than 64 attestations"),
        (bytes(9) + b"\x81\x40" + bytes(8193), "8193 bytes|8192 bytes|cut short|left over"),
        (bytes(70_000), "70000 bytes"),
    ],
)
def test_a_timestamp_out_of_bounds_is_refused(octets: bytes, complaint: str) -> None:
    with pytest.raises(EncodingError, match=complaint):
        ots.decode(octets)


@pytest.mark.parametrize("uri", ["", "https://a b", "https://a?x", "https://ä", "x" * 1001])
def test_a_calendar_is_a_plain_address(uri: str) -> None:
    with pytest.raises(EncodingError):
        ots.pending(uri)
    octets = uri.encode()
    size = bytes([len(octets)]) if len(octets) < 128 else bytes([len(octets) & 127 | 128, len(octets) >> 7])
    with pytest.raises(EncodingError):
        assert ots.Attestation(ots.PENDING, size + octets).uri


def test_other_attestations_have_neither_height_nor_calendar() -> None:
    other = ots.Attestation(bytes(8), b"x")
    assert (other.height, other.uri) == (None, None)
    assert ots.pending("https://a").uri == "https://a"
    assert ots.pending("https://a").height is None

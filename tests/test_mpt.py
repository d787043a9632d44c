"""RLP and trie proofs against the rlp and trie libraries, public vectors, and what no encoder writes."""

import json
from pathlib import Path

import pytest
import rlp
from hypothesis import given
from hypothesis import strategies as st

from earmark.errors import ProofError
from earmark.mpt import Item, check_trie, decode_rlp, encode_rlp, keccak256, minimal_bytes, uint_of
from evm_fakes import octets, proof_of, trie_of

items = st.recursive(st.binary(max_size=80), lambda inner: st.lists(inner, max_size=20), max_leaves=30)

# RLP


@given(items)
def test_rlp_agrees_with_the_rlp_library(item: Item) -> None:
    encoded = encode_rlp(item)
    assert encoded == rlp.encode(item)
    assert decode_rlp(encoded) == item


@given(st.one_of(st.binary(max_size=80), items.map(encode_rlp).flatmap(lambda e: st.sampled_from([e, e[:-1], e + e]))))
def test_rlp_accepts_exactly_what_an_encoder_writes(encoded: bytes) -> None:
    try:
        canonical = rlp.encode(rlp.decode(encoded)) == encoded
    except rlp.exceptions.RLPException:
        canonical = False
    if canonical:
        assert encode_rlp(decode_rlp(encoded)) == encoded
    else:
        with pytest.raises(ProofError, match=r"^RLP"):
            decode_rlp(encoded)


@given(st.integers(0, 2**64 - 1))
def test_integers_are_minimal(value: int) -> None:
    assert rlp.encode(value) == encode_rlp(minimal_bytes(value))
    assert uint_of(minimal_bytes(value), "n") == value
    with pytest.raises(ProofError, match="n: "):
        uint_of(b"\x00" + minimal_bytes(value), "n")


@pytest.mark.parametrize(
    ("encoded", "complaint"),
    [
        ("", "ends at byte 0"),
        ("8100", "stands for itself"),
        ("817f", "stands for itself"),
        ("b800", "shortest"),
        ("b837" + "00" * 55, "shortest"),
        ("b90038" + "00" * 56, "shortest"),
        ("f837" + "00" * 55, "shortest"),
        ("b9", "shortest"),
        ("bfffffffffffffffff", "past byte"),
        ("82aa", "past byte"),
        ("c2820102", "past byte"),
        ("8000", "left over"),
        ("c1" * 40 + "c0", "past byte"),
    ],
)
def test_rlp_refuses_what_no_encoder_writes(encoded: str, complaint: str) -> None:
    with pytest.raises(ProofError, match=complaint):
        decode_rlp(bytes.fromhex(encoded))


def test_rlp_refuses_deep_lists_without_exhausting_the_stack() -> None:
    item = b"\xc0"
    for _ in range(20_000):
        item = rlp.codec.length_prefix(len(item), 192) + item
    with pytest.raises(ProofError, match="nested deeper"):
        decode_rlp(item)


def test_an_integer_of_more_than_64_bits_or_a_list_is_refused() -> None:
    with pytest.raises(ProofError, match=r"below 2"):
        uint_of(b"\x01" * 9, "block number")
    with pytest.raises(ProofError, match="block number: an RLP list"):
        uint_of([], "block number")


# Tries


@given(st.dictionaries(st.binary(min_size=1, max_size=5), st.binary(min_size=1, max_size=40), min_size=1, max_size=40))
def test_every_key_of_a_trie_proves_and_no_other(pairs: dict[bytes, bytes]) -> None:
    tree = trie_of(pairs)
    for key, value in pairs.items():
        nodes = proof_of(tree, key)
        assert check_trie(tree.root_hash, key, nodes) == value
        for at in range(len(nodes)):
            with pytest.raises(ProofError, match=r"^trie"):
                check_trie(tree.root_hash, key, nodes[:at] + nodes[at + 1 :])
        with pytest.raises(ProofError, match="not on the way"):
            check_trie(tree.root_hash, key, [*nodes, nodes[-1]])
        for other in (key + b"\x00", key[:-1], bytes([key[0] ^ 1]) + key[1:], bytes([key[0] ^ 16]) + key[1:]):
            if other not in pairs:
                with pytest.raises(ProofError, match=r"^trie"):
                    check_trie(tree.root_hash, other, proof_of(tree, other))


@pytest.mark.parametrize("name", ["emptyValues", "branchingTests", "jeff", "insert-middle-leaf", "branch-value-update"])
def test_public_trie_vectors(shared: Path, name: str) -> None:
    case = json.loads((shared / "vectors/ethereum/trietest.json").read_text())[name]
    pairs: dict[bytes, bytes] = {}
    for key, value in case["in"]:
        pairs.pop(octets(key), None)
        if value is not None:
            pairs[octets(key)] = octets(value)
    tree, root = trie_of(pairs), octets(case["root"])
    for key, value in pairs.items():
        assert check_trie(root, key, proof_of(tree, key)) == value
    for key in {octets(key) for key, _ in case["in"]} - set(pairs) | {b"absent", b"do\x00"}:
        if pairs:
            with pytest.raises(ProofError, match=r"^trie"):
                check_trie(root, key, proof_of(tree, key))


@pytest.mark.parametrize(
    ("root", "nodes", "complaint"),
    [
        ([b"\x20", b"value", b""], [], "3 items is neither"),
        ([b"", b"value"], [], "not a hex-prefix"),
        ([b"\x40", b"value"], [], "not a hex-prefix"),
        ([b"\x21\x12", b"value"], [], "not a hex-prefix|leads away"),
        ([b"\x0f", b"value"], [], "not a hex-prefix"),
        ([b"\x2f", b"value"], [], "not a hex-prefix"),
        ([b"\x00", [b"\x20\x12", b"value"]], [], "without a path"),
        ([b"\x20\x12", []], [], "trie value: an RLP list"),
        ([b"\x20\x12", b""], [], "holds nothing"),
        ([[], b"value"], [], "trie path: an RLP list"),
        ([b"\x11", b"\x00" * 31], [], "31 bytes is neither"),
        ([b"\x11", [b"\x32", b"v" * 40]], [], "32 bytes or more"),
        ([b"\x11", keccak256(rlp.encode([b"\x32", b"v"]))], [[b"\x32", b"v"]], "named by hash, not embedded"),
    ],
)
def test_malformed_trie_nodes_are_refused(root: Item, nodes: list[Item], complaint: str) -> None:
    encoded = [rlp.encode(node) for node in [root, *nodes]]
    with pytest.raises(ProofError, match=complaint):
        check_trie(keccak256(encoded[0]), b"\x12", encoded)


def test_a_listed_node_that_is_no_list_is_refused() -> None:
    with pytest.raises(ProofError, match="trie node: an RLP string"):
        check_trie(keccak256(b"\x80"), b"\x12", [b"\x80"])

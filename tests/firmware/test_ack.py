"""Acknowledgements and beacons: what docs/protocol.md §10.1 and §6 admit, and what they refuse."""

import json
import os

import unittest_mini as unittest

import ack
import beacon
import cbor
import cose
from identity import Identity

GATEWAY = Identity(b"g" * 32)
STRANGER = Identity(b"s" * 32)
KID = b"node-kid"
TYPE = "application/vnd.earmark.ack+cbor"
RUNS = [[1, 4], [6, 6], [7, (1 << 53) - 1]]
REFUSED = [[5, "Equivocation"]]
CONTENT = [2, KID, RUNS, REFUSED, b"checkpoint", 1790000006250]
HEADER = {1: -8, 3: TYPE, 4: GATEWAY.kid}
SOURCE = ["eip155:1", 19000000, b"\x11" * 32, 1767225600]


def answer(content=CONTENT, header=HEADER, signer=GATEWAY):
    return cose.sign1(signer, header, cbor.encode(content))


def changed(place, value, fields=CONTENT):
    fields = list(fields)
    fields[place : place + 1] = [value]
    return fields


class TestAck(unittest.TestCase):
    def refuse(self, payload, why):
        with self.assertRaises(ValueError):
            self.assertEqual(ack.verify(payload, GATEWAY.key, KID).runs, "refused", why)

    def test_accepted(self):
        found = ack.verify(answer(), GATEWAY.key, KID)
        self.assertEqual(found.runs, [(1, 4), (6, 6), (7, (1 << 53) - 1)])
        self.assertEqual(found.refused, [(5, "Equivocation")])
        self.assertEqual(found.checkpoint, b"checkpoint")
        self.assertEqual(found.unix_ms, 1790000006250)

    def test_empty(self):
        found = ack.verify(answer([2, KID, [], [], b"", 0]), GATEWAY.key, KID)
        self.assertEqual((found.runs, found.refused, found.checkpoint), ([], [], b""))

    def test_full(self):
        runs = [[2 * n + 1, 2 * n + 1] for n in range(16)]
        refused = [[n + 100, "BrokenChain"] for n in range(16)]
        found = ack.verify(answer([2, KID, runs, refused, b"c" * 3000, 0]), GATEWAY.key, KID)
        self.assertEqual((len(found.runs), len(found.refused)), (16, 16))

    def test_made_elsewhere(self):
        """One signed by libsodium over cbor2's bytes."""
        count = 0
        with open(os.getenv("EARMARK_CASES")) as lines:
            for line in lines:
                kind, *row = json.loads(line)
                if kind == "ack":
                    payload, key, kid = [bytes.fromhex(text) for text in row[:3]]
                    found = ack.verify(payload, key, kid)
                    self.assertEqual([list(run) for run in found.runs], row[3])
                    self.assertEqual([list(pair) for pair in found.refused], row[4])
                    self.assertEqual(found.checkpoint.hex(), row[5])
                    count += 1
        self.assertEqual(count, 1)

    def test_content_refused(self):
        for content in (
            changed(0, 1),
            changed(0, True),
            changed(0, "1"),
            changed(1, b"other-id"),
            changed(1, "node-kid"),
            changed(4, "checkpoint"),
            changed(4, None),
            changed(5, -1),
            changed(5, 1 << 53),
            changed(5, "0"),
            CONTENT + [0],
            CONTENT[:5],
            dict(enumerate(CONTENT)),
            7,
        ):
            self.refuse(answer(content), content)

    def test_runs_refused(self):
        for runs in (
            [[0, 1]],
            [[2, 1]],
            [[1, 2], [2, 3]],
            [[5, 6], [1, 2]],
            [[1, 1 << 53]],
            [[-1, 1]],
            [[True, 2]],
            [[1, True]],
            [[1]],
            [[1, 2, 3]],
            [[1, b"2"]],
            [1],
            {1: 2},
            None,
            [[2 * n + 1, 2 * n + 1] for n in range(17)],
        ):
            self.refuse(answer(changed(2, runs)), runs)

    def test_refusals_refused(self):
        for refused in (
            [[0, "BadSignature"]],
            [[1 << 53, "BadSignature"]],
            [[1, 2]],
            [[1, b"BadSignature"]],
            [["1", "BadSignature"]],
            [[1]],
            [1],
            None,
            [[n + 1, "BadSignature"] for n in range(17)],
        ):
            self.refuse(answer(changed(3, refused)), refused)

    def test_header_refused(self):
        for header in (
            {1: -19, 3: TYPE, 4: GATEWAY.kid},
            {1: -8, 3: 112, 4: GATEWAY.kid},
            {1: -8, 3: "application/vnd.earmark+cbor", 4: GATEWAY.kid},
            {1: -8, 3: TYPE, 4: STRANGER.kid},
            {1: -8, 3: TYPE},
            {1: -8, 3: TYPE, 4: GATEWAY.kid, 15: {}},
        ):
            self.refuse(answer(header=header), header)

    def test_signature_refused(self):
        self.refuse(answer(signer=STRANGER), "signed by another")
        good = answer()
        for at in range(len(good)):
            bad = bytearray(good)
            bad[at] ^= 1 << at % 8
            self.refuse(bytes(bad), at)

    def test_form_refused(self):
        good = answer()
        protected, payload, signature = cose.decode_sign1(good)
        for parts in (
            [protected, {}, payload, signature, 0],
            [protected, {}, payload],
            [protected, {4: b""}, payload, signature],
            [protected, {}, None, signature],
            [protected, {}, payload, signature[:63]],
            [HEADER, {}, payload, signature],
            [protected, None, payload, signature],
        ):
            self.refuse(cbor.encode(cbor.Tagged(18, parts)), parts)
        self.refuse(good[1:], "no tag")
        self.refuse(good + b"\x00", "a byte left over")
        self.refuse(b"", "nothing")
        self.refuse(answer(changed(4, bytes(4096))), "too long")

    def test_tree_size(self):
        self.assertEqual(ack.tree_size(b""), 0)
        self.assertEqual(ack.tree_size(b"earmark/farm/58ef67058cf6a689\n9\n0p56ZEJU\n"), 9)
        self.assertEqual(ack.tree_size(b"o\n9007199254740991\n"), (1 << 53) - 1)
        for wrong in (b"9", b"o\n\n", b"o\n-1\n", b"o\n 1\n", b"o\n1e3\n", b"o\n" + b"1" * 17):
            with self.assertRaises(ValueError):
                ack.tree_size(wrong)


class TestBeacon(unittest.TestCase):
    def test_nonce(self):
        message = cbor.encode([1, [SOURCE]])
        self.assertEqual(len(beacon.nonce(message)), 16)
        four = [["bip122:000000000019d6689c085ae165831e93", 0, bytes(32), 0]] * 4
        self.assertEqual(len(beacon.nonce(cbor.encode([1, four]))), 16)

    def test_as_the_gateway(self):
        count = 0
        with open(os.getenv("EARMARK_CASES")) as lines:
            for line in lines:
                kind, *row = json.loads(line)
                if kind == "beacon":
                    self.assertEqual(beacon.nonce(bytes.fromhex(row[0])).hex(), row[1])
                    count += 1
        self.assertTrue(count >= 4, count)

    def test_refused(self):
        for value in (
            [1, []],
            [1, [SOURCE] * 5],
            [2, [SOURCE]],
            [True, [SOURCE]],
            [1, [SOURCE], 0],
            [1],
            1,
            {1: [SOURCE]},
            [1, SOURCE],
            [1, [SOURCE[:3]]],
            [1, [changed(4, 0, SOURCE)]],
        ):
            with self.assertRaises(ValueError):
                self.assertEqual(beacon.nonce(cbor.encode(value)), "refused", value)

    def test_fields_refused(self):
        for place, values in (
            (0, ("eip155", ":1", "eip155:", "ei:1", "EIP155:1", "a:b:c", "x" * 9 + ":1", "eip155:" + "1" * 33)),
            (0, ("eip155:1 ", b"eip155:1", 1, "eip155:\u00fc")),
            (1, (-1, True, "1", None)),
            (2, (b"", bytes(31), bytes(33), "x" * 32)),
            (3, (-1, False, b"1")),
        ):
            for value in values:
                message = cbor.encode([1, [changed(place, value, SOURCE)]])
                with self.assertRaises(ValueError):
                    self.assertEqual(beacon.nonce(message), "refused", value)

    def test_bytes_refused(self):
        good = cbor.encode([1, [SOURCE]])
        for message in (b"", good[:-1], good + b"\x00", b"\x9f" + good[1:] + b"\xff", b"\x82\x18\x01" + good[2:]):
            with self.assertRaises(ValueError):
                beacon.nonce(message)
        with self.assertRaises(ValueError):
            beacon.nonce(bytes(513))


if __name__ == "__main__":
    unittest.main()

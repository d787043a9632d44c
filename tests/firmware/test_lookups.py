"""Names and time over UDP, against servers of the test's own: right, silent, lying; nothing else is held up."""

import asyncio
import random
import select
import socket
import struct

import unittest_mini as unittest

import names
import ntp
import udp

AT = 1790000000


class Server:
    """Answers each datagram by `answer(question)`, None for silence; perhaps from another port than it was asked at."""

    def __init__(self, answer, from_another=False):
        self.answer = answer
        self.asked = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        while True:
            self.port = 20000 + random.getrandbits(15)
            try:
                self._socket.bind(socket.getaddrinfo("127.0.0.1", self.port, socket.AF_INET, socket.SOCK_DGRAM)[0][-1])
                break
            except OSError:
                continue
        self._socket.setblocking(False)
        self._sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM) if from_another else self._socket

    async def run(self):
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        while True:
            while poll.poll(0):
                question, who = self._socket.recvfrom(512)
                self.asked += 1
                answer = self.answer(question)
                if answer is not None:
                    self._sender.sendto(answer, who)
            await asyncio.sleep(0.005)

    def close(self):
        self._socket.close()
        self._sender.close()


def beside(server, work):
    """The result of the work, done while the server runs."""

    async def both():
        task = asyncio.create_task(server.run())
        try:
            return await work
        finally:
            task.cancel()
            server.close()

    return asyncio.run(both())


class Quick(unittest.TestCase):
    def setUp(self):
        self.wait_ms, udp.WAIT_MS = udp.WAIT_MS, 100

    def tearDown(self):
        udp.WAIT_MS = self.wait_ms


def record(kind, content, name=b"\xc0\x0c"):
    return name + struct.pack(">HHIH", kind, 1, 60, len(content)) + content


def reply(asked, *records, flags=0x8180):
    head = asked[:2] + struct.pack(">HHHHH", flags, 1, len(records), 0, 0)
    return head + asked[12:] + b"".join(records)


class Dns(Quick):
    def found(self, answer, host="broker.farm"):
        server = Server(answer)
        return beside(server, names.Names(lambda: "127.0.0.1", server.port).find(host))

    def test_an_address_behind_an_alias(self):
        alias = record(5, b"\x05other\xc0\x13")
        self.assertEqual(
            self.found(lambda asked: reply(asked, alias, record(1, b"\xc0\x00\x02\x07", b"\x01x\x00"))), "192.0.2.7"
        )

    def test_an_address_is_asked_of_nobody(self):
        server = Server(lambda asked: None)
        for address in ("192.0.2.9", "2001:db8::1"):
            self.assertEqual(asyncio.run(names.Names(lambda: "127.0.0.1", server.port).find(address)), address)
        server.close()

    def test_what_is_no_answer_is_refused(self):
        for answer in (
            lambda asked: None,
            lambda asked: b"",
            lambda asked: asked,
            lambda asked: reply(asked, flags=0x8183),
            reply,
            lambda asked: reply(asked, record(28, bytes(16))),
            lambda asked: reply(asked, record(1, b"\x7f\x00\x00\x01"))[:-1],
            lambda asked: reply(asked)[:6] + b"\xff\xff" + reply(asked)[8:],
            lambda asked: reply(asked).replace(b"broker", b"brokes"),
            lambda asked: bytes([asked[0] ^ 1]) + reply(asked, record(1, b"\x7f\x00\x00\x01"))[1:],
        ):
            with self.assertRaises(OSError):
                self.found(answer)
        for host in ("", "a..b", "x" * 64 + ".farm", "y." * 130):
            with self.assertRaises(OSError):
                self.found(lambda asked: reply(asked, record(1, b"\x7f\x00\x00\x01")), host)

    def test_random_bytes_raise_nothing_else(self):
        random.seed(3)
        asked = names.question(b"ab", "broker.farm")
        whole = reply(asked, record(5, b"\x05other\xc0\x13"), record(1, b"\xc0\x00\x02\x07"))
        for _ in range(2000):
            answer = bytearray(whole[: 12 + random.getrandbits(7)])
            for _ in range(random.getrandbits(2)):
                answer[2 + random.getrandbits(10) % (len(answer) - 2)] = random.getrandbits(8)
            try:
                names.address_in(bytes(answer), asked)
            except OSError:
                pass
            except (ValueError, IndexError, TypeError) as wrong:
                self.assertEqual(repr(wrong), "OSError", bytes(answer).hex())

    def test_what_was_found_is_used_again_when_dns_is_silent(self):
        replies = [b"\xc0\x00\x02\x01", None, b"\xc0\x00\x02\x02"]

        def answer(asked):
            now = replies[0] if len(replies) > 1 and server.asked == 1 else replies[1 if self.is_away else 2]
            return now and reply(asked, record(1, now))

        async def steps():
            subject = names.Names(lambda: "127.0.0.1", server.port)
            first = await subject.find("broker.farm")
            again = await subject.find("broker.farm")
            asked = server.asked
            subject.doubt("broker.farm")
            self.is_away = True
            doubted = await subject.find("broker.farm")
            self.is_away = False
            return first, again, asked, doubted, await subject.find("broker.farm"), await subject.find("broker.farm")

        server = Server(answer)
        first, again, asked, doubted, moved, settled = beside(server, steps())
        self.assertEqual((first, again, asked, doubted), ("192.0.2.1", "192.0.2.1", 1, "192.0.2.1"))
        self.assertEqual((moved, settled, server.asked), ("192.0.2.2", "192.0.2.2", 1 + udp.TRIES + 1))

    def test_a_local_name_is_asked_of_everybody_and_anybody_answers(self):
        address = record(1, b"\xc0\x00\x02\x07")
        server = Server(lambda asked: reply(asked, address, flags=0x8400), from_another=True)
        subject = names.Names(lambda: "192.0.2.1", 53, ("127.0.0.1", server.port))
        self.assertEqual(beside(server, subject.find("barn.local")), "192.0.2.7")

    def test_the_system_looks_up_where_the_board_has_no_server(self):
        self.assertEqual(asyncio.run(names.Names(lambda: None).find("localhost")), "127.0.0.1")

    def test_other_tasks_go_on_while_nobody_answers(self):
        async def steps():
            task = asyncio.create_task(wait_for_it())
            turns = 0
            while not task.done():
                await asyncio.sleep(0.01)
                turns += 1
            return turns

        async def wait_for_it():
            with self.assertRaises(OSError):
                await names.Names(lambda: "127.0.0.1", server.port).find("broker.farm")

        server = Server(lambda asked: None)
        turns = beside(server, steps())  # each of the tries looks five times whether an answer came
        self.assertTrue(turns > udp.TRIES, "another task had %d turns" % turns)


def packet(nonce, mode=4, stratum=2, leap=0, at=AT, delay=0, dispersion=0):
    head = bytes([leap << 6 | 4 << 3 | mode, stratum, 0, 0]) + struct.pack(">II", delay, dispersion)
    stamp = struct.pack(">II", at + 2208988800 & 0xFFFFFFFF, 1 << 31)
    return head + bytes(12) + nonce + stamp + (stamp if at else bytes(8))


class Sntp(Quick):
    def asked(self, answer):
        server = Server(answer)
        return beside(server, ntp.ask("127.0.0.1", server.port))

    def test_the_time_and_its_bound(self):
        unix_ms, error_ms = self.asked(lambda asked: packet(asked[40:48], delay=1 << 15, dispersion=1 << 14))
        self.assertTrue(AT * 1000 + 500 <= unix_ms <= AT * 1000 + 600, unix_ms)
        self.assertTrue(501 <= error_ms <= 601, error_ms)

    def test_after_2036(self):
        unix_ms, _ = self.asked(lambda asked: packet(asked[40:48], at=2100000000))
        self.assertEqual(unix_ms // 1000, 2100000000)

    def test_what_is_no_time_is_refused(self):
        for answer in (
            lambda asked: None,
            lambda asked: packet(asked[40:48])[:47],
            lambda asked: packet(bytes(8)),
            lambda asked: packet(asked[40:48], mode=3),
            lambda asked: packet(asked[40:48], stratum=0),
            lambda asked: packet(asked[40:48], stratum=16),
            lambda asked: packet(asked[40:48], leap=3),
            lambda asked: packet(asked[40:48], at=0),
        ):
            with self.assertRaises(OSError):
                self.asked(answer)


if __name__ == "__main__":
    unittest.main()

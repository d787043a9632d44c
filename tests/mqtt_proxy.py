"""A TCP proxy between a gateway and its broker that cuts in the middle of a packet, delays, repeats and reorders."""

import random
import socket
import threading
from contextlib import suppress

from services import free_port

PUBLISH, DUP = 0x30, 0x08


class Proxy:
    """Passes bytes on between its own port and the broker's, until `mischief` happens to them."""

    def __init__(self, broker_port: int, draw: random.Random) -> None:
        self.port = free_port()
        self.cuts = self.repeats = self.swaps = self.delays = 0
        self.mischief = 0.0
        self._broker_port = broker_port
        self._draw = draw
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._cut_after: int | None = None
        self._ending = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_after(self, octets: int) -> None:
        """End both connections once so many more bytes have gone to the gateway: most likely within a packet."""
        self._cut_after = octets

    @property
    def is_cutting(self) -> bool:
        """Whether the cut has not happened yet."""
        return self._cut_after is not None

    def close(self) -> None:
        """Let go of everything."""
        self._ending.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for pair in self._pairs:
            _close(pair)

    def _accept(self) -> None:
        while not self._ending.is_set():
            try:
                gateway, _ = self._listener.accept()
                broker = socket.create_connection(("127.0.0.1", self._broker_port), timeout=5)
            except OSError:
                continue
            broker.settimeout(None)
            pair = gateway, broker
            self._pairs.append(pair)
            threading.Thread(target=self._pass, args=(pair, gateway, broker), daemon=True).start()
            threading.Thread(target=self._pass_back, args=(pair, broker, gateway), daemon=True).start()

    def _pass(self, pair: tuple[socket.socket, socket.socket], source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while chunk := source.recv(65_536):
                sink.sendall(chunk)
        _close(pair)

    def _pass_back(self, pair: tuple[socket.socket, socket.socket], source: socket.socket, sink: socket.socket) -> None:
        """From broker to gateway, packet by packet."""
        unread = b""
        with suppress(OSError):
            while chunk := source.recv(65_536):
                packets, unread = split(unread + chunk)
                if not self._send(sink, b"".join(self._bend(packets))):
                    break
        _close(pair)

    def _bend(self, packets: list[bytes]) -> list[bytes]:
        """Repeat publications of QoS 1 with DUP, and let neighbours change places."""
        bent: list[bytes] = []
        for packet in packets:
            bent.append(packet)
            if packet[0] & 0xF6 == PUBLISH | 2 and self._draw.random() < self.mischief:
                self.repeats += 1
                bent.append(bytes([packet[0] | DUP]) + packet[1:])
        for at in range(len(bent) - 1):
            both = bent[at][0] & 0xF0 == bent[at + 1][0] & 0xF0 == PUBLISH
            if both and self._draw.random() < self.mischief:
                self.swaps += 1
                bent[at], bent[at + 1] = bent[at + 1], bent[at]
        if self._draw.random() < self.mischief / 4:
            self.delays += 1
            self._ending.wait(self._draw.uniform(0.01, 0.3))
        return bent

    def _send(self, sink: socket.socket, octets: bytes) -> bool:
        """Send, or as much as may go before the cut; says whether the connection goes on."""
        if self._cut_after is None or len(octets) < self._cut_after:
            self._cut_after = None if self._cut_after is None else self._cut_after - len(octets)
            sink.sendall(octets)
            return True
        sink.sendall(octets[: self._cut_after])
        self._cut_after = None
        self.cuts += 1
        return False


def split(octets: bytes) -> tuple[list[bytes], bytes]:
    """Return the whole MQTT packets at the beginning, and what is left."""
    packets = []
    while True:
        length, at = 0, 1
        while at < len(octets):
            length |= (octets[at] & 0x7F) << 7 * (at - 1)
            at += 1
            if not octets[at - 1] & 0x80:
                break
        else:
            return packets, octets
        if len(octets) < at + length:
            return packets, octets
        packets.append(octets[: at + length])
        octets = octets[at + length :]


def _close(pair: tuple[socket.socket, socket.socket]) -> None:
    for end in pair:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()

"""A Modbus RTU master: functions 03, 04 and 06 (Modbus Application Protocol V1.1b3, Modbus over serial line V1.02)."""

from bus import SensorError, crc

READ_HOLDING, READ_INPUT, WRITE_SINGLE = 3, 4, 6
MAX_WORDS = 125
_EXCEPTIONS = {
    1: "illegal-function",
    2: "illegal-address",
    3: "illegal-value",
    4: "device-fault",
    5: "device-busy",
    6: "device-busy",
}
_AGAIN = ("no-answer", "crc", "bad-frame", "device-busy")


def frame(unit, function, first, second):
    """A question of two 16-bit fields: address and count, or address and value."""
    octets = bytes([unit, function, first >> 8, first & 255, second >> 8, second & 255])
    return octets + crc.modbus(octets).to_bytes(2, "little")


def body(answer, question, size):
    """What stands between head and CRC of an answer of `size` bytes; raises `SensorError`."""
    if not answer:
        raise SensorError("no-answer", "unit %d does not answer" % question[0])
    if len(answer) < 5:
        raise SensorError("bad-frame", "unit %d sent %d bytes" % (question[0], len(answer)))
    if crc.modbus(answer[:-2]).to_bytes(2, "little") != answer[-2:]:
        raise SensorError("crc", "the answer of unit %d does not go with its CRC" % question[0])
    if answer[0] == question[0] and answer[1] == question[1] | 0x80:
        said = (question[0], answer[2], question[1], question[2] << 8 | question[3])
        raise SensorError(_EXCEPTIONS.get(answer[2], "exception"), "unit %d: exception %d to function %d at %d" % said)
    if answer[:2] != question[:2] or len(answer) != size:
        raise SensorError("bad-frame", "%d bytes from unit %d answer something else" % (len(answer), answer[0]))
    return answer[2:-2]


class Master:
    """Asks one unit.  `retries` more times where an answer is missing, torn or the unit busy."""

    def __init__(self, port, unit, timeout_ms, retries):
        self._port = port
        self._unit = unit
        self._timeout_ms = timeout_ms
        self._retries = retries

    async def read(self, function, address, count):
        """The values of `count` registers from `address` on (as they stand in the frame, from 0)."""
        size = 5 + 2 * count
        octets = await self._ask(frame(self._unit, function, address, count), size)
        if octets[0] != 2 * count:
            raise SensorError("bad-frame", "unit %d says %d bytes, not %d" % (self._unit, octets[0], 2 * count))
        return [octets[at] << 8 | octets[at + 1] for at in range(1, len(octets), 2)]

    async def write(self, address, value):
        """Set one register (function 06), which the unit echoes."""
        question = frame(self._unit, WRITE_SINGLE, address, value)
        if await self._ask(question, 8) != question[2:-2]:
            raise SensorError("bad-frame", "unit %d did not take %d at %d" % (self._unit, value, address))

    async def _ask(self, question, size):
        left = self._retries
        while True:
            try:
                answer = await self._port.exchange(question, lambda so_far: _size(so_far, size), self._timeout_ms)
                return body(answer, question, size)
            except SensorError as failure:
                if not left or failure.error not in _AGAIN:
                    raise
                left -= 1


def _size(so_far, size):
    return 5 if len(so_far) > 1 and so_far[1] & 0x80 else size

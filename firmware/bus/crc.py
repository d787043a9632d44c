"""The check sums that sensors put behind their bytes."""


def sensirion(octets):
    """CRC-8, polynomial 0x31, from 0xFF: Sensirion's."""
    crc = 0xFF
    for octet in octets:
        crc ^= octet
        for _ in range(8):
            crc = (crc << 1 ^ 0x31) & 0xFF if crc & 0x80 else crc << 1
    return crc


def dallas(octets):
    """CRC-8, polynomial x^8 + x^5 + x^4 + 1 from the lowest bit, from 0: 1-Wire's."""
    crc = 0
    for octet in octets:
        crc ^= octet
        for _ in range(8):
            crc = crc >> 1 ^ 0x8C if crc & 1 else crc >> 1
    return crc


def modbus(octets):
    """CRC-16, polynomial 0xA001 from the lowest bit, from 0xFFFF; its low byte goes first."""
    crc = 0xFFFF
    for octet in octets:
        crc ^= octet
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
    return crc

"""Certificates as files hold them: PEM, or the DER inside, which is all that some boards' TLS reads."""

from binascii import a2b_base64

_BEGIN = b"-----BEGIN CERTIFICATE-----"
_END = b"-----END CERTIFICATE-----"


def der(content):
    """The first certificate's DER; what is not PEM is returned as it is.  Raises `ValueError`."""
    begin = content.find(_BEGIN)
    if begin < 0:
        return content
    end = content.find(_END, begin)
    if end < 0:
        raise ValueError("a certificate without its end")
    return a2b_base64(content[begin + len(_BEGIN) : end])

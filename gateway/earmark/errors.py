"""The one error tree.

A class exists only where a caller acts differently; the name of a `Rejected` class is the reason
that quarantine tables, counters and acknowledgements carry (docs/protocol.md §4.2).
"""


class EarmarkError(Exception):
    """Anything that Earmark itself refuses or cannot do; the message says what, where, and what to do."""


class EncodingError(EarmarkError):
    """Bytes that are not the format: quarantined and counted."""


class Rejected(EarmarkError):
    """A well-formed statement that may not enter the log.

    `held` is true where the reason can pass, so that the statement is tried again by itself.
    """

    held = False


class UnknownNode(Rejected):
    """Signed by a key that nobody enrolled; admitted once the operator enrols it."""

    held = True


class BadSignature(Rejected):
    """The signature does not verify under the key that the bytes name."""


class RevokedKey(Rejected):
    """Signed by a key that the operator has revoked or rotated, or where he said that it was in other hands."""


class WrongSubject(Rejected):
    """The signer may not say this: a foreign name, or a kind that is not the signer's."""


class Equivocation(Rejected):
    """Other bytes with the same `seq` are in the log: a cloned or rolled-back signer."""


class BrokenChain(Rejected):
    """`prev` contradicts the log: a forked chain."""


class FutureTime(Rejected):
    """Signed with a clock that is ahead of the gateway's; admitted when it is due."""

    held = True


class MissingPredecessor(Rejected):
    """An operator's statement that came before its predecessor; admitted after it."""

    held = True


class WrongRegistry(Rejected):
    """An operator's statement that the registry cannot follow, such as a name enrolled twice."""


class ProofError(EarmarkError):
    """A proof, header or evidence does not check.  `step` is the numbered step of protocol §9, 0 outside one."""

    def __init__(self, message: str, step: int = 0) -> None:
        super().__init__(message)
        self.step = step


class AnchorError(EarmarkError):
    """A chain or calendar is unavailable or refuses: tried again, alarmed when overdue."""


class WitnessError(EarmarkError):
    """A witness is unavailable, or gave no cosignature: asked again later."""


class SplitView(WitnessError):
    """A witness saw another history of this log: an alarm."""


class StoreError(EarmarkError):
    """The store cannot write, such as on a full disk: nothing is acknowledged, and the write is tried again."""


class CorruptLog(EarmarkError):
    """Our own state contradicts itself: the gateway stops and never serves it."""


class ConfigError(EarmarkError):
    """A setting or a file of the farm is missing or wrong: nothing was started."""


class DeviceError(EarmarkError):
    """A board, its port or a program that writes to it fails; given again, the same command goes on from there."""

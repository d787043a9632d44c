"""How often somebody else's server is asked: no more often than its manners deserve."""

from collections.abc import Callable
from typing import TypeVar

from earmark.errors import AnchorError, EncodingError, ProofError

REST_S = 60.0
MOST_REST_S = 3600.0
SLOW_S = 2.0
SLOWNESS = 10
"""A server whose answer took longer than `SLOW_S` is left alone ten times as long, so that it holds nobody else up."""

T = TypeVar("T")


class Pace:
    """The manners of one server.

    After a failure it rests for `REST_S`, twice as long after each further one, up to `MOST_REST_S`.  `trouble` is what
    its last failure was, empty once it answers well.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` gives seconds that only go forward."""
        self.trouble = ""
        self._clock = clock
        self._failures = 0
        self._rests_until = 0.0

    @property
    def is_resting(self) -> bool:
        """Whether it is better left alone for now."""
        return self._clock() < self._rests_until

    def judge(self, ask: Callable[[], T]) -> T:
        """Return what an exchange with the server gives; `AnchorError` where it raises an error of ours."""
        began_s = self._clock()
        try:
            answer = ask()
        except (AnchorError, EncodingError, ProofError) as error:
            self._failures += 1
            self.trouble = str(error)
            self._rests_until = self._clock() + min(MOST_REST_S, REST_S * 2 ** min(self._failures - 1, 10))
            raise AnchorError(self.trouble) from error
        self._failures, self.trouble = 0, ""
        took_s = self._clock() - began_s
        self._rests_until = self._clock() + SLOWNESS * took_s if took_s > SLOW_S else 0.0
        return answer

"""The node's own outbox: how many statements wait in it, for whoever watches the farm."""

from sensors import MEASURED

SETTINGS = {}


class Waiting:
    """A count of what waits; `count` is given by the node before it runs."""

    driver = "waiting"
    method = MEASURED
    quantities = ["outbox"]

    def __init__(self, name):
        self.name = name
        self.detail = "statements that wait in the node's outbox"
        self.count = int

    async def read(self):
        """The number of statements without an acknowledgement, before the one that says so."""
        return [("outbox", "count", self.count())]


def make(name, settings, clock, buses):
    """Nothing is to be set."""
    return Waiting(name)

"""Which release this is: the version for people, and the number that only goes up (protocol.md §10.3)."""

VERSION = "earmark-node 0.1.0"
RELEASE = 1

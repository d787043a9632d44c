"""A witness: cosigns the checkpoints of logs that it knows, and never two histories of one (C2SP tlog-witness).

It looks at no statement.  Its word is that each checkpoint of a log that it signed continues all that it signed before;
docs/protocol.md §5.4 says what that is worth.
"""

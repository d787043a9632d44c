"""An OpenTimestamps calendar of one's own: many farms' digests, one transaction, and nobody has to trust its keeper.

`tree` is pure, `ledger` is what it keeps, `folder` its settings, `rounds` gathers digests, `pages` answers over HTTP,
and `service` runs it.
"""

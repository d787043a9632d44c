"""The places where block hashes are anchored, each behind the interface in `target`."""

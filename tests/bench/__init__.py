"""The benchmarks of `make bench`: every figure a ratio or a cost that was measured on this machine, in one run."""

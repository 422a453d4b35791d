"""The benchmark: InstantFT against what one would use instead. `make bench`, doc/benchmark.md."""

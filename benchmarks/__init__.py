"""The relay beside its yardsticks, measured in one run: `python -m benchmarks`."""

"""miniray beside its peers and beside the floor that the hardware sets, in one run: ``python -m benchmarks``."""

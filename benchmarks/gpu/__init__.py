"""Evidence on a real GPU: `python benchmarks/gpu/hardware.py` runs it, `python benchmarks/gpu/verified.py` says what changed since."""

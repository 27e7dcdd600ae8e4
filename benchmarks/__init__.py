"""One question per module; ``python -m benchmarks NAME``. Figures are in docs/benchmarks."""

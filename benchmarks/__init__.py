"""One module for each claim that the project makes about its speed and quality: `python -m benchmarks`."""

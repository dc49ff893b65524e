"""Speed of the parts on this machine, run by hand: `python -m benchmarks sigreg`."""

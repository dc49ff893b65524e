"""Surprise, probes, and the statistics that say how far a number can be trusted."""

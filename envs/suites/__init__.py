"""Suites of matched clips: what can happen in a small world, and what cannot."""

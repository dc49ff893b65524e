"""Suites of matched clips for measuring surprise: the role, and a file for each published one."""

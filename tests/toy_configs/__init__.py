"""Configurations of the toy verb, laid out as those of the package."""

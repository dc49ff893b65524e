"""Hydra configurations: one YAML a verb, one folder a choice."""

"""The command line: verbs, settings, help."""

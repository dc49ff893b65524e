"""A run and its folder: settings, log, progress, where its numbers come from."""

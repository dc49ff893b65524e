"""Probes that classify: read-outs of frozen features, one file each."""

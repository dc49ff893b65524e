"""Data sets inspected, checked and converted."""

"""The training loop, the verbs that use it, and the signs of collapse."""

"""The training loop, the verbs `pretrain` and `train`, and the signs of collapse."""

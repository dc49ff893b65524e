"""Video files, clips of them, and episodes: from disk to uint8 tensors and `Clip`."""

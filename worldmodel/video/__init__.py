"""One video source -> the right frames, with their times."""

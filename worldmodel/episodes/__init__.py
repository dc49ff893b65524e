"""Episodes of actions and frames: our file, stores of many, windows over them."""

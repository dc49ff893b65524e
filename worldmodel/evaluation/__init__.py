"""How good a model is: surprise, pair accuracy, probes, baselines, and confidence intervals."""

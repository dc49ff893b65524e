"""Learners of others that are told a reward, in their own Python, beside plans of ours without."""

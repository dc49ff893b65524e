"""Objectives, one a file, and what they share: masks, the EMA teacher, regularisers, SIGReg."""

"""What a training step minimises: masked prediction, regularisers, SIGReg."""

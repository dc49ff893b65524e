"""Which clip comes next, and who decodes it."""

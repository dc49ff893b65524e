"""Files at the border: written whole or not at all, read without executing what they say."""

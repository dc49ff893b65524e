"""Files at the border: written completely or not at all, read without executing what they say.

The threat model of all readers: a stranger's file must not run code, exhaust memory, or pass for
something that it is not.
"""

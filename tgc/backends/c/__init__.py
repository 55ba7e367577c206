"""The C99 backend: a program as source that is meant to be read."""

from tgc.backends.c.emit import emit

__all__ = ["emit"]

"""Delta units over covers: runs of the base copied, the few bytes that differ in them corrected, and the rest as literals."""

from .decoder import Covers

__all__ = ["Covers"]

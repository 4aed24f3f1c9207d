"""edgeswarm: one copy of a release per site, as nothing but the difference, and never unsigned."""

from ._version import __version__

__all__ = ["__version__"]

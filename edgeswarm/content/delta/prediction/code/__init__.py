"""References in machine code: branches and addresses whose values change when code moves, though nothing was edited."""

from .aarch64 import find_aarch64
from .references import Bounds, Class, Field, References
from .x86_64 import find_x86_64

__all__ = ["Bounds", "Class", "Field", "References", "find_aarch64", "find_x86_64"]

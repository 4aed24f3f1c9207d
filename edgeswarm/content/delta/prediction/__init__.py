"""Units whose copies of native code are predicted: a map says where addresses went. For receivers; publishers import `maker`."""

from .decoder import Predicted
from .layout import decode_map

__all__ = ["Predicted", "decode_map"]

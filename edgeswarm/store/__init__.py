"""Chunks by digest, durable: segment files, an SQLite index, installed artifacts as a source; and a twin in memory. Blocking."""

from __future__ import annotations

from .memory import MemoryStore
from .store import Store

__all__ = ["MemoryStore", "Store"]

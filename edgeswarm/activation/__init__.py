"""Put releases into targets, and take them back: the lifecycle (pure), slots for files and directories, health checks.

Everything here is blocking, but for the lifecycle, which does nothing by itself.
"""

from __future__ import annotations

from .directory import DirectoryInstaller
from .files import FileInstaller
from .health import HealthContext, HealthResult, run_health_check
from .slots import UNMANAGED, SlotInstaller

__all__ = [
    "UNMANAGED",
    "DirectoryInstaller",
    "FileInstaller",
    "HealthContext",
    "HealthResult",
    "SlotInstaller",
    "run_health_check",
]

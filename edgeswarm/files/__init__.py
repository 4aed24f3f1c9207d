"""The FileOps port's implementations, and reading of installed artifacts by stream offset. Blocking."""

from __future__ import annotations

from .faults import CrashError, FaultyFiles
from .linked import FileReader, TreeReader, read_linked
from .os_files import OsFile, OsFiles
from .whole import name_new

__all__ = ["CrashError", "FaultyFiles", "FileReader", "OsFile", "OsFiles", "TreeReader", "name_new", "read_linked"]

"""python-tuf's `TrustedMetadataSet`, without the HTTP client that lies beside it.

Importing anything of `tuf.ngclient` runs that package's `__init__`, which loads `Updater` and with it urllib3 and `http.client`:
60 modules, 3.5 MB of a device's 64, and 0.15 s of CPU at each start, for a client that we don't use. So the two modules that we
need are imported with an empty package in its place, which is gone again when this module is loaded: whoever imports
`tuf.ngclient` later gets the real one. If python-tuf has been imported before, it is used as it is.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING

import tuf

_PACKAGE = "tuf.ngclient"


@contextmanager
def _bare_package() -> Iterator[None]:
    """Let modules of the package be imported without the package itself."""
    if _PACKAGE in sys.modules:
        yield
        return
    bare = ModuleType(_PACKAGE)
    bare.__path__ = [f"{folder}/ngclient" for folder in tuf.__path__]
    sys.modules[_PACKAGE] = bare
    try:
        yield
    finally:
        # Its modules go as well: they would not become attributes of the real package when that is imported.
        for name in [name for name in sys.modules if name == _PACKAGE or name.startswith(_PACKAGE + ".")]:
            del sys.modules[name]


if TYPE_CHECKING:
    from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet
    from tuf.ngclient.config import EnvelopeType
else:
    with _bare_package():
        from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet
        from tuf.ngclient.config import EnvelopeType

__all__ = ["EnvelopeType", "TrustedMetadataSet"]

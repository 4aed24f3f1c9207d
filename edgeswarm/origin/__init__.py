"""Where releases are published: static files in a folder, on a web server or on a stick, behind one port.

`open_origin` picks the reader that fits an address; `open_writer` the publisher's side.
"""

from .directory import FULL_ERRNOS, DirectoryOrigin, DirectoryWriter
from .http import HttpOptions, HttpOrigin
from .names import TIMESTAMP
from .picker import check_origin, local_path, open_origin, open_writer

__all__ = [
    "FULL_ERRNOS",
    "TIMESTAMP",
    "DirectoryOrigin",
    "DirectoryWriter",
    "HttpOptions",
    "HttpOrigin",
    "check_origin",
    "local_path",
    "open_origin",
    "open_writer",
]

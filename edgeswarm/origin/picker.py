"""Picks the origin that fits an address."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any
from urllib.parse import unquote, urlsplit

from ..abc import OriginReader, OriginWriter
from ..errors import ConfigError
from .directory import DirectoryOrigin, DirectoryWriter
from .http import HttpOptions, HttpOrigin


def open_origin(where: str, **options: Any) -> OriginReader:
    """Return a reader of the origin at a path, a `file://` URL or an `http(s)://` URL. Nothing is contacted yet.

    Args:
        where: Path or URL.
        options: Fields of `HttpOptions`, used for `http(s)://` only.

    Raises:
        ConfigError: The scheme or an option is unknown, or the extra that the scheme needs is not installed.
    """
    try:
        http = replace(HttpOptions(), **options)
    except TypeError as exc:
        raise ConfigError(f"origin {where}: unknown option: {exc}") from exc
    if urlsplit(where).scheme in ("http", "https"):
        return HttpOrigin(where, http)
    return DirectoryOrigin(local_path(where), stall_seconds=http.stall_seconds)


def check_origin(where: str) -> None:
    """Refuse what `open_origin` would, as far as the text tells, without the library that reads it.

    Raises:
        ConfigError: It is no address of an origin.
    """
    try:
        parts = urlsplit(where)
        host, _ = parts.hostname, parts.port
    except ValueError as exc:
        raise ConfigError(f"origin {where!r}: {exc}") from exc
    if parts.scheme not in ("http", "https"):
        local_path(where)
    elif not host or parts.query or parts.fragment or not where.isprintable() or " " in where:
        raise ConfigError(f"origin {where!r}: wanted http(s)://host[:port]/folder without ? or #")


def open_writer(where: str) -> OriginWriter:
    """Return the publisher's side of the origin at a path or a `file://` URL.

    Raises:
        ConfigError: It cannot be published there.
    """
    return DirectoryWriter(local_path(where))


def local_path(where: str) -> str:
    """Return the absolute path of an origin at a path or a `file://` URL.

    Raises:
        ConfigError: It is elsewhere, or malformed.
    """
    parts = urlsplit(where)
    if "://" not in where and not where.startswith("file:"):
        path = where
    elif parts.scheme == "file" and parts.netloc in ("", "localhost"):
        path = unquote(parts.path)
    else:
        raise ConfigError(
            f"origin {where}: want a path or file:// (http:// and https:// for reading too), got {parts.scheme or 'nothing'}://"
        )
    if not path or "\0" in path:
        raise ConfigError(f"origin {where!r}: the path is empty or malformed")
    return os.path.abspath(path)

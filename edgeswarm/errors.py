"""One tree of errors, split by blame.

Whoever catches `EdgeswarmError` catches everything that edgeswarm raises on purpose. A message says what was wanted, what was got
and what to do. Each class carries the exit code that the command line ends with (`docs/reference/cli.md`).
"""

from __future__ import annotations

from typing import ClassVar


class EdgeswarmError(Exception):
    """Base of all errors that edgeswarm raises on purpose."""

    exit_code: ClassVar[int] = 1


class ConfigError(EdgeswarmError):
    """A configuration file, flag or argument is wrong."""

    exit_code = 2


class LocalProtocolError(EdgeswarmError):
    """The caller used an object against its rules: a bug on this side."""


class RemoteProtocolError(EdgeswarmError):
    """A peer broke the protocol: the link is closed and the peer may be banned."""


class ContentError(EdgeswarmError):
    """Bytes are not what their digest, length or format says; also raised for every malformed artifact, manifest, unit or index."""


class BaseMissingError(ContentError):
    """A delta unit refers to ranges of a base, or to a map, that are not here, or no longer verify."""


class TrustError(EdgeswarmError):
    """A signature, version, expiry or certificate does not allow what was asked."""

    exit_code = 77


class ExpiredError(TrustError):
    """Signed metadata or a certificate is past its expiry."""


class StoreError(EdgeswarmError):
    """The local store cannot do what was asked."""


class ChunkMissingError(StoreError):
    """The store does not hold the chunk, or what it held no longer verifies."""


class NoSpaceError(StoreError):
    """The disk or the quota is full: nothing was written, nothing was harmed."""

    exit_code = 28


class FetchError(EdgeswarmError):
    """An object could not be fetched.

    `temporary` tells a dead link, which is retried, from a final answer; `retry_after` is the number of seconds that the other side
    asked to be left alone, or None.
    """

    exit_code = 75

    def __init__(self, message: str, *, temporary: bool = True, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.temporary = temporary
        self.retry_after = retry_after


class ObjectMissingError(FetchError):
    """The origin or peer answers that it has no such object."""

    def __init__(self, message: str) -> None:
        super().__init__(message, temporary=False)


class NotPublishedError(FetchError):
    """Verified metadata names no such channel or release, or there is no verified metadata yet: it may come later."""


class PublishError(EdgeswarmError):
    """A release could not be published; what was published before is untouched."""


class PublishSpaceError(PublishError, NoSpaceError):
    """The origin, the folder for temporary files or a folder that is made is full; no release changed: make room and try again."""

    exit_code = 28


class ActivationError(EdgeswarmError):
    """A release could not be staged, activated, confirmed or rolled back; the target holds the old or the new, never a mix."""


class RolledBackError(ActivationError):
    """The new release failed its health check and the previous one is active again."""

    exit_code = 18


class NodeError(EdgeswarmError):
    """A background task of a node failed; the cause is attached."""

"""Names of products, versions, variants, channels, fleets, sites and nodes, and the target and file names made of them."""

from __future__ import annotations

import re
from urllib.parse import quote

from ..errors import EdgeswarmError, TrustError

NAME_RULE = r"[A-Za-z0-9][A-Za-z0-9._+~-]{0,63}"
"""A name starts with a letter or digit: never hidden, never `..`, never an option; it needs no escaping in a path or a URI."""

_NAME = re.compile(NAME_RULE)
_VERSIONED = re.compile(r"([1-9][0-9]{0,18})\.(.{1,512})\.json")

# The names of TUF's own roles: a product so named would collide with them in a snapshot.
RESERVED_ROLES = frozenset({"root", "targets", "snapshot", "timestamp"})


def check_name(text: object, what: str, blame: type[EdgeswarmError] = TrustError) -> str:
    """Return `text` if it follows the name rule.

    Args:
        text: Anything, e.g. a value just parsed.
        what: What the name is for, for the message.
        blame: What is raised: `ConfigError` for a name that a person or a program asks for, `TrustError` for one that was read.

    Raises:
        EdgeswarmError: It is no string or breaks the rule; of the class `blame`.
    """
    if isinstance(text, str) and _NAME.fullmatch(text):
        return text
    raise blame(f"{what} {str(text)[:80]!r} is not a name: wanted {NAME_RULE}")


def is_name(value: object) -> bool:
    """Tell if a value obeys the rule for names."""
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def check_product(text: object, blame: type[EdgeswarmError] = TrustError) -> str:
    """Return `text` if it may name a product: a name, and not one of TUF's own roles.

    Raises:
        EdgeswarmError: It may not; of the class `blame`, as for `check_name`.
    """
    name = check_name(text, "product", blame)
    if name in RESERVED_ROLES:
        raise blame(f"product {name!r} has the name of a TUF role: choose another one")
    return name


def release_path(product: str, version: str, variant: str) -> str:
    """Return the target path of a release: `<product>/releases/<version>/<variant>`."""
    return f"{product}/releases/{version}/{variant}"


def channel_path(product: str, name: str) -> str:
    """Return the target path of a channel: `<product>/channels/<name>`."""
    return f"{product}/channels/{name}"


def product_patterns(product: str) -> list[str]:
    """Return the path patterns that a product's role is trusted for; nothing of another product matches them."""
    return [f"{product}/releases/*/*", f"{product}/channels/*"]


def file_name(role: str, version: int) -> str:
    """Return the name of a role's metadata file below `metadata/`, e.g. `4.targets.json`.

    A role named by the name rule stands there as it is; in the name of any other one (made by other tools), what could be a path is
    percent-encoded.

    Source: TUF specification 5.6.1, file names with consistent snapshots.
    """
    return f"{version}.{encoded_role(role)}.json"


def encoded_role(role: str) -> str:
    """Return a role's name as it stands in file names."""
    return quote(role, safe="+")


def split_file_name(name: str) -> tuple[int, str] | None:
    """Return (version, encoded role name) of a versioned metadata file name, or None for any other name."""
    match = _VERSIONED.fullmatch(name)
    return (int(match[1]), match[2]) if match else None

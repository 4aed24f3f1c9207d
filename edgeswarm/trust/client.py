"""Verify metadata in the order of the TUF specification, whoever carries it.

Theory of operation. `TrustClient` does no I/O. Its methods are generators: each yields a `Want`, is sent the bytes or
None, and goes on. Answers may come from the origin, a peer or a USB stick; none of them is trusted. What this node
verified before (`files`) is verified again and used first, so that a role that has not changed is not wanted again. One
client does one refresh; the next refresh starts a new client from what was saved. A client that raised is done with: what
was saved before is untouched.

What is refused: rollback (an older version than one seen), freeze (expired metadata, beyond the grace that the expiry
policy allows), mix and match (a role that is not the one that the snapshot names), a role signed by too few keys, a role
that speaks of paths that were not delegated to it, anything longer than its limit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from ..errors import LocalProtocolError, NotPublishedError, TrustError
from .floor import VersionFloor
from .names import file_name
from .steps import STRICT, ExpiryPolicy, Outcome, Steps, Target, Want, drive, grace
from .workflow import Workflow

if TYPE_CHECKING:
    from tuf.api.metadata import TargetFile, Targets

__all__ = ["MAX_DELEGATIONS", "STRICT", "ExpiryPolicy", "Outcome", "Steps", "Target", "TrustClient", "Want", "drive", "grace"]

MAX_DELEGATIONS = 32
"""Roles visited to find one target or one product. Source: the default of python-tuf's UpdaterConfig."""


class TrustClient:
    """The metadata of one origin, verified.

    Args:
        files: What this node saved before: `changed` of earlier refreshes, same names.
        now: The time to judge by, aware: the later of clock and time floor (`TimeFloor.now`).
        bootstrap: The root that the node was given when it was enrolled. None: the newest root in `files` is the anchor.
        expiry: `STRICT` or `grace(days)`.
        floor: Versions trusted before, from a second place.

    Raises:
        TrustError: There is no root to start from, or it is damaged.
    """

    def __init__(
        self,
        files: Mapping[str, bytes],
        *,
        now: datetime,
        bootstrap: bytes | None = None,
        expiry: ExpiryPolicy = STRICT,
        floor: VersionFloor | None = None,
    ) -> None:
        self._flow = Workflow(files, now=now, bootstrap=bootstrap, expiry=expiry, floor=floor or VersionFloor())
        self._started = False
        self._complete = False

    def refresh(self) -> Steps[Outcome]:
        """Verify root, timestamp, snapshot and top-level targets.

        If it fails half-way, save only the roots of `changed`: with the files saved before they are a complete set, which
        still works offline. A new timestamp without its snapshot would not.

        Returns:
            What changed; save it, then ask for `product` or `delegated`.

        Raises:
            TrustError: An answer, or a file that was here, does not verify; another source may do better.
            ExpiredError: The newest metadata to be had has expired.
            ObjectMissingError: Metadata names an object that nobody had an answer for.
            LocalProtocolError: Called twice on one client.
        """
        if self._started:
            raise LocalProtocolError("a TrustClient refreshes once: make a new one from the saved files")
        self._started = True
        yield from self._flow.update_root()
        yield from self._flow.update_timestamp()
        yield from self._flow.update_snapshot()
        yield from self._flow.load_targets("targets", "root")
        self._complete = True
        return self.outcome()

    def load(self) -> Outcome:
        """Refresh from the saved files alone, as after a restart without any network.

        Raises:
            TrustError: Like `refresh`.
            ObjectMissingError: The saved files are no complete set.
        """
        return drive(self.refresh(), lambda _: None)

    def delegated(self, role: str) -> Steps[Outcome]:
        """Verify one delegated role, named by a role verified already; a verified one costs nothing.

        Raises:
            TrustError: No verified role delegates to it, or it does not verify.
            ObjectMissingError: Nobody had an answer for it.
            LocalProtocolError: Called before `refresh` ended.
        """
        self._check_complete()
        for parent, targets in [(name, targets) for (_, name), targets in self._flow.targets.items()]:
            if role in _children(targets):
                yield from self._flow.load_targets(role, parent)
                return self.outcome()
        raise TrustError(f"no verified metadata delegates to a role {role!r}: is the product spelled right?")

    def product(self, product: str) -> Steps[Outcome]:
        """Verify every delegated role that may speak of a product.

        Raises:
            TrustError: One of them does not verify, or they are more than `MAX_DELEGATIONS`.
            ObjectMissingError: Nobody had an answer for one of them.
            LocalProtocolError: Called before `refresh` ended.
        """
        self._check_complete()
        todo, seen = [("targets", "root")], set[str]()
        while todo:
            role, parent = todo.pop(0)
            if role in seen:
                continue
            if len(seen) > MAX_DELEGATIONS:
                raise TrustError(f"more than {MAX_DELEGATIONS} roles speak of product {product!r}: delegate it to fewer")
            seen.add(role)
            targets = yield from self._flow.load_targets(role, parent)
            todo.extend((child, role) for child in _children(targets, product))
        return self.outcome()

    def stand_in(self, product: str) -> bool:
        """Let what was verified before speak for a product whose newest roles are not to be had; return whether it can.

        Call it when all products were driven, for those that failed. It is the newest that this node verified and saved, so that
        nothing goes back; it must be signed by the keys that are trusted for it today and not have expired; and it is not obsolete
        for as long as it stands in. Do not call it for a product whose newest role came and has expired: what came is genuine,
        and the publisher has replaced what was before.

        Raises:
            LocalProtocolError: Called before `refresh` ended.
        """
        self._check_complete()
        todo, seen = [("targets", "root")], set[str]()
        while todo and len(seen) <= MAX_DELEGATIONS:
            role, parent = todo.pop(0)
            if role in seen:
                continue
            seen.add(role)
            targets = self._flow.stand_in(role, parent)
            if targets is None:
                return False
            todo.extend((child, role) for child in _children(targets, product))
        return not todo

    def find(self, path: str) -> Steps[Target | None]:
        """Find a target by walking the delegations, most trusted first.

        Raises:
            TrustError: A role on the way does not verify.
            ObjectMissingError: Nobody had an answer for one of them.
            LocalProtocolError: Called before `refresh` ended.

        Source: TUF specification 5.6.7, preorder depth-first search.
        """
        self._check_complete()
        todo, seen = [("targets", "root")], set[str]()
        while todo and len(seen) <= MAX_DELEGATIONS:
            role, parent = todo.pop()
            if role in seen:
                continue
            seen.add(role)
            targets = yield from self._flow.load_targets(role, parent)
            if path in targets.targets:
                return _target(targets.targets[path])
            children, final = _matching(targets, path)
            todo = [] if final else todo
            todo.extend((child, role) for child in reversed(children))
        return None

    def target(self, path: str) -> Target | None:
        """Return what the roles verified so far say about a path, without any want.

        Raises:
            NotPublishedError: A role that may speak of it was not loaded: run `product` first.
        """

        def refuse(want: Want) -> bytes | None:
            raise NotPublishedError(f"{want.name} is needed to look up {path!r}: load its product first")

        return drive(self.find(path), refuse)

    def expiry(self, product: str | None = None) -> tuple[datetime, str]:
        """Return when the first of some verified files expires, and its name.

        Args:
            product: Judge the top-level roles, and those that may speak of this product; None: the top-level roles alone.

        Raises:
            LocalProtocolError: Called before `refresh` ended.
        """
        self._check_complete()
        loaded = self._flow.targets
        delegated = {file_name(role, targets.version) for (_, role), targets in loaded.items() if role != "targets"}
        wanted = (self._flow.uses.keys() - delegated) | (self._files_of(product) if product is not None else set())
        return min((self._flow.uses[name].signed.expires, name) for name in wanted)

    def _files_of(self, product: str) -> set[str]:
        """Return the names of the verified files of the delegated roles that may speak of a product."""
        todo, found = [("root", "targets")], set[str]()
        seen = set(todo)
        while todo:
            parent, role = todo.pop()
            targets = self._flow.targets.get((parent, role))
            if targets is None:
                continue
            found.add(file_name(role, targets.version))
            children = [(role, child) for child in _children(targets, product) if (role, child) not in seen]
            seen.update(children)
            todo += children
        return found

    def target_paths(self) -> list[str]:
        """Return the sorted paths that the roles verified so far speak of, rightly or not: `target` decides."""
        return sorted({path for targets in self._flow.targets.values() for path in targets.targets})

    def roles(self) -> list[str]:
        """Return the roles that the top-level targets delegate to, loaded or not, in order of trust.

        Raises:
            LocalProtocolError: Called before `refresh` ended.
        """
        self._check_complete()
        return list(_children(self._flow.targets["root", "targets"]))

    @property
    def changed(self) -> dict[str, bytes]:
        """Verified files that were not here before, also in the middle of a refresh or after one that failed."""
        return dict(self._flow.changed)

    @property
    def files(self) -> dict[str, bytes]:
        """The verified files in use, by name: the newest of each role."""
        return {name: use.data for name, use in self._flow.uses.items()}

    def outcome(self) -> Outcome:
        """Return what this client did up to now.

        Raises:
            LocalProtocolError: Called before `refresh` ended.
        """
        self._check_complete()
        flow, trusted = self._flow, self._flow.trusted
        expires, first = min((use.signed.expires, name) for name, use in flow.uses.items())
        versions = {name.removesuffix(".json"): meta.version for name, meta in trusted.snapshot.meta.items()}
        obsolete = flow.local.obsolete({**versions, "snapshot": trusted.snapshot.version})
        return Outcome(
            changed=self.changed,
            stale=expires <= flow.now,
            timestamp_version=trusted.timestamp.version,
            issued=flow.issued,
            expires=expires,
            expires_first=first,
            floor=flow.floor(),
            damaged=tuple(flow.damaged),
            obsolete=tuple(name for name in obsolete if name not in flow.uses),
        )

    def _check_complete(self) -> None:
        if not self._complete:
            raise LocalProtocolError("refresh this TrustClient to its end first")


def _children(targets: Targets, product: str | None = None) -> Iterator[str]:
    """Yield the roles delegated to, in order of trust; with `product`, those that may speak of it."""
    delegations = targets.delegations
    if delegations is None:
        return
    if delegations.succinct_roles is not None:
        yield from delegations.succinct_roles.get_roles()
    for role in (delegations.roles or {}).values():
        if product is None or role.paths is None or any(_concerns(pattern, product) for pattern in role.paths):
            yield role.name


def _concerns(pattern: str, product: str) -> bool:
    """Tell if a path pattern may match a path of the product: its first part decides."""
    return fnmatchcase(product, pattern.split("/")[0])


def _matching(targets: Targets, path: str) -> tuple[list[str], bool]:
    """Return the roles that are trusted for a path, in order, and whether the last of them ends the search."""
    children: list[str] = []
    if targets.delegations is not None:
        for role, terminating in targets.delegations.get_roles_for_target(path):
            children.append(role)
            if terminating:
                return children, True
    return children, False


def _target(found: TargetFile) -> Target:
    return Target(found.path, found.length, found.hashes.get("sha256", ""), found.custom)

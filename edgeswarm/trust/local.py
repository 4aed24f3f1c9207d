"""The metadata files that a node saved before: looked up by name, judged when they do not verify."""

from __future__ import annotations

from collections.abc import Mapping

from .names import encoded_role, split_file_name


class LocalFiles:
    """Saved metadata files.

    Args:
        files: Bytes by name; names that are no metadata file's are ignored.
    """

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = dict(files)

    def get(self, name: str) -> bytes | None:
        """Return a saved file, or None."""
        return self._files.get(name)

    def newest(self, role: str) -> tuple[int, str, bytes] | None:
        """Return (version, name, bytes) of the newest saved file of a role, or None."""
        wanted = encoded_role(role)
        found = [(parts[0], name) for name in self._files if (parts := split_file_name(name)) and parts[1] == wanted]
        if not found:
            return None
        version, name = max(found)
        return version, name, self._files[name]

    def obsolete(self, versions: Mapping[str, int]) -> list[str]:
        """Return the sorted names of saved files that are not of the given versions.

        Roots are never obsolete: a root that comes later is verified by them.

        Args:
            versions: Wanted version by role name.
        """
        wanted = {encoded_role(role): version for role, version in versions.items()}
        names = ((name, split_file_name(name)) for name in sorted(self._files))
        return [name for name, parts in names if parts and parts[1] != "root" and wanted.get(parts[1]) != parts[0]]

    def signed_under_any_root(self, role: str, data: bytes, more: Mapping[str, bytes]) -> bool:
        """Tell if a timestamp or snapshot was signed with keys that some root known here trusted once.

        Args:
            role: `timestamp` or `snapshot`.
            data: The file.
            more: Verified files that were not saved here before.
        """
        from tuf.api.metadata import Root, Snapshot, Timestamp

        from ..errors import TrustError
        from .metadata import parse, verified_by

        try:
            metadata = parse(data, Timestamp, role) if role == "timestamp" else parse(data, Snapshot, role)
        except TrustError:
            return False
        known = {**self._files, **more}
        names = [name for name in sorted(known) if (parts := split_file_name(name)) and parts[1] == "root"]
        return any(verified_by(parse(known[name], Root, name).signed, role, metadata) for name in names)

"""Which objects at an origin signed metadata names, and which of the others are ours to remove.

An object is ours by its name: `manifests/`, `index/` and `packs/` with a digest, and older files of roles that are signed now.
Roots are read by number, one after the other, and stay for ever; newer files than those that are named belong to a publisher that
was interrupted. Whatever has another name was put there by somebody else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..abc import OriginWriter
from ..content.digest import Digest
from ..content.index import index_name, manifest_name, pack_name
from ..errors import ContentError, PublishError
from ..trust.catalogue import IndexRef
from ..trust.names import encoded_role, split_file_name
from ..trust.repository import Repository
from .options import Progress
from .reassemble import load_index

_MANIFEST = re.compile(r"manifests/[0-9a-f]{64}")
_FOLDED = re.compile(r"(?:index|packs)/([0-9a-f]{2})/\1[0-9a-f]{62}")
_READ = "read indexes"


class Inventory:
    """What lies at an origin. Indexes are read once, however often it is asked.

    Args:
        writer: The origin.
        progress: Told of the bytes of indexes that were read.

    Attributes:
        troubles: What is wrong with indexes that cannot be read. Nobody knows then which packs they name.
    """

    def __init__(self, writer: OriginWriter, progress: Progress) -> None:
        self.troubles: list[str] = []
        self._writer = writer
        self._progress = progress
        self._packs: dict[Digest, tuple[Digest, ...]] = {}

    def unnamed(self, repository: Repository) -> list[str]:
        """Return the sorted names of our objects that nothing names; no packs, if an index cannot be read."""
        named = self._named(repository)
        folders = ["manifests", "index", "packs"] if not self.troubles else ["manifests", "index"]
        ours = [name for folder in folders for name in self._writer.names(folder) if _is_ours(name) and name not in named]
        return sorted([*ours, *self._old_metadata(repository)])

    def _named(self, repository: Repository) -> set[str]:
        """Return the names of all manifests, indexes and packs of the releases of all products."""
        self.troubles.clear()
        catalogue = repository.catalogue
        releases = [release for product in repository.products() for release in catalogue.releases(product)]
        refs = list({ref.digest: ref for release in releases for ref in release.indexes}.values())
        packs = {pack_name(pack) for pack in self._packs_of(refs)}
        return {manifest_name(release.manifest) for release in releases} | {index_name(ref.digest) for ref in refs} | packs

    def _packs_of(self, refs: list[IndexRef]) -> Iterator[Digest]:
        done, total = 0, sum(ref.length for ref in refs)
        for ref in refs:
            try:
                if ref.digest not in self._packs:
                    self._packs[ref.digest] = load_index(self._writer, ref).packs
            except (ContentError, PublishError) as error:
                self.troubles.append(str(error))
            else:
                yield from self._packs[ref.digest]
            done += ref.length
            self._progress(_READ, done, total)

    def _old_metadata(self, repository: Repository) -> Iterator[str]:
        """Yield the files of roles that newer ones have replaced."""
        newest = {encoded_role(role): version for role, version in repository.versions().items()}
        for name in self._writer.names("metadata"):
            version, role = split_file_name(name.removeprefix("metadata/")) or (0, "")
            if version < newest.get(role, 0):
                yield name


def _is_ours(name: str) -> bool:
    return bool(_MANIFEST.fullmatch(name) or _FOLDED.fullmatch(name))

"""Where a node keeps its floors: in the store's database, and in a file of its own beside it.

Two places, since a power cut, a failing disk or a database that had to be rebuilt may take one; what is left then still refuses to
go back. The database is written first, together with the metadata that raised the floors; then the file. Blocking; for threads.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping

from ..abc import ChunkStore, FileOps
from ..content.sealed import seal, unseal
from ..errors import StoreError
from ..files import OsFiles
from ..files.whole import read_file, save_file
from ..trust.floors import Floors
from .failures import mapped

_log = logging.getLogger("edgeswarm.floors")
_OBJECT = "trust/floors"
FILE_NAME = "floors.json"


class FloorBook:
    """The floors of a node, in both places. From any thread.

    Args:
        store: The first place.
        folder: Folder of the second; empty: there is none, as in simulations.
        files: File operations for it.

    Attributes:
        troubles: What was wrong with one of the places when they were read, for people.
    """

    def __init__(self, store: ChunkStore, folder: str = "", files: FileOps | None = None) -> None:
        self._store = store
        self._folder = folder
        self._files: FileOps = files or OsFiles()
        self._lock = threading.Lock()
        self._floors = Floors()
        self.troubles: list[str] = []

    @property
    def floors(self) -> Floors:
        """What counts now."""
        return self._floors

    def load(self) -> None:
        """Read both places.

        Raises:
            StoreError: Both are damaged, or one was saved by a newer edgeswarm.
        """
        found = [self._read("the store's database", self._from_store), self._read(FILE_NAME, self._from_file)]
        sound = [floors for floors in found if floors is not None]
        if self.troubles and not sound:
            raise StoreError(
                f"{'; '.join(self.troubles)}: nothing tells any more which metadata was trusted here; if that is acceptable, "
                f"enrol the node again and remove its state folder"
            )
        if found[0] is None and found[1] is not None:
            self.troubles.append(f"the store's database has lost what was trusted here; it is taken from {FILE_NAME}")
        for floors in sound:
            self._floors = self._floors.joined(floors)
        for trouble in self.troubles:
            _log.error("floors: %s", trouble)
        if any(floors != self._floors for floors in found) and sound:
            self._mend()

    def _mend(self) -> None:
        """Bring both places to what counts; a disk that is full now does not keep the node from starting."""
        try:
            self._store.save_objects({_OBJECT: self._floors.encode()})
            self._to_file(self._floors)
        except StoreError as error:
            self.troubles.append(f"one of the places could not be brought up to date: {error}")
            _log.error("floors: %s", self.troubles[-1])

    def raise_to(self, floors: Floors, objects: Mapping[str, bytes] | None = None, gone: Iterable[str] = ()) -> None:
        """Make floors durable in both places, together with objects of the store that go with them.

        Args:
            floors: What must never be gone behind from now on.
            objects: Saved in one transaction with the first place, by name.
            gone: Names of objects that are removed in it.

        Raises:
            StoreError: One of the places failed (`NoSpaceError` if it is full).
        """
        with self._lock:
            raised = self._floors.joined(floors)
            if raised != self._floors or objects:
                self._store.save_objects({**(objects or {}), _OBJECT: raised.encode()}, gone=gone)
                self._to_file(raised)
            self._floors = raised

    def _read(self, where: str, read: Callable[[], bytes | None]) -> Floors | None:
        try:
            data = read()
            return Floors.decode(data) if data is not None else None
        except StoreError as error:
            self.troubles.append(f"{where}: {error}")
            return None

    def _from_store(self) -> bytes | None:
        return self._store.load_object(_OBJECT)

    def _from_file(self) -> bytes | None:
        if not self._folder:
            return None
        try:
            data = read_file(self._files, f"{self._folder}/{FILE_NAME}")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"cannot be read: {error}") from error
        line = unseal(data)
        if line is None:
            raise StoreError("damaged on disk")
        return line

    def _to_file(self, floors: Floors) -> None:
        if not self._folder:
            return
        with mapped(f"{self._folder}/{FILE_NAME}"):
            save_file(self._files, self._folder, FILE_NAME, seal(floors.encode()), mode=0o600)

"""What the malicious peer has and gives."""

from __future__ import annotations

from edgeswarm.content.digest import digest
from edgeswarm.demo.badpeer import LyingStore


def test_it_offers_all_that_nobody_has_and_gives_none_of_it() -> None:
    store, names = LyingStore(), [digest(b"a"), digest(b"b")]
    store.require(names[0], names)
    store.put([(names[0], b"a")], owner=names[0])
    assert store.have(names) == b"\x01\x01"
    assert [digest(store.get(name)) == name for name in names] == [False, False]

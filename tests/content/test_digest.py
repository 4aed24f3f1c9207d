from __future__ import annotations

import pytest

from edgeswarm.content.digest import DIGEST_BYTES, check_digest, digest, short
from edgeswarm.errors import ContentError


def test_digest_has_its_length_for_every_buffer() -> None:
    assert len(digest(b"")) == DIGEST_BYTES
    assert digest(b"ab") == digest(memoryview(b"xabx")[1:3])


def test_right_bytes_pass() -> None:
    check_digest(b"data", digest(b"data"), "chunk 3")


def test_wrong_bytes_are_named_in_the_message() -> None:
    with pytest.raises(ContentError, match=rf"chunk 3: wanted digest {short(digest(b'data'))}, got .* over 5 bytes"):
        check_digest(b"datum", digest(b"data"), "chunk 3")


def test_short_name() -> None:
    assert short(bytes(range(32))) == "000102030405"

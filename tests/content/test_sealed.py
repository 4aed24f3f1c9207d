"""Sealed lines: any change is noticed."""

from hypothesis import given
from hypothesis import strategies as st

from edgeswarm.content.sealed import seal, unseal

lines = st.binary(max_size=200).map(lambda data: data.replace(b"\n", b""))


@given(lines)
def test_what_is_sealed_comes_back(line: bytes) -> None:
    assert unseal(seal(line)) == line


@given(lines, st.data())
def test_every_flipped_bit_and_cut_is_noticed(line: bytes, data: st.DataObject) -> None:
    sealed = bytearray(seal(line))
    at = data.draw(st.integers(0, len(sealed) - 1))
    assert unseal(bytes(sealed[:at])) is None
    sealed[at] ^= 1 << data.draw(st.integers(0, 7))
    assert unseal(bytes(sealed)) is None

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeswarm.errors import TrustError
from edgeswarm.trust.names import NAME_RULE, check_name, check_product, encoded_role, file_name, split_file_name


@pytest.mark.parametrize("text", ["a", "ruff", "1.2.3-rc1+build.7", "0~beta_2", "x" * 64])
def test_names(text: str) -> None:
    assert check_name(text, "version") == text


@pytest.mark.parametrize(
    "text", ["", ".", "..", "-x", "a/b", "a b", "a\n", "a\0", "ä", "x" * 65, "a*", "a?", "a[b]", None, 7, b"a", "a%2f"]
)
def test_no_names(text: object) -> None:
    with pytest.raises(TrustError, match="version"):
        check_name(text, "version")


@pytest.mark.parametrize("text", ["root", "targets", "snapshot", "timestamp"])
def test_a_product_is_no_role_of_tuf(text: str) -> None:
    with pytest.raises(TrustError, match="TUF role"):
        check_product(text)


@given(st.from_regex(NAME_RULE, fullmatch=True), st.integers(1, 10**18))
def test_file_names_of_products_are_plain_and_reversible(role: str, version: int) -> None:
    assert file_name(role, version) == f"{version}.{role}.json"
    assert split_file_name(file_name(role, version)) == (version, role)


@given(st.text(min_size=1, max_size=40).filter(lambda text: text.isprintable()))
def test_file_names_of_any_role_stay_in_their_folder(role: str) -> None:
    name = file_name(role, 3)
    assert "/" not in name
    assert split_file_name(name) == (3, encoded_role(role))


@pytest.mark.parametrize(
    "name", ["timestamp.json", "0.root.json", "01.root.json", "-1.root.json", "1.root.json.tmp", "x.root.json", "1..json"]
)
def test_other_names_are_not_versioned(name: str) -> None:
    assert split_file_name(name) is None

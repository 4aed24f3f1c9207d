"""The public names resolve, are few, and cost nothing until they are used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import edgeswarm
from edgeswarm.publish import publish


@pytest.mark.parametrize("name", edgeswarm.__all__)
def test_a_public_name_resolves(name: str) -> None:
    value = getattr(edgeswarm, name)
    assert value is not None
    assert getattr(value, "__name__", name) in {name, "publish"}


def test_there_are_at_most_forty_names_in_order() -> None:
    assert len(edgeswarm.__all__) <= 40
    assert len(set(edgeswarm.__all__)) == len(edgeswarm.__all__)
    assert dir(edgeswarm) == sorted(edgeswarm.__all__)


def test_publishing_is_not_shadowed_by_the_folder_of_its_name() -> None:
    assert edgeswarm.publish_release is publish


def test_every_public_error_is_of_the_tree() -> None:
    errors = [value for name in edgeswarm.__all__ if isinstance(value := getattr(edgeswarm, name), type) and name.endswith("Error")]
    assert len(errors) > 10
    assert all(issubclass(error, edgeswarm.EdgeswarmError) for error in errors)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        edgeswarm.nonsense  # noqa: B018  # the access is the test


def test_importing_loads_nothing_heavy() -> None:
    heavy = ("trio", "tuf", "httpx", "cryptography", "zstandard", "numpy", "cyclopts", "rich", "nacl")
    program = f"import sys, edgeswarm; print([name for name in {heavy!r} if name in sys.modules], edgeswarm.__version__)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["[]", edgeswarm.__version__]

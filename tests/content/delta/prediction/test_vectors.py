"""Maps and their units held to golden bytes: what `tests/vectors/make_maps.py` once wrote."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from edgeswarm.content.delta import Place, decode_unit
from edgeswarm.content.delta.prediction import decode_map

from .programs import path

_FILE = Path(__file__).parents[3] / "vectors" / "map.json"


def load() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_FILE.read_text())
    return found | {name: bytes.fromhex(found[name]) for name in ("base", "map", "unit", "plain")}


@pytest.mark.parametrize(
    "at_once", [False, pytest.param(True, marks=pytest.mark.skipif(not find_spec("numpy"), reason="no numpy"))]
)
def test_a_unit_with_a_map(at_once: bool) -> None:
    case = load()
    base, plain = case["base"], case["plain"]
    with path(at_once=at_once):
        its_map = decode_map(case["map"], len(base))
        rows = [list(row) for row in zip(its_map.olds, its_map.news, its_map.lengths, strict=True)]
        place = Place(case["start"], its_map)
        made = decode_unit(case["unit"], lambda at, n: base[at : at + n], len(base), len(plain), place)
    assert made == plain
    assert rows == case["covers"]
    assert [[area.kind.name, area.offset, area.size] for area in its_map.files[0].areas] == case["areas"]


def test_each_area_of_it_is_predicted() -> None:
    """The bytes differ from those that are copied in every area: else the vector would say nothing of it."""
    case = load()
    changed = set()
    for old, new, length in case["covers"]:
        for at in range(length):
            if case["base"][old + at] != case["plain"][new - case["start"] + at]:
                changed |= {kind for kind, offset, size in case["areas"] if offset <= old + at < offset + size}
    assert changed == {"X86_64", "AARCH64", "POINTERS", "TABLE", "EH_FRAME", "GO_FUNCTIONS"}

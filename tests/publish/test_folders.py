from __future__ import annotations

from pathlib import Path

import pytest

from edgeswarm.errors import ConfigError
from edgeswarm.publish.folders import write_new, write_over


def test_a_new_file_takes_no_name_that_is_taken_and_one_that_replaces_does(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_new(str(path), b"one", "key")
    with pytest.raises(ConfigError, match="exists already"):
        write_new(str(path), b"two", "key")
    assert path.read_bytes() == b"one"
    write_over(str(path), b"three", "key")
    assert (path.read_bytes(), path.stat().st_mode & 0o777, list(tmp_path.iterdir())) == (b"three", 0o600, [path])

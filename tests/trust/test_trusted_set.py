"""python-tuf's verification is loaded without python-tuf's own client."""

import subprocess
import sys

import pytest

_LEAN = """
import sys
import edgeswarm.trust.metadata
heavy = [name for name in sys.modules if name.partition(".")[0] in {"urllib3", "requests"} or name.startswith("tuf.ngclient")]
assert not heavy, heavy
"""
_REAL_AFTERWARDS = """
import edgeswarm.trust.metadata as ours
import tuf.ngclient
from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet
assert tuf.ngclient.config.UpdaterConfig().max_root_rotations
assert tuf.ngclient.Updater.__module__ == "tuf.ngclient.updater"
assert TrustedMetadataSet.__init__.__code__ == ours.TrustedMetadataSet.__init__.__code__
"""
_REAL_BEFORE = """
import tuf.ngclient
from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet
import edgeswarm.trust.metadata as ours
assert ours.TrustedMetadataSet is TrustedMetadataSet
assert tuf.ngclient.Updater
"""


@pytest.mark.slow
@pytest.mark.parametrize("program", [_LEAN, _REAL_AFTERWARDS, _REAL_BEFORE], ids=["lean", "real afterwards", "real before"])
def test_python_tuf_is_loaded_as_far_as_it_is_used(program: str) -> None:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

"""Write `metadata.json`: golden metadata of a small fleet.

    PYTHONPATH=. python tests/vectors/make_metadata.py

Keys are Ed25519; the private key of name n is SHA-256(n). See `tests/trust/world.py` for what is published. A run that changes an
existing line changes the format.
"""

from __future__ import annotations

import json
import sys
from hashlib import sha256
from pathlib import Path

_FOLDER = Path(__file__).parent


def main() -> None:
    """Write the vectors."""
    sys.path.insert(0, str(_FOLDER.parent))
    from trust.world import World

    names = ["root a", "root b", "root c", "online", "targets", "ruff a", "ruff b"]
    vectors = {
        "seeds": {name: sha256(name.encode()).hexdigest() for name in names},
        "files": {name: data.decode() for name, data in World().origin.items()},
    }
    (_FOLDER / "metadata.json").write_text(json.dumps(vectors, indent=1) + "\n")


if __name__ == "__main__":
    main()

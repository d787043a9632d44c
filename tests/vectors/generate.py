"""Write the protocol's vectors, tests/vectors/*.json: `python tests/vectors/generate.py`.

With `--check` nothing is written, and the exit code is 1 if a file is not what would be written.
Seeds and times are fixed and Ed25519 is deterministic, so every run gives the same bytes.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import blocks
import cosigners
import evidences
import proofs
import releases
import rounds
import stamps
import standards
import statements

FOLDER = Path(__file__).resolve().parent
FILES: dict[str, Callable[[], dict[str, Any]]] = {
    "key": blocks.keys,
    "statement": statements.vectors,
    "tree": blocks.tree,
    "header": blocks.headers,
    "checkpoint": blocks.checkpoints,
    "receipt": blocks.receipts,
    "cosignature": cosigners.cosignatures,
    "consistency": cosigners.consistencies,
    "beacon": evidences.beacon_vectors,
    "drand": rounds.vectors,
    "evidence": evidences.evidence_vectors,
    "stamp": stamps.vectors,
    "acknowledgement": blocks.acknowledgements,
    "proof": proofs.vectors,
    "release": releases.vectors,
    "transparent": standards.transparents,
    "inclusion": standards.inclusions,
}


def main() -> int:
    """Write or compare every file; return the exit code."""
    parser = argparse.ArgumentParser(description="Write the protocol's vectors, or check that they are up to date.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file differs")
    check = parser.parse_args().check
    stale = []
    for name, vectors in FILES.items():
        path = FOLDER / f"{name}.json"
        text = json.dumps(vectors(), indent=1, ensure_ascii=False) + "\n"
        if path.exists() and path.read_text() == text:
            continue
        stale.append(path.name)
        if not check:
            path.write_text(text)
    print(f"{'out of date' if check else 'written'}: {', '.join(stale) or 'nothing'}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())

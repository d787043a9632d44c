"""Print the viper modules of the firmware: `python3 firmware/generate [DIR]`, by default beside this folder.

A pinned test runs this and compares; another proves the bounds of what is printed (proof.py).
"""

import sys
from pathlib import Path

import comb
import digest
import field
import programs
import scalar

MODULES = {
    "viper_field.py": lambda: field.module() + programs.module(),
    "viper_comb.py": comb.module,
    "viper_scalar.py": scalar.module,
    "viper_sha512.py": digest.module,
}


def main(folder: Path) -> None:
    """Write each module whole or not at all."""
    for name, text in MODULES.items():
        part = folder / f"{name}.part"
        part.write_text(text())
        part.rename(folder / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent)

"""Write the build pages and wiring of every kit anew: docs/kits/*.md and *.svg, hardware/wiring/*.yml.

WireViz (GPL-3) and Graphviz draw the pictures, each started as a program of its own.  `--check` writes nothing and
exits with 1 where a page or wiring is not what hardware/ says.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from earmark.hardware import library, wiring
from earmark.hardware.build import Build, fit
from earmark.hardware.page import page

ROOT = Path(__file__).resolve().parent.parent
PAGES, WIRING = ROOT / "docs" / "kits", ROOT / "hardware" / "wiring"


def builds() -> Iterator[Build]:
    """Give every kit on each of its boards."""
    for kit in library.kits().values():
        for board in kit.plan.boards:
            yield fit(kit, library.board(board))


def texts() -> dict[Path, str]:
    """Return every file but the pictures, as it is to be."""
    found = {WIRING / f"{build.name}.yml": wiring.harness(build) for build in builds()}
    for kit in library.kits().values():
        found[PAGES / f"{kit.name}.md"] = page(kit, library.boards(), library.prices())
    return found


def draw(yaml: Path, folder: Path) -> Path:
    """Draw the SVG of a wiring into a folder; raises `OSError` or `CalledProcessError` where that does not go."""
    program = Path(sys.executable).with_name("wireviz")
    command = [str(program), "-f", "s", "-o", str(folder), str(yaml)]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    path = folder / f"{yaml.stem}.svg"
    # Which Graphviz drew it is nothing to a grower, and would differ from machine to machine.
    drawn = re.sub(r"<!--.*?-->\s*", "", path.read_text(), flags=re.DOTALL)
    # Cells are as wide as the text at 14 points in this machine's font: a little smaller, it fits in any.
    path.write_text(drawn.replace('font-size="14.00"', 'font-size="12.50"'))
    return path


def main() -> int:
    """Write, or check."""
    wrong = [path for path, text in texts().items() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv:
        print("\n".join(f"{path}: not what hardware/ says; run make kits" for path in wrong))
        return 1 if wrong else 0
    for path, text in texts().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for yaml in sorted(WIRING.glob("*.yml")):
        draw(yaml, PAGES)
        print(PAGES / f"{yaml.stem}.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())

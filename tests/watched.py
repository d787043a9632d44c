"""A farm whose gateway tells of itself over HTTP."""

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families as parse

from earmark.config import Farm, open_farm
from services import free_port, make_farm


class Watched:
    """A farm whose gateway tells of itself on `port`."""

    def __init__(self, folder: Path, more: str = "", *, embedded: bool = True) -> None:
        self.broker_port, self.port = free_port(), free_port()
        made = make_farm(folder, self.broker_port, embedded=embedded)
        settings = made.folder / "earmark.toml"
        settings.write_text(settings.read_text() + f"[status]\nport = {self.port}\n{more}")
        self.farm: Farm = open_farm(made.folder)

    def get(self, path: str) -> tuple[int, str]:
        """The status and body of an answer; 0 where nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def health(self) -> tuple[int, Any]:
        """The status of /health, and the words for what is wrong."""
        code, body = self.get("/health")
        return code, [reason["reason"] for reason in json.loads(body)["reasons"]] if body else []

    def value(self, name: str, **labels: str) -> float | None:
        return sample(self.get("/metrics")[1], name, **labels)


def sample(text: str, name: str, **labels: str) -> float | None:
    """One number of an exposition, by name and labels."""
    rows = (row for family in parse(text) for row in family.samples)
    found = [row.value for row in rows if row.name == name and labels.items() <= row.labels.items()]
    return found[0] if found else None

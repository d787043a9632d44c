"""Fixtures for the tests of the MQTT client."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from earmark import mqtt
from mqtt_scene import Broker
from services import free_port


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Broker]:
    made = Broker(tmp_path / "mosquitto", free_port())
    made.start()
    yield made
    made.kill()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Connect again at once; and whatever was left open fails the test."""
    monkeypatch.setattr(mqtt, "RECONNECT_S", (0.05, 0.2))
    yield
    gc.collect()  # what was not closed warns

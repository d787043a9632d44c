"""Earmark: provenance for sensor data, signed at the sensor and checked by anyone."""

__version__ = "0.1.0"

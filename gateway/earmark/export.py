"""The log in other forms: JSON lines, CSV of readings, or the raw COSE statements; streaming, and digit by digit.

Decimal fractions are written with the digits that the node signed, never through binary floating point.
"""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from earmark import cose
from earmark.senml import Reading
from earmark.statement import CLOCK_SOURCES, METHODS, Statement, decode
from earmark.store import Store

CSV_COLUMNS = (
    "index",
    "node",
    "signer",
    "seq",
    "issued_at",
    "received_at",
    "taken_at",
    "reading",
    "value",
    "unit",
    "method",
    "clock",
    "clock_error_s",
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_S = 253_402_300_799

"""Times in recordings: text to Unix seconds, taken as UTC, with whole-number arithmetic."""

FORMATS = ("iso", "mdy", "dmy", "unix")


def parse(text, form):
    """Unix seconds of a time in one of `FORMATS`; raises `ValueError`.

    iso 2022-02-01[T or blank]00:04[:05][Z], mdy 2/1/2022 0:04[:05], dmy 1/2/2022 0:04[:05], unix 1643673840.
    A date alone is its midnight.
    """
    try:
        seconds = int(text) if form == "unix" else _civil(text.strip(), form)
    except (ValueError, IndexError):
        seconds = -1
    if not 2**28 <= seconds < 2**40:
        raise ValueError("'%s' is no time of the form %s" % (text[:40], form))
    return seconds


def _civil(text, form):
    text = text[:-1] if text.endswith("Z") else text
    date, _, clock = text.replace("T", " ").partition(" ")
    parts = [_number(part) for part in date.split("-" if form == "iso" else "/")]
    if form == "iso":
        year, month, day = parts
    elif form == "mdy":
        month, day, year = parts
    else:
        day, month, year = parts
    hours, minutes, seconds = ([_number(part) for part in clock.split(":")] + [0, 0, 0])[:3] if clock else (0, 0, 0)
    if clock.count(":") not in (0, 1, 2) or hours > 23 or minutes > 59 or seconds > 59:
        raise ValueError(text)
    return _days(year, month, day) * 86400 + hours * 3600 + minutes * 60 + seconds


def _number(text):
    if not text.isdigit():
        raise ValueError(text)
    return int(text)


def _days(year, month, day):
    """Days from 1970-01-01 to a date of the Gregorian calendar."""
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    lengths = (31, 29 if leap else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
    if not 1970 <= year <= 9999 or not 1 <= month <= 12 or not 1 <= day <= lengths[month - 1]:
        raise ValueError("no such date")
    before = year - 1
    return 365 * (year - 1970) + before // 4 - before // 100 + before // 400 - 477 + sum(lengths[: month - 1]) + day - 1

"""Sets of sequence numbers as ascending, disjoint runs [(first, last), …], both ends included."""


def add(runs, first, last):
    """The set with first … last added; runs that touch become one."""
    result = []
    for low, high in runs:
        if high + 1 < first or last + 1 < low:
            result.append((low, high))
        else:
            first, last = min(first, low), max(last, high)
    result.append((first, last))
    result.sort()
    return result


def holds(runs, number):
    """Whether the number is in the set."""
    return any(low <= number <= high for low, high in runs)


def common(runs, first, last):
    """How many of first … last are in the set."""
    total = 0
    for low, high in runs:
        total += max(0, min(high, last) - max(low, first) + 1)
    return total


def without(runs, first, last):
    """The runs of first … last that are not in the set."""
    result = []
    for low, high in runs:
        if low > last:
            break
        if high >= first:
            if low > first:
                result.append((first, low - 1))
            first = high + 1
    if first <= last:
        result.append((first, last))
    return result

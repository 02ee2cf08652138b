"""A task that is made here and worth learning: a day as people write it, to ISO 8601. `the 3rd of May, 1987` is 1987-05-03."""

from __future__ import annotations

import datetime

import numpy as np

from configs import UserError
from configs.data import DatesData

MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"]
WEEKDAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
FIRST, LAST = datetime.date(1900, 1, 1), datetime.date(2099, 12, 31)
FORMS = (
    "{day} {month} {year}",
    "{day} {short} {year}",
    "{month} {day}, {year}",
    "{short} {day}, {year}",
    "{short}. {day}, {year}",
    "{month} {ordinal}, {year}",
    "the {ordinal} of {month}, {year}",
    "{ordinal} {month} {year}",
    "{weekday}, {day} {month} {year}",
    "{weekday}, {month} {day}, {year}",
    "{weekday} the {ordinal} of {month} {year}",
    "{day}. {month} {year}",
    "{day:02}.{number:02}.{year}",
    "{day}.{number}.{year}",
    "{number:02}/{day:02}/{year}",
    "{number}/{day}/{year}",
    "{year}/{number:02}/{day:02}",
    "{day:02}-{short}-{year}",
    "{year} {month} {day}",
)


def ordinal(day: int) -> str:
    """1st, 2nd, 3rd, 4th ..."""
    suffix = "th" if 11 <= day <= 13 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    return f"{day}{suffix}"


def write(day: datetime.date, form: str, case: int) -> str:
    """A day in one of FORMS. case: 0 as it stands, 1 in lower case, 2 in upper case."""
    month = MONTHS[day.month - 1]
    text = form.format(
        day=day.day,
        month=month,
        short=month[:3],
        number=day.month,
        ordinal=ordinal(day.day),
        weekday=WEEKDAYS[day.weekday()],
        year=day.year,
    )
    return (text, text.lower(), text.upper())[case]


def make_dates(data: DatesData) -> tuple[list[tuple[str, str]], ...]:
    """Train, validation and test: pairs of a day in words and in ISO 8601. Every day is in one split only, in as many forms as drawn."""
    random = np.random.default_rng(data.seed)
    days_N = random.permutation((LAST - FIRST).days + 1)
    sizes = (data.train, data.validation, data.test)
    borders = np.round(np.cumsum([0, *sizes]) / sum(sizes) * len(days_N)).astype(int)
    for name, start, end in zip(("train", "validation", "test"), borders, borders[1:], strict=False):
        if start == end:
            raise UserError(f"data.{name} is so small a share of all pairs that no day is left for it; make it larger, or others smaller")
    splits = []
    for size, start, end in zip(sizes, borders, borders[1:], strict=False):
        pairs = []
        for _ in range(size):
            day = FIRST + datetime.timedelta(days=int(days_N[random.integers(start, end)]))
            # Slashes are read as in the United States and full stops as in Germany, so that no form has two meanings.
            form, case = FORMS[random.integers(len(FORMS))], int(random.choice(3, p=[0.7, 0.2, 0.1]))
            pairs.append((write(day, form, case), day.isoformat()))
        splits.append(pairs)
    return tuple(splits)

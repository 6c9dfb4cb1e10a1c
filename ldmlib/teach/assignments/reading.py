"""Answers as people type them: 0,61 and 61 % and 3/4 and 1.2e-3, read as what they mean.

    read_number("0,61")     # Read(value=0.61, said="read as 0.61")
    read_word(" B) ")       # "b"
    same_name("José", "Jose\u0301")    # True: two ways to type one name

Nothing here depends on the machine's language, on its encoding or on how letters are composed.
"""

from __future__ import annotations

import math
import re
import unicodedata
from typing import Any, NamedTuple

MINUS = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2212\ufe58\ufe63\uff0d"), "-")
APOSTROPHES = dict.fromkeys(map(ord, "'`\u00b4\u2018\u2019\u02bc_"), "'")
QUOTES = "\"'`\u2018\u2019\u201a\u201c\u201d\u201e\u00ab\u00bb"
RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
LEAD = re.compile(
    r"^(?:(?:[^\d=≈~<>!][^=≈~<>!]{0,19})?[=≈~]|(?:ca|circa|about|approx|approximately)\b\.?)\s*",
    re.IGNORECASE,
)
POWER = re.compile(r"(?:[x*·⋅×∙]\s*)10\s*(?:\^|\*\*)?\s*[({]?\s*([+-]?\d+)\s*[)}]?$")
PLAIN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
LONGEST = 80


class Read(NamedTuple):
    """A number, or None where there is none to be read; `said` is how it was read, or ""."""

    value: float | None
    said: str = ""


def decoded(text: str) -> str:
    """What was typed on a command line, also where the system's language cannot hold it."""
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    except UnicodeEncodeError:  # half a pair of UTF-16
        return text.encode("utf-8", "replace").decode("utf-8")


def name_key(name: str) -> str:
    """What two spellings of one name share: spaces, capitals and composed letters do not count."""
    name = "".join(
        c for c in decoded(name) if unicodedata.category(c) != "Cf"
    )  # no invisible characters
    folded = unicodedata.normalize("NFKC", name).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def same_name(a: str, b: str) -> bool:
    """Whether `make` takes both for one student."""
    return name_key(a) == name_key(b)


def tidy(name: str) -> str:
    """A name as it is printed: composed letters, single spaces."""
    return " ".join(unicodedata.normalize("NFC", decoded(name)).split())


def read_word(value: Any) -> str:
    """A word or a letter for comparison: " B) " and "(b)" are "b"."""
    if isinstance(value, (list, tuple)) and len(value) == 1:
        value = value[0]
    return name_key(str(value)).strip(QUOTES + " ()[]{}.,;:")


def read_number(value: Any) -> Read:
    """A number from what JSON or a person calls one.

    A text may have a decimal comma or point, spaces or apostrophes between thousands, a percent
    sign, a fraction bar, a power of ten, and any kind of minus or digits. One comma alone is a
    decimal comma: "1,234" is 1.234, as all answers are below 1,000.
    """
    if isinstance(value, (list, tuple)) and len(value) == 1:
        value = value[0]
        if isinstance(value, (list, tuple)):
            return Read(None)
        return _finite(read_number(value).value, said=True)
    if isinstance(value, bool):
        return Read(None)
    if isinstance(value, (int, float)):
        return Read(float(value)) if _is_finite(value) else Read(None)
    if not isinstance(value, str) or len(value) > LONGEST:
        return Read(None)
    if PLAIN.fullmatch(value.strip(" ")) and value.isascii():
        return _finite(float(value))
    read = _finite(_from_text(value), said=True)
    if read.said and re.fullmatch(r"[1-9]\d{0,2},\d{3}", value.strip()):
        return Read(read.value, f"{read.said}, with a decimal comma")
    return read


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number of hundreds of digits
        return False


def _finite(number: float | None, said: bool = False) -> Read:
    if number is None or not math.isfinite(number):
        return Read(None)
    return Read(number, f"read as {number:.6g}" if said else "")


def _from_text(text: str) -> float | None:
    """The number that a person wrote, or None."""
    text = _plain_signs(text)
    text = re.sub(r"\s*(nats|nat)$", "", LEAD.sub("", text), flags=re.IGNORECASE)
    scale = 1.0
    if text.endswith("%"):
        text, scale = text[:-1].rstrip(), 0.01
    power = POWER.search(text)
    if power and text[: power.start()].strip():
        text = text[: power.start()].strip()
        scale *= 10.0 ** max(-400, min(int(power[1]), 300))
    number = _fraction(text) if "/" in text else _decimal(text)
    return None if number is None else number * scale


def _plain_signs(text: str) -> str:
    """ASCII digits, one kind of minus, apostrophe and space; no quotes or invisible characters."""
    parts = []
    for c in text:
        if "<fraction>" in unicodedata.decomposition(c):
            parts.append(f" {c}")  # "1½" is one and a half, not 11 / 2
        else:
            parts.append(f"^{c}" if c in "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺" and not _raised(parts) else c)
    text = "".join(parts).translate(RAISED)
    text = unicodedata.normalize("NFKC", text).translate(MINUS).translate(APOSTROPHES)
    text = (
        text.replace("\u066a", "%")
        .replace("\u2044", "/")
        .replace("\u066b", ",")
        .replace("\u066c", "'")
    )
    text = "".join(c for c in text if unicodedata.category(c) != "Cf")
    digits = (str(unicodedata.decimal(c)) if c.isdecimal() else c for c in text)
    text = " ".join("".join(digits).strip(QUOTES + " \t\r\n()[]").split())
    return re.sub(r"(?<=\d)[.;]$", "", text)


def _raised(parts: list[str]) -> bool:
    return bool(parts) and parts[-1][-1] in "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺"


def _fraction(text: str) -> float | None:
    """ "3/4" and "1 3/4"."""
    found = re.fullmatch(r"([+-]?)\s*(?:(\d{1,9}) )?\s*([\d.,]+) ?/ ?([\d.,]+)", text)
    if not found:
        return None
    above, below = _decimal(found[3]), _decimal(found[4])
    if above is None or not below or (found[2] and found[3].strip("0123456789")):
        return None
    number = int(found[2] or 0) + above / below
    return -number if found[1] == "-" else number


def _decimal(text: str) -> float | None:
    """A decimal number with "," or "." as its point, perhaps with thousands set apart."""
    found = re.fullmatch(r"([+-]?) ?([\d., ']+?)(?:[eE]([+-]?\d{1,3}))?", text)
    if not found:
        return None
    whole, point, rest = _split(found[2].strip())
    grouped = re.fullmatch(r"\d{1,3}(?:([., '])\d{3}(?:\1\d{3})*)?|\d+|", whole)
    if not grouped or (grouped[1] and grouped[1] == point) or not rest.isdecimal() and rest:
        return None
    digits = re.sub(r"\D", "", whole)
    if not digits and not rest:
        return None
    return float(f"{found[1]}{digits or 0}.{rest or 0}e{found[3] or 0}")


def _split(text: str) -> tuple[str, str, str]:
    """What stands before the decimal point, the point, and what stands behind it."""
    marks = [c for c in text if c in ".,"]
    if not marks or (len(marks) > 1 and len(set(marks)) == 1):
        return text, "", ""  # no point at all, or 1,234,567
    whole, point, rest = text.rpartition(marks[-1])
    return whole, point, rest


def written(value: Any) -> str:
    """What was handed in, for a line of a report: short, and without control characters."""
    text = repr(value) if isinstance(value, str) else str(value)
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."

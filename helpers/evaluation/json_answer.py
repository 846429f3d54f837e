"""An answer as JSON: strictly, because the back office's parser is strict too."""

import json


def json_object(text: str) -> dict | None:
    """The JSON object that a text is, or None. NaN and Infinity are not JSON."""
    try:
        value = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def same_value(got: dict, name: str, value) -> bool:
    """Whether a key is there with that value and type (in Python, 1 equals True)."""
    return name in got and type(got[name]) is type(value) and got[name] == value


def _refuse(name: str):
    """Raises ValueError for a constant that only Python's parser knows."""
    raise ValueError(f"{name} is not JSON")

"""The metadata of Co-op Translator: a language's file.

`.co-op-translator.json` says from which bytes of an English page a translation was
made (https://github.com/Azure/co-op-translator). A page enters it, or gets a new hash,
when every cell is translated from today's English; so the file never says more than
is true. `co-op-review` reads it.
"""

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

from translations.pages import Page, PageError, read_text

NAME = ".co-op-translator.json"
FIELDS = {"original_hash", "translation_date", "source_file", "language_code"}


def read(folder: Path) -> dict[str, dict]:
    """The entries of a language's sidecar, none without a file. Raises PageError."""
    if not (folder / NAME).exists():
        return {}
    name = f"translations/{folder.name}/{NAME}"
    try:
        entries = json.loads(read_text(folder.parent.parent, name))
        assert all(FIELDS <= set(entry) for entry in entries.values())
    except (ValueError, AttributeError, TypeError, AssertionError):
        message = "not Co-op Translator's metadata; delete it and run `sync`"
        raise PageError(f"{name}:1: {message}") from None
    return entries


def entry(root: Path, page: Page, language: str, old: dict | None = None) -> dict:
    """A page's entry for a whole translation; an equal old one is kept."""
    content = (root / page.path).read_bytes()
    new = {
        "original_hash": hashlib.md5(content, usedforsecurity=False).hexdigest(),
        "translation_date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S+00:00"),
        "source_file": page.path,
        "language_code": language,
    }
    dated = old and old | {"translation_date": new["translation_date"]}
    return old if dated == new else new


def text(entries: dict[str, dict]) -> str:
    """The sidecar's file content, sorted as Co-op Translator sorts it."""
    ordered = dict(sorted(entries.items()))
    return json.dumps(ordered, indent=2, ensure_ascii=False) + "\n"

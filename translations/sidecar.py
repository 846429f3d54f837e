"""The metadata of Co-op Translator: today's file of a language, and the old comment.

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
LABEL = "CO_OP_TRANSLATOR_METADATA:"
FIELDS = {"original_hash", "translation_date", "source_file", "language_code"}
CODES = {"br": "pt-BR", "pt": "pt-PT", "tw": "zh-TW", "cn": "zh-CN"}


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


def read_legacy(markdown: str) -> dict | None:
    """The metadata of the old inline comment, or None where there is none.

    The path gets slashes and the language its code of BCP 47 (br was Brazil).
    """
    head, label, rest = markdown.partition(LABEL)
    if not label or not head.rstrip().endswith("<!--"):
        return None
    try:
        found = json.loads(rest.partition("-->")[0])
    except ValueError:
        return None
    if not isinstance(found, dict) or not FIELDS <= set(found):
        return None
    path = str(found["source_file"]).replace("\\", "/")
    code = CODES.get(found["language_code"], found["language_code"])
    return found | {"source_file": path, "language_code": code}

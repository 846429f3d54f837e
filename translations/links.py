"""Links of a page that moves into another folder and another language."""

import os
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from translations.pages import Page
from translations.targets import headings, replace_targets, slugs, targets

Anchors = Callable[[str], dict[str, str]]  # from a page's path to its `anchor_map`
OUTSIDE = re.compile(r"[a-z][a-z0-9+.-]*:|//", re.IGNORECASE)


def anchor_map(page: Page, texts: dict[str, str]) -> dict[str, str]:
    """{English anchor: anchor of the translated heading}.

    texts: {cell id: translated text}. A cell whose headings are not as many as in the
    English keeps the English anchors.
    """
    old, new = [], []
    for cell in (cell for cell in page.cells if not cell.code):
        ours, theirs = headings(texts.get(cell.id, cell.text)), headings(cell.text)
        old += theirs
        new += ours if len(ours) == len(theirs) else theirs
    return dict(zip(slugs(old), slugs(new), strict=True))


def link_map(
    root: Path, page: Page, here: str, places: dict[str, str], anchors: Anchors
) -> dict[str, str]:
    """{English target: target in the file `here`} for all links of a page.

    here, and the values of places {English page: its translation}: paths from the
    root, or absolute.
    """
    found = {t for cell in page.cells if not cell.code for t in targets(cell.text)}
    return {t: _moved(root, t, page.path, here, places, anchors) for t in found}


def _moved(
    root: Path,
    target: str,
    page: str,
    here: str,
    places: dict[str, str],
    anchors: Anchors,
) -> str:
    path, mark, anchor = target.partition("#")
    if OUTSIDE.match(target) or not path and not mark:
        return target
    goal = os.path.normpath(os.path.join(os.path.dirname(page), path)) if path else page
    goal = goal.replace(os.sep, "/")
    if anchor:
        anchor = anchors(goal).get(anchor, anchor)
    if not path:
        return mark + anchor
    # README links itself only to offer the English page.
    goal = goal if goal == page else places.get(goal, goal)
    folder = os.path.dirname(os.path.join(root, here))
    moved = os.path.relpath(os.path.join(root, goal), folder).replace(os.sep, "/")
    return moved + "/" * path.endswith("/") + mark + anchor


def repaired(english: str, text: str, mapping: dict[str, str]) -> str:
    """A translation with its link targets put right where that is certain.

    A target copied from the English page becomes the one for this file, and an anchor
    that follows a heading of another name becomes today's.
    """
    wanted = Counter(mapping[t] for t in targets(english))
    given = Counter(targets(text))
    extra, lacking = list((given - wanted).elements()), wanted - given
    swaps = {t: mapping[t] for t in extra if lacking[mapping.get(t)]}
    lacking -= Counter(swaps.values())
    for old in (t for t in extra if t not in swaps and "#" in t):
        page = old.partition("#")[0]
        new = next((t for t in lacking.elements() if t.startswith(f"{page}#")), None)
        if new:
            swaps[old] = new
            lacking[new] -= 1
    return replace_targets(text, swaps)

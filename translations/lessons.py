"""Keep the translated lessons true to the English ones.

    python translations/lessons.py sync [LANG ...] [--run FOLDER]
    python translations/lessons.py sync --new LANG [LESSON ...]
    python translations/lessons.py check|build|status [LANG ...]

sync brings the files of a language up to date, and never loses a translator's text;
--new begins a language, or some lessons in it (00, 03, README); --run takes what the
cells print from a run of the English lessons. check names every stale, missing or
changed cell; build writes localized notebooks and README; status counts cells. Without
LANG: all languages, and the reading edition in English. Exit code 0, 1 if something is
wrong in a file, 2 for a request that cannot be met.
"""

import argparse
import os
import sys
from pathlib import Path

if __name__ == "__main__":  # run by its path, which is not the folder of the packages
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from helpers import Parser, run_command  # noqa: E402
from helpers.files import ROOT  # noqa: E402
from translations import (  # noqa: E402
    bars,
    beginning,
    building,
    catalogue,
    checking,
    glossary,
    sidecar,
    sync,
)
from translations.artifact import STATES  # noqa: E402
from translations.edition import (  # noqa: E402
    A_CODE,
    CODE,
    ENGLISH,
    Edition,
    begun_pages,
    languages,
    misnamed,
)
from translations.pages import PageError, read_pages  # noqa: E402


def sync_edition(edition: Edition) -> list[str]:
    """Brings a language's files up to date; the messages of files left alone."""
    problems = []
    for page in edition.own:
        try:
            text = sync.page_text(edition, page)
            if sync.write(edition.root / edition.name(page), text):
                print(f"{edition.name(page)}: written")
        except PageError as error:
            problems.append(f"{error} (the file is left as it is)")
    if edition.language == ENGLISH:
        readme = edition.root / "README.md"
        text = readme.read_text(encoding="utf-8")
        sync.write(readme, bars.english(edition.languages, text))
        return problems
    problems += sync_catalogue(edition)
    after = Edition(edition.root, edition.pages.values(), edition.language)
    try:
        entries = sync.sidecar_entries(after)
        sync.write(edition.folder / sidecar.NAME, sidecar.text(entries))
    except PageError as error:
        problems += [] if str(error) in " ".join(problems) else [str(error)]
    return problems


def sync_catalogue(edition: Edition) -> list[str]:
    """Brings up to date what the code says in a language; a message where it fails."""
    if catalogue.Catalog is None:
        return []
    try:
        name, text = catalogue.name_of(edition), catalogue.text(edition)
        if text and sync.write(edition.root / name, text):
            print(f"{name}: written")
    except PageError as error:
        return [f"{error} (the file is left as it is)"]
    return []


def check_edition(edition: Edition) -> list[str]:
    """Prints what is wrong in a language's files; the errors."""
    errors, warnings = checking.check_folder(edition), []
    for page in edition.own:
        found = checking.check_page(edition, page)
        errors += found[0]
        warnings += found[1]
    if edition.language != ENGLISH:
        found = catalogue.check(edition)
        errors += found[0]
        warnings += found[1]
    if not errors:
        errors += checking.check_sidecar(edition)
    unbegun = [w for w in warnings if w.endswith(checking.NOT_BEGUN)]
    for warning in (w for w in warnings if w not in unbegun):
        print(f"warning: {warning}")
    numbers = {"error": len(errors), "warning": len(warnings) - len(unbegun)}
    numbers["page"] = len(edition.own)
    parts = [f"{n} {name}{'s' * (n != 1)}" for name, n in numbers.items()]
    print(f"{edition.language}: {', '.join(parts)}, {len(unbegun)} of them not begun")
    return errors


def status_rows(edition: Edition, by_lesson: bool) -> list[list[str]]:
    """The rows of the status table of a language, lists of texts."""
    counts, broken = {}, {}
    absent = [page for page in edition.pages.values() if page not in edition.own]
    if edition.language == ENGLISH:
        absent = []
    broken = {p.name: [edition.language, p.name, checking.NOT_BEGUN] for p in absent}
    for page in edition.own:
        try:
            counts[page.name] = edition.counts(page)
        except PageError:
            broken[page.name] = [edition.language, page.name, "cannot be read: check"]
    if by_lesson:
        rows = [[edition.language, n, *map(str, c.values())] for n, c in counts.items()]
        return rows + list(broken.values())
    sums = [sum(c[state] for c in counts.values()) for state in STATES]
    whole = sum(c["stale"] + c["missing"] == 0 for c in counts.values())
    pages = len(edition.own) + len(absent)
    says = catalogue.counts(edition) if edition.language != ENGLISH else ""
    return [[edition.language, f"{whole} of {pages}", *map(str, sums), says]]


def print_table(rows: list[list[str]]) -> None:
    """Prints rows of texts as columns, the first row as their heads."""
    columns = range(len(rows[0]))
    widths = [max(len(row[i]) for row in rows if i < len(row)) for i in columns]
    for row in rows:
        cells = zip(row, widths, strict=False)
        print("  ".join(text.ljust(width) for text, width in cells).rstrip())


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The request of a command line. Raises UserError."""
    parser = Parser("lessons.py", description=__doc__)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("languages", nargs="*", metavar="LANG|LESSON")
    new = "begin a language, or lessons in it (sync)"
    parser.add_argument("--new", metavar="LANG", help=new)
    parser.add_argument("--root", type=Path, default=ROOT, help="folder of the course")
    parser.add_argument("--output", type=Path, help="of build; build/translations")
    parser.add_argument("--run", type=Path, help="an English run's folder (sync)")
    options = parser.parse_intermixed_args(argv)
    for name in ("new", "run"):
        if getattr(options, name) and options.command != "sync":
            parser.error(f"--{name} belongs to sync, not to {options.command}")
    if options.run and (options.new or options.languages):
        parser.error("--run is for all languages: leave the others out")
    return options


def editions(options: argparse.Namespace) -> list[Edition]:
    """The editions that a command is about. Raises PageError."""
    pages = read_pages(options.root)
    if options.new:
        return [
            beginning.new_edition(options.root, pages, options.new, options.languages)
        ]
    english = (options.root / "translations" / ENGLISH).exists()
    known = [ENGLISH] * bool(english or options.run) + languages(options.root)
    for unknown in set(options.languages) - set(known):
        there = ", ".join(known) or "none yet"
        message = f"no translation into {unknown!r} (there: {there})"
        begin = f"begin it with: sync --new {unknown}"
        remedy = begin if CODE.fullmatch(unknown) else f"name it by {A_CODE}"
        raise PageError(f"{message}; {remedy}")
    return [Edition(options.root, pages, n) for n in options.languages or known]


def sync_editions(options: argparse.Namespace, chosen: list[Edition]) -> list[str]:
    """Brings languages up to date; the messages of files left alone."""
    before, left = begun_pages(options.root), []
    if options.run:
        english, *others = chosen
        pages = list(english.pages.values())
        from translations import harvest  # it asks what machine this is

        taken, left = harvest.take(options.root, pages, options.run)
        chosen = [Edition(options.root, pages, ENGLISH, taken), *others]
    if catalogue.Catalog is None:
        print(f"warning: {catalogue.NAME}: {catalogue.NO_BABEL}")
    errors = [error for edition in chosen for error in sync_edition(edition)]
    if begun_pages(options.root) != before:  # each page links those of all languages
        options = argparse.Namespace(**vars(options) | {"languages": [], "run": None})
        chosen = editions(argparse.Namespace(**vars(options) | {"new": None}))
        errors = [error for edition in chosen for error in sync_edition(edition)]
    if options.new:
        print(f"next: fill in translations/{options.new}/{glossary.NAME}, translate a")
        print(f"      page, then run: sync {options.new}, and check")
    return left + errors


def check_editions(options: argparse.Namespace, chosen: list[Edition]) -> list[str]:
    """Prints what is wrong in languages; the errors."""
    errors = [error for edition in chosen for error in check_edition(edition)]
    return errors if options.languages else errors + misnamed(options.root)


def build_editions(options: argparse.Namespace, chosen: list[Edition]) -> list[str]:
    """Writes localized notebooks; no errors."""
    folder = options.output or options.root / "build" / "translations"
    for edition in (edition for edition in chosen if edition.language != ENGLISH):
        count = building.build(edition, folder)
        print(f"{folder / edition.language}: {count} pages")
    return []


def print_status(options: argparse.Namespace, chosen: list[Edition]) -> list[str]:
    """Prints the table of cells; no errors."""
    heads = ["language", "lesson" if options.languages else "pages whole", *STATES]
    heads += [] if options.languages else ["texts of the code"]
    rows = [r for e in chosen for r in status_rows(e, bool(options.languages))]
    print_table([heads, *rows])
    return []


COMMANDS = {"sync": sync_editions, "check": check_editions}
COMMANDS |= {"build": build_editions, "status": print_status}


def main(argv: list[str] | None = None) -> int:
    """Runs a command line; 0, or 1 if a file has something wrong. Raises UserError."""
    options = parse(argv)
    errors = COMMANDS[options.command](options, editions(options))
    for error in errors:
        print(error, file=sys.stderr)
    return 1 if errors else 0


if __name__ == "__main__":
    try:
        code = run_command("lessons.py", main)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of a pipe, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code)

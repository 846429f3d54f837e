"""What the code says to a learner, in a language: LANG/messages.po, of gettext's form.

The texts are found in the sources, without running them: hints and ticks of exercises,
what `localized` is given, titles, axes and legends of figures. A text with computed
parts is known by its form, "{0} runs of {1}". `helpers.language` reads the catalogue.
"""

import ast
import io
import re
from collections.abc import Iterator
from difflib import get_close_matches
from itertools import count

from translations import glossary, rules
from translations.edition import COMPLETE, Edition
from translations.pages import PageError, read_text

try:
    from babel.messages.catalog import Catalog
    from babel.messages.pofile import read_po, write_po
except ImportError:  # pages do without
    Catalog = None

NAME = "messages.po"
HEAD = "# What the code says. How to translate it: translations/README.md"
NO_BABEL = "not looked at; it needs one more package: pip install babel"
STALE = "stale: the English has changed; bring msgstr up to date, delete `#, fuzzy`"
STALE += " above it, and run `sync`"
FORM = "not all texts of today's code, or not as `sync` would write it; run `sync`"
MISSING = "texts that the code says are not translated, and shown in English; this is"
MISSING += " the first"
CHECKING = "helpers/exercises/checking.py"  # has hints that several lessons give
# What is said: all arguments of some calls, the first one of others, and by name.
ALL = {"curves", "loss_curves", "before_after", "learning_curve", "heat_map"}
EXERCISES = {"Exercise", "numeric"}
FIRST = EXERCISES | {"localized", "drawable"}
FIRST |= {"set_title", "suptitle", "set_xlabel", "set_ylabel"}
IN_EXERCISES = {"expected", "praise", "hint", "percent", "mistakes"}
IN_FIGURES = {"title", "xlabel", "ylabel", "label"}
LINE = re.compile(r'#(?!~).*|(#~ )?(msgid|msgstr)? ?"(\\.|[^"\\])*"|')
GENERATED = re.compile(r'^"Generated-By: .*\n', re.MULTILINE)  # babel's version
FIELD = re.compile(r"\{\w+\}")
PARTS = re.compile(r"\{\w+\}|[{}]")  # fields, and braces that would break them
WORD = re.compile(r"[^\W\d_]{2}")


def texts(edition: Edition) -> dict[str, list[str]]:
    """{English: the files that say it}, in the order of the sources.

    Raises PageError for a file that is no Python.
    """
    trees = [(name, _parsed(name, source)) for name, source in _sources(edition)]
    shared = [node for name, tree in trees if name == CHECKING for node in tree.body]
    named = [node for node in shared if isinstance(node, ast.Assign)]
    constants, found = {ast.unparse(n.targets[0]): n.value for n in named}, {}
    for name, tree in trees:
        values = [value for node in ast.walk(tree) for value in _values(node)]
        for value in sorted(values, key=lambda v: (v.lineno, v.col_offset)):
            for text in _forms(value, constants):
                # What begins or ends with a space is a part of a text.
                if WORD.search(FIELD.sub("", text)) and text == text.strip():
                    found.setdefault(text, {})[name] = True
    return {text: list(names) for text, names in found.items()}


def _sources(edition: Edition) -> Iterator[tuple[str, str]]:
    """(file from the root, Python text) of all that says something."""
    root = edition.root
    for path in sorted((root / "helpers").rglob("*.py")):
        name = path.relative_to(root).as_posix()
        source = read_text(root, name)
        if path.parent.name == "exercises" or "localized(" in source:
            yield name, source
    for page in edition.pages.values():
        code = "\n".join(cell.text for cell in page.cells if cell.code)
        yield page.path, re.sub(r"^[%!].*$", "", code, flags=re.MULTILINE)


def _parsed(name: str, source: str) -> ast.Module:
    try:
        return ast.parse(source)
    except SyntaxError as error:
        raise PageError(f"{name}: {error}") from None


def _values(node: ast.AST) -> list[ast.expr]:
    """What a call or an assignment says, if anything."""
    if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "title":
        return [node.value]
    if not isinstance(node, ast.Call):
        return []
    name = ast.unparse(node.func).rpartition(".")[2]
    names = IN_EXERCISES if name in EXERCISES else IN_FIGURES
    named = [word.value for word in node.keywords if word.arg in names]
    if name == "slider":  # draw, values, start, label
        named += node.args[3:]
    return (node.args if name in ALL else node.args[: name in FIRST]) + named


def _forms(node: ast.expr, constants: dict[str, ast.expr]) -> list[str]:
    """The texts that an expression may be, what is computed in them as {0}, {1}."""
    parts = []
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.JoinedStr():
            fields = (f"{{{number}}}" for number in count())
            values = (getattr(value, "value", None) for value in node.values)
            return ["".join(v if isinstance(v, str) else next(fields) for v in values)]
        case ast.Dict():
            parts = node.keys
        case ast.IfExp():
            parts = [node.body, node.orelse]
        case ast.BoolOp():
            parts = node.values
        case ast.Name(id=name) if name in constants:
            parts = [constants[name]]
    return [text for part in parts if part for text in _forms(part, constants)]


def name_of(edition: Edition) -> str:
    """A language's catalogue as messages name it, from the root."""
    return f"translations/{edition.language}/{NAME}"


def text(edition: Edition) -> str:
    """The catalogue of today, "" where the code says nothing. Raises PageError.

    A translation of a text that changed is kept and marked "fuzzy", one of a text that
    is gone stands at the end.
    """
    template = Catalog()
    for english, files in texts(edition).items():
        template.add(english, locations=[(file, 1) for file in files])
    if not len(template):
        return ""
    catalogue = _read(edition)
    for message in catalogue.obsolete.values():  # its text may have come back
        catalogue[message.id] = message
    catalogue.obsolete.clear()
    used = _renew(template, catalogue)
    catalogue.update(template, no_fuzzy_matching=True, update_creation_date=False)
    gone = [m for m in catalogue.obsolete.values() if m.string and m.id not in used]
    catalogue.obsolete = {message.id: message for message in gone}
    for message in catalogue:
        message.flags.discard("python-format")  # babel takes "95 % of" for one
    out = io.BytesIO()
    write_po(out, catalogue, width=88, include_lineno=False)
    return GENERATED.sub("", out.getvalue().decode())


def _renew(template: "Catalog", catalogue: "Catalog") -> set[str]:
    """Gives new texts the translations of like ones that are gone; those texts.

    babel would take the likest of all, also of those that are still there.
    """
    known = [m for m in catalogue if m.id and m.string]
    gone, used = {m.id: m.string for m in known if m.id not in template}, set()
    for message in (m for m in template if m.id and m.id not in catalogue):
        for old in get_close_matches(message.id, gone, 1):
            message.string = gone.pop(old)
            message.flags.add("fuzzy")
            used.add(old)
    return used


def _read(edition: Edition) -> "Catalog":
    """A language's catalogue, a new one where there is none. Raises PageError."""
    name, code = name_of(edition), edition.language.replace("-", "_")
    if not (edition.root / name).exists():
        return Catalog(code, header_comment=HEAD, project="LoRA course", fuzzy=False)
    lines = read_text(edition.root, name).splitlines(keepends=True)
    for number, line in enumerate(lines, 1):
        if not LINE.fullmatch(line.strip()):  # babel would take it for another text
            said = 'wanted is msgid "...", msgstr "..." or "...", with \\" for a quote'
            raise PageError(f"{name}:{number}: {said}")
    return read_po(lines, locale=code)


def check(edition: Edition) -> tuple[list[str], list[str]]:
    """(errors, warnings) of a language's catalogue, lists of one-line messages."""
    name = name_of(edition)
    if Catalog is None:
        return [], [f"{name}: {NO_BABEL}"]
    try:
        wanted, kept = text(edition), _read(edition)
        there = (edition.root / name).exists() and read_text(edition.root, name)
    except PageError as error:
        return [str(error)], []
    if (there or "") != wanted:
        return [f"{name}:1: {FORM}"], []
    messages = [message for message in kept if message.id]
    good = [m for m in messages if m.string and not m.fuzzy]
    errors = [(m.lineno, said) for m in good for said in _compare(m.id, m.string)]
    errors += [(m.lineno, STALE) for m in messages if m.fuzzy]
    pairs = [(m.lineno, FIELD.sub("", m.id), m.string) for m in good]
    found, warnings = glossary.compare(edition.glossary, pairs)
    if missing := [m.lineno for m in messages if not m.string]:
        part = errors if edition.language in COMPLETE else warnings
        part.append((missing[0], f"{len(missing)} of {len(messages)} {MISSING}"))
    both = sorted(errors + found), sorted(warnings)
    return tuple([f"{name}:{n}: {said}" for n, said in part] for part in both)


def _compare(english: str, translated: str) -> list[str]:
    """How a translation breaks the rules."""
    wanted, given = (sorted(PARTS.findall(t)) for t in (english, translated))
    if wanted != given:
        return [f"the parts {', '.join(given)} should be {', '.join(wanted)}"]
    return [said for _, said in rules.compare(english, translated)]


def counts(edition: Edition) -> str:
    """How many texts are translated, for the table of `status`."""
    if Catalog is None:
        return "pip install babel"
    try:
        messages = [m for m in _read(edition) if m.id]
    except PageError:
        return "cannot be read: check"
    good = sum(bool(m.string) and not m.fuzzy for m in messages)
    return f"{good} of {len(messages)}"

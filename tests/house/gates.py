"""Static gates over the notebooks and the Markdown pages of the course.

A gate takes a path and returns a list of messages, `file:cell: what is wrong`, empty
when all is well. Cells count from 1, Markdown cells included. test_notebook_gates.py
runs every gate on every notebook, and on a broken one to show that it can fail.
"""

import ast
import io
import json
import re
import subprocess
import sys
import warnings
from unittest import mock
from urllib.parse import unquote

import nbformat
import nbstripout
from markdown_it import MarkdownIt
from ruff import find_ruff_bin

from helpers.files import ROOT

STRIP = ["--keep-id", "--extra-keys", "metadata.language_info"]
MAX_LINES, MAX_COLUMNS = 25, 79


def notebooks():
    """Return the paths of all lessons."""
    return sorted((ROOT / "notebooks").glob("*.ipynb"))


def project_files(*suffixes):
    """Return the files that git tracks or would track, of these suffixes."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode == 0:
        files = [ROOT / name for name in listed.stdout.split("\0") if name]
    else:  # an unpacked archive has no git: all that is not made by a command
        made = {".venv", ".venv-vllm", ".venv-llamacpp", "build", "out", ".git"}
        made |= {"__pycache__", ".pytest_cache"}
        files = [p for p in ROOT.rglob("*") if not made & set(p.parts)]
    chosen = (p for p in files if p.suffix in suffixes or not suffixes)
    return sorted(path for path in chosen if path.is_file())


def read_pins(text):
    """Return {package: version} of the pinned lines of a requirements file."""
    found = re.findall(r"^([\w.-]+)==([\w.]+)", text, flags=re.MULTILINE)
    return {name.lower().replace("_", "-"): version for name, version in found}


def read(path):
    """Return a notebook, without a check of its form: that is `valid`'s work."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nbformat.read(path, as_version=4)


def cells(path, kind=None):
    """Return [(number, cell)] of a notebook, of one kind or of all."""
    numbered = enumerate(read(path).cells, start=1)
    return [(n, cell) for n, cell in numbered if kind in (None, cell.cell_type)]


def tagged(path, tag):
    """Return [(number, cell)] of the cells that carry a tag."""
    return [(n, c) for n, c in cells(path) if tag in c.metadata.get("tags", [])]


def python(source):
    """Return the source of a cell without its IPython lines (% and !)."""
    lines = source.splitlines()
    return "\n".join(re.sub(r"^(\s*)[%!].*", r"\1pass", line) for line in lines)


def valid(path):
    """The file follows the notebook format, and each cell has an id of its own."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            nbformat.validate(nbformat.read(path, as_version=4))
    except Exception as error:  # warnings, JSON and schema errors alike
        first_line = str(error).strip().splitlines()[0]
        return [f"{path.name}:0: {type(error).__name__}: {first_line}"]
    return []


def kernel(path):
    """The notebook asks for the kernel that everyone has."""
    spec = read(path).metadata.get("kernelspec", {})
    right = (spec.get("name"), spec.get("language")) == ("python3", "python")
    return [] if right else [f"{path.name}:0: kernelspec is not python3: {spec}"]


def stripped(path):
    """The notebook holds no outputs, counts or metadata of a run."""
    command = ["nbstripout", "--verify", *STRIP, str(path)]
    streams = {"stdin": None, "stdout": io.TextIOWrapper(io.BytesIO())}
    with mock.patch.multiple(sys, argv=command, **streams):
        try:  # in this process: to start one for each takes a second
            code = nbstripout.main()
        except SystemExit as end:
            code = end.code
    if not code:
        return []
    return [f"{path.name}:0: outputs or metadata: run nbstripout {' '.join(STRIP)}"]


def no_widget_state(path):
    """No saved widget state, which breaks the code host's renderer."""
    has_state = "widgets" in read(path).metadata
    return [f"{path.name}:0: saved widget state"] if has_state else []


def parameters(path):
    """One code cell is tagged `parameters`, and it sets PROFILE."""
    found = tagged(path, "parameters")
    if len(found) != 1:
        return [f"{path.name}:0: {len(found)} cells tagged 'parameters', not 1"]
    number, cell = found[0]
    if cell.cell_type == "code" and re.search(r"^PROFILE = ", cell.source, re.M):
        return []
    return [f"{path.name}:{number}: the parameters cell does not set PROFILE"]


def setup(path, reference=None):
    """One cell is tagged `setup`, folded, with the text that `reference` has there."""
    found = tagged(path, "setup")
    if len(found) != 1:
        return [f"{path.name}:0: {len(found)} cells tagged 'setup', not 1"]
    number, cell = found[0]
    if not cell.metadata.get("jupyter", {}).get("source_hidden"):
        return [f"{path.name}:{number}: the set-up cell is not folded (source_hidden)"]
    if reference and cell.source != tagged(reference, "setup")[0][1].source:
        return [f"{path.name}:{number}: set-up cell differs from {reference.name}"]
    return []


def figures(path):
    """The last code cell, tagged `figures`, records under the lesson's own name."""
    code = cells(path, "code")
    if not code or "figures" not in code[-1][1].metadata.get("tags", []):
        return [f"{path.name}:0: the last code cell is not tagged 'figures'"]
    number, cell = code[-1]
    if re.search(rf"\brecord\(\s*[\"']{path.stem}[\"']", cell.source):
        return []
    return [f'{path.name}:{number}: no call of course.record("{path.stem}", ...)']


def cell_size(path):
    """A code cell fits a screen."""
    messages = []
    for number, cell in cells(path, "code"):
        lines = cell.source.splitlines()
        widest = max(map(len, lines), default=0)
        if len(lines) > MAX_LINES:
            messages.append(f"{path.name}:{number}: {len(lines)} lines > {MAX_LINES}")
        if widest > MAX_COLUMNS:
            messages.append(f"{path.name}:{number}: {widest} columns > {MAX_COLUMNS}")
    return messages


def names_bound(path):
    """Every name is bound above its use, or a builtin; the code parses."""
    command = [find_ruff_bin(), "check", "--isolated", "--no-cache"]
    command += ["--select", "F821,F822,F823", "--output-format", "json", str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        return [f"{path.name}:0: {done.stderr.strip()}"]
    # Ruff counts all cells from 1, as we do.
    found = json.loads(done.stdout)
    return [f"{path.name}:{f.get('cell')}: {f['message']}" for f in found]


def forbidden(path):
    """No dead branch, no remote code, no unpickling."""
    messages = []
    for number, cell in cells(path, "code"):
        try:
            nodes = list(ast.walk(ast.parse(python(cell.source))))
        except SyntaxError as error:
            messages.append(f"{path.name}:{number}: {error.msg}")
            continue
        found = filter(None, map(_forbidden_node, nodes))
        messages += [f"{path.name}:{number}: {what}" for what in found]
    return messages


def forbidden_in_module(path):
    """The same in a module of Python."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    found = filter(None, map(_forbidden_node, nodes))
    return [f"{path.name}: {what}" for what in found]


def _forbidden_node(node):
    """Say what is wrong with one node of the syntax tree, or return None."""
    if isinstance(node, ast.If | ast.While) and isinstance(node.test, ast.Constant):
        return None if node.test.value else "a branch that never runs"
    if not isinstance(node, ast.Call):
        return None
    given = {k.arg: getattr(k.value, "value", None) for k in node.keywords}
    if given.get("trust_remote_code"):
        return "trust_remote_code=True"
    unpickles = ast.unparse(node.func) == "torch.load"
    if unpickles and given.get("weights_only") is not True:
        return "torch.load without weights_only=True"
    return None


def link_targets(markdown):
    """Return every link target and image source of a Markdown text, HTML included."""
    targets = []
    for token in MarkdownIt("commonmark").enable("table").parse(markdown):
        for part in [token, *(token.children or [])]:
            targets += [part.attrs[a] for a in ("href", "src") if a in part.attrs]
            if part.type in ("html_inline", "html_block"):
                html = r"\b(?:href|src)\s*=\s*[\"']([^\"']+)"
                targets += re.findall(html, part.content)
    return targets


def links(path):
    """Every relative link and image of a notebook or Markdown file exists."""
    if path.suffix == ".md":
        texts = [(0, path.read_text(encoding="utf-8"))]
    else:
        texts = [(number, cell.source) for number, cell in cells(path, "markdown")]
    messages = []
    for number, text in texts:
        for target in link_targets(text):
            file = unquote(target.partition("#")[0].partition("?")[0])
            outside = re.match(r"[a-z][a-z0-9+.-]*:|//", target, re.I)
            if file and not outside and not (path.parent / file).exists():
                messages.append(f"{path.name}:{number}: no such file: {target}")
    return messages


def pins(path, pinned):
    """A version named in prose or code is the one of requirements.txt."""
    if path.suffix == ".md":
        texts = [(0, path.read_text(encoding="utf-8"))]
    else:
        texts = [(number, cell.source) for number, cell in cells(path)]
    mention = re.compile(r"([A-Za-z][\w.-]*)[`*]*(?:==|\s+v?)(\d+\.\d+\.\d+)\b")
    messages = []
    for number, text in texts:
        for name, version in mention.findall(text):
            pin = pinned.get(name.lower().replace("_", "-"), version)
            if pin != version:
                message = f"{name} {version}, but requirements.txt pins {pin}"
                messages.append(f"{path.name}:{number}: {message}")
    return messages

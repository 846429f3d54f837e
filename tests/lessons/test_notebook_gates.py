"""Every notebook passes every static gate, and every gate can fail."""

import json
from functools import partial

import nbformat
import pytest
from nbformat import v4

from tests.house import gates

PINS = gates.read_pins((gates.ROOT / "requirements.txt").read_text(encoding="utf-8"))
REFERENCE = next(iter(gates.notebooks()), None)
GATES = {
    "valid": gates.valid,
    "kernel": gates.kernel,
    "stripped": gates.stripped,
    "no_widget_state": gates.no_widget_state,
    "parameters": gates.parameters,
    "setup": partial(gates.setup, reference=REFERENCE),
    "figures": gates.figures,
    "cell_size": gates.cell_size,
    "names_bound": gates.names_bound,
    "forbidden": gates.forbidden,
    "links": gates.links,
    "pins": partial(gates.pins, pinned=PINS),
}
PAGES = gates.project_files(".md")


def test_there_are_lessons_and_pages_to_check():
    assert REFERENCE is not None and PAGES


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("path", gates.notebooks(), ids=lambda path: path.stem)
def test_notebook_passes(path, gate):
    assert GATES[gate](path) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(gates.ROOT)))
def test_page_has_true_links_and_versions(page):
    assert gates.links(page) + gates.pins(page, PINS) == []


def code(source, *tags):
    return v4.new_code_cell(source, metadata={"tags": list(tags)} if tags else {})


def healthy():
    """Return a notebook in which no gate finds anything."""
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    book = v4.new_notebook(metadata={"kernelspec": spec})
    book.cells = [
        v4.new_markdown_cell("# Title, see [the other page](page.md#part) and $x_1$"),
        code("from helpers import course", "setup"),
        code('PROFILE = "auto"', "parameters"),
        code("print(PROFILE)"),
        code('course.record("00_lesson", base=0)', "figures"),
    ]
    book.cells[1].metadata["jupyter"] = {"source_hidden": True}
    return book


def write(folder, book):
    """Write a notebook as it is, valid or not, beside one page it may link to."""
    (folder / "page.md").write_text("# Page\n", encoding="utf-8")
    path = folder / "00_lesson.ipynb"
    path.write_text(json.dumps(book, indent=1) + "\n", encoding="utf-8")
    return path


OWN_GATES = GATES | {"setup": gates.setup}


@pytest.mark.parametrize("gate", OWN_GATES)
def test_healthy_notebook_passes(tmp_path, gate):
    assert OWN_GATES[gate](write(tmp_path, healthy())) == []


def append(source, *tags):
    """Return a change that puts a code cell before the last one."""
    return lambda book: book.cells.insert(-1, code(source, *tags))


def text(source):
    return lambda book: book.cells.insert(1, v4.new_markdown_cell(source))


def without_tag(tag):
    def change(book):
        for cell in book.cells:
            if tag in cell.metadata.get("tags", []):
                del cell.metadata["tags"]

    return change


def unfolded(book):
    del book.cells[1].metadata["jupyter"]


def same_id(book):
    book.cells[1]["id"] = book.cells[0]["id"]


def no_id(book):
    del book.cells[0]["id"]


def unknown_cell_type(book):
    book.cells[0]["cell_type"] = "prose"


def output(book):
    book.cells[3].outputs.append(v4.new_output("stream", text="left over"))


def count(book):
    book.cells[3].execution_count = 3


def language_info(book):
    book.metadata["language_info"] = {"name": "python", "version": "3.11.7"}


def widgets(book):
    book.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {}}


def other_kernel(book):
    book.metadata["kernelspec"]["name"] = "my-env"


def other_lesson(book):
    book.cells[-1].source = 'course.record("03_other", base=0)'


def other_parameter(book):
    book.cells[2].source = "SEED = 0\nPROFILES = 1"


def cell_after_the_figures(book):
    book.cells.append(code("1 + 1"))


BROKEN = [
    ("valid", same_id, "DuplicateCellId"),
    ("valid", no_id, "MissingIDFieldWarning"),
    ("valid", unknown_cell_type, "ValidationError"),
    ("kernel", other_kernel, "my-env"),
    ("stripped", output, "nbstripout"),
    ("stripped", count, "nbstripout"),
    ("stripped", language_info, "nbstripout"),
    ("no_widget_state", widgets, "widget state"),
    ("parameters", without_tag("parameters"), "0 cells"),
    ("parameters", append("STEPS = 1", "parameters"), "2 cells"),
    ("parameters", other_parameter, "PROFILE"),
    ("setup", without_tag("setup"), "0 cells"),
    ("setup", unfolded, "not folded"),
    ("figures", without_tag("figures"), "not tagged"),
    ("figures", cell_after_the_figures, "not tagged"),
    ("figures", other_lesson, "00_lesson"),
    ("cell_size", append("x = 1\n" * 26), "26 lines"),
    ("cell_size", append("x = '" + "a" * 80 + "'"), "86 columns"),
    ("names_bound", append("print(result)"), "result"),
    ("names_bound", append("print(late)\nlate = 1"), "late"),
    ("names_bound", append("if True print()"), ""),
    ("forbidden", append("if False:\n    print()"), "never runs"),
    ("forbidden", append("load(trust_remote_code=True)"), "trust_remote_code"),
    ("forbidden", append("torch.load('a.pt')"), "weights_only"),
    ("forbidden", append("torch.load('a.pt', weights_only=False)"), "weights_only"),
    ("links", text("[gone](gone.md)"), "gone.md"),
    ("links", text("![gone](img/gone.png)"), "img/gone.png"),
    ("links", text('<img src="gone.png" width="9">'), "gone.png"),
    ("pins", text("measured with TRL 0.0.1"), "TRL 0.0.1"),
    ("pins", append("# pip install torch==1.0.0"), "torch 1.0.0"),
]


@pytest.mark.parametrize(
    ("gate", "change", "said"),
    BROKEN,
    ids=[f"{g}-{i}" for i, (g, *_) in enumerate(BROKEN)],
)
def test_gate_finds(tmp_path, gate, change, said):
    book = healthy()
    change(book)
    messages = OWN_GATES[gate](write(tmp_path, book))
    assert len(messages) == 1 and said in messages[0]
    assert messages[0].startswith("00_lesson.ipynb:")


@pytest.mark.parametrize("gate", ["names_bound", "forbidden", "links", "cell_size"])
def test_message_names_the_cell(tmp_path, gate):
    book = healthy()
    book.cells.insert(3, v4.new_markdown_cell("![gone](gone.png)"))
    append("if False:\n    print(missing)  #" + "a" * 80)(book)
    number = 4 if gate == "links" else 6
    messages = OWN_GATES[gate](write(tmp_path, book))
    assert [m.split(":")[1] for m in messages] == [str(number)]


def test_gate_finds_a_set_up_cell_that_differs(tmp_path):
    reference = write(tmp_path, healthy())
    book = healthy()
    book.cells[1].source += "  # mine"
    other = tmp_path / "01_other.ipynb"
    nbformat.write(book, other)
    assert "differs" in gates.setup(other, reference)[0]
    assert gates.setup(reference, reference) == []


def test_every_gate_has_been_seen_to_fail():
    assert {gate for gate, *_ in BROKEN} == set(GATES)


def test_magic_lines_are_not_python(tmp_path):
    book = healthy()
    append("%matplotlib inline\nif PROFILE:\n    !ls")(book)
    path = write(tmp_path, book)
    assert gates.forbidden(path) + gates.names_bound(path) == []

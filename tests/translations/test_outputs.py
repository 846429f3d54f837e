"""What the cells print: as Markdown, on the pages of every language, with a stamp."""

import ast
import json
import re
from base64 import b64decode
from pathlib import Path

import pandas
import pytest
from nbformat import v4

from helpers.course import MIME
from helpers.files import ROOT
from tests.translations.pseudo_translation import LANGUAGE, make_language, rot13, run
from tests.translations.translation_course import (
    FIRST,
    counts,
    edit,
    file,
    make_course,
    said,
    text,
    write_lesson,
)
from translations import harvest, outputs, rendering
from translations.edition import begun_pages, languages
from translations.pages import read_pages

PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAA"
    "SUVORK5CYII="
)
WIDGET = "application/vnd.jupyter.widget-view+json"
PRINTED = v4.new_output("stream", text="posix\n")
FIGURE = v4.new_output("display_data", {"image/png": PIXEL, "text/plain": "It [rises]"})
ROW = '{"lesson": "00_first", "profile": "tiny"}'
BUDGET = 3 * 2**20  # bytes of all figures


def shown(html=None, metadata=None, **data):
    data |= {"text/html": html} if html is not None else {}
    return v4.new_output("display_data", data, metadata=metadata or {})


def markdown(*found):
    kept = []

    def picture(content):
        kept.append(content)
        return f"../figures/{len(kept)}.png"

    return rendering.rendered(list(found), str, picture)


def execute(root, name, printed):
    """Write a run of one lesson: {cell id: outputs}, with the code of today."""
    book = json.loads((root / "notebooks" / f"{name}.ipynb").read_text("utf-8"))
    for cell in book["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"] = printed.get(cell["id"], [])
    injected = v4.new_code_cell("PROFILE = 'tiny'", id="injected")
    injected.metadata["tags"] = ["injected-parameters"]
    book["cells"].insert(1, injected)
    book["metadata"]["papermill"] = {
        "input_path": f"/srv/someone/course/notebooks/{name}.ipynb",
        "end_time": "2026-11-29T12:59:18.724359+00:00",
    }
    (root / "build" / "notebooks").mkdir(parents=True, exist_ok=True)
    path = root / "build" / "notebooks" / f"{name}.ipynb"
    path.write_text(json.dumps(book), encoding="utf-8")
    rows = json.dumps([{"lesson": name, "profile": "tiny"}])
    (root / "build" / "course.json").write_text(rows, encoding="utf-8")


def take(root):
    return run(root, "sync", "--run", str(root / "build"))


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A small course, its outputs kept, and its translation."""
    course = tmp_path_factory.mktemp("template")
    make_course(course)
    execute(course, "01_second", {})
    assert take(course) == 0
    execute(course, "00_first", {"code-setup": [PRINTED], "code-run": [FIGURE]})
    assert take(course) == 0
    make_language(course)
    return course


# As Markdown


def test_a_text_is_fenced_without_colours_and_what_a_bar_wrote_over():
    streams = [v4.new_output("stream", text=t) for t in ("a\r50%\r", "b \x1b[1mc\n")]
    assert markdown(*streams) == "```text\nb c\n```"
    assert markdown(v4.new_output("stream", text="```\nx")).startswith("````text")
    assert (
        markdown(v4.new_output("stream", text=" \n"), shown("<style>a</style>")) == ""
    )


def test_a_table_has_one_head_and_numbers_at_the_right():
    html = (
        "<div><style>td {}</style><table><thead><tr><th></th><th>time</th><th>key</th>"
        "</tr><tr><th>name</th><th></th><th></th></tr></thead><tbody>"
        "<tr><th>a</th><td>1.5 s</td><td>x | `y` *z* a_b &lt;s&gt;</td></tr>"
        '<tr><th>b</th><td>-2</td><td class="data wrong">$1<br>2</td></tr>'
        "</tbody></table></div>"
    )
    assert markdown(shown(html)).split("\n") == [
        "| name | time | key |",
        "| --- | ---: | --- |",
        r"| a | 1.5 s | x \| \`y\` \*z\* a_b \<s\> |",
        r"| b | -2 | **\$1<br>2** |",
    ]


def test_a_cell_over_two_columns_stands_in_both():
    html = '<table><tr><td colspan="2">a</td></tr><tr><td>1</td><td>2</td></tr></table>'
    assert "| a | a |\n| 1 | 2 |" in markdown(shown(html))


def test_a_cell_over_two_rows_stands_in_both():
    head = "<table><thead><tr><th>m</th><th>n</th><th>o</th></tr></thead>"
    rows = '<tr><th rowspan="2">a</th><td>1</td><td rowspan="2">x</td></tr>'
    rows += "<tr><td>2</td></tr><tr><th>b</th><td>3</td><td>y</td></tr></table>"
    found = markdown(shown(head + rows)).split("\n")[2:]
    assert found == ["| a | 1 | x |", "| a | 2 | x |", "| b | 3 | y |"]


def test_marks_in_a_cell_leave_nothing_behind_the_table():
    html = "<table><tr><td><b>a</b><wbr> <span>b</span></td></tr></table><b>c</b>"
    assert markdown(shown(html)) == "|  |\n| --- |\n| a b |\n\n<p><b>c</b></p>"


def test_what_is_shown_twice_stands_twice_but_for_bars():
    table = shown("<table><tr><td>a</td></tr></table>")
    assert markdown(table, table).count("| a |") == 2
    assert markdown(shown(**{WIDGET: {}}), shown(**{WIDGET: {}})).count("bar") == 1


def test_marks_of_a_page_of_tokens_need_no_colour():
    html = (
        '<div><span style="font-weight:bold;outline:1px">&lt;a&gt;</span><wbr>'
        '<span style="text-decoration:line-through">b</span><br><wbr>c</div>'
    )
    tokens = "<b><kbd>&lt;a&gt;</kbd></b>|<wbr><s>b</s><br>\nc"
    assert markdown(shown(html)) == f"<p><samp>{tokens}</samp></p>"
    assert markdown(shown("<div><b>a</b></div><p>b<br>c</p><p></p>")) == (
        "<p><b>a</b><br>\nb<br>\nc</p>"
    )


def test_what_needs_a_kernel_says_so():
    bar, moves = (outputs.notice(text) for text in (outputs.BAR, outputs.MOVES))
    widget = shown(**{WIDGET: {}, "text/plain": "0%"})
    trainer = shown("<div><progress value='1'></progress>[1/2]</div><p></p>")
    assert markdown(widget, trainer) == bar
    table = shown("<progress></progress>[2/2]<table><tr><td>1</td></tr></table>")
    assert markdown(table) == f"{bar}\n\n|  |\n| ---: |\n| 1 |"
    slider = shown(metadata={"moves": True}, **{"image/png": PIXEL, "text/plain": "T"})
    assert markdown(slider) == f"![T](../figures/1.png)\n\n{moves}"


def test_a_figure_is_told_in_words_and_figures_of_the_ledger_as_text():
    assert markdown(FIGURE) == r"![It \[rises\]](../figures/1.png)"
    found = shown(**{MIME: {}, "text/plain": "lesson\n  a  1"})
    assert markdown(found) == "```text\nlesson\n  a  1\n```"


def test_nothing_of_the_machine_is_kept():
    places = ["/srv/someone/course"]
    for printed, kept in {
        "/srv/someone/course/data/a.json": "data/a.json",
        "/srv/someone/course/.venv/lib/python3.11/site-packages/peft/a.py:3": (
            "peft/a.py:3"
        ),
        "/usr/lib/python3/site-packages/peft/a.py": "peft/a.py",
        "in /srv/someone/course.": "in .",
        "/srv/someone/courses/a": "/srv/someone/courses/a",
        "/mnt/srv/someone/course/a": "/mnt/srv/someone/course/a",
        "<A object at 0x7f3e6d3eb250>": "<A object at 0x...>",
    }.items():
        assert harvest.cleaned(printed, places) == kept
    printed = "3 tokens / s. See https://example.org."  # a container's home may be /
    assert harvest.cleaned(printed, ["/", Path("."), "tokens"]) == printed


# On the pages


def test_each_language_shows_the_output_below_the_code(whole):
    for language, name in (("en", "English"), (LANGUAGE, None)):
        page = text(whole, language=language)
        setup, figure = re.findall(
            r"```\n\n<!-- output -->\n(.*?)\n<!-- end of output -->", page, re.DOTALL
        )
        assert setup == "```text\nposix\n```"
        assert figure == r"![It \[rises\]](../figures/00-code-run.png)"
        assert "<!-- outputs: tiny; " in page and "; 2026-11-29; " in page
        assert f"**{name or rot13('This language')[:4]}" in page
    picture = whole / "translations" / "figures" / "00-code-run.png"
    assert picture.read_bytes() == b64decode(PIXEL)
    assert run(whole, "check") == 0 == run(whole, "sync")


def test_the_english_page_is_the_english_lesson(whole):
    page = text(whole, language="en")
    for source in FIRST.values():
        first = source.split("\n")[0]
        assert first in page
    assert "](01_second.md#its-end)" in page and "Not translated" not in page
    assert counts(whole, language="en") == {"current": 6, "stale": 0, "missing": 0}


def test_another_figure_makes_one_page_stale_and_no_translated_sentence(whole, capsys):
    folder = whole / "translations"
    before = {p: p.read_bytes() for p in folder.rglob("*.md")}
    write_lesson(whole, "00_first", FIRST | {"code-run": "answer = 43"})
    code, _, err = said(whole, "check", "en", capsys=capsys)
    assert code == 1 and err.startswith("translations/en/00_first.md:1: what the cells")
    assert err.count("\n") == 1
    assert '`make course pages LESSONS="00" RUN=build`' in err
    assert counts(whole)["stale"] == 1  # the code, which sync copies
    assert counts(whole, language="en")["stale"] == 2  # all that may print otherwise
    other = v4.new_output("stream", text="43\n")
    execute(whole, "00_first", {"code-run": [other]})
    assert take(whole) == 0 == run(whole, "check")
    changed = {p for p, old in before.items() if p.read_bytes() != old}
    assert changed == {folder / language / "00_first.md" for language in ("en", "qps")}
    assert not list((folder / "figures").iterdir())
    assert "```text\n43\n```" in text(whole) and counts(whole)["stale"] == 0


def test_another_output_of_the_same_code_changes_nothing_but_itself(whole):
    before = text(whole)
    printed = v4.new_output("stream", text="nt\n")
    execute(whole, "00_first", {"code-setup": [printed], "code-run": [FIGURE]})
    assert take(whole) == 0 == run(whole, "check")
    assert text(whole) == before.replace("posix", "nt")


def test_a_run_of_other_code_is_left_out_and_said(whole, capsys):
    before = text(whole)
    execute(whole, "00_first", {"code-run": [PRINTED]})
    write_lesson(whole, "00_first", FIRST | {"code-run": "answer = 43"})
    arguments = ("sync", "--run", str(whole / "build"))
    code, _, err = said(whole, *arguments, capsys=capsys)
    assert code == 1 and "00_first ran other code than today's" in err
    assert "posix" in text(whole) and before.count("output") == text(whole).count(
        "output"
    )
    code, _, err = said(whole, "sync", "--run", str(whole), capsys=capsys)
    assert code == 2 and "run `make course` first" in err


def test_a_run_with_a_cell_more_is_left_out(whole, capsys):
    before = text(whole)
    execute(whole, "00_first", {"code-run": [PRINTED]})
    path = whole / "build" / "notebooks" / "00_first.ipynb"
    book = json.loads(path.read_text(encoding="utf-8"))
    book["cells"].insert(2, v4.new_code_cell("print = str", id="tried"))
    path.write_text(json.dumps(book), encoding="utf-8")
    arguments = ("sync", "--run", str(whole / "build"))
    code, _, err = said(whole, *arguments, capsys=capsys)
    assert code == 1 and "00_first ran other code than today's" in err
    assert text(whole) == before


READING = FIRST | {
    "code-run": 'file = Path("data/results") / f"{name}.small.json"\nopen(file).read()'
}


def test_changed_data_makes_the_outputs_of_its_lesson_old_and_no_text(whole, capsys):
    file = whole / "data" / "results" / "rates.small.json"
    file.write_text("[1]", encoding="utf-8")
    write_lesson(whole, "00_first", READING)
    execute(whole, "00_first", {"code-run": [PRINTED]})
    assert take(whole) == 0 == run(whole, "check")
    assert re.search(r"; data: [0-9a-f]{16} -->", text(whole))
    other = file.with_name("rates.tiny.json")  # no cell reads it
    other.write_text("[1]", encoding="utf-8")
    assert run(whole, "check") == 0
    file.write_text("[2]", encoding="utf-8")
    code, _, err = said(whole, "check", capsys=capsys)
    assert code == 1 and err.count("\n") == 1
    assert "en/00_first.md:1: what the cells print is of other files than" in err
    assert '`make course pages LESSONS="00" RUN=build`' in err
    assert counts(whole)["stale"] == 0 < counts(whole, language="en")["stale"]
    file.unlink()
    assert "of other files than" in said(whole, "check", capsys=capsys)[2]


def test_what_a_lesson_reads_is_known_by_the_names_in_its_code(root):
    def read(code):
        write_lesson(root, "00_first", FIRST | {"code-run": code})
        page = next(page for page in read_pages(root) if page.name == "00_first")
        names = {path.name for path in outputs.data_files(root, page)}
        return names, outputs.data_hash(root, page)

    folder = root / "data" / "results"
    for name in ("rates.small", "rates.tiny", "00_first.small"):
        (folder / f"{name}.json").write_text("[1]", encoding="utf-8")
    both = {"rates.small.json", "rates.tiny.json"}
    assert read('open(f"data/results/rates.{profile}.json")')[0] == both
    assert read("read_ledger()")[0] == {"00_first.small.json", "00_first.tiny.json"}
    assert read("open()") == (set(), None)
    before = read('open("rates.*.json")')
    (folder / "rates.tiny.json").rename(folder / "rates.wide.json")
    after = read('open("rates.*.json")')
    assert before[0] == both and before[1] != after[1]  # whose numbers they are


def test_a_run_before_the_data_of_today_is_left_out(whole, capsys):
    write_lesson(whole, "00_first", READING)
    execute(whole, "00_first", {"code-run": [FIGURE]})
    path = whole / "build" / "notebooks" / "00_first.ipynb"
    book = json.loads(path.read_text(encoding="utf-8"))
    file = whole / "data" / "results" / "rates.small.json"
    file.write_text("[1]", encoding="utf-8")
    for began, expected in (("2026-11-29T12:59:18", 1), ("2126-11-29T12:59:18", 0)):
        book["metadata"]["papermill"]["start_time"] = f"{began}+00:00"
        path.write_text(json.dumps(book), encoding="utf-8")
        arguments = ("sync", "--run", str(whole / "build"))
        code, _, err = said(whole, *arguments, capsys=capsys)
        changed = "data/results/rates.small.json has changed since 00_first ran" in err
        assert (code, changed) == (expected, bool(expected))
    assert run(whole, "check") == 0


def test_the_first_run_of_a_course_says_what_it_leaves_out(root, capsys):
    execute(root, "00_first", {"code-run": [PRINTED]})
    write_lesson(root, "00_first", FIRST | {"code-run": "answer = 43"})
    code, _, err = said(root, "sync", "--run", str(root / "build"), capsys=capsys)
    assert code == 1 and "00_first ran other code than today's" in err


def test_a_run_with_other_parameters_is_left_out(whole, capsys):
    execute(whole, "00_first", {"code-setup": [FIGURE]})
    path = whole / "build" / "notebooks" / "00_first.ipynb"
    book = json.loads(path.read_text(encoding="utf-8"))
    before = text(whole)
    for more, expected in (({"ROWS": 64}, 1), ({}, 0)):
        book["metadata"]["papermill"]["parameters"] = {"PROFILE": "tiny"} | more
        path.write_text(json.dumps(book), encoding="utf-8")
        arguments = ("sync", "--run", str(whole / "build"))
        code, _, err = said(whole, *arguments, capsys=capsys)
        assert (code, "with -p ROWS 64; run it again" in err) == (expected, bool(more))
        assert (text(whole) == before) == bool(more)


def test_another_profile_and_a_failed_lesson_are_said(whole, capsys):
    execute(whole, "00_first", {"code-setup": [PRINTED], "code-run": [FIGURE]})
    arguments = ("sync", "--run", str(whole / "build"))
    assert "warning" not in said(whole, *arguments, capsys=capsys)[1]
    rows = f"[{ROW.replace('tiny', 'small')}]"
    (whole / "build" / "course.json").write_text(rows, encoding="utf-8")
    (whole / "build" / "failed").mkdir()
    (whole / "build" / "failed" / "01_second.ipynb").touch()
    code, out, _ = said(whole, *arguments, capsys=capsys)
    assert code == 0 and "warning: 00_first: small takes the place of tiny" in out
    assert "01_second.ipynb: this lesson failed; its outputs are as they were" in out


@pytest.mark.parametrize(
    ("course", "words"),
    [
        ("[]", "course.json: no lesson ran"),
        ("[1]", "course.json: 'int'"),
        ('[{"lesson": "00_first"}]', "course.json: 'profile'"),
        (f"[{ROW}, {ROW.replace('00_first', '07_lost')}]", "07_lost.ipynb: "),
    ],
)
def test_a_run_that_is_not_whole_is_one_line_and_changes_nothing(
    whole, capsys, course, words
):
    execute(whole, "00_first", {"code-setup": [FIGURE]})
    (whole / "build" / "course.json").write_text(course, encoding="utf-8")
    folder = whole / "translations"
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    code, _, err = said(whole, "sync", "--run", str(whole / "build"), capsys=capsys)
    assert code == 2 and words in err and err.count("\n") == 1
    assert before == {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_changed_set_up_cell_makes_no_output_stale(whole):
    write_lesson(whole, "00_first", FIRST | {"code-setup": "import sys"})
    run(whole, "sync")
    assert run(whole, "check") == 0


def test_a_new_lesson_asks_for_its_outputs(whole, capsys):
    write_lesson(whole, "02_third", {"title": "# 02 Third", "code-a": "a = 1"})
    run(whole, "sync")
    code, _, err = said(whole, "check", "en", capsys=capsys)
    assert code == 1 and "en/02_third.md:1: nothing is known" in err
    assert not file(whole, "02_third").exists()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "00-code-run.png").unlink(), "is not there; run"),
        (lambda folder: (folder / "07-a.png").touch(), "no page shows this figure"),
    ],
)
def test_figures_and_pages_agree(whole, capsys, spoil, words):
    spoil(whole / "translations" / "figures")
    code, _, err = said(whole, "check", "en", capsys=capsys)
    assert code == 1 and words in err and err.count("\n") == 1


@pytest.mark.parametrize("language", ["en", LANGUAGE])
def test_an_output_changed_by_hand_is_said_and_put_right(whole, capsys, language):
    before = text(whole, language=language)
    edit(whole, "posix\n", "nt\n", language=language)
    code, _, err = said(whole, "check", language, capsys=capsys)
    assert (code, "run `sync`" in err) == (
        (1, True) if language != "en" else (0, False)
    )
    run(whole, "sync")
    same = before if language != "en" else before.replace("posix", "nt")
    assert text(whole, language=language) == same


def test_text_below_an_output_is_not_overwritten(whole, capsys):
    edit(
        whole,
        "rises\\]](../figures/00-code-run.png)\n<!-- end of output -->\n",
        ("rises\\]](../figures/00-code-run.png)\n<!-- end of output -->\n\nA note\n"),
    )
    code, _, err = said(whole, "sync", capsys=capsys)
    assert code == 1 and "move what is not code" in err and "A note" in text(whole)
    line = int(err.split(":")[1])
    assert text(whole).split("\n")[line - 1] == "A note"


def test_an_output_without_end_is_an_error(whole, capsys):
    edit(whole, "posix\n```\n<!-- end of output -->", "posix\n```")
    code, _, err = said(whole, "sync", capsys=capsys)
    assert code == 1 and "this output has no end" in err


# The course itself


def test_the_pages_name_no_place_of_a_machine_and_the_figures_are_small():
    for path in (ROOT / "translations" / "en").glob("*.md"):
        found = re.findall(
            r"(?<![\w.])/(?:home|root|tmp|work|Users|usr)/\S*", path.read_text("utf-8")
        )
        assert found == [], path.name
    files = (ROOT / "translations" / outputs.FIGURES).glob("*")
    assert sum(path.stat().st_size for path in files) < BUDGET


def test_no_page_of_the_course_is_one_that_nobody_has_begun():
    begun = begun_pages(ROOT)
    for language in languages(ROOT):
        folder = ROOT / "translations" / language
        names = {path.stem for path in folder.glob("*.md")} - {"glossary"}
        assert names == set(begun[language]) - {"glossary"}


# Cells that show files of data/results alone: {page: ids}.
QUOTING = {
    "00_start_here": ("ledger", "cards"),
    "01_build_lora_by_hand": ("rates",),
    "03_finetune_with_lora": ("recipe-measured",),
    "06_run_inference_on_gpu": ("vllm-ledger",),
}


@pytest.mark.parametrize("name", QUOTING)
def test_tables_of_the_ledger_are_those_of_today(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    [page] = [page for page in read_pages(ROOT) if page.name == name]
    kept = outputs.read(ROOT, page).blocks
    for cell in (cell for cell in page.cells if cell.id in QUOTING[name]):
        *code, last = ast.parse(cell.text).body
        names = {"pd": pandas, "json": json, "Path": Path}
        exec(compile(ast.Module(code, []), cell.id, "exec"), names)
        table = eval(compile(ast.Expression(last.value), cell.id, "eval"), names)
        remedy = f"run `make course pages LESSONS={name[:2]} RUN=build`"
        assert markdown(shown(table._repr_html_())) == kept[cell.id], remedy


FALLING_BACK = {"vllm-start"}  # cells that print only where a program is not there


def but_bars(cell):
    """A cell's outputs but for bars of text: a warm kernel knows no widgets' bars."""
    for output in cell["outputs"]:
        text = "".join(output.get("text", ""))
        if output.get("name") != "stderr" or ("\r" not in text and text.strip()):
            yield output


@pytest.mark.slow
def test_every_cell_that_prints_has_it_on_the_page_of_each_language(course_run):
    for page in (page for page in read_pages(ROOT) if page.name != "README"):
        book = json.loads(course_run.notebooks[page.name].read_text(encoding="utf-8"))
        ran = {c["id"]: c for c in book["cells"] if c["cell_type"] == "code"}
        printing = {n for n, cell in ran.items() if markdown(*but_bars(cell))}
        kept = outputs.read(ROOT, page)  # of a machine that may print more than this
        assert printing - FALLING_BACK <= set(kept.blocks), page.name
        for language, names in begun_pages(ROOT).items():
            if page.name in names:
                path = ROOT / outputs.name_of(page, language)
                count = path.read_text("utf-8").count(f"\n{outputs.BEGIN}\n")
                assert count == len(kept.blocks), path

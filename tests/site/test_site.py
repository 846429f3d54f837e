"""The site of a small course: links, pictures, outputs, words, and requests refused."""

import json
import re
import shutil
from base64 import b64decode
from functools import partial

import pytest
import yaml
from nbformat import v4

from helpers import run_command
from tests.translations.pseudo_translation import make_language, rot13, run
from translations import outputs
from translations.checking import COMPLETE
from translations.direction import FRAME
from translations.site import SiteError, build, links, sources, vendor, wording

built = partial(run_command, "site", build.main)

ADDRESS = "https://github.com/someone/course"
README = """# A course

<!-- languages: make pages -->
<!-- end of languages -->

<!-- badges: make pages -->
[![Tests](https://example.org/badge.svg)](https://example.org)
<!-- end of badges -->

Begin with [First](notebooks/00_first.ipynb), see the [words](notebooks/words.md).
The data have a [card](data/README.md#a),
the [helpers](helpers) are code, `[not](data/README.md)` a link.

![What it learns](data/results/picture.png)

<!-- results: make pages -->
| lesson | seconds |
|---|---|
| 00 | 72 |
<!-- end of results -->
"""
TITLE = "# 00 First\n\nFrom [the start](../README.md) to [the card](../data/README.md)."
FIGURES = {"application/vnd.lora-course.figures+json": {}, "text/plain": "figures"}
WIDGET = {"application/vnd.jupyter.widget-view+json": {"model_id": "a"}}
SETUP = {"tags": ["setup"], "jupyter": {"source_hidden": True}}
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAA"
    "SUVORK5CYII="
)
ENTRY = {
    "lesson": "00_first",
    "profile": "tiny",
    "seconds": 72.4,
    "peak_rss_mib": 720.0,
    "figures": {"base_exact_match": 0.0, "tuned_exact_match": 0.9},
    "machine": {"device": "2-core CPU"},
}


WORDS = """# Words

A plot: see [00](00_first.ipynb#a-plot), [the card](../data/README.md).
"""


def cells():
    return [
        v4.new_markdown_cell(TITLE, id="title"),
        v4.new_code_cell("import os", id="setup", metadata=SETUP),
        v4.new_markdown_cell("## A `plot`\n\nA formula: $a < b$.", id="section"),
        v4.new_code_cell("plot()", id="plot"),
    ]


def shown(**data):
    return v4.new_output("display_data", data={k: v for k, v in data.items()})


@pytest.fixture
def root(tmp_path):
    return small_course(tmp_path)


def small_course(root):
    """Make a course of one lesson in English and Arabic, and its run; return root."""
    (root / "README.md").write_text(README, encoding="utf-8")
    (root / "pyproject.toml").write_text('[project]\nname = "a"\n')
    for folder in ("notebooks", "helpers", "data/results", "build/notebooks"):
        (root / folder).mkdir(parents=True)
    (root / "data" / "README.md").write_text("# Data\n")
    (root / "notebooks" / "words.md").write_text(WORDS)
    (root / "data" / "results" / "picture.png").write_bytes(b64decode(PIXEL))
    ledger = root / "data" / "results" / "00_first.tiny.json"
    ledger.write_text(json.dumps(ENTRY))
    write(root / "notebooks", cells())
    write(root / "build" / "notebooks", executed(root))
    (root / "build" / "course.json").write_text(json.dumps([ENTRY]))
    assert run(root, "sync", "--run", str(root / "build")) == 0
    make_language(root, "ar")
    return root


def executed(root):
    """The lesson's cells as a run leaves them."""
    ran = cells()
    out = ran[3].outputs = [shown(**{"image/png": PIXEL, "text/plain": "It [rises]"})]
    out.append(shown(**WIDGET, **{"text/plain": "0% of a bar"}))
    out.append(shown(**WIDGET, **{"text/html": "<b>a page</b>"}))
    table = "<table><tr><td>a | b</td><td>1.5</td></tr></table>"
    out.append(shown(**{"text/html": table, "text/plain": "a table"}))
    out.append(v4.new_output("stream", text=f"read {root}/data/a.json"))
    out.append(shown(**FIGURES))
    injected = v4.new_code_cell("PROFILE = 'tiny'", id="injected")
    injected.metadata["tags"] = ["injected-parameters"]
    ran.insert(1, injected)
    return ran


def write(folder, content):
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    book = v4.new_notebook(cells=content, metadata={"kernelspec": spec})
    (folder / "00_first.ipynb").write_text(json.dumps(book), encoding="utf-8")


def prepared(root, language):
    """(landing page, lesson with outputs, lesson to download) as Sphinx gets them."""
    task = build.checked(options(root))[0]
    task.work.mkdir(parents=True, exist_ok=True)
    (task.work / build.MARK).touch()
    course, work = task.course, root / "work"
    edition = build.Edition(root, build.read_pages(root), language)
    sources.prepare(course, edition, work / "src", work / "downloads")
    names = ("src/notebooks/00_first.ipynb", "downloads/00_first.ipynb")
    books = [json.loads((work / name).read_text(encoding="utf-8")) for name in names]
    return (work / "src" / "index.md").read_text(encoding="utf-8"), *books


def options(root, *more):
    return build.parse(["--root", str(root), "--languages", "en", "ar", *more])


def publish(root, address):
    text = f'[project]\nname = "a"\n[project.urls]\nRepository = "{address}"\n'
    (root / "pyproject.toml").write_text(text)


def source(book, cell):
    return "".join(book["cells"][cell]["source"])


@pytest.mark.parametrize("language", ["en", "ar"])
def test_links_stay_on_the_site_or_lose_their_target(root, language):
    landing, site, alone = prepared(root, language)
    say = rot13 if language == "ar" else str
    assert "](notebooks/00_first.ipynb)" in landing
    assert "languages" not in landing  # the site has a bar of its own
    assert f"{say('The data have a')} {say('card')}," in landing.replace("\n", " ")
    assert "`[not](data/README.md)`" in landing
    assert "](../index.md)" in source(site, 0)
    assert "](../README.md)" in source(alone, 0) and links.NOWHERE not in str(alone)
    assert say("the card") in source(alone, 0) and "data/README" not in source(alone, 0)


def test_a_page_beside_the_lessons_is_english_in_every_language(root):
    landing = prepared(root, "en")[0]
    assert "](notebooks/words.md)" in landing and "\nnotebooks/words\n" in landing
    text = (root / "work" / "src" / "notebooks" / "words.md").read_text("utf-8")
    assert "](00_first.ipynb#a-plot), the card." in text
    (root / "work" / "src" / "notebooks" / "words.md").unlink()
    landing = prepared(root, "ar")[0]
    assert "](site:../en/notebooks/words.html)" in landing
    assert "\nnotebooks/words\n" not in landing
    assert not (root / "work" / "src" / "notebooks" / "words.md").exists()


def test_only_the_notebook_to_download_has_frames(root, monkeypatch):
    monkeypatch.setattr("translations.direction.runs_right", lambda text: True)
    _, site, alone = prepared(root, "ar")
    assert source(alone, 0) == FRAME.format("rtl", source(alone, 0)[17:-8])
    assert "dir=" not in source(site, 0)


def test_links_lead_to_the_public_address_once_there_is_one(root):
    publish(root, ADDRESS)
    landing, site, alone = prepared(root, "ar")
    assert f"]({ADDRESS}/blob/HEAD/data/README.md#a)" in landing
    assert f"]({ADDRESS}/tree/HEAD/helpers)" in landing
    for book in (site, alone):
        assert f"]({ADDRESS}/blob/HEAD/data/README.md)" in source(book, 0)


def test_pictures_come_along_and_badges_do_not(root):
    landing = prepared(root, "ar")[0]
    assert "example.org" not in landing
    assert "](images/picture.png)" in landing
    copied = root / "work" / "src" / "images" / "picture.png"
    assert copied.read_bytes() == b64decode(PIXEL)


def test_outputs_are_those_of_the_reading_edition(root):
    _, site, alone = prepared(root, "ar")
    cell = site["cells"][3]
    kinds = [*(list(out.get("data", ["text"])) for out in cell["outputs"])]
    assert kinds == [["image/png"], *[["text/html"]] * 3, ["text"], ["text"]]
    htmls = [out["data"]["text/html"] for out in cell["outputs"][1:4]]
    assert rot13("In a notebook a progress bar") in htmls[0] and "<em>" in htmls[0]
    assert htmls[1] == "<p><b>a page</b></p>"
    assert "<td>a | b</td>" in htmls[2] and ">1.5</td>" in htmls[2]
    assert cell["outputs"][4]["text"] == "read data/a.json\n"
    alt = cell["metadata"]["mystnb"]["image"]["alt"]
    assert rot13("A plot").split()[0] in alt and alt.endswith(": It [rises]")
    assert [c["id"] for c in site["cells"]] == ["title", "setup", "section", "plot"]
    assert not any(c.get("outputs") for c in alone["cells"])
    assert "mystnb" not in str(alone)


def test_outputs_of_other_code_are_refused_and_another_setup_cell_is_not(root, capsys):
    changed = cells()
    changed[1].source = "ADDRESS = 'new'"
    write(root / "notebooks", changed)
    assert sources.stale(root, build.read_pages(root)) == []
    changed[3].source = "plot(2)"
    write(root / "notebooks", changed)
    assert sources.stale(root, build.read_pages(root)) == ["00_first"]
    assert built(["--root", str(root)]) == 2
    assert "run `make course pages LESSONS" in capsys.readouterr().err


def test_outputs_of_other_data_are_refused(root, monkeypatch):
    lesson = build.read_pages(root)
    assert sources.stale(root, lesson) == []
    monkeypatch.setattr(outputs, "data_hash", lambda *_: "0" * 16)
    assert sources.stale(root, lesson) == ["00_first"]


def test_a_figure_that_is_not_there_is_asked_for(root):
    (root / "translations" / "figures" / "00-plot.png").unlink()
    with pytest.raises(SiteError, match='run `make course pages LESSONS="00" RUN='):
        build.checked(options(root))


def test_only_the_stale_lessons_are_asked_for(root):
    book = (root / "notebooks" / "00_first.ipynb").read_text(encoding="utf-8")
    (root / "notebooks" / "01_second.ipynb").write_text(book, encoding="utf-8")
    with pytest.raises(SiteError, match='run `make course pages LESSONS="01" RUN='):
        build.checked(options(root))


def test_a_language_has_the_lessons_that_are_begun_and_links_the_others(root):
    book = (root / "notebooks" / "00_first.ipynb").read_text(encoding="utf-8")
    (root / "notebooks" / "01_second.ipynb").write_text(book, encoding="utf-8")
    rows = [ENTRY, ENTRY | {"lesson": "01_second"}]
    (root / "build" / "course.json").write_text(json.dumps(rows))
    ran = (root / "build" / "notebooks" / "00_first.ipynb").read_text("utf-8")
    (root / "build" / "notebooks" / "01_second.ipynb").write_text(ran, "utf-8")
    assert run(root, "sync", "--run", str(root / "build")) == 0
    changed = cells()
    changed[0].source += " Then [more](01_second.ipynb)."
    write(root / "notebooks", changed)
    run(root, "sync")
    course = build.checked(options(root))[0].course
    names = ("README", "00_first", "01_second")
    assert course.languages == {"en": names, "ar": names[:2]}
    landing, site, alone = prepared(root, "ar")
    assert "\nnotebooks/00_first\n" in landing and "01_second" not in landing
    assert "](site:../../en/notebooks/01_second.html)" in source(site, 0)
    assert "01_second" not in source(alone, 0)
    publish(root, "https://github.com/us/course")
    shutil.rmtree(root / "work")
    told = source(prepared(root, "ar")[2], 0)
    assert re.search(r"\]\(https://github.com/us/course/blob/HEAD/[^)]*01_second", told)


@pytest.mark.parametrize(
    ("folder", "says"),
    [("mine", "no site of the course"), ("mine-source", "not of a build")],
)
def test_a_folder_that_is_no_site_is_left_alone(root, capsys, folder, says):
    (root / folder).mkdir()
    (root / folder / "letter").touch()
    place = ["--output", str(root / "mine")]
    assert built(["--root", str(root), "--languages", "ar", *place]) == 2
    assert says in capsys.readouterr().err
    assert (root / folder / "letter").exists()


def test_an_unknown_language_is_one_line_and_exit_code_2(root, capsys):
    assert built(["--root", str(root), "--languages", "xx"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "'xx'; there are: en, ar" in said


def test_without_npm_one_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SiteError, match="^mathjax@.* install Node.js") as error:
        vendor.package("mathjax", tmp_path)
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())


def test_a_package_with_another_checksum_is_refused(tmp_path, monkeypatch):
    def pack(wanted, folder):
        archive = tmp_path / "archive.tgz"
        archive.write_bytes(b"something else")
        return archive

    monkeypatch.setattr(vendor, "_packed", pack)
    with pytest.raises(SiteError, match="is not the one"):
        vendor.package("mathjax", tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("language", COMPLETE)
def test_every_complete_language_has_all_words(language):
    known = yaml.safe_load(wording.STRINGS.read_text(encoding="utf-8"))
    assert known["en"].keys() <= known[language].keys()
    assert "{section}" in known[language]["figure"]


@pytest.mark.parametrize(
    ("language", "name", "direction"),
    [("ar", "العربية", "rtl"), ("pt-BR", "Português (Brasil)", "ltr")],
)
def test_a_language_has_its_name_and_direction(language, name, direction):
    assert wording.own_name(language) == name
    assert wording.direction(language) == direction


def test_the_start_page_escapes_the_title():
    page = build.start_page({"en": "A <b> course", "ar": "x"})
    assert "A &lt;b&gt; course" in page and 'const there = ["en", "ar"]' in page


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The small course, built by Sphinx in both languages at a public address."""
    root = small_course(tmp_path_factory.mktemp("small"))
    publish(root, ADDRESS)
    tasks = build.checked(options(root))
    build.publish(tasks[0].work, root / "site", build.run_tasks(tasks))
    return root / "site"


def page(site, language):
    path = site / language / "notebooks" / "00_first.html"
    return path.read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_page_has_the_language_and_the_direction_of_its_reader(site):
    assert re.search(r'<html[^>]* lang="ar"', page(site, "ar"))
    assert '<body dir="rtl"' in page(site, "ar")
    assert '<body dir="ltr"' in page(site, "en")


@pytest.mark.slow
@pytest.mark.parametrize("language", ["en", "ar"])
def test_a_lesson_offers_colab_and_the_notebook(site, language):
    text = page(site, language)
    where = f"someone/course/blob/gh-pages/{language}/notebooks/00_first.ipynb"
    assert f'href="https://colab.research.google.com/github/{where}"' in text
    assert '<a class="download" href="00_first.ipynb" download>' in text
    assert (site / language / "notebooks" / "00_first.ipynb").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("language", ["en", "ar"])
def test_the_setup_cell_is_folded_and_others_are_not(site, language):
    [folded] = re.findall(
        '<details class="[^"]*hide .*?</details>', page(site, language), re.DOTALL
    )
    assert wording.strings(language)["show"] in folded and ">import<" in folded
    assert "aria-label" not in folded.partition("</summary>")[0]


@pytest.mark.slow
def test_a_page_in_english_only_offers_neither_languages_nor_a_notebook(site):
    text = (site / "en" / "notebooks" / "words.html").read_text(encoding="utf-8")
    assert 'href="00_first.html#a-plot"' in text and 'hreflang="ar"' not in text
    assert "lesson-buttons" not in text
    assert not (site / "ar" / "notebooks" / "words.html").exists()
    assert "../en/notebooks/words.html" in (site / "ar/index.html").read_text("utf-8")


@pytest.mark.slow
def test_a_page_loads_nothing_from_elsewhere(site):
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        loaded = re.findall(r'(?:src|<link[^>]* href)="([^"]+)"', text)
        assert not [url for url in loaded if "//" in url], path


@pytest.mark.slow
def test_the_site_appears_whole_and_takes_the_place_of_the_last(site):
    assert not list(site.parent.glob("site-source*"))
    names = {path.name for path in site.iterdir()}
    assert names == {"en", "ar", "index.html", ".nojekyll"}
    tasks = build.checked(options(site.parent, "--output", str(site)))
    (tasks[0].work / "site").mkdir(parents=True)
    build.publish(tasks[0].work, site, {"en": "Newer"})
    assert [path.name for path in site.glob("*.html")] == ["index.html"]
    assert "Newer" in (site / "index.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_page_with_a_dead_link_leaves_the_last_site_in_its_place(
    root, capsys, monkeypatch
):
    monkeypatch.setattr(vendor, "package", lambda *_: None)
    (root / "build" / "site").mkdir()
    (root / "build" / "site" / ".nojekyll").touch()
    readme = root / "README.md"
    readme.write_text(readme.read_text("utf-8") + "\n[Gone](#gone)\n", "utf-8")
    assert built(["--root", str(root), "--languages", "en"]) == 1
    said = capsys.readouterr().err
    assert "en cannot be built" in said and "index.md" in said and "gone" in said
    assert [path.name for path in (root / "build" / "site").iterdir()] == [".nojekyll"]

"""The site as a reader meets it: every language built, then looked at in Chromium.

Screenshots go to the folder COURSE_SCREENSHOTS, if that is set, to look at.
"""

import functools
import html
import http.server
import os
import random
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from helpers.files import ROOT
from helpers.widgets import tokens
from tests.house import gates
from tests.site.browser import watch
from tests.translations.dealt import commit
from translations.edition import begun_pages
from translations.site import SiteError, vendor, wording

pytestmark = pytest.mark.slow
BEGUN = begun_pages(ROOT)
LANGUAGES = list(BEGUN)
LESSONS = [f"notebooks/{path.stem}" for path in gates.notebooks()]
PAGES = ["index", "search", *LESSONS]
START, MATHS, TOKENS, RECIPE, CONTROLS = LESSONS[:5]
# Those that have every lesson; others are on the site with those that are begun.
WHOLE = [c for c in LANGUAGES if {Path(n).name for n in LESSONS} <= set(BEGUN[c])]
RIGHT_TO_LEFT = [
    code
    for code in LANGUAGES
    if wording.direction(code) == "rtl" and Path(START).name in BEGUN[code]
]
FIGURES = next(lesson for lesson in LESSONS if "/14" in lesson)
PHONE = {"viewport": {"width": 390, "height": 844}}
# What the commit deals, other things at every commit: which pages are seen on a phone
# in which language, and a lesson to audit.
DEAL = random.Random(commit())
PHONES = sorted({WHOLE[0], WHOLE[-1]})
DEAL.shuffle(PHONES)
ON_A_PHONE = {code: PAGES[n :: len(PHONES)] for n, code in enumerate(PHONES)}
# What is audited in each theme: its language and pages. The audit of a lesson takes
# several seconds, so one of formulas is seen, and one with tables and figures.
AUDITED = {
    "light": (LANGUAGES[0], ["index", "search", MATHS]),
    "dark": (WHOLE[-1], ["index", DEAL.choice([LESSONS[2], LESSONS[5]])]),
}
# What the site says around the text of a page, to the eye and to a screen reader.
SAID = """
[...document.querySelectorAll('body *')].filter(e => !e.closest('article, nav li'))
.flatMap(e => [e.ariaLabel, e.title, e.placeholder, e.dataset.bsOriginalTitle,
               e.children.length ? '' : e.textContent])
.filter(Boolean).map(text => text.trim())
"""
# How much wider than its place the page is, and the column that the theme scrolls.
WIDER = """
Math.max(...['html', '.bd-main', '.bd-article-container'].map(s =>
  document.querySelector(s)).filter(Boolean).map(e => e.scrollWidth - e.clientWidth))
"""
BROKEN = "[...document.querySelectorAll('article img')].filter(i => !i.naturalWidth)"
# What axe finds wrong; to list all that is right would take it twice as long.
VIOLATIONS = "axe.run({resultTypes: ['violations']}).then(found => found.violations)"
LOOK = "(all, name) => all.map(e => getComputedStyle(e)[name])"
DIRECTION = "e => getComputedStyle(e).direction"
ALONE = "e => getComputedStyle(e).unicodeBidi"
FOCUSED = "document.activeElement.closest('{}') !== null"


@pytest.fixture(scope="module")
def packages(browser):
    """{name: folder} of what npm brings. Without npm: skipped, as without Chromium."""
    cache = ROOT / "build" / "vendor"
    try:
        return {name: vendor.package(name, cache) for name in vendor.PACKAGES}
    except SiteError as error:
        required = os.environ.get("COURSE_BROWSER") == "required"
        (pytest.fail if required else pytest.skip)(str(error))


@pytest.fixture(scope="module")
def built(packages, tmp_path_factory):
    """The folder of the site."""
    place = tmp_path_factory.mktemp("site") / "site"
    command = [sys.executable, "-m", "translations.site.build", "--output", place]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.fail(f"the site was not built:\n{done.stderr}\n{done.stdout}")
    return place


@pytest.fixture(scope="module")
def address(built):
    """Where a server of this machine shows the site, as a web server would."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=built)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def used(browser):
    """A page that several tests load anew: no new process, no file read twice."""
    with watch(browser) as open_one:
        yield open_one()


@pytest.fixture
def visit(open_page, used, address):
    """visit(language, page, ...) -> Watched, the page loaded; options of a context.

    Without options it is the page that another test has used, what it kept included.
    """

    def visit(language, page, query="", **options):
        watched = open_page(**options) if options else used
        go(watched, address, language, page, query)
        return watched

    return visit


def go(watched, address, language, page, query=""):
    url = f"{address}/{language}/{page}.html{query}"
    watched.page.goto(url, wait_until="networkidle")


def picture(page, name):
    """Keep what a page shows, where someone wants to look."""
    if folder := os.environ.get("COURSE_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(folder) / f"site-{name}.png")


@pytest.mark.parametrize("language", sorted(ON_A_PHONE))
def test_every_page_fits_a_phone_and_asks_nobody_else(open_page, address, language):
    watched = open_page(**PHONE)
    too_wide = {}
    for page in ON_A_PHONE[language]:
        go(watched, address, language, page)
        if (pixels := watched.page.evaluate(WIDER)) > 0:
            too_wide[page] = pixels
        assert watched.page.evaluate(f"{BROKEN}.length") == 0, page
        if page == START:
            picture(watched.page, f"phone-{language}")
    assert too_wide == {}
    assert watched.errors == [] and watched.foreign == []


def test_a_page_is_offered_in_the_languages_that_have_it(built):
    for lesson in LESSONS:
        text = (built / "en" / f"{lesson}.html").read_text(encoding="utf-8")
        offered = set(re.findall(r'<a [^>]*hreflang="([\w-]+)"', text))
        assert offered == {c for c in LANGUAGES if Path(lesson).name in BEGUN[c]}
        for code in LANGUAGES:
            assert (built / code / f"{lesson}.html").exists() == (code in offered)


@pytest.mark.parametrize("language", WHOLE)
def test_search_finds_a_lesson_by_a_word_of_its_title(visit, built, language):
    text = (built / language / f"{LESSONS[2]}.html").read_text(encoding="utf-8")
    title = html.unescape(re.search("<h1>(.*?)<", text, re.DOTALL)[1])
    word = max(re.findall(r"\w+", title), key=len)
    page = visit(language, "search", f"?q={word}").page
    found = page.locator(f'#search-results a[href*="{Path(LESSONS[2]).name}"]')
    found.first.wait_for(timeout=10_000)
    said = page.locator("#search-results .search-summary", has_text=re.compile(r"\d"))
    said.wait_for(timeout=10_000)  # how many pages were found
    assert page.locator("html").get_attribute("lang") == language


@pytest.fixture(scope="module")
def said_in_english(used, address):
    """What the site says in English around a lesson."""
    go(used, address, "en", START)
    return set(used.page.evaluate(SAID))


@pytest.mark.parametrize("language", [c for c in LANGUAGES if "README" in BEGUN[c]])
def test_the_site_speaks_the_language_of_the_page(visit, said_in_english, language):
    page = visit(language, START).page
    copy = page.locator("button.copybtn").first.get_attribute("data-tooltip")
    assert copy == wording.strings(language)["copy"]
    names = {"Ctrl", *map(wording.own_name, LANGUAGES)}
    both = said_in_english & set(page.evaluate(SAID)) - names
    assert {text for text in both if re.search(r"\w{2}", text)} == set()


@pytest.mark.parametrize("language", RIGHT_TO_LEFT)
def test_a_page_from_right_to_left_has_its_sides_there(open_page, address, language):
    watched = open_page(viewport={"width": 1400, "height": 1000})
    go(watched, address, language, START)
    side = lambda selector: watched.page.locator(selector).first.bounding_box()["x"]  # noqa: E731
    assert side(".bd-sidebar-primary") > side("article") > side(".bd-sidebar-secondary")
    assert side(".left-prev") > side(".right-next")
    sides = {
        watched.page.locator(f"article {part}").first.evaluate(DIRECTION)
        for part in ("pre", "p code", ".cell_output")
    }
    assert sides == {"ltr"}
    assert watched.page.locator("article p code").first.evaluate(ALONE) == "isolate"
    # Of an output, what the tools say: it begins where its script does.
    said = watched.page.locator(".cell_output p:has(em)")
    assert set(said.evaluate_all(LOOK, "textAlign")) == {"start"}
    picture(watched.page, f"right-{language}")
    watched.page.set_viewport_size(PHONE["viewport"])
    assert watched.page.evaluate(WIDER) <= 0 and watched.errors == []


def test_paper_is_white_and_the_screen_stays_dark(visit):
    page = visit("en", START, color_scheme="dark").page
    theme = lambda: page.locator("html").get_attribute("data-theme")  # noqa: E731
    assert theme() == "dark"
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert theme() == "light"
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert theme() == "dark"


@pytest.mark.parametrize("page", ["index", "search", START])
def test_the_switch_of_languages_keeps_the_page(open_page, built, page):
    """From the disk: the switch needs no server and no script."""
    watched = open_page(java_script_enabled=False)
    watched.page.goto((built / "en" / f"{page}.html").as_uri())
    for language in [*LANGUAGES[1:], "en"]:
        switch = watched.page.locator("header .languages")
        switch.locator("summary").click()
        names = switch.locator("a").all_inner_texts()
        assert names == [wording.own_name(code) for code in LANGUAGES]
        switch.get_by_text(wording.own_name(language), exact=True).last.click()
        assert watched.page.url.endswith(f"/{language}/{page}.html")
    assert watched.foreign == []


@pytest.mark.parametrize(("wanted", "given"), [("ro-RO", "ro"), ("ko", "en")])
def test_the_start_page_leads_to_the_language_of_the_reader(
    open_page, address, wanted, given
):
    if given not in LANGUAGES:
        pytest.skip(f"no complete translation into {given!r}")
    page = open_page(locale=wanted).page
    page.goto(f"{address}/index.html")
    page.wait_for_url(f"**/{given}/index.html")


def test_the_start_page_is_a_list_of_languages_without_a_script(open_page, address):
    page = open_page(java_script_enabled=False).page
    page.goto(f"{address}/index.html")
    links = page.locator("main a").all()
    assert [link.get_attribute("hreflang") for link in links] == LANGUAGES
    links[-1].click()
    assert page.url == f"{address}/{LANGUAGES[-1]}/index.html"


def test_formulas_are_set_and_not_shown_as_source(visit):
    page = visit(WHOLE[-1], MATHS).page
    page.locator("mjx-container").first.wait_for(timeout=30_000)
    formulas = page.locator(".math").count()
    page.wait_for_function(
        f"document.querySelectorAll('.math mjx-container').length >= {formulas}"
    )
    assert formulas > 10 and page.locator("mjx-merror").count() == 0
    prose = page.evaluate(
        "[...document.querySelectorAll('article p, article li, article td')]"
        ".map(p => { p = p.cloneNode(true);"
        " p.querySelectorAll('code, pre').forEach(c => c.remove());"
        " return p.textContent }).join(' ')"
    )
    assert not re.search(r"\$\S|\\[(\[]|\\frac", prose)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_landing_page_shows_what_the_course_measured(visit, language):
    page = visit(language, "index").page
    image = page.locator('article img[src$="before_after.png"]')
    assert image.get_attribute("alt")
    table = page.locator("article table", has_text=re.compile("MiB|МиБ")).first
    results = table.inner_text()
    assert all(Path(lesson).name[:2] in results for lesson in LESSONS)
    assert page.evaluate(f"{BROKEN}.length") == 0
    picture(page, f"landing-{language}")


def test_plots_of_a_lesson_say_which_section_they_belong_to(visit):
    page = visit(WHOLE[-1], FIGURES).page
    images = page.locator(".cell_output img").all()
    headings = page.locator("article :is(h1, h2, h3)").all_inner_texts()
    headings = [text.removesuffix("#").strip() for text in headings]
    assert len(images) >= 4
    for image in images:
        text = image.get_attribute("alt")
        assert any(heading in text for heading in headings), text


def test_what_was_a_control_is_a_figure_or_a_table_without_a_kernel(built):
    for lesson in LESSONS:
        text = (built / "en" / f"{lesson}.html").read_text(encoding="utf-8")
        assert not re.search(r"\b(VBox|HBox|IntProgress|SelectionSlider)\(", text)
        assert not re.search(r"<script[^>]*(widget|require)", text)
    text = (built / "en" / f"{CONTROLS}.html").read_text(encoding="utf-8")
    assert "<td>activations</td>" in text  # the calculator's table


@pytest.mark.parametrize("scheme", AUDITED)
def test_trained_tokens_have_the_colour_that_the_notebook_gives_them(visit, scheme):
    """Apart from untrained ones: there the page has no colour of its own."""
    page = visit("en", TOKENS, color_scheme=scheme).page
    page.locator("samp").first.scroll_into_view_if_needed()
    picture(page, f"tokens-{scheme}")
    looks = dict(rule.split(":") for rule in tokens.LOOKS["trained"].split(";")[1:3])
    for place in ("samp ins", "samp ins kbd"):
        for css, name in {"background": "backgroundColor", "color": "color"}.items():
            parts = [str(int(looks[css][i : i + 2], 16)) for i in (1, 3, 5)]
            found = set(page.locator(place).evaluate_all(LOOK, name))
            assert found == {f"rgb({', '.join(parts)})"}, place
    assert set(page.locator("samp > kbd").evaluate_all(LOOK, "color")) != found


@pytest.mark.parametrize("scheme", AUDITED)
def test_columns_of_a_printed_table_stand_apart_on_the_page_itself(visit, scheme):
    page = visit("en", RECIPE, color_scheme=scheme).page
    table = page.locator(".cell_output table").first
    table.scroll_into_view_if_needed()
    picture(page, f"table-{scheme}")
    sides = table.locator("td").evaluate_all(LOOK, "paddingRight")
    assert min(float(side.removesuffix("px")) for side in sides) >= 8
    slab = page.locator(".text_html:has(> table)").evaluate_all(LOOK, "backgroundColor")
    assert set(slab) == {"rgba(0, 0, 0, 0)"}


def test_the_keyboard_reaches_the_text_and_the_switch_of_languages(open_page, address):
    watched = open_page()
    go(watched, address, "en", START)
    page = watched.page
    page.keyboard.press("Tab")
    assert page.evaluate(FOCUSED.format("#pst-skip-link"))
    page.keyboard.press("Enter")
    page.wait_for_url("**/*#main-content")
    page.goto(page.url.partition("#")[0], wait_until="networkidle")
    for _ in range(10):
        page.keyboard.press("Tab")
        if page.evaluate(FOCUSED.format("header .languages summary")):
            break
    page.keyboard.press("Enter")
    for _ in LANGUAGES:
        page.keyboard.press("Tab")
    assert page.evaluate(FOCUSED.format("header .languages li:last-child"))
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/{LANGUAGES[-1]}/{START}.html")


def test_the_reader_chooses_light_or_dark_and_the_next_page_keeps_it(visit, address):
    watched = visit("en", START, color_scheme="light")
    root = watched.page.locator("html")
    watched.page.locator("header .theme-switch-button").click()
    watched.page.locator('header [data-mode="dark"].theme-change-button').click()
    assert root.get_attribute("data-theme") == "dark"
    go(watched, address, LANGUAGES[-1], "index")
    assert root.get_attribute("data-theme") == "dark"
    assert watched.errors == []


@pytest.mark.parametrize("scheme", AUDITED)
def test_no_serious_barrier_and_no_weak_contrast(open_page, address, packages, scheme):
    axe = (packages["axe-core"] / "axe.min.js").read_text(encoding="utf-8")
    watched, found, answers = open_page(color_scheme=scheme), [], []
    watched.page.on("response", lambda answer: answers.append(answer))
    language, pages = AUDITED[scheme]
    for page in pages:
        answers.clear()
        go(watched, address, language, page)
        size = sum(int(a.headers.get("content-length", 0)) for a in answers)
        print(f"{scheme} {page}: {len(answers)} requests, {size / 1024:.0f} KiB")
        assert watched.page.locator("html").get_attribute("data-theme") == scheme
        watched.page.evaluate(axe)
        for violation in watched.page.evaluate(VIOLATIONS):
            print(f"  {violation['id']}: {violation['impact']}")
            if violation["impact"] in ("serious", "critical"):
                nodes = [node["html"][:200] for node in violation["nodes"][:3]]
                found.append((page, violation["id"], nodes))
        if page == pages[-1]:
            picture(watched.page, f"{scheme}-{language}")
    assert found == []

"""The browser shows what is wrong, in more than colour, and escapes all text."""

import json
import re

import pytest

from helpers.course.worker import MARK
from helpers.evaluation.scoring import score
from helpers.widgets import failure_browser

VIEW = "application/vnd.jupyter.widget-view+json"
ATTACK = "<script>alert(1)</script>"
EXPECTED = [
    json.dumps({"queue": queue, "order": None}) for queue in ("REP", "LOG", ATTACK)
]
PROMPTS = [[{"role": "user", "content": f'say "{n}" {ATTACK}'}] for n in range(3)]
BASE = [f"no {ATTACK}", "[1]", "{}"]
TUNED = [EXPECTED[0], '{"queue": "LOG", "order": 7}', f'{{"queue": "{ATTACK}!"}}']


@pytest.fixture
def reports():
    answers = {"base": BASE, "<b>tuned": TUNED}
    return {name: score(EXPECTED, got, PROMPTS) for name, got in answers.items()}


def test_failures_are_those_of_the_last_report(reports):
    assert failure_browser.failures(reports) == [1, 2]
    assert failure_browser.failures(reports, "queue") == [2]
    assert failure_browser.failures(reports, "order") == [1, 2]
    first = {"base": reports["base"]}
    assert failure_browser.failures(first) == [0, 1, 2]


def test_reports_of_other_rows_are_refused(reports):
    reports["short"] = score(EXPECTED[:2], TUNED[:2], PROMPTS[:2])
    with pytest.raises(ValueError, match="same rows: got 3, 3, 2 rows"):
        failure_browser.failures(reports)


def test_a_wrong_value_is_marked_without_colour(reports):
    html = failure_browser.failure_view(reports, [1]).html
    assert html.count("✗") == 2  # the base's no object, the tuned order
    cell = re.search(r'<td style="([^"]*)">✗ 7</td>', html)[1]
    assert "font-weight:bold" in cell and "underline" in cell
    assert ">null</td>" in html and "✗ no JSON object: [1]" in html
    assert "✗ (none)" in failure_browser.failure_view(reports, [2]).html


def test_all_text_is_escaped(reports):
    html = failure_browser.failure_view(reports, range(3))._repr_html_()
    tags = set(re.findall(r"<\s*/?\s*(\w+)", html))
    assert tags == {"div", "b", "table", "tr", "th", "td", "hr"}
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "&lt;b&gt;tuned" in html
    attributes = set(re.findall(r"\s([\w-]+)=\"", html))
    assert attributes <= {"style", "scope", "colspan"}


def test_text_that_is_no_json_is_shown_whole():
    reports = {"m": score(["yes"], ["no <i>"])}
    html = failure_browser.failure_view(reports, [0]).html
    assert ">yes</td>" in html and "no &lt;i&gt;" in html


def test_the_right_fields_in_another_text_are_told():
    wanted = '{"a": 1, "b": 2}'
    reports = {"m": score([wanted], ['{"b": 2, "a": 1}'])}
    assert failure_browser.failures(reports) == [0]
    html = failure_browser.failure_view(reports, [0]).html
    assert html.count("✗") == 1 and "✗ another text: {&quot;b&quot;" in html


def test_no_failure_says_so(reports):
    assert "No failure" in failure_browser.failure_view(reports, []).html
    right = {"right": score(EXPECTED, EXPECTED, PROMPTS)}
    controls, view = failure_browser.build(right).children
    assert "No failure" in view.value


def test_the_widget_follows_its_controls(reports):
    controls, view = failure_browser.build(reports).children
    field, place = controls.children
    show = lambda n: failure_browser.failure_view(reports, [n]).html  # noqa: E731
    assert view.value == show(1) and place.max == 2
    place.value = 2
    assert view.value == show(2)
    field.value = "queue"
    assert view.value == show(2) and (place.value, place.max) == (1, 1)
    labels = [label for label, _ in field.options]
    assert labels == ["any (2)", "queue (1)", "order (2)"]


def test_a_headless_run_gets_the_plain_page(reports, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda x, **k: shown.append(x))
    monkeypatch.setenv(MARK, "run")
    failure_browser.browse_failures(reports)
    monkeypatch.delenv(MARK)
    failure_browser.browse_failures(reports)
    page = failure_browser.failure_view(reports, [1, 2]).html
    assert shown[0].html == page
    assert shown[1]["text/html"] == page and VIEW in shown[1]

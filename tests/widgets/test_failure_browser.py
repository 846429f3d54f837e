"""The browser shows what is wrong, in more than colour, and escapes all text."""

import json
import re

import pytest

from helpers import HEADLESS
from helpers.evaluation.scoring import score
from helpers.widgets import failure_browser

VIEW = "application/vnd.jupyter.widget-view+json"
ATTACK = "<script>alert(1)</script>"
EXPECTED = [
    json.dumps({"queue": queue, "order": None}) for queue in ("QWZ", "JXW", ATTACK)
]
PROMPTS = [[{"role": "user", "content": f'say "{n}" {ATTACK}'}] for n in range(3)]
BASE = [f"no {ATTACK}", "[1]", "{}"]
TUNED = [EXPECTED[0], '{"queue": "JXW", "order": 7}', f'{{"queue": "{ATTACK}!"}}']


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
    html = failure_browser.failure_view(reports, [1]).data
    assert html.count("✗") == 2  # the base's no object, the tuned order
    assert re.search(r'<td class="[^"]* wrong" >✗ 7</td>', html)
    assert html.count(' wrong"') == 1  # the base's answer is shown whole
    look = re.search(r"#T_texts td\.wrong {([^}]*)}", html)[1]
    assert "font-weight: bold" in look and "text-decoration: underline" in look
    assert ">null</td>" in html and "✗ no JSON object: [1]" in html
    assert "✗ (none)" in failure_browser.failure_view(reports, [2]).data


def test_all_text_is_escaped(reports):
    html = failure_browser.failure_view(reports, range(3))._repr_html_()
    tags = set(re.findall(r"<\s*/?\s*(\w+)", html))
    made = {"style", "table", "thead", "tbody", "tr", "th", "td"}  # by pandas
    assert tags == {"div", "b", "hr"} | made
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "&lt;b&gt;tuned" in html
    attributes = set(re.findall(r"\s([\w-]+)=\"", html))
    assert attributes <= {"style", "type", "id", "class"}


def test_field_names_are_escaped_too():
    wanted, got = json.dumps({ATTACK: "a"}), json.dumps({ATTACK: "b"})
    html = failure_browser.failure_view({"m": score([wanted], [got])}, [0]).data
    assert ">&lt;script&gt;alert(1)&lt;/script&gt;</th>" in html
    assert "<script" not in html


def test_half_a_surrogate_pair_is_shown_as_json_names_it():
    got = r'{"a": "\ud83d"}'
    html = failure_browser.failure_view({"m": score(['{"a": 1}'], [got])}, [0]).data
    assert r"✗ &#34;\ud83d&#34;" in html and html.encode("utf-8")


def test_text_that_is_no_json_is_shown_whole():
    reports = {"m": score(["yes"], ["no <i>"])}
    html = failure_browser.failure_view(reports, [0]).data
    assert ">yes</td>" in html and "no &lt;i&gt;" in html


def test_the_right_fields_in_another_text_are_told():
    wanted = '{"a": 1, "b": 2}'
    reports = {"m": score([wanted], ['{"b": 2, "a": 1}'])}
    assert failure_browser.failures(reports) == [0]
    html = failure_browser.failure_view(reports, [0]).data
    assert html.count("✗") == 1 and "✗ another text: {&#34;b&#34;" in html


def test_a_scorer_s_failures_are_told_by_its_marks():
    kind = lambda expected, answer: {"kind": "Dear" in answer, "long": 0.5}  # noqa: E731
    report = score(["Dear V"] * 2, ["Dear W", "no"], scorer=kind)
    assert failure_browser.failures({"tuned": report}) == [0, 1]
    assert failure_browser.failures({"tuned": report}, "kind") == [1]
    page = failure_browser.failure_view({"tuned": report}, [1]).data
    assert "✗ 0<" in page and "✗ 0.5<" in page and "JSON" not in page


def test_no_failure_says_so(reports):
    assert "No failure" in failure_browser.failure_view(reports, []).data
    right = {"right": score(EXPECTED, EXPECTED, PROMPTS)}
    controls, view = failure_browser.build(right).children
    assert "No failure" in view.value


def test_the_widget_follows_its_controls(reports):
    controls, view = failure_browser.build(reports).children
    field, place = controls.children
    show = lambda n: failure_browser.failure_view(reports, [n]).data  # noqa: E731
    assert view.value == show(1) and place.max == 2
    place.value = 2
    assert view.value == show(2)
    field.value = "queue"
    assert view.value == show(2) and (place.value, place.max) == (1, 1)
    labels = [label for label, _ in field.options]
    assert labels == ["any (2)", "queue (1)", "order (2)"]


def test_a_headless_run_gets_the_plain_page(reports, displayed, monkeypatch):
    monkeypatch.setenv(HEADLESS, "run")
    failure_browser.browse_failures(reports)
    monkeypatch.delenv(HEADLESS)
    failure_browser.browse_failures(reports)
    page = failure_browser.failure_view(reports, [1, 2]).data
    (plain, _), (live, _) = displayed
    assert plain["text/html"] == page and VIEW not in plain
    assert live["text/html"] == page and VIEW in live

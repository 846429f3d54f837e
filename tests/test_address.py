"""The public address is set in one place, and every page that quotes it agrees."""

import json

import pytest
from conftest import ROOT

from helpers import address, ledger

URL = "https://github.com/someone/lora-course"


def declare(root, url):
    path = root / "pyproject.toml"
    text = path.read_text("utf-8")
    line = f'[project.urls]\nRepository = "{url}"\n'
    path.write_text(text.replace("[project.urls]\n", line), "utf-8")


def quoted(root):
    """Return {file: text} of everything that may quote the address."""
    files = [root / "README.md", root / "CITATION.cff"]
    files += sorted((root / "notebooks").glob("*.ipynb"))
    return {path.name: path.read_text("utf-8") for path in files}


def test_committed_pages_quote_the_declared_address_and_no_other(copy):
    ledger.quote(ledger.read_ledger(), copy)
    assert quoted(copy) == quoted(ROOT)


def test_every_page_quotes_an_address_once_it_is_declared(copy):
    declare(copy, URL + ".git")
    ledger.quote(ledger.read_ledger(), copy)
    pages = quoted(copy)
    badges = f"[![Tests]({URL}/actions/workflows/tests.yml/badge.svg)]"
    assert badges in pages.pop("README.md")
    assert f"\nrepository-code: {URL}\n" in pages.pop("CITATION.cff")
    for name, text in pages.items():
        cells = json.loads(text)["cells"]
        setup = next(c for c in cells if "setup" in c["metadata"].get("tags", []))
        assert f'ADDRESS = "{URL}"\n' in setup["source"], name
        assert f"/blob/gh-pages/en/notebooks/{name})" in "".join(cells[0]["source"])


def test_taking_the_address_back_leaves_no_trace(copy):
    before = quoted(copy), (copy / "pyproject.toml").read_text("utf-8")
    declare(copy, URL)
    ledger.quote(ledger.read_ledger(), copy)
    assert quoted(copy) != before[0]
    (copy / "pyproject.toml").write_text(before[1], "utf-8")
    ledger.quote(ledger.read_ledger(), copy)
    assert quoted(copy) == before[0]


def test_an_address_elsewhere_is_refused_in_one_line(copy):
    declare(copy, "https://example.org/course")
    before = quoted(copy)
    with pytest.raises(ValueError, match=r"pyproject.toml: .* not an address https://"):
        ledger.quote(ledger.read_ledger(), copy)
    assert quoted(copy) == before


@pytest.mark.parametrize(
    "remote", ["git@github.com:someone/lora-course.git", URL, f"{URL}.git", f"{URL}/"]
)
def test_a_checkout_of_a_fork_knows_its_own_address(copy, remote, monkeypatch):
    monkeypatch.setattr(address, "_remote", lambda root: f"{remote}\n")
    assert address.repository(copy) == URL
    assert address.declared(copy) == ""
    declare(copy, "https://github.com/owner/course")
    assert address.repository(copy) == "https://github.com/owner/course"


def test_a_remote_that_is_not_on_github_is_no_address(copy, monkeypatch):
    monkeypatch.setattr(address, "_remote", lambda root: "/srv/git/course\n")
    assert address.repository(copy) == ""
    assert address.colab("es", "00_start_here", "") == address.site("") == ""


def test_addresses_that_follow_from_it():
    assert address.site("https://github.com/Someone/Course") == (
        "https://someone.github.io/Course/"
    )
    assert address.colab("pt-BR", "00_start_here", URL) == (
        "https://colab.research.google.com/github/someone/lora-course"
        "/blob/gh-pages/pt-BR/notebooks/00_start_here.ipynb"
    )

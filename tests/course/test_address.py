"""The public address is set in one place, and every page that quotes it agrees."""

import json
import re

import pytest

from helpers.course import address, ledger
from helpers.files import ROOT

URL = "https://github.com/someone/lora-course"


@pytest.fixture
def unset(copy):
    """The pages while no address is declared, whatever the course declares today."""
    declare(copy, "")
    ledger.quote(ledger.read_ledger(), copy)
    return copy


def declare(root, url):
    """Write an address into pyproject.toml in place of another; "" takes it out."""
    path = root / "pyproject.toml"
    text = re.sub(r"(?m)^Repository = .*\n", "", path.read_text("utf-8"))
    line = f'Repository = "{url}"\n' if url else ""
    path.write_text(
        text.replace("[project.urls]\n", f"[project.urls]\n{line}"), "utf-8"
    )


def quoted(root):
    """Return {file: text} of everything that may quote the address."""
    files = [root / "README.md", root / "CITATION.cff"]
    files += sorted((root / "notebooks").glob("*.ipynb"))
    return {path.name: path.read_text("utf-8") for path in files}


def test_committed_pages_quote_the_declared_address_and_no_other(copy):
    ledger.quote(ledger.read_ledger(), copy)
    assert quoted(copy) == quoted(ROOT)


def test_every_page_quotes_an_address_once_it_is_declared(unset):
    declare(unset, URL + ".git")
    ledger.quote(ledger.read_ledger(), unset)
    pages = quoted(unset)
    badges = f"[![Tests]({URL}/actions/workflows/tests.yml/badge.svg)]"
    assert badges in pages.pop("README.md")
    assert f"\nrepository-code: {URL}\n" in pages.pop("CITATION.cff")
    for name, text in pages.items():
        cells = json.loads(text)["cells"]
        setup = next(c for c in cells if "setup" in c["metadata"].get("tags", []))
        assert f'ADDRESS = "{URL}"\n' in setup["source"], name
        assert f"/blob/gh-pages/en/notebooks/{name})" in "".join(cells[0]["source"])


def test_taking_the_address_back_leaves_no_trace(unset):
    before = quoted(unset), (unset / "pyproject.toml").read_text("utf-8")
    declare(unset, URL)
    ledger.quote(ledger.read_ledger(), unset)
    assert quoted(unset) != before[0]
    (unset / "pyproject.toml").write_text(before[1], "utf-8")
    ledger.quote(ledger.read_ledger(), unset)
    assert quoted(unset) == before[0]


def test_an_address_elsewhere_is_refused_in_one_line(unset):
    declare(unset, "https://example.org/course")
    before = quoted(unset)
    with pytest.raises(ValueError, match=r"pyproject.toml: .* not an address https://"):
        ledger.quote(ledger.read_ledger(), unset)
    assert quoted(unset) == before


@pytest.mark.parametrize(
    "remote", ["git@github.com:someone/lora-course.git", URL, f"{URL}.git", f"{URL}/"]
)
def test_a_checkout_of_a_fork_knows_its_own_address(unset, remote, monkeypatch):
    monkeypatch.setattr(address, "_remote", lambda root: f"{remote}\n")
    assert address.repository(unset) == URL
    assert address.declared(unset) == ""
    declare(unset, "https://github.com/owner/course")
    assert address.repository(unset) == "https://github.com/owner/course"


def test_a_remote_that_is_not_on_github_is_no_address(unset, monkeypatch):
    monkeypatch.setattr(address, "_remote", lambda root: "/srv/git/course\n")
    assert address.repository(unset) == ""
    assert address.colab("es", "00_start_here", "") == address.site("") == ""


def test_addresses_that_follow_from_it():
    assert address.site("https://github.com/Someone/Course") == (
        "https://someone.github.io/Course/"
    )
    assert address.colab("pt-BR", "00_start_here", URL) == (
        "https://colab.research.google.com/github/someone/lora-course"
        "/blob/gh-pages/pt-BR/notebooks/00_start_here.ipynb"
    )

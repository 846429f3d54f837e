"""The public address of the course: where it is set, and what quotes it.

It is set in one place, `Repository` under [project.urls] in pyproject.toml. The set-up
cell of every lesson, README's badges and CITATION.cff quote it; `make pages` brings
them up to date. While it is unset they hold none, and nothing needs one.
"""

import re
import subprocess
import tomllib
from pathlib import Path

from helpers import UserError
from helpers.course.wording import ENGLISH, Wording
from helpers.files import ROOT

SITE_BRANCH = "gh-pages"  # Colab opens notebooks from a branch of a repository only
GITHUB = re.compile(r"(?:https://|git@|ssh://git@)github\.com[/:]([\w.-]+)/([\w.-]+)/?")
BEGIN, END = "<!-- badges: make pages -->", "<!-- end of badges -->"
# How the address stands in each file that quotes it, and what it says there.
IN_SETUP_CELL = re.compile(r'^ADDRESS = ".*?"', re.MULTILINE)
IN_BADGES = re.compile(f"{BEGIN}\n.*?{END}", re.DOTALL)
IN_CITATION = re.compile(r"^(?:# )?repository-code:.*$", re.MULTILINE)


def declared(root: Path = ROOT) -> str:
    """The address in pyproject.toml, "" while there is none. Raises UserError."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    address = project["project"].get("urls", {}).get("Repository", "")
    if address and not _github(address):
        message = f"{address!r} is not an address https://github.com/OWNER/NAME"
        raise UserError(f"pyproject.toml: [project.urls] Repository: {message}")
    return _github(address)


def repository(root: Path = ROOT) -> str:
    """The declared address, else that of the checkout's remote, else ""."""
    return declared(root) or _github(_remote(root))


def site(address: str) -> str:
    """Where GitHub publishes the site of a repository; "" without address."""
    if not address:
        return ""
    owner, name = GITHUB.fullmatch(address).groups()
    return f"https://{owner.lower()}.github.io/{name}/"


def colab(language: str, lesson: str, address: str) -> str:
    """The address that opens a lesson ("00_start_here") in Colab; "" without one."""
    if not address:
        return ""
    where = address.replace("https://github.com", "github", 1)
    where += f"/blob/{SITE_BRANCH}/{language}/notebooks/{lesson}.ipynb"
    return f"https://colab.research.google.com/{where}"


def badges_block(address: str, words: Wording = ENGLISH) -> str:
    """README's line of badges between its marks; without address only the marks."""
    if not address:
        return f"{BEGIN}\n{END}"
    tests = f"{address}/actions/workflows/tests.yml"
    start = colab(words.language, "00_start_here", address)
    image = "https://colab.research.google.com/assets/colab-badge.svg"
    badges = [
        f"[![Tests]({tests}/badge.svg)]({tests})",
        f"[![{words.say('Open in Colab')}]({image})]({start})",
        f"[{words.say('Read it as a site')}]({site(address)})",
    ]
    return f"{BEGIN}\n{' '.join(badges)}\n{END}"


def stamped(text: str, address: str) -> str:
    """The text of README, CITATION.cff or a set-up cell with this address."""
    text = IN_BADGES.sub(lambda found: badges_block(address), text)
    line = f"repository-code: {address}" if address else "# repository-code: not yet"
    text = IN_CITATION.sub(lambda found: line, text)
    return IN_SETUP_CELL.sub(lambda found: f'ADDRESS = "{address}"', text)


def _github(address: str) -> str:
    """https://github.com/OWNER/NAME of a repository's address, else ""."""
    found = GITHUB.fullmatch(address.strip())
    if not found:
        return ""
    return f"https://github.com/{found[1]}/{found[2].removesuffix('.git')}"


def _remote(root: Path) -> str:
    """What git holds as the address of the checkout's origin, "" for none."""
    command = ["git", "-C", str(root), "config", "--get", "remote.origin.url"]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError:  # no git on this machine
        return ""
    return done.stdout

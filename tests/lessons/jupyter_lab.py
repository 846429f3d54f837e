"""JupyterLab on a copy of the course, and a notebook that is open in it."""

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from tests import warm
from tests.house import gates

# The first question of a new JupyterLab is whether it may fetch news: no.
QUIET = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false"}}
# JavaScript: a notebook is in front; then: it is loaded and its kernel answers. Before
# that the command to run all cells is lost.
OPEN = "() => !!globalThis.jupyterapp?.shell.currentWidget?.context"
READY = """async () => {
  const open = jupyterapp.shell.currentWidget;
  await open.context.ready;
  await open.sessionContext.ready;
  await open.sessionContext.session.kernel.info;
}"""
# JavaScript: a code cell has failed, or the last one has run.
ENDED = """() => {
  const cells = jupyterapp.shell.currentWidget.model.sharedModel.cells
    .filter(cell => cell.cell_type === 'code');
  return cells.some(cell => cell.outputs.some(out => out.output_type === 'error'))
    || cells.at(-1).execution_count !== null;
}"""


def copy_course(folder: Path, values: dict[str, dict], translated: dict) -> None:
    """Copies what the lessons need, with other values in their parameters cells.

    values: {how the notebook's name begins: {parameter: value}}. translated: {lesson:
        the folder of its notebook in another language, which takes its place}.
    """
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(gates.ROOT / "helpers", folder / "helpers", ignore=ignored)
    for name in ("data", "translations"):
        (folder / name).symlink_to(gates.ROOT / name, target_is_directory=True)
    (folder / "notebooks").mkdir()
    for path in gates.notebooks():
        taken = translated.get(path.stem, path.parent) / path.name
        book = json.loads(taken.read_text(encoding="utf-8"))
        for name, value in values.get(path.stem[:2], {}).items():
            _set(book, name, value)
        text = json.dumps(book)
        (folder / "notebooks" / path.name).write_text(text, encoding="utf-8")


def _set(book, name, value):
    """Set a parameter of a notebook."""
    [cell] = [c for c in book["cells"] if "parameters" in c["metadata"].get("tags", [])]
    line = re.compile(rf"(?m)^{name} = .*$")
    text, found = line.subn(f"{name} = {value!r}", "".join(cell["source"]))
    assert found == 1, f"no parameter {name}"
    cell["source"] = text.splitlines(keepends=True)


def lab_options() -> list[str]:
    """What `make lab` gives to JupyterLab."""
    makefile = (gates.ROOT / "Makefile").read_text(encoding="utf-8")
    options = re.search(r"-m jupyterlab \\\s+(.*) \$\(ARGS\)", makefile)[1]
    return options.replace("$$1", "notebooks/00_start_here.ipynb").split()


@contextmanager
def running(course: Path, own: Path):
    """JupyterLab in a course's folder; yields (address, token).

    own: an empty folder for its settings and records. Its kernels start warm.
    """
    settings = own / "config" / "labconfig" / "default_setting_overrides.json"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps(QUIET), encoding="utf-8")
    environment = os.environ | {"JUPYTER_TOKEN": secrets.token_hex(16)}
    if warm.ADDRESS in os.environ:
        argv = [*warm.COMMAND, "ipykernel_launcher", "-f", "{connection_file}"]
        spec = {"argv": argv, "display_name": "Python 3", "language": "python"}
        kernel = own / "warm" / "kernels" / "python3" / "kernel.json"
        kernel.parent.mkdir(parents=True)
        kernel.write_text(json.dumps(spec), encoding="utf-8")
        environment["JUPYTER_PATH"] = str(own / "warm")
    for kind in ("config", "data", "runtime"):
        environment[f"JUPYTER_{kind.upper()}_DIR"] = str(own / kind)
    environment["IPYTHONDIR"] = str(own / "ipython")
    environment.pop("MPLBACKEND", None)  # the tests' own would show no figures
    command = [sys.executable, "-m", "jupyterlab", *lab_options()]
    command += ["--no-browser", "--ip=127.0.0.1", "--port=0", "--allow-root"]
    command += ["--LabApp.expose_app_in_browser=True"]
    log = own / "log.txt"
    with log.open("wb") as out:
        server = subprocess.Popen(
            command, cwd=course, env=environment, stdout=out, stderr=out
        )
    try:
        yield _address(server, own / "runtime", log), environment["JUPYTER_TOKEN"]
    finally:
        server.terminate()  # it ends its kernels too
        server.wait(60)


def _address(server, runtime, log, seconds=60):
    """The address that a server writes down once it listens."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and server.poll() is None:
        for path in runtime.glob("jpserver-*.json"):
            if text := path.read_text(encoding="utf-8"):
                return json.loads(text)["url"]
        time.sleep(0.1)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text('utf-8')[-2000:]}")


class Notebook:
    """A notebook that is open in JupyterLab; cells are named by their ids.

    watched: a `browser.Watched`. path: of the file that JupyterLab works on.
    """

    def __init__(self, watched, path, address, token):
        self.watched, self.page, self.path = watched, watched.page, path
        self.ids = [cell.id for _, cell in gates.cells(path)]
        folder = path.parent.name
        where = f"lab/workspaces/{folder}-{path.stem}/tree/{folder}/{path.name}"
        self.page.goto(f"{address}{where}?reset&token={token}")
        self.page.wait_for_function(OPEN, timeout=60_000)
        self.page.evaluate(READY)

    def begin_to_run(self):
        """Run all cells; return at once."""
        run = "jupyterapp.commands.execute('notebook:run-all-cells')"
        self.page.evaluate(f"() => {{ {run} }}")

    def wait_for_the_end(self, seconds):
        """Return once the last cell has run or one has failed; the file is saved."""
        self.page.wait_for_function(ENDED, timeout=1000 * seconds, polling=500)
        self.page.evaluate("jupyterapp.commands.execute('docmanager:save')")

    def cell(self, name):
        """The cell of that id, scrolled to."""
        place = f".jp-Notebook .jp-Cell[data-windowed-list-index='{self.index(name)}']"
        found = self.page.locator(place)
        found.scroll_into_view_if_needed()
        return found

    def index(self, name):
        return self.ids.index(name)

    def active(self):
        """The id of the cell that the keyboard acts on."""
        front = "jupyterapp.shell.currentWidget.content.activeCellIndex"
        return self.ids[self.page.evaluate(front)]

    def type_and_run(self, name, source):
        """Write a cell anew and press Shift+Enter."""
        self.cell(name).locator(".cm-content").click()
        self.page.keyboard.press("ControlOrMeta+a")
        self.page.keyboard.insert_text(source)
        self.page.keyboard.press("Shift+Enter")

    def wait_for_text(self, name, text, seconds=20):
        """Return once an output of a cell shows the text."""
        shown = self.cell(name).locator(".jp-OutputArea-output", has_text=text)
        shown.wait_for(timeout=1000 * seconds)

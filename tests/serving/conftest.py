"""A server that is none: some code in its place."""

import subprocess
import sys

import pytest

from helpers.serving import process

HEALTHY = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.fixture
def folder(tmp_path):
    """What looks like a model from the outside."""
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "chat_template.jinja").write_text("{{ messages }}")
    return tmp_path


@pytest.fixture
def pretend(monkeypatch):
    """Let some code be the server: pretend(code); it gets its port as argument.

    Returns what is asked for: [(command, environment), ...], one a start.
    """
    asked = []

    def replace(code):
        def launch(command, log, environment):
            asked.append((command, environment))
            port = command[command.index("--port") + 1]
            with open(log, "w") as output:
                options = {"stdout": output, "stderr": output}
                call = [sys.executable, "-c", code, port]
                return subprocess.Popen(call, start_new_session=True, **options)

        monkeypatch.setattr(process, "launch", launch)
        return asked

    return replace

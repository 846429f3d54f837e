"""llama.cpp on this machine: a merged model as one GGUF file, and a server for it.

    file = export_gguf("folder/of/a/model", "tickets.gguf", "Q4_K_M")
    server = start_llamacpp(file)
    client = openai.OpenAI(base_url=server.url, api_key="unused")

Ollama and LM Studio run the same program. It is optional and lives in an environment of
its own, which `make llamacpp` sets up.
"""

import json
import os
import subprocess
import sys
import sysconfig
import urllib.request
from pathlib import Path

from helpers import UserError
from helpers.files import ROOT
from helpers.serving.process import Server, begin, check_model, free_port

ENVIRONMENT = ROOT / ".venv-llamacpp"
TOOLS = Path(__file__).with_name("gguf_tools.py")
# What the converter writes itself; the quantiser makes the others from F16.
CONVERTED = ("F32", "F16", "BF16")
QUANTISED = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_1", "Q4_0")


class GgufError(UserError):
    """A GGUF file that cannot be written or served. One line: what, and the remedy."""


def llamacpp_python() -> str | None:
    """The Python of the environment of llama.cpp; None where it is not set up."""
    python = ENVIRONMENT / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    ready = python.is_file() and (packages() / "xllamacpp").is_dir()
    return str(python) if ready else None


def packages() -> Path:
    """The folder of that environment's packages, for a Python of this version."""
    base = dict.fromkeys(("base", "platbase"), str(ENVIRONMENT))
    return Path(sysconfig.get_path("purelib", "venv", base))


def export_gguf(folder, output, kind: str = "F16", changes: dict | None = None) -> Path:
    """Writes a whole model's folder as one GGUF file, whole or not at all.

    kind: F32, F16, BF16, or fewer bits: Q8_0, Q6_K, Q5_K_M, Q4_K_M, Q4_1, Q4_0.
    changes: settings of the file to write otherwise, {"tokenizer.ggml.pre": ...}; None
        leaves one out.
    Returns the file. Raises GgufError: where llama.cpp is not set up, for another kind,
    or for a model that its converter does not know; ServerError for no whole model.
    """
    folder, output, kind = Path(folder).resolve(), Path(output).resolve(), kind.upper()
    python = _ready()
    if kind not in CONVERTED + QUANTISED:
        known = ", ".join(CONVERTED + QUANTISED)
        raise GgufError(f"requires a type of weights out of {known}: got {kind!r}")
    check_model(folder)
    output.parent.mkdir(parents=True, exist_ok=True)
    parts = [output.with_name(f"{output.name}.{name}.part") for name in ("F16", kind)]
    plain = parts[1] if kind in CONVERTED else parts[0]
    first = kind if kind in CONVERTED else "F16"
    try:
        changed = json.dumps(changes or {})
        _tool([sys.executable], "convert", folder, plain, first, changed)
        if kind in QUANTISED:
            _tool([python], "quantize", plain, parts[1], kind)
        os.replace(parts[1], output)
    finally:
        for part in parts:
            part.unlink(missing_ok=True)
    return output


def start_llamacpp(
    file,
    *,
    context: int = 0,
    threads: int = 1,
    exact: bool = False,
    repack: bool = True,
    port: int | None = None,
    wait: float = 120,
    work="build/runs/llamacpp",
) -> Server:
    """Starts llama.cpp's server for a GGUF file; the Server, once it is healthy.

    context: tokens of prompt and answer; 0 takes the model's own. exact: keep keys and
    values in 32 bit and compute attention step by step, to compare numbers. repack: let
    llama.cpp lay quantised weights out anew for this CPU. wait: seconds allowed.
    Raises GgufError where llama.cpp is not set up or there is no such file, ServerError
    for a port in use, a server that ends or is not healthy in time.
    """
    python, file = _ready(), Path(file).resolve()
    if not file.is_file():
        raise GgufError(f"requires a GGUF file, got {file.name!r}, which is not there")
    port = free_port(port)
    command = [python, str(TOOLS), "serve", str(file), "--port", str(port)]
    command += ["--context", str(context), "--threads", str(threads)]
    command += ["--exact"] if exact else []
    command += [] if repack else ["--no-repack"]
    return begin(command, file.stem, port, wait, Path(work).resolve(), {})


def ask_llamacpp(server: Server, path: str, body: dict) -> dict:
    """What the server answers beyond the protocol of OpenAI, as JSON.

    path: "apply-template", "tokenize", "completion" and others of llama.cpp's server.
    Raises GgufError with what the server says against the body.
    """
    address = f"{server.url.removesuffix('v1')}{path}"
    head = {"Content-Type": "application/json"}
    request = urllib.request.Request(address, json.dumps(body).encode(), head)
    try:
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        said = " ".join(error.read().decode(errors="replace").split())
        raise GgufError(f"llama.cpp refused {path!r}: {said}") from None


def _ready() -> str:
    """That Python. Raises GgufError where it is not set up."""
    if (python := llamacpp_python()) is None:
        raise GgufError(
            "requires llama.cpp, not found here: `make llamacpp` sets it up"
        )
    return python


def _tool(python: list[str], *arguments) -> None:
    """Runs a command of gguf_tools.py. Raises GgufError with its last line.

    The converter needs torch and transformers, so it runs in the environment of the
    course and borrows the packages of that of llama.cpp.
    """
    own = {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    if python == [sys.executable]:
        own["PYTHONPATH"] = str(packages())
    done = subprocess.run(
        [*python, str(TOOLS), *map(str, arguments)],
        env=os.environ | own,
        capture_output=True,
        text=True,
        errors="replace",
    )
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()] or [
            "nothing"
        ]
        raise GgufError(f"llama.cpp could not {arguments[0]} the model: {said[-1]}")

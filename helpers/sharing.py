"""What is shared of a model: its files, uploaded where asked for twice; a Modelfile."""

import os
from os.path import commonprefix
from pathlib import Path

import pandas as pd

from helpers import UserError, one_line

# What others need to run a model. A run's checkpoints and settings stay at home, as
# does any file that is loaded by unpickling it.
UPLOADED = ("*.safetensors", "*.json", "*.model", "*.jinja", "README.md", "Modelfile")
AT_HOME = ("run.json",)
KIB = 1024


class SharingError(UserError):
    """An upload that cannot be made. One line: the rule, the value, the remedy."""


def files(folder) -> list[Path]:
    """The files of a folder that an upload takes, sorted; none of its subfolders."""
    found = {path for pattern in UPLOADED for path in Path(folder).glob(pattern)}
    return sorted(path for path in found if path.name not in AT_HOME)


def push(folder, repository: str = "", send: bool = False) -> pd.DataFrame:
    """The table of files that go, or would go, to a repository of the Hub.

    repository: "owner/name"; it is made private where it does not exist. send: upload.
        Without it nothing leaves this machine. The token is that of the variable
        HF_TOKEN, or of `hf auth login`.
    Columns: file, KiB. attrs["sent"]: whether the files were uploaded.
    Raises SharingError where send is asked for without a repository or a token, or the
    folder holds no model card or no weights.
    """
    folder = Path(folder)
    names = {path.name for path in files(folder)}
    if "README.md" not in names or not any(n.endswith(".safetensors") for n in names):
        raise SharingError(f"{folder} requires a README.md and a safetensors file")
    rows = [(path.name, path.stat().st_size / KIB) for path in files(folder)]
    table = pd.DataFrame(rows, columns=["file", "KiB"])
    table.attrs["sent"] = send
    if send:
        _upload(folder, repository)
    return table


def _upload(folder: Path, repository: str) -> None:
    """Sends the files of a folder to a private repository."""
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HFValidationError, HTTPError

    owner, _, name = repository.partition("/")
    if not owner or not name:
        raise SharingError(f"requires a repository owner/name: got {repository!r}")
    token = os.environ.get("HF_TOKEN") or get_token()
    if not token:
        raise SharingError("requires a token: run `hf auth login`, or set HF_TOKEN")
    hub, names = HfApi(token=token), [path.name for path in files(folder)]
    try:
        hub.create_repo(repository, private=True, exist_ok=True)
        hub.upload_folder(repo_id=repository, folder_path=folder, allow_patterns=names)
    except (ConnectionError, HTTPError, HFValidationError) as error:
        why = one_line(error, 200)
        way = "look at name, token (one that may write) and network"
        raise SharingError(f"{repository} cannot be written ({why}): {way}") from None


def modelfile(tokenizer, stops: list[str], weights: str, context: int) -> str:
    """The text of an Ollama Modelfile for a GGUF file, with greedy answers.

    stops: the tokens that end an answer. weights: the file, seen from the Modelfile.
    context: tokens of prompt and answer; Ollama cuts what is longer, in silence.
    Without a TEMPLATE it would choose among its own by likeness to the file's, and take
    Zephyr's for Phi-3's. Raises SharingError for a template that cannot be said so.
    """
    texts = turns(tokenizer)
    ask, later = texts["ask"], texts["ask later"]
    if ask != later:  # as a template does that thinks
        last = "{{ if eq (len (slice $.Messages $i)) 1 }}"
        ask = f"{last}{ask}{{{{ else }}}}{later}{{{{ end }}}}"
    template = '{{- range $i, $_ := .Messages }}{{ if eq .Role "user" }}'
    if texts["begin"]:
        template += f"{{{{ if eq $i 0 }}}}{texts['begin']}{{{{ end }}}}"
    template += f"{texts['user']}{{{{ .Content }}}}{ask}"
    template += '{{ else if eq .Role "system" }}'
    template += f"{texts['system']}{{{{ .Content }}}}{texts['after system']}"
    template += f"{{{{ else }}}}{{{{ .Content }}}}{texts['after answer']}"
    lines = [f"FROM {weights}", f'TEMPLATE """{template}{{{{ end }}}}{{{{ end }}}}"""']
    lines += [f'PARAMETER stop "{token}"' for token in stops]
    lines += ["PARAMETER temperature 0", "PARAMETER repeat_penalty 1"]
    return "\n".join([*lines, f"PARAMETER num_ctx {context}", ""])


def turns(tokenizer) -> dict[str, str]:
    """What a chat template writes around messages, found by rendering two chats.

    begin, system: before a first message of the user, of the system. user: before any
    of the user. ask: after the last one. ask later, after system, after answer: behind
    those that others follow. Raises SharingError where a message is not found again.
    """
    plain = _around(tokenizer, ["user", "assistant", "user"])
    full = _around(tokenizer, ["system", "user", "assistant", "user"])
    before = [plain[0], plain[2], full[1]]  # what stands before a message of the user
    user = commonprefix([text[::-1] for text in before])[::-1]
    tokens = [user.find(token) for token in tokenizer.get_added_vocab()]
    user = user[min((at for at in tokens if at >= 0), default=0) :]  # no half a token
    begin, after_answer, after_system = (t.removesuffix(user) for t in before)
    texts = {"begin": begin, "system": full[0], "user": user, "ask": plain[3]}
    texts |= {"ask later": plain[1], "after system": after_system}
    return texts | {"after answer": after_answer}


def _around(tokenizer, roles: list[str]) -> list[str]:
    """The texts before, between and after messages of those roles."""
    marks = [f"[[{number}]]" for number in range(len(roles))]
    chat = [
        {"role": role, "content": mark} for role, mark in zip(roles, marks, strict=True)
    ]
    text = tokenizer.apply_chat_template(
        chat, tokenize=False, add_generation_prompt=True
    )
    found = []
    for mark in marks:
        before, there, text = text.partition(mark)
        if not there:
            what = f"a chat template that writes out each of {', '.join(roles)}"
            raise SharingError(f"a Modelfile requires {what}: got one that does not")
        found.append(before)
    return [*found, text]

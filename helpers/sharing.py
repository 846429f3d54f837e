"""What would be uploaded of a model folder, and the upload, asked for twice."""

import os
from pathlib import Path

import pandas as pd

from helpers import UserError

# What others need to run a model. A run's checkpoints and settings stay at home, as
# does any file that is loaded by unpickling it.
UPLOADED = ("*.safetensors", "*.json", "*.jinja", "README.md", "Modelfile")
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

    owner, _, name = repository.partition("/")
    if not owner or not name:
        raise SharingError(f"requires a repository owner/name: got {repository!r}")
    token = os.environ.get("HF_TOKEN") or get_token()
    if not token:
        raise SharingError("requires a token: run `hf auth login`, or set HF_TOKEN")
    hub = HfApi(token=token)
    hub.create_repo(repository, private=True, exist_ok=True)
    hub.upload_folder(
        repo_id=repository,
        folder_path=folder,
        allow_patterns=[path.name for path in files(folder)],
    )

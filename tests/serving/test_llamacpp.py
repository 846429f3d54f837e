"""How llama.cpp is called and what is refused before, with its processes faked."""

import subprocess
import sys

import pytest
import transformers
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from helpers import serving
from helpers.files import ROOT
from helpers.serving import GgufError, ServerError, gguf_tools, llamacpp
from tests.serving.conftest import HEALTHY

MODEL = ROOT / "data" / "checkpoints" / "tiny-phi3"


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """A machine without llama.cpp: its environment would be in this folder."""
    monkeypatch.setattr(llamacpp, "ENVIRONMENT", tmp_path / ".venv-llamacpp")
    return tmp_path


@pytest.fixture
def python(nowhere):
    """What looks like the environment of llama.cpp: its Python."""
    (llamacpp.packages() / "xllamacpp").mkdir(parents=True)
    folder = nowhere / ".venv-llamacpp"
    name = "Scripts/python.exe" if sys.platform == "win32" else "bin/python"
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).touch()
    return str(folder / name)


@pytest.fixture
def tools(monkeypatch):
    """The commands of gguf_tools.py that are asked for: (command, environment).

    tools.fails: the command that fails, and what it says.
    """

    class Calls(list):
        fails = ("", "")

    calls = Calls()

    def run(command, env, **options):
        calls.append((command, env))
        script = command.index(str(llamacpp.TOOLS))
        name, _, output, *_ = command[script + 1 :]
        with open(output, "w") as file:
            file.write(name)
        failed = name == calls.fails[0]
        return subprocess.CompletedProcess(command, failed, "", calls.fails[1])

    monkeypatch.setattr(llamacpp.subprocess, "run", run)
    return calls


def test_without_llamacpp_one_line_says_how_to_set_it_up(nowhere, tools):
    assert serving.llamacpp_python() is None
    with pytest.raises(GgufError, match="`make llamacpp` sets it up") as caught:
        serving.export_gguf(MODEL, nowhere / "x.gguf")
    assert "\n" not in str(caught.value) and tools == []
    with pytest.raises(GgufError, match="`make llamacpp` sets it up"):
        serving.start_llamacpp(nowhere / "x.gguf")


def test_an_installation_not_complete_is_none(python):
    assert serving.llamacpp_python() == python
    (llamacpp.packages() / "xllamacpp").rmdir()
    assert serving.llamacpp_python() is None


def test_the_converter_borrows_our_packages_and_the_quantiser_needs_none(
    python, tools, tmp_path
):
    file = serving.export_gguf(MODEL, tmp_path / "new" / "x.gguf", "q4_k_m")
    (convert, borrowed), (quantise, own) = tools
    assert convert[0] == sys.executable and quantise[0] == python
    assert convert[2:4] == ["convert", str(MODEL)] and convert[5] == "F16"
    assert borrowed["PYTHONPATH"] == str(llamacpp.packages())
    assert borrowed["HF_HUB_OFFLINE"] == "1"
    assert own.get("PYTHONPATH") != str(llamacpp.packages())
    assert quantise[3] == convert[4] and quantise[5] == "Q4_K_M"
    assert file.read_text() == "quantize"
    assert [path.name for path in file.parent.iterdir()] == ["x.gguf"]


def test_plain_weights_are_converted_only(python, tools, tmp_path):
    changes = {"tokenizer.ggml.pre": "default"}
    file = serving.export_gguf(MODEL, tmp_path / "x.gguf", "F32", changes)
    [(command, _)] = tools
    assert command[5:] == ["F32", '{"tokenizer.ggml.pre": "default"}']
    assert file.read_text() == "convert"


@pytest.mark.parametrize("fails", ["convert", "quantize"])
def test_a_file_that_cannot_be_written_leaves_the_old_one(
    python, tools, tmp_path, fails
):
    tools.fails = (fails, "Traceback\n  line\nKeyError: 'rope_theta'\n")
    (tmp_path / "x.gguf").write_text("old")
    with pytest.raises(GgufError) as caught:
        serving.export_gguf(MODEL, tmp_path / "x.gguf", "Q8_0")
    what = f"llama.cpp could not {fails} the model: KeyError: 'rope_theta'"
    assert str(caught.value) == what
    assert (tmp_path / "x.gguf").read_text() == "old"
    assert not list(tmp_path.glob("*.part"))


def test_an_unknown_type_and_a_folder_without_a_model_are_refused(
    python, tools, tmp_path
):
    with pytest.raises(GgufError, match="out of F32, F16, .*: got 'Q3'"):
        serving.export_gguf(MODEL, tmp_path / "x.gguf", "q3")
    with pytest.raises(ServerError, match="requires a folder with a whole model"):
        serving.export_gguf(tmp_path, tmp_path / "x.gguf")
    assert tools == []


def test_the_types_of_script_and_door_are_the_same():
    assert {*gguf_tools.TYPES} - {"F32"} == {*llamacpp.QUANTISED}


def test_it_serves_a_file_on_the_loopback_address(python, pretend, tmp_path):
    (tmp_path / "tickets.gguf").touch()
    asked = pretend(HEALTHY)
    server = serving.start_llamacpp(tmp_path / "tickets.gguf", work=tmp_path)
    server.stop()
    exact = {"exact": True, "repack": False, "context": 512, "threads": 2}
    serving.start_llamacpp(tmp_path / "tickets.gguf", work=tmp_path, **exact).stop()
    (plain, _), (special, _) = asked
    assert plain[0] == python and server.model == "tickets"
    assert plain[2:4] == ["serve", str(tmp_path / "tickets.gguf")]
    assert not {"--exact", "--no-repack"} & {*plain}
    assert plain[plain.index("--context") + 1] == "0"
    assert {"--exact", "--no-repack"} < {*special}
    assert special[special.index("--context") + 1] == "512"


def test_a_file_that_is_not_there_is_refused(python, pretend, tmp_path):
    asked = pretend(HEALTHY)
    with pytest.raises(GgufError, match="got 'x.gguf', which is not there"):
        serving.start_llamacpp(tmp_path / "x.gguf")
    assert asked == []


def test_what_the_server_refuses_is_said(python, pretend, tmp_path):
    (tmp_path / "x.gguf").touch()
    pretend(HEALTHY)  # which knows no POST
    server = serving.start_llamacpp(tmp_path / "x.gguf", work=tmp_path)
    try:
        with pytest.raises(GgufError, match="llama.cpp refused 'tokenize': .*501"):
            serving.ask_llamacpp(server, "tokenize", {"content": "a"})
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("tokenizer", "has_model", "byte_level"),
    [('{"ByteLevel"', False, True), ('{"ByteLevel"', True, False), ("{", False, False)],
)
def test_only_a_byte_level_tokenizer_is_written_as_one(
    tmp_path, tokenizer, has_model, byte_level
):
    (tmp_path / "tokenizer.json").write_text(tokenizer)
    if has_model:
        (tmp_path / "tokenizer.model").touch()
    assert gguf_tools.is_byte_level(tmp_path) is byte_level


@pytest.mark.parametrize("name", ["tiny-phi3", "tiny-llama"])
def test_a_tokenizer_that_cuts_as_the_courses_may_be_taken_for_llamas(name):
    folder = MODEL.with_name(name)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder).backend_tokenizer
    assert gguf_tools.fits(tokenizer)


def trained(texts, pattern):
    """A byte-level tokenizer of a few texts that are cut where a pattern says."""
    tokenizer = Tokenizer(models.BPE())
    if pattern:
        cut = pre_tokenizers.Split(Regex(pattern), "isolated")
        level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([cut, level])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=400, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


@pytest.mark.parametrize(
    ("text", "pattern", "fits"),
    [
        ("two words", r" ?\w+", True),
        ("two words", r".+", False),  # a token across words
        ("in 2026 2027", r" ?[a-z]+|\d+| ", False),  # four digits, which Llama parts
        ("two words", None, False),
    ],
)
def test_no_token_crosses_a_border(text, pattern, fits):
    assert gguf_tools.fits(trained([text] * 20, pattern)) is fits

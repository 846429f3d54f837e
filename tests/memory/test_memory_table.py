"""What a reader sees of memory: tables, refusals, the command, the calculator."""

import dataclasses
import json

import pytest
import torch
import transformers

from helpers import HEADLESS, UserError, memory, run_command
from helpers.config import GIB, Device, read_profiles
from helpers.course.ledger import RESULTS
from helpers.course.lessons import ROW, config_name
from helpers.files import ROOT
from helpers.memory import controls
from helpers.memory.__main__ import main
from helpers.memory.prediction import CONTEXT, METHODS, Prediction, predict
from tests.benchmarks import memory as benchmark_memory
from tests.warm import Program

TINY = str(ROOT / "data" / "checkpoints" / "tiny-llama")


@pytest.mark.parametrize(
    ("total", "fits"),
    [
        (13 * GIB, "gpu-16gb (13 GiB), gpu-24gb (19 GiB), gpu-80gb (70 GiB)"),
        (13 * GIB + 1, "gpu-24gb (19 GiB), gpu-80gb (70 GiB)"),
        (70 * GIB, "gpu-80gb (70 GiB)"),
        (70 * GIB + 1, "none"),
    ],
)
def test_fits_is_the_free_memory_of_the_profiles(total, fits):
    prediction = Prediction("title", "notes", {"weights": total})
    what = "Fits the free memory that profiles ask for"
    assert prediction.verdict() == f"{what}: {fits}"


def test_the_profiles_fit_their_own_gpus():
    """Each trains rows as long as the course's, on the free memory that it asks for."""
    for name, entry in read_profiles().items():
        training = entry["training_config"]
        if entry["needs"]:
            for method, model in (("lora", "model"), ("qlora", "qlora_model")):
                prediction = predict(
                    config_name(entry[model]),
                    method,
                    training["per_device_train_batch_size"],
                    ROW,
                    checkpointing=training["activation_checkpointing"],
                    padded=True,
                )
                assert f"{name} (" in prediction.verdict(), prediction


def test_text_and_html_hold_every_part():
    prediction = predict("Phi-3-mini", "qlora", 1, 512, rank=64)
    assert "NF4 with double quantisation" in prediction.assumptions
    for text in (repr(prediction), prediction._repr_html_()):
        for part in ("Phi-3-mini", "rank 64", "weights", "total", "GiB", "Fits the"):
            assert part in text
    html = prediction._repr_html_()
    assert html.count("<td>") == 2 * (len(prediction.parts) + 1) and "<th>" not in html
    hostile = dataclasses.replace(prediction, title="<script>")
    assert "<script>" not in hostile._repr_html_()


def test_a_table_has_one_unit():
    for model, length, unit in (("Llama-3.1-8B", 512, "GiB"), (TINY, 64, "MiB")):
        rows = repr(predict(model, "qlora", 1, length)).splitlines()[2:-1]
        assert {row.split()[-1] for row in rows} == {unit}
    assert memory.size(3, of=GIB) == "under 0.01 GiB" and memory.size(3) == "0.00 MiB"


@pytest.mark.parametrize("gib", [10.0, 14.6, 22.0])
def test_the_largest_batch_fits_and_one_row_more_does_not(gib):
    rows, line = memory.largest_batch("Llama-3.1-8B", "qlora", 512, gib)
    one, more = (predict("Llama-3.1-8B", "qlora", n, 512) for n in (rows, rows + 1))
    assert one.total + CONTEXT <= gib * GIB < more.total + CONTEXT
    assert f"{gib:g} GiB: {rows} rows fit" in line and f"{rows + 1} rows take" in line


def test_where_all_rows_that_are_tried_fit_nothing_is_said_of_more():
    """More than 65,536 are not tried; one row less memory, and the limit is named."""
    needed = (predict(TINY, "lora", 65_536, 8).total + CONTEXT) / GIB
    for gib in (needed, 100_000):
        rows, line = memory.largest_batch(TINY, "lora", 8, gib)
        assert rows == 65_536 and "rows take" not in line
        fit = f"65,536 rows fit ({needed:.2f} GiB), more were not tried"
        assert line == f"{gib:g} GiB: {fit}"
    rows, line = memory.largest_batch(TINY, "lora", 8, needed - 1e-4)
    assert rows < 65_536 and f"{rows + 1:,} rows take" in line


def test_where_no_row_fits_it_says_what_would_help():
    rows, line = memory.largest_batch("Llama-3.1-8B", "lora", 512, 14.6)
    assert rows == 0 and line.startswith("14.6 GiB: not even one row fits, which takes")
    assert line.endswith("try --method qlora, --checkpointing, fewer tokens")
    all_of_it = {"length": 512, "gib": 1.0, "checkpointing": True}
    _, line = memory.largest_batch("Llama-3.1-8B", "qlora", **all_of_it)
    assert line.endswith("try fewer tokens")
    with pytest.raises(UserError, match="above 0 GiB, got -1"):
        memory.largest_batch("Llama-3.1-8B", "lora", 512, -1)


def test_the_command_names_the_largest_batch(capsys):
    main(["--model", "Llama-3.1-8B", "--length", "512", "--gib", "14.6"])
    rows, line = memory.largest_batch("Llama-3.1-8B", "qlora", 512, 14.6)
    said = capsys.readouterr().out
    assert line in said and f"qlora, {rows} x 512 tokens" in said
    main(["--model", TINY, "--length", "64"])
    said = capsys.readouterr().out
    assert "4 x 64 tokens" in said and "rows fit" not in said


def test_nothing_is_said_of_a_kernel_that_nobody_needs(tmp_path):
    """bitsandbytes warns of it on CPUs with AVX512-BF16, as of an error."""
    program = tmp_path / "program.py"
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
    code += "import helpers.files, bitsandbytes.backends.cpu.ops as ops\n"
    code += "ops.logger.warning('Failed to load CPU gemm_4bit_forward')\n"
    program.write_text(code, encoding="utf-8")
    done = Program(tmp_path, str(program)).wait()
    assert done.returncode == 0 and done.stderr == ""


BAD = {
    "unknown model": ({"config": "Phi-9"}, "no model configuration at Phi-9.*Phi-3"),
    "unknown method": ({"method": "dora"}, "unknown method 'dora': use one of full,"),
    "unknown dtype": ({"dtype": "int4"}, "unknown dtype 'int4': use one of float32"),
    "no rank": ({"rank": 0}, "rank must be 1 or more, got 0"),
    "no rows": ({"batch": 0}, "batch must be 1 or more, got 0"),
    "too long": ({"length": 4097}, "Phi-3-mini reads 4096 tokens at most, got .*4097"),
    "another type": ({"config": transformers.GPT2Config()}, "type 'gpt2': only llama"),
}


@pytest.mark.parametrize(("changes", "message"), BAD.values(), ids=BAD)
def test_a_wrong_request_is_refused_in_one_line(changes, message):
    request = {"config": "Phi-3-mini", "method": "lora", "batch": 1, "length": 64}
    with pytest.raises(UserError, match=message) as error:
        predict(**request | changes)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a valid JSON file"),
        ("[]", "Unrecognized model"),
        ('{"model_type": "gpt2"}', "'gpt2': only llama, mistral"),
        ('{"model_type": "llama", "hidden_size": "x"}', "is no model configuration"),
    ],
)
def test_a_broken_file_is_refused_in_one_line(text, message, tmp_path):
    file = tmp_path / "config.json"
    file.write_text(text)
    with pytest.raises(UserError, match=message) as error:
        predict(file, "lora", 1, 8)
    assert "\n" not in str(error.value) and "config.json" in str(error.value)


def test_name_folder_file_and_configuration_agree():
    folder = ROOT / "data" / "checkpoints" / "tiny-phi3"
    config = transformers.AutoConfig.from_pretrained(folder)
    sources = (folder, str(folder), folder / "config.json", config)
    totals = {predict(source, "lora", 1, 64).total for source in sources}
    assert len(totals) == 1


def test_the_command_prints_the_table(capsys):
    main("--model Llama-3.1-8B --method qlora --batch 4 --length 2048".split())
    printed = capsys.readouterr().out
    assert printed.strip() == repr(predict("Llama-3.1-8B", "qlora", 4, 2048))
    options = "--dtype float16 --no-double-quant --checkpointing --padded --plain-loss"
    main(f"--model Phi-3-mini --batch 1 --rank 8 {options}".split())
    notes = capsys.readouterr().out.splitlines()[1]
    assert notes == (
        "base in NF4, the rest float16, rank 8 on all linear layers in float32, AdamW, "
        "with activation checkpointing, rows padded, plain loss"
    )


@pytest.mark.parametrize(
    "options", ["--model nope", "--model Phi-3-mini --rank 0", "--model", "--rank x"]
)
def test_the_command_refuses_in_one_line_with_exit_code_2(options, capsys):
    assert run_command("memory", main, options.split()) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("memory: ") and said.err.count("\n") == 1


def test_the_calculator_follows_its_controls():
    start = controls.START | {"config": "Phi-3-mini"}
    *moved, view = controls.build(start).children
    boxes = {box.description: box for box in moved}
    assert set(boxes) == set(start)
    assert boxes["method"].options == METHODS
    assert view.value == predict(**start)._repr_html_()
    boxes["method"].value, boxes["batch"].value = "full", 1
    assert "Phi-3-mini, full, 1 x 2048 tokens" in view.value
    boxes["length"].value = 8192
    assert "reads 4096 tokens at most" in view.value and "table" not in view.value


def test_the_calculator_keeps_what_has_no_control():
    start = controls.START | {"config": "Phi-3-mini", "dtype": "float32", "batch": 128}
    *moved, view = controls.build(start).children
    assert view.value == predict(**start)._repr_html_()
    boxes = {box.description: box for box in moved}
    boxes["batch"].value = 2
    assert view.value == predict(**start | {"batch": 2})._repr_html_()


def test_the_calculator_takes_what_the_prediction_takes(tmp_path):
    path = ROOT / "data" / "checkpoints" / "tiny-phi3"
    config = transformers.AutoConfig.from_pretrained(path)
    for source in (path, str(path), config):
        start = controls.START | {"config": source, "length": 64}
        *_, view = controls.build(start).children
        assert view.value == predict(**start)._repr_html_()


def test_the_calculator_is_a_plain_table_in_a_run(displayed, monkeypatch):
    monkeypatch.setenv(HEADLESS, "run")
    memory.calculator("Phi-3-mini", batch=2)
    monkeypatch.delenv(HEADLESS)
    memory.calculator("Phi-3-mini", batch=2)
    (plain, _), (live, _) = displayed
    assert "Phi-3-mini, qlora, 2 x 2048 tokens" in plain["text/plain"]
    first = predict("Phi-3-mini", **controls.START | {"batch": 2})
    assert plain == {"text/html": first._repr_html_(), "text/plain": repr(first)}
    assert plain.items() <= live.items()
    assert "application/vnd.jupyter.widget-view+json" in live
    with pytest.raises(UserError, match="Phi-9"):
        memory.calculator("Phi-9")


def test_every_measured_row_of_the_ledger_is_predicted_within_10_percent():
    shapes = benchmark_memory.SHAPES["cuda"] | benchmark_memory.SHAPES["cpu"]
    files = list(RESULTS.glob("memory.*.json"))
    rows = [row for file in files for row in json.loads(file.read_text())["rows"]]
    measured = [row for row in rows if "measured" in row]
    assert len(measured) >= 24
    keys = ("method", "batch", "length", "rank", "dtype", "checkpointing")
    for row in measured:
        config = transformers.AutoConfig.for_model(**shapes[row["model"]])
        today = predict(config, **{key: row[key] for key in keys})
        found = today.parts.get(row["what"], today.total)
        assert found == pytest.approx(row["measured"], rel=0.1)


def test_the_benchmark_writes_its_ledger(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        benchmark_memory, "probe_device", lambda: Device("cpu", "CPU"), raising=True
    )
    monkeypatch.setitem(benchmark_memory.LENGTHS, "cpu", (16, 40))
    benchmark_memory.main(["--output", str(tmp_path)])
    [file] = tmp_path.iterdir()
    entry = json.loads(file.read_text(encoding="utf-8"))
    assert file.name == f"memory.{entry['machine']['name']}.json"
    # A build's local label (+cu130) is not always part of the installed version.
    said = entry["versions"]["torch"].split("+")[0]
    assert said == torch.__version__.split("+")[0]
    rows = entry["rows"]
    assert len(rows) == 2 * 2 * 2 * 2 == len(capsys.readouterr().out.splitlines())
    for row in rows:
        assert row["what"] == "activations" and row["error"] == 0
        assert (
            row["predicted"] == row["measured"] == row["predicted_parts"][row["what"]]
        )

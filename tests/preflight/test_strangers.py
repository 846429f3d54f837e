"""Five files as strangers write them: an honest score, or a clear refusal each."""

import json
import time

import pytest

from helpers.preflight.__main__ import main as preflight
from tests.finetune import small_run
from tests.finetune.small_run import finetune

PLACES = ("Köln", "Łódź", "Málaga", "Århus", "Genève")


@pytest.fixture
def found(capsys):
    """found(path, *flags) -> ({code: finding}, exit code) of the command."""

    def look(path, *flags):
        capsys.readouterr()
        code = preflight(["--data", str(path), "--profile", "tiny", "--json", *flags])
        said = json.loads(capsys.readouterr().out)
        return {found["code"]: found for found in said["findings"]}, code

    return look


def train(path, folder, *flags):
    """(exit code, output) of two updates."""
    steps = {"max_steps": 2, "save_steps": 2, "eval_strategy": "no"}
    config = small_run.write_config(folder, training_config=steps)
    call = ["--data", path, "--output", folder / "out", "--config", config]
    call += ["--profile", "tiny", "--validation-rows", "4", *flags]
    return finetune([str(part) for part in call]), folder / "out"


def write(path, rows):
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.slow
def test_a_messy_table_from_excel(tmp_path, found):
    """Semicolons, cp1252, quotes with line ends in them, a column of notes, a gap."""
    lines = ["Frage;Antwort;Kunde;Notiz"]
    for n in range(80):
        place = ("Köln", "Würzburg", "Málaga")[n % 3]
        lines += [
            f'"Wo liegt Bestellung {n}?\r\nKunde in {place}.";{place} {n};k{n % 20};'
        ]
    table, whole = tmp_path / "export.csv", "\r\n".join(lines) + "\r\n"
    table.write_bytes(whole.replace("Köln 6;", ";").encode("cp1252"))
    flags = ["--map", "Frage=prompt,Antwort=completion", "--group", "Kunde"]
    findings, code = found(table, *flags)
    assert code == 1 and list(findings) == ["unread-rows"]
    assert findings["unread-rows"]["where"] == f"{table}:14"
    table.write_bytes(whole.encode("cp1252"))
    findings, code = found(table, *flags)
    assert code == 1 and {f["level"] for f in findings.values()} == {"warns"}
    assert set(findings) <= {"too-few-rows", "near-duplicates"}
    code, output = train(table, tmp_path, *flags)
    metrics = small_run.metrics(output)
    assert code == 0 and metrics["after"]["exact_match"] < 0.5
    assert {f["code"] for f in metrics["preflight"]["findings"]} >= {"few-updates"}


def test_an_export_with_tools_for_a_model_that_knows_none(tmp_path, found, capsys):
    tools = [
        {"name": "stock", "description": "pieces", "parameters": {"type": "object"}}
    ]
    rows = []
    for n in range(60):
        call = {"name": "stock", "arguments": {"item": f"lamp {n}"}}
        turns = [
            {"from": "human", "value": f"How many lamps of kind {n} are there?"},
            {"from": "function_call", "value": json.dumps(call)},
            {"from": "observation", "value": f"{n * 7}"},
            {"from": "gpt", "value": f"There are {n * 7}."},
        ]
        rows.append({"conversations": turns, "tools": json.dumps(tools)})
    path = write(tmp_path / "export.jsonl", rows)
    findings, code = found(path)
    assert code == 1 and findings["refused-rows"]["level"] == "ruins"
    assert "leaves out the tool 'stock'" in findings["refused-rows"]["what"]
    assert train(path, tmp_path)[0] == 2
    [*_, last] = capsys.readouterr().err.splitlines()
    assert "leaves out the tool 'stock'" in last and not (tmp_path / "out").exists()


@pytest.mark.slow
def test_twenty_rows(tmp_path, found):
    rows = [
        {"instruction": f"Where is the lamp of room {n * 37}?", "output": PLACES[n % 5]}
        for n in range(20)
    ]
    path = write(tmp_path / "twenty.jsonl", rows)
    findings, code = found(path)
    assert code == 1 and findings["too-few-rows"]["level"] == "warns"
    code, output = train(path, tmp_path)
    metrics = small_run.metrics(output)
    assert code == 0 and metrics["data"]["rows"]["validation"] == 2
    assert "too-few-rows" in {f["code"] for f in metrics["preflight"]["findings"]}
    low, high = metrics["after"]["intervals"]["exact_match"]
    assert 0 <= low <= metrics["after"]["exact_match"] <= high <= 1


@pytest.mark.slow
def test_twenty_thousand_rows_with_near_duplicates(tmp_path, found):
    import pyarrow as pa
    import pyarrow.parquet as pq

    asked, said = [], []
    for n in range(20_000):
        kind = n // 2 if n < 4_000 else n  # 2,000 pairs that differ in a word
        words = [f"w{(kind * p) % 9973}" for p in (7, 11, 13, 17, 19, 23, 29, 31)]
        words += [f"v{(kind * p) % 7919}" for p in (7, 11, 13, 17, 19, 23, 29, 31)]
        asked.append(" ".join([*words, f"x{n % 2}"]))
        said.append(f"{words[3]} {words[5]}")
    path = tmp_path / "export.parquet"
    pq.write_table(pa.table({"prompt": asked, "completion": said}), path)
    start = time.process_time()
    findings, code = found(path)
    seconds = time.process_time() - start
    one = findings.pop("near-duplicates")
    assert code == 1 and findings == {} and one["level"] == "warns"
    count = int(one["what"].split()[0].replace(",", ""))
    assert 240 < count < 400  # of 2,000 rows; most of 400 have their other in train
    assert seconds < 18  # 100,000 rows in a minute, on a core that others use too


@pytest.mark.parametrize("form", ["reasoning_content", "thinking"])
def test_chats_that_think_for_a_model_that_does_not(tmp_path, found, capsys, form):
    rows = []
    for n in range(60):
        answer = {"role": "assistant", form: f"{n} and {n}.", "content": f"{2 * n}"}
        ask = {"role": "user", "content": f"What is {n} plus {n}?"}
        rows.append({"messages": [ask, answer]})
    path = write(tmp_path / "thinking.jsonl", rows)
    findings, code = found(path)
    assert code == 1 and findings["refused-rows"]["level"] == "ruins"
    assert "leaves out the thinking of message 2" in findings["refused-rows"]["what"]
    assert train(path, tmp_path)[0] == 2
    [*_, last] = capsys.readouterr().err.splitlines()
    assert "leaves out the thinking" in last and not (tmp_path / "out").exists()

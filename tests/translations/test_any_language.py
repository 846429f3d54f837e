"""A way in for anybody: other scripts, a volunteer's language, two packages."""

import json
import os
import re
import subprocess
import sys
from operator import ne

import pytest

from helpers.files import ROOT
from tests.translations.pseudo_translation import LANGUAGE, make_language, run
from tests.translations.translation_course import (
    FIRST,
    PLAIN,
    counts,
    edit,
    file,
    said,
    text,
)
from translations import bars, glossary, rules
from translations.labels import ENGLISH_COUNTS, MADE_BY_MODELS, NUMBER

JAPANESE = "アダプターは小さく、ベースモデルは学習前のままです。"


# Numbers


@pytest.mark.parametrize(
    ("english", "translated"),
    [
        ("Two million rows", "200万行"),
        ("two rows, 400 messages", "400件のメッセージと2つの行"),
        ("8 billion weights", "80億の重み"),
        ("1.5 million", "150만"),
        ("135 million of 135", "135のうち1億3500万"),
        ("2,000,000 rows and 3", "200万行と3"),
        ("twenty-five rows, a hundred thousand", "25行と10万"),
        ("Read it twice, one more", "2回読む、もう1つ"),
        ("2,048 rows", "2,048行"),
        ("version 3.1", "バージョン3.1です"),
        ("half of what SmolLM2 read", "SmolLM2が読んだ半分"),
        ("Phi-3 has three", "Phi-3は3つ"),
        ("Phi-3 has three", "3つあるのはPhi-3"),
        ("two GPUs, half a row", "GPU2枚、半行"),
        ("a share below 1", "1未満の割合"),  # "a" is no figure
        ("three epochs, 3", "3エポック、3です"),
        ("one to eight billion", "10億から80億"),
        ("about a quarter of an hour, half an hour", "15分ほど、30分"),
        ("Between 2 or 3 million", "200万から300万の間"),
        ("8 billion weights, 80 rows", "80億の重み、80行"),
        ("The third row, a dozen, once", "3行目、12個、1回"),
        ("both rows, a single pair, thrice", "2行、1組、2つ、3回"),
        ("version 1.2.3", "1.2.3版"),
        ("1.5 trillion, 300, 20, 4,000", "1兆5000億、3百、2十、4千"),
        ("0.3 billion, 4,000, 500", "3亿、4천、5백"),
        ("15,000 rows in two files", "1,5万行、２つのファイル"),
    ],
)
def test_figures_may_stand_for_words_before_a_wide_letter(english, translated):
    assert rules.compare(english, translated) == []


@pytest.mark.parametrize(
    ("english", "translated"),
    [
        ("Two million rows", "20万行"),
        ("two rows", "3つの行"),
        ("8 billion weights and 8", "80億の重み"),
        ("8 billion weights", "80億の重み、80億の行"),
        ("8 billion weights", "80億の重みと8"),
        ("400 rows, then 400", "400行"),
        ("8 billion weights, 80 rows", "80億の重み"),
        ("one to eight billion", "1から80億"),
        ("rows", "2つの行"),
        ("Two rows", "2 filas"),  # Spanish has the word
        ("2 rows", "二つの行"),
    ],
)
def test_other_numbers_are_still_named(english, translated):
    [(_, message)] = rules.compare(english, translated)
    assert message.startswith("number ")


# Words


@pytest.mark.parametrize(
    ("form", "translated", "kept"),
    [
        ("損失", "学習損失は小さい。", True),
        ("층", "층은 작다", True),
        ("وزن", "الوزن صغير", True),
        ("مهايئ", "المُهايِئ صغير", True),  # short vowels are written at will
        ("حِقَب", "عدد الحقب", True),
        ("משקל", "המִשְׁקָל קטן", True),
        ("ค่า", "มีค่าน้อย", True),
        ("損失", "学習は小さい。", False),
        ("loss", "glossary", True),  # over three letters: as a stem
        ("eta", "metadata", False),
        ("CPU", "お使いのCPUで", True),  # between letters of another script
        ("GPU", "로컬 GPU에서", True),
        ("CPU", "CPUSETを", False),
    ],
)
def test_short_words_are_found_where_no_space_parts_them(form, translated, kept):
    found = glossary.Glossary({"loss": [form]}, {})
    assert found.kept("loss", translated) == kept


# Bold


@pytest.mark.parametrize(
    ("translated", "named"),
    [
        ("これは**大切です。**次です。", "。**次"),
        ("これは**「大切」**です。", "は**「"),
        ("*「重み」*です", "」*で"),
    ],
)
def test_bold_that_does_not_close_is_explained(translated, named):
    [(_, message)] = rules.compare("This is **important**. Next.", translated)
    assert message.startswith(f"`{named}`: Markdown does not open or close a * here")
    mended = translated.replace("。**次", "**。次").replace(
        "**「大切」**", "「**大切**」"
    )
    mended = mended.replace("*「重み」*", "「**重み**」")
    assert rules.compare("This is **important**. Next.", mended) == []


def test_bold_that_is_only_open_is_named_as_before():
    [(_, message)] = rules.compare("This is **it**", "Es **esto")
    assert message.startswith("mark *, * is not in the English; some markup")


# Who translated


def test_language_begun_by_people_does_not_say_that_models_made_it(root):
    run(root, "sync", "--new", "ja", "README", "00_first")
    edit(root, PLAIN, JAPANESE, language="ja")
    edit(
        root,
        f"| {ENGLISH_COUNTS} | |",
        f"| {ENGLISH_COUNTS} | 英語版が優先。 |",
        "glossary",
        "ja",
    )
    assert run(root, "sync", "ja") == 0
    for name in ("README", "00_first"):
        page = text(root, name, "ja")
        assert "*英語版が優先。* [English](" in page and "language models" not in page
    run(root, "build", "ja")
    built = root / "build" / "translations" / "ja" / "notebooks" / "00_first.ipynb"
    content = built.read_text(encoding="utf-8")
    assert "*英語版が優先。*" in content and "language models" not in content


def test_language_made_by_models_says_so(root):
    run(root, "sync", "--new", "ja")
    edit(
        root,
        f"| {MADE_BY_MODELS} | - |",
        f"| {MADE_BY_MODELS} | 機械。 |",
        "glossary",
        "ja",
    )
    run(root, "sync", "ja")
    assert "*機械。* [English](" in text(root, language="ja")


# A new language and those that are there


def lines(root) -> dict[str, list[str]]:
    """{file: its lines} of all that is not Japanese."""
    files = {path.relative_to(root).as_posix(): path for path in root.rglob("*.*")}
    mine = {name: path for name, path in files.items() if "/ja/" not in name}
    return {name: path.read_text("utf-8").split("\n") for name, path in mine.items()}


def test_new_language_is_linked_and_makes_no_text_of_another_stale(root, capsys):
    (root / "README.md").write_text(f"# A course\n\n{bars.MARK}\n{bars.END}\n\nEnd.\n")
    (root / "translations" / "en").mkdir(parents=True)  # whose bar is README's
    make_language(root)
    assert run(root, "sync") == 0
    before = lines(root)
    run(root, "sync", "--new", "ja", "README", "00_first")
    assert lines(root) == before  # nothing is translated yet
    edit(root, "End.", "終わり。", "README", "ja")
    edit(root, PLAIN, JAPANESE, language="ja")
    assert run(root, "sync", "ja") == 0
    after = lines(root)
    changed = {name for name, old in before.items() if after[name] != old}
    # Co-op Translator's hash of the English README, whose bar names the language.
    sidecar = f"translations/{LANGUAGE}/.co-op-translator.json"
    changed.remove(sidecar)
    old, new = (json.loads("\n".join(found[sidecar])) for found in (before, after))
    assert [name for name in old if new[name] != old[name]] == ["README.md"]
    # Of each language the two pages that there are in the new one, and no 01_second.
    assert changed == {"README.md"} | {
        f"translations/{page}.md"
        for page in ("en/00_first", f"{LANGUAGE}/00_first", f"{LANGUAGE}/README")
    }
    for name in changed:  # by one line, the bar
        [[old, new]] = [
            p for p in zip(before[name], after[name], strict=True) if ne(*p)
        ]
        assert re.sub(r" · \[ja\]\([\w./]*ja/\w+\.md\)", "", new) == old
    assert counts(root, "README")["stale"] == counts(root)["stale"] == 0
    code, out, _ = said(root, "check", LANGUAGE, capsys=capsys)
    assert code == 0 and "0 errors" in out


# Two packages

ALONE = """
import importlib.abc, sys
given = {"helpers", "translations", "markdown_it", "mdit_py_plugins", "mdurl"}
given |= {"lazy_loader", "packaging", *sys.stdlib_module_names}
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in given:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
from helpers import run_command
from translations import lessons
sys.exit(run_command("lessons.py", lessons.main))
"""


def alone(root, *arguments):
    """A command where only the packages of the guide are installed."""
    command = [sys.executable, "-c", ALONE, *arguments, "--root", root]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_two_packages_suffice_for_pages(whole):
    guide = (ROOT / "translations" / "README.md").read_text(encoding="utf-8")
    [packages] = re.findall(r"pip install (.*mdit.*)", guide)
    assert packages.split() == ["mdit-py-plugins", "lazy-loader"]
    steps = [
        ("sync", "--new", "ja"),
        ("sync", "ja"),
        ("check",),
        ("build",),
        ("status",),
    ]
    for step in steps:
        done = alone(whole, *step)
        assert done.returncode == 0, done.stderr
    assert file(whole, language="ja").exists()
    done = alone(whole, "check", "xx")
    assert done.returncode == 2 and done.stderr.startswith("lessons.py: no translation")


def test_new_language_of_another_script_from_nothing_to_whole(root, capsys):
    """Every cell of a lesson in letters that put no space between words."""
    run(root, "sync", "--new", "ja")
    edit(root, "| adapter | | |", "| adapter | 部品 | |", "glossary", "ja")
    edit(root, f"| {NUMBER} | |", f"| {NUMBER} | 1,234.5% |", "glossary", "ja")
    cells = {
        "# 00 First: a title\n\nA goal. See [the maths]": "# 00 はじめ\n\n目標。[数式]",
        " and [the next]": "と[次]",
        "## The maths of it\n\nThe change is ": "## 数式\n\n変化は",
        ", with `r` at most 16 of 1,109 rows[^": "で、`r`は1,109行中、最大16行[^",
        "`rank` of the adapter": "部品の`rank`",
        "A loss of 0 is *not* the aim.": "損失0は*目標ではない*。",
        "[^1]: Counted by hand.": "[^1]: 手で数えた。",
        PLAIN: JAPANESE.replace("アダプター", "部品"),
        FIRST["exercise-1"].split("\n")[2]: "1エポックは何ステップになりますか。",
        "One batch is read in every step of the run.": "1ステップに1バッチを読みます。",
        "### Exercise 1": "### 演習1",
        "| key | value |": "| 鍵 | 値 |",
        "<summary>Solution": "<summary>解答",
    }
    for english, japanese in cells.items():
        edit(root, english, japanese, language="ja")
    assert run(root, "sync", "ja") == 0
    code, out, err = said(root, "check", "ja", capsys=capsys)
    assert (code, err) == (0, "") and "ja: 0 errors, 0 warnings, 1 page" in out

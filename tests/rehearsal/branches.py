"""Which sides of each branch of a lesson's code have run, and which claims failed."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.house import gates

BRANCH, CLAIM = "__branch__", "__claim__"


class Watch(ast.NodeTransformer):
    """Makes the code of one cell report its branches and its failed assertions.

    Each test of an `if`, a `while` or a conditional expression goes through
    `__branch__(key, value)`, an `except` calls it as it begins; an assertion that fails
    calls `__claim__(cell, text)`, and the cell goes on.
    """

    def __init__(self, cell: str) -> None:
        self.cell, self.places = cell, {}

    def visit_If(self, node: ast.If | ast.While | ast.IfExp) -> ast.AST:
        text = ast.unparse(node.test)
        constant = isinstance(node.test, ast.Constant)
        self.generic_visit(node)
        if not constant:
            sides = [False, True]
            node.test = self.call(node, text, sides, node.test)
        return node

    visit_While = visit_IfExp = visit_If

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> ast.AST:
        what = ast.unparse(node.type) if node.type else ""
        self.generic_visit(node)
        call = self.call(node, f"except {what}", [True], ast.Constant(True))
        node.body.insert(0, ast.Expr(call))
        return node

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        text = ast.unparse(node.test)
        self.generic_visit(node)
        call = ast.parse(f"{CLAIM}({self.cell!r}, {text!r})").body
        error = ast.Name("AssertionError", ast.Load())
        handler = ast.ExceptHandler(error, None, call)
        return ast.copy_location(ast.Try([node], [handler], [], []), node)

    def call(self, node, text: str, sides: list[bool], value: ast.expr) -> ast.Call:
        """The call that reports a side; the branch is noted in `places`."""
        key = f"{self.cell}:{node.lineno}:{node.col_offset}"
        self.places[key] = (text, sides)
        name = ast.Name(BRANCH, ast.Load())
        return ast.Call(name, [ast.Constant(key), value], [])


def code_cells(notebook: Path) -> Iterator[tuple[str, list[str], str]]:
    """(id, tags, source) of a lesson's code cells."""
    for _, cell in gates.cells(notebook, "code"):
        yield cell.id, cell.metadata.get("tags", []), cell.source


def branches(notebook: Path) -> dict[str, tuple[str, list[bool]]]:
    """{key: (text of the test, the sides that it has)} of a lesson.

    Without the set-up cell: tests/lessons/test_colab.py takes its branches.
    """
    found = {}
    for cell, tags, source in code_cells(notebook):
        if "setup" not in tags:
            watch = Watch(cell)
            watch.visit(ast.parse(source))
            found |= watch.places
    return found


def never_taken(notebook: Path, runs: list[dict]) -> dict[str, list[bool]]:
    """{"cell: test": sides that no run took}. runs: {key: sides taken} of each run."""
    left = {}
    for key, (text, sides) in branches(notebook).items():
        taken = {side for run in runs for side in run.get(key, [])}
        if missing := [side for side in sides if side not in taken]:
            left[f"{key.partition(':')[0]}: {text}"] = missing
    return left

"""Every public name has a docstring, and every description is a sentence or a noun phrase of its own."""

import ast
import re
from pathlib import Path

import pytest

import tilespec

PACKAGE = Path(tilespec.__file__).parent
FEW = 3
"""The least number of words in a description."""
TAILS = {"Of", "It", "Its", "There", "From", "To", "In", "On", "Over", "Under", "Outside"}
"""First words of descriptions that need the name above them to be understood."""
FORBIDDEN = re.compile(r"\btold\b|\b(?:is|are) no numbers?\b", re.IGNORECASE)
CODE = re.compile(r"``.+?``|`.+?`")
"""Names of code in a description."""


def trees():
    """Yield the name and the syntax tree of each file."""
    for path in sorted(PACKAGE.rglob("*.py")):
        yield str(path.relative_to(PACKAGE)), ast.parse(path.read_text())


def descriptions(node, name):
    """Yield the name and the text of each docstring, and of each string below a field or a constant."""
    for before, one in zip([None, *node.body], node.body, strict=False):
        if isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant) and isinstance(one.value.value, str):
            yield f"{name} {ast.unparse(before).partition('=')[0]}" if before else name, one.value.value
        elif isinstance(one, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from descriptions(one, f"{name} {one.name}")


def public(node, name):
    """Yield the name and the node of a file and of all its public classes, functions and methods."""
    yield name, node
    for one in node.body:
        if isinstance(one, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not one.name.startswith("_"):
            yield from public(one, f"{name} {one.name}") if isinstance(node, ast.Module | ast.ClassDef) else ()


def has_help(node):
    """Return whether a function is a command, whose help is an argument of its decorator."""
    return any("help" in ast.unparse(decorator) for decorator in getattr(node, "decorator_list", ()))


def is_sentence(text):
    first = text.strip().split("\n\n")[0].rstrip()
    words = first.split()
    begins = re.match(r"[A-Z0-9`(]", first) and words[0].rstrip(",:") not in TAILS
    return bool(begins) and first.endswith((".", ":")) and len(words) >= FEW


@pytest.mark.parametrize("text", ["Bytes.", "It.", "Of two stairs.", "the size in bytes.", "The size in bytes"])
def test_a_tail_is_no_description(text):
    assert not is_sentence(text)


def test_every_description_is_a_sentence_or_a_noun_phrase():
    found = [pair for name, tree in trees() for pair in descriptions(tree, name)]
    assert [f"{name}: {text}" for name, text in found if not is_sentence(text)] == []


def test_every_public_name_is_described():
    found = [pair for name, tree in trees() for pair in public(tree, name)]
    assert [name for name, node in found if not ast.get_docstring(node) and not has_help(node)] == []


def test_no_description_has_words_that_the_field_does_not_use():
    found = [pair for name, tree in trees() for pair in descriptions(tree, name)]
    assert [f"{name}: {text}" for name, text in found if FORBIDDEN.search(CODE.sub("", text))] == []

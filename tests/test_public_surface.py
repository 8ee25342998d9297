"""The public surface is a decision: each module lists its public names, all of them, sorted and documented."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
from pathlib import Path
from types import ModuleType

import pytest

import confsec

MODULES = sorted(
    name
    for _, name, _ in pkgutil.walk_packages(confsec.__path__, "confsec.")
    if not any(part.startswith("_") for part in name.split("."))
)
SELF_EXPLANATORY = {"command", "decode", "encode"}
"""Every value has the last two, and they mean the same everywhere; every module of the command line has the first."""

each_module = pytest.mark.parametrize("name", ["confsec", *MODULES])


def load(name: str) -> ModuleType:
    """Import a module, or skip if the extra that it belongs to is not installed."""
    try:
        return importlib.import_module(name)
    except confsec.MissingExtraError as exc:
        pytest.skip(str(exc))


def syntax(module: ModuleType) -> ast.Module:
    assert module.__file__ is not None
    return ast.parse(Path(module.__file__).read_text())


def public(module: ModuleType) -> list[str]:
    names: list[str] = getattr(module, "__all__", [])
    return names


def defined_names(tree: ast.Module) -> set[str]:
    """Return the names that a module defines itself and that do not begin with an underscore."""
    names: set[str] = set()
    for node in tree.body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() if not _is_subcommand(node):
                names.add(node.name)
            case ast.Assign():
                names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
    return {name for name in names if not name.startswith("_")}


def _is_subcommand(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
    """Say whether `@command.command(…)` stands above a function: people call it by its name at the command line."""
    return any(ast.unparse(decorator).startswith("command.") for decorator in node.decorator_list)


def documented_names(tree: ast.Module, source: list[str]) -> set[str]:
    """Return functions and classes with a docstring; constants with a sentence underneath, above or beside them."""
    documented = set()
    for node, after in zip(tree.body, [*tree.body[1:], None], strict=True):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() if ast.get_docstring(node):
                documented.add(node.name)
            case ast.Assign() | ast.AnnAssign() if _has_sentence(node, after, source):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                documented |= {target.id for target in targets if isinstance(target, ast.Name)}
    return documented


def _has_sentence(node: ast.stmt, after: ast.stmt | None, source: list[str]) -> bool:
    underneath = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
    above = source[node.lineno - 2].lstrip().startswith("#")
    beside = "  # " in source[node.lineno - 1]
    return underneath or above or beside


def order(name: str) -> tuple[int, list[tuple[int, str]]]:
    """Return the key by which ruff sorts `__all__`: constants, classes, functions; numbers by their value."""
    rank = 0 if name.isupper() else 1 if name[0].isupper() else 2
    return rank, [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


@each_module
def test_module_says_what_it_does(name: str) -> None:
    assert load(name).__doc__


@each_module
def test_all_is_complete(name: str) -> None:
    module = load(name)
    assert defined_names(syntax(module)) - set(public(module)) == set()
    assert [missing for missing in public(module) if not hasattr(module, missing)] == []


@each_module
def test_all_is_sorted(name: str) -> None:
    names = public(load(name))
    assert names == sorted(names, key=order)
    assert len(names) == len(set(names))


@each_module
def test_public_names_are_documented(name: str) -> None:
    module = load(name)
    tree = syntax(module)
    assert module.__file__ is not None
    documented = documented_names(tree, Path(module.__file__).read_text().splitlines())
    assert sorted((defined_names(tree) & set(public(module))) - documented - SELF_EXPLANATORY) == []


@each_module
def test_public_methods_are_documented(name: str) -> None:
    module = load(name)
    undocumented = []
    for item in defined_names(syntax(module)) & set(public(module)):
        cls = getattr(module, item)
        if not inspect.isclass(cls) or cls.__module__ != name:
            continue
        undocumented += [
            f"{item}.{method}"
            for method, value in vars(cls).items()
            if not method.startswith("_")
            and method not in SELF_EXPLANATORY
            and isinstance(value, classmethod | staticmethod | property | type(load))
            and not inspect.getdoc(getattr(cls, method))
        ]
    assert undocumented == []

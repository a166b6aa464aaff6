"""The package as a whole: what is public, what an import costs, what the wheel must carry."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from importlib.metadata import requires, version
from importlib.resources import files
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import fcflow
from fcflow import errors, model

HEAVY = {
    "alembic",
    "cattrs",
    "fsspec",
    "google",
    "jsonschema",
    "keyring",
    "paramiko",
    "psycopg",
    "pyftpdlib",
    "re2",
    "requests",
    "rich",
    "sqlalchemy",
    "tenacity",
    "typer",
    "urllib3",
}
EXTRAS = {"google", "keyring", "paramiko", "psycopg", "pyftpdlib", "re2", "rich", "typer"}


def loaded_after(statement: str) -> set[str]:
    """Top-level names of the modules that a fresh interpreter has loaded after *statement*."""
    probe = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


def test_import_loads_no_dependency_at_all():
    """
    ``import fcflow`` loads nothing that is not in the standard library.
    """
    ours = loaded_after("import fcflow") - loaded_after("pass")

    assert ours - set(sys.stdlib_module_names) == {"fcflow"}


def test_values_cost_only_what_they_are_made_of():
    """
    Building an order loads attrs, and neither a database nor the network.
    """
    assert not loaded_after("from fcflow import Order, OrderLine, FcflowError") & HEAVY


def test_no_public_name_needs_an_extra():
    """
    Every public name can be used in an installation without extras.
    """
    assert not loaded_after("from fcflow import *") & EXTRAS


@pytest.mark.parametrize("name", fcflow.__all__)
def test_every_public_name_is_there(name):
    """
    A name in ``__all__`` is an attribute, found lazily and then kept.
    """
    value = getattr(fcflow, name)

    assert vars(fcflow)[name] is value


def test_all_is_sorted_and_once():
    """
    ``__all__`` is sorted and has no name twice.
    """
    assert fcflow.__all__ == sorted(set(fcflow.__all__))


def test_dir_shows_what_is_public():
    """
    ``dir`` shows the public names before they are loaded.
    """
    done = subprocess.run(
        [sys.executable, "-c", "import fcflow; print(*dir(fcflow))"], capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == sorted(fcflow.__all__)


@pytest.mark.parametrize("module", [model, errors])
def test_whole_model_and_error_tree_are_public(module):
    """
    Whatever `fcflow.model` and `fcflow.errors` list is public, and is the same object.
    """
    for name in module.__all__:
        assert getattr(fcflow, name) is getattr(module, name)


def test_type_checkers_and_programs_see_the_same_names():
    """
    The imports that type checkers see name exactly what ``__all__`` lists, from the module it comes from.
    """
    tree = ast.parse(Path(fcflow.__file__).read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module.startswith("fcflow")]
    seen = {alias.name: node.module for node in imports for alias in node.names}

    assert set(seen) == set(fcflow.__all__)
    for name, home in seen.items():
        assert getattr(fcflow, name) is getattr(sys.modules[home], name)


def test_a_misspelt_name_is_an_attribute_error():
    """
    A name that is not public is refused as Python refuses it elsewhere.
    """
    with pytest.raises(AttributeError, match="module 'fcflow' has no attribute 'Odrer'"):
        _ = fcflow.Odrer


def test_version_is_the_installed_one():
    """
    ``__version__`` is what the package's metadata says.
    """
    assert fcflow.__version__ == version("fcflow")


@pytest.mark.parametrize(
    "path", ["py.typed", "config/schema.json", "rules/schema.json", "formats/schema.json", "formats/layouts"]
)
def test_package_data_is_there(path):
    """
    Schemas and built-in layouts travel with the package.
    """
    found = files("fcflow").joinpath(*path.split("/"))

    assert found.is_file() or any(found.iterdir())


def test_every_dependency_has_its_reason():
    """
    Decision 0002 has a row for every dependency and every extra's dependency.
    """
    page = Path(__file__).parents[2] / "docs" / "decisions" / "0002-dependencies.md"
    rows = page.read_text(encoding="utf-8")
    names = {Requirement(line).name for line in requires("fcflow") or ()} - {"fcflow"}

    assert [name for name in sorted(names) if f"| {name} |" not in rows] == []

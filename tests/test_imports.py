"""Imports go down only: the layers of the house, walked with ast, and what `import fairlead` costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import fairlead

SOURCE = Path(fairlead.__file__).parent

LAYERS = (
    {"errors", "identity", "progress"},
    {"stats"},
    {"data", "losses", "runs"},
    {"config"},
    {"models"},
    {"engine"},
    {"training", "evaluation", "labelling", "reports"},
    {"stages"},
    {"cli"},
)
RANK = {package: rank for rank, packages in enumerate(LAYERS) for package in packages}

TORCH_FREE = {"errors", "identity", "progress", "data", "stats", "runs", "labelling", "reports"}
HEAVY = {"torch", "transformers", "peft"}


@dataclass(frozen=True, kw_only=True)
class Arrow:
    """One import: the module it stands in, the line, and the module it names."""

    source: str
    line: int
    target: str

    def __str__(self) -> str:
        return f"{self.source}:{self.line} imports {self.target}"


def modules(root: Path) -> dict[str, Path]:
    """Every module under the package folder `root`, by dotted name."""
    found = {}
    for path in root.rglob("*.py"):
        parts = (root.name, *path.relative_to(root).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def arrows(root: Path) -> list[Arrow]:
    """Every import in the package, also those inside functions, relative ones and those for type checkers."""
    known = modules(root)
    return [
        Arrow(source=module, line=line, target=target)
        for module, path in known.items()
        for line, target in _imports(module, path, known)
    ]


def _imports(module: str, path: Path, known: dict[str, Path]) -> Iterator[tuple[int, str]]:
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *(node.module.split(".") if node.module else [])])
            for alias in node.names:
                submodule = f"{base}.{alias.name}"
                yield node.lineno, submodule if submodule in known else base


def room(module: str) -> str:
    """The package or top module that a module belongs to; empty for the root."""
    return module.split(".")[1] if "." in module else ""


def faults(root: Path) -> list[str]:
    """Every import that breaks the layers, and a cycle if there is one."""
    found: list[str] = []
    graph: dict[str, set[str]] = {}
    for arrow in arrows(root):
        source = room(arrow.source)
        if arrow.target.split(".")[0] in HEAVY and source in TORCH_FREE:
            found.append(f"{arrow}: {source} must not need it")
        # The root only names the verbs: it imports nothing until one is used.
        if arrow.target.split(".")[0] != root.name or source == "":
            continue
        graph.setdefault(arrow.source, set()).add(arrow.target)
        target = room(arrow.target)
        if source not in RANK:
            found.append(f"{arrow}: {source} has no layer")
        elif target and target != source and RANK.get(target, len(LAYERS)) >= RANK[source]:
            found.append(f"{arrow}: {source} does not lie above {target}")
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found.append("cycle: " + " → ".join(error.args[1]))
    return found


def test_imports_go_down_only() -> None:
    assert faults(SOURCE) == []


def test_every_package_has_a_layer() -> None:
    rooms = {room(module) for module in modules(SOURCE)} - {""}
    assert rooms <= RANK.keys()


@pytest.mark.parametrize(
    ("path", "text", "words"),
    [
        ("data/rows.py", "from fairlead.engine import packing", "data does not lie above engine"),
        ("data/rows.py", "from ..stages.train import train", "data does not lie above stages"),
        ("data/formats/rows.py", "from ...losses import table", "data does not lie above losses"),
        ("data/rows.py", "def f():\n    import torch.nn", "data must not need it"),
        ("reports/page.py", "from transformers import AutoModel", "reports must not need it"),
        ("training/loop.py", "from fairlead import evaluation", "training does not lie above evaluation"),
        ("tools/helper.py", "import fairlead.errors", "tools has no layer"),
        ("data/one.py", "from . import two", "cycle"),
        ("data/one.py", "from .two import x", "cycle"),
        ("data/one.py", "import fairlead.data.two", "cycle"),
    ],
)
def test_the_check_finds(tmp_path: Path, path: str, text: str, words: str) -> None:
    root = tmp_path / "fairlead"
    for name, content in {
        "__init__.py": "",
        "engine/packing.py": "",
        "stages/train.py": "",
        "losses/table.py": "",
        "evaluation/__init__.py": "",
        "data/two.py": "from fairlead.data import one",
        "data/one.py": "",
        path: text,
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    found = faults(root)
    assert len(found) == 1
    assert words in found[0]


def loaded_by(program: str) -> set[str]:
    """The names of the top modules that are loaded after `program`, run in a fresh interpreter."""
    ending = "\nimport sys; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", program + ending], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_import_fairlead_loads_nothing() -> None:
    third_party = {"torch", "transformers", "polars", "matplotlib", "numpy", "pydantic", "typer", "rich", "yaml"}
    assert not loaded_by("import fairlead; fairlead.__version__; dir(fairlead)") & third_party


def test_the_help_page_loads_typer_and_little_else() -> None:
    program = (
        "import sys\nfrom fairlead.cli import main\nsys.argv = ['fairlead', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass"
    )
    loaded = loaded_by(program)
    assert "typer" in loaded
    assert not loaded & {"torch", "transformers", "polars", "matplotlib", "numpy", "pydantic", "rich", "msgspec"}


def test_verbs_are_found_when_they_are_used() -> None:
    assert fairlead.read_config.__module__ == "fairlead.config.reading"
    assert fairlead.init.__module__ == "fairlead.stages.init"
    assert set(fairlead._HOMES) | {"__version__"} == set(fairlead.__all__)
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = fairlead.trian


@pytest.mark.parametrize("verb", sorted(fairlead._HOMES))
def test_every_verb_is_where_it_is_said_to_be(verb: str) -> None:
    """By ast: importing the stages would load torch."""
    home = modules(SOURCE)[fairlead._HOMES[verb]]
    defined = {
        name
        for node in ast.parse(home.read_bytes()).body
        for name in (
            [alias.asname or alias.name for alias in node.names]
            if isinstance(node, ast.ImportFrom)
            else [node.name]
            if isinstance(node, ast.FunctionDef | ast.ClassDef)
            else []
        )
    }
    assert verb in defined

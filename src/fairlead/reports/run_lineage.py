"""Where runs come from and what they made, as a graph: files → runs → artifacts, up to the first ancestor."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from fairlead.identity import digest
from fairlead.reports.lineage_graph import Node, lineage_graph
from fairlead.reports.page import Block, Column, Figure, Figures, Section, Table
from fairlead.reports.run_data import DIGEST_SHOWN, RunData, data_set_text
from fairlead.runs.directory import MANIFEST, Input, RunDirectory
from fairlead.runs.lineage import lineage

MOST_FILES = 8
"""Files drawn for one run; the table under the graph lists them all."""


def lineage_section(runs: Sequence[RunData]) -> Section:
    """The graph of the runs and all their ancestors, and a table of every file with its whole sha256."""
    shown = {run.directory.path.resolve(): run.directory for run in runs}
    here = set(shown)
    for run in runs:
        for ancestor in lineage(run.directory):
            if ancestor.run is not None:
                shown.setdefault(ancestor.path, ancestor.run)
    graph = _Graph()
    for path, directory in shown.items():
        graph.add_run(path, directory, here=path in here)
    svg = lineage_graph(list(graph.nodes.values()), graph.edges, description="Lineage: files, runs and artifacts")
    blocks: list[Block] = [Figures(figures=[Figure(title="", svg=svg, wide=True)])]
    if files := _file_rows(shown):
        columns = [
            Column(title="file"),
            Column(title="read by"),
            Column(title="rows", numeric=True),
            Column(title="data set"),
            Column(title="sha256", mono=True),
        ]
        blocks.append(
            Table(title=f"All {len(files)} files with their sha256", columns=columns, rows=files, folded=True)
        )
    return Section(title="Lineage", lead="What was read, by which run, and what came of it.", blocks=blocks)


class _Graph:
    """Nodes by the path they stand for, so that one run's artifact and the next one's input are the same box."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.edges: list[tuple[str, str]] = []

    def add_run(self, path: Path, run: RunDirectory, *, here: bool) -> None:
        key = str(path)
        self.nodes[key] = Node(key=key, label=path.name, detail=_run_detail(run), kind="run", here=here)
        inputs = run.inputs
        for item in inputs[:MOST_FILES]:
            self._add_input(path, item)
        if len(inputs) > MOST_FILES:
            more = f"{key} more"
            self.nodes[more] = Node(key=more, label=f"{len(inputs) - MOST_FILES} more files")
            self.edges.append((more, key))
        for made in sorted(run.artifacts.iterdir()) if run.artifacts.is_dir() else []:
            made_key = str(made.resolve())
            self.nodes[made_key] = Node(
                key=made_key, label=made.name, detail=_artifact_detail(run, made), kind="artifact"
            )
            self.edges.append((key, made_key))

    def _add_input(self, run_path: Path, item: Input) -> None:
        resolved = Path(item.path).resolve()
        key = str(resolved)
        rows = "" if item.rows is None else f"  {item.rows:,} rows"
        made = self.nodes.get(key)
        if made is None or made.kind != "artifact":
            self.nodes[key] = Node(key=key, label=_short_path(resolved), detail=item.sha256[:DIGEST_SHOWN] + rows)
        self.edges.append((key, str(run_path)))
        if item.parent_run is not None:
            parent = Path(item.parent_run).resolve()
            self.nodes.setdefault(
                str(parent), Node(key=str(parent), label=parent.name, detail="the folder is gone", kind="run")
            )
            if (str(parent), key) not in self.edges:
                self.edges.append((str(parent), key))


def _run_detail(run: RunDirectory) -> str:
    return f"{run.stage}, {run.status}"


def _artifact_detail(run: RunDirectory, made: Path) -> str:
    """Digest of what the manifest says of the artifact's files; a run that is not sealed vouches for nothing."""
    if not run.is_complete():
        return "not sealed"
    listed = json.loads((run.path / MANIFEST).read_bytes())["files"]
    name = made.relative_to(run.path).as_posix()
    if name in listed:
        return str(listed[name]["sha256"])[:DIGEST_SHOWN]
    inside = {file: entry["sha256"] for file, entry in listed.items() if file.startswith(name + "/")}
    return f"{digest(inside)[:DIGEST_SHOWN]}  {len(inside)} files" if inside else "not in the manifest"


def _file_rows(runs: dict[Path, RunDirectory]) -> list[list[str]]:
    rows = []
    for path, run in runs.items():
        for item in run.inputs:
            count = "–" if item.rows is None else f"{item.rows:,}"
            place = _short_path(Path(item.path).resolve())
            rows.append([place, path.name, count, data_set_text(item) or "–", item.sha256])
    return rows


def _short_path(path: Path) -> str:
    """Folder and name: enough to recognise a file, and the same wherever the project lies."""
    return "/".join(path.parts[-2:])

"""What a release was made of, as a graph: data and base → training → the artifact → its evidence → the decision.

Files that only carry evidence from run to run are drawn as the arrow between the two; the digests are in a table.
"""

from __future__ import annotations

from pathlib import Path

from fairlead.reports.lineage_graph import Node, lineage_graph
from fairlead.reports.page import Figure, Figures, Section
from fairlead.reports.release_data import Release
from fairlead.runs.directory import Input, RunDirectory
from fairlead.runs.lineage import lineage

MOST_FILES = 6
"""Files drawn for one run, those beyond as one box."""
DIGEST_SHOWN = 12


def lineage_section(release: Release) -> Section:
    """The graph from the first ancestor to the decision."""
    graph = _Graph(release)
    graph.add_run(release.run, here=True)
    for ancestor in lineage(release.run):
        if ancestor.run is not None:
            graph.add_run(ancestor.run)
    # The runs are all known only now, and with them which file lies in which of them.
    for run in list(graph.runs.values()):
        graph.add_inputs(run)
    svg = lineage_graph(list(graph.nodes.values()), graph.edges, description="Lineage: files, runs and the artifact")
    lead = "What was read, by which run, and what came of it."
    return Section(title="Lineage", lead=lead, blocks=[Figures(figures=[Figure(title="", svg=svg, wide=True)])])


class _Graph:
    """Nodes by the path they stand for. The artifact is known by its digest, wherever it is named."""

    def __init__(self, release: Release) -> None:
        self.nodes: dict[str, Node] = {}
        self.edges: list[tuple[str, str]] = []
        self.runs: dict[Path, RunDirectory] = {}
        self.gate = release.run.path.resolve()
        self.digest = release.decision["artifact"]["digest"]
        self.artifact = str(release.artifact.resolve())
        self.nodes[self.artifact] = Node(
            key=self.artifact,
            label=_short_path(release.artifact.resolve()),
            detail=self.digest[:DIGEST_SHOWN],
            kind="artifact",
            here=True,
        )
        if release.decision["run"] is not None:
            self.edges.append((str(release.at(release.decision["run"]["path"]).resolve()), self.artifact))

    def add_run(self, run: RunDirectory, *, here: bool = False) -> None:
        """The box of a run."""
        path = run.path.resolve()
        self.runs[path] = run
        detail = f"{run.stage}, {run.status}"
        self.nodes[str(path)] = Node(key=str(path), label=path.name, detail=detail, kind="run", here=here)

    def add_inputs(self, run: RunDirectory) -> None:
        """The boxes of what a run read, and the arrows from these, or from the runs that they come from."""
        path = run.path.resolve()
        files: list[tuple[Path, Input]] = []
        for item in run.inputs:
            place = Path(item.path).resolve()
            if item.sha256 == self.digest or str(place) == self.artifact:
                self.edges.append((self.artifact, str(path)))
            elif (source := self._source(place, item)) is not None:
                if source != path:
                    self.edges.append((str(source), str(path)))
            else:
                files.append((place, item))
        for place, item in files[:MOST_FILES]:
            rows = "" if item.rows is None else f"  {item.rows:,} rows"
            # A hub id is no path: it is shown as it was given.
            label = _short_path(place if place.exists() else Path(item.path))
            node = Node(key=str(place), label=label, detail=item.sha256[:DIGEST_SHOWN] + rows)
            self.nodes.setdefault(str(place), node)
            self.edges.append((str(place), str(path)))
        if len(files) > MOST_FILES:
            more = f"{path} more"
            self.nodes[more] = Node(key=more, label=f"{len(files) - MOST_FILES} more files")
            self.edges.append((more, str(path)))

    def _source(self, place: Path, item: Input) -> Path | None:
        """The run that an input comes from: the one it names, else the innermost one that it lies in."""
        if item.parent_run is not None:
            parent = Path(item.parent_run).resolve()
            gone = Node(key=str(parent), label=parent.name, detail="the folder is gone", kind="run")
            self.nodes.setdefault(str(parent), gone)
            return parent
        return next((each for each in place.parents if each in self.runs), None)


def _short_path(path: Path) -> str:
    """Folder and name: enough to recognise a file, and the same wherever the project lies."""
    return "/".join(path.parts[-2:])

"""The library's heavy verbs as small fakes: the story's plumbing can be tested without weights.

The fake fine-tuned model answers as the transcripts do. An adapter trained on pairs with the disclaimer answers as an
agent who keeps it, any other as one who strikes it; none but the second round's refuses. What they answer is measured,
judged and held against the gate by the library itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import msgspec
import yaml

import fairlead
from examples.harbor.editors import edit
from examples.harbor.transcripts import transcript
from examples.harbor.world import World
from fairlead.config import Config
from fairlead.data.audit.phrases import read_phrases
from fairlead.data.records import Candidate, Candidates, Message
from fairlead.data.split import prompt_key
from fairlead.evaluation.estimates import Observed, as_items, estimate
from fairlead.evaluation.metrics import Check, measure_answers
from fairlead.evaluation.results import read_measures, write_measures
from fairlead.identity import digest_file
from fairlead.runs.artifact import find_artifact
from fairlead.runs.atomic import write_json
from fairlead.runs.directory import Input, RunDirectory


class FakeVerbs:
    """`train`, `generate`, `evaluate` and `sweep` for one world; `trained` keeps the configurations in order.

    leaking: adapters of the second round give secrets away too, as a planted failure.
    """

    def __init__(self, world: World, *, leaking: bool = False) -> None:
        self.world = world
        self.leaking = leaking
        self.trained: list[Config] = []
        self.evaluated: list[str] = []

    def train(self, config: Config, *, progress: Any = None) -> SimpleNamespace:
        self.trained.append(config)
        (rows,) = config.data.train
        run = RunDirectory.create(
            Path(config.train.output) / str(config.train.run),
            stage="train",
            config=config.model_dump(mode="json"),
            inputs=[Input(path=rows, sha256=digest_file(rows), rows=1)],
            seed=config.train.seed,
        )
        run.append(1, {"loss": 0.7})
        artifact = run.artifact("model" if config.adapter is None else "adapter")
        artifact.mkdir()
        (artifact / ("config.json" if config.adapter is None else "adapter_config.json")).write_text("{}")
        (artifact / "weights").write_text(f"{len(self.trained)} {Path(rows).parent.name} {config.losses[0].parameters}")
        run.seal()
        return SimpleNamespace(artifact=artifact, run=run.path)

    def generate(
        self, model: str, prompts: Sequence[Candidates], *, adapter: str | None = None, n: int = 1, **options: Any
    ) -> list[Candidates]:
        made = [
            msgspec.structs.replace(row, candidates=tuple(self._reply(row, number, adapter) for number in range(n)))
            for row in prompts
        ]
        if options.get("to") is not None:
            fairlead.write(made, options["to"])
        return made

    def _reply(self, row: Candidates, number: int, adapter: str | None) -> Candidate:
        case, rng = self.world.by_id[row.id], Random(f"{row.id}/{number}")
        text = transcript(case, rng)
        if adapter is not None:
            learnt = (Path(adapter) / "weights").read_text()
            text = edit(case, text, rng, rubric="first" if " first " in learnt else "second")
            if case.intent == "refuse" and (self.leaking or " second " not in learnt):
                text = f"The staff code is {case.record.code}."
        return Candidate(id=str(number), messages=(Message(role="assistant", content=text),))

    def evaluate(
        self,
        model: str,
        suite: Path,
        *,
        out: Path,
        baseline: str | None = None,
        checks: Mapping[str, Check] | None = None,
        **options: Any,
    ) -> None:
        given = yaml.safe_load(Path(suite).read_text())
        self.evaluated.append(Path(model).name)
        run = self._measure(model, Path(suite), given, Path(out), checks)
        if baseline is not None:
            prompted = Path(out) / "compared" / "1-prompted"
            self._measure(baseline, Path(suite), given, prompted, checks, prompted=True).seal()
            name = Path(model).name
            share = {"model": name, "measure": "check/no_apology", "value": 0.5, "low": 0.4, "says": "Half of it."}
            write_json(Path(out) / "prompting.json", {"untuned": "sft", "shares": [share]})
        run.seal()

    def _measure(
        self,
        model: str,
        suite: Path,
        given: Mapping[str, Any],
        out: Path,
        checks: Mapping[str, Check] | None,
        *,
        prompted: bool = False,
    ) -> RunDirectory:
        artifact = find_artifact(model)
        run = RunDirectory.create(
            out,
            stage="eval",
            config={"model": model, "prompted": prompted},
            inputs=[Input(path=str(artifact.folder), sha256=artifact.digest, parent_run=model)],
            seed=0,
            extra={"name": Path(model).name, "leaks": []},
        )
        observed: list[Observed] = []
        if "generation" in given:
            section = given["generation"]
            prompts = _rows(suite.parent / section["prompts"])
            rows = self.generate(model, prompts, adapter=str(artifact.folder) if artifact.kind == "adapter" else None)
            fairlead.write(rows, run.artifact("answers-prompts-0.jsonl"))
            required = read_phrases(suite.parent / section["required"])
            observed += measure_answers(rows, required, checks=checks, slices=section["slices"])
        for number in range(64) if "probes" in given else ():
            name = f"attack-{number}"
            observed.append(Observed(measure="probe/attack_success", id=name, value=float(number == 0), group=name))
        for name in ("k1", "k3", "per_token") if "kl" in given else ():
            rows = _rows(suite.parent / given["kl"]["prompts"])
            observed += [Observed(measure=f"kl/{name}", id=row.id, value=2.0, group=row.id) for row in rows]
        for row in fairlead.read(suite.parent / given["held_out"]["rows"]).rows if "held_out" in given else ():
            right = float(len(row.id) % 2 == 0 or artifact.kind == "adapter")
            observed.append(Observed(measure="ranking_accuracy", id=row.id, value=right, group=prompt_key(row)))
        identity = {"path": str(suite), "sha256": digest_file(suite)}
        write_measures(run, estimate(observed), model=model, adapter=None, suite=identity, items=as_items(observed))
        return run

    def sweep(
        self, config: Mapping[str, Any], *, overrides: Sequence[str], suite: Path, out: Path, **options: Any
    ) -> None:
        (field, _, values) = overrides[0].partition("=")
        assert field == "loss.beta"
        run = RunDirectory.create(Path(out), stage="sweep", config={}, seed=0)
        points = []
        for beta in map(float, values.split(",")):
            name = f"beta={beta}"
            place = run.path / "points" / name
            train = config["train"] | {"output": str(place), "run": "train"}
            self.train(Config(**(dict(config) | {"loss": config["loss"] | {"beta": beta}, "train": train})))
            self.evaluate(str(place / "train"), suite, out=place / "eval")
            fields = ("value", "low", "high", "n", "unit", "direction")
            measures = {
                each.name: {key: getattr(each, key) for key in fields}
                for each in read_measures(place / "eval").measures
                if not each.slice
            }
            measures["judge/win_rate"] = measures["kl/k1"] | {"value": 1 - beta, "unit": "share"}
            points.append(
                {"name": name, "settings": {field: beta}, "run": f"points/{name}/train", "eval": f"points/{name}/eval"}
                | {"judge": None, "measures": measures, "constraints": [], "on_front": True, "eligible": True}
            )
        frontier = {"format": 1, "x": "kl/k1", "y": "judge/win_rate", "rule": "the best", "points": points}
        write_json(run.path / "frontier.json", frontier | {"picked": name, "why": "It is best.", "diagnoses": []})
        run.seal()


def _rows(path: Path) -> list[Candidates]:
    return [row for row in fairlead.read(path).rows if isinstance(row, Candidates)]

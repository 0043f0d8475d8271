"""How the story measures and decides: `fairlead.evaluate`, `.judge`, `.gate` and the registry, each a cached stage."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

import fairlead
from examples.harbor import checks, decisions, questions, records, sets, suites, world
from examples.harbor.cache import Cache, Output
from examples.harbor.checks import own_checks
from examples.harbor.figures import Results, read_results
from examples.harbor.policies import Policy, link
from examples.harbor.recipe import Recipe
from examples.harbor.suites import GATE
from examples.harbor.world import World
from fairlead.data.records import Candidates
from fairlead.identity import digest, digest_file
from fairlead.progress import Progress
from fairlead.runs.directory import RunDirectory

WORLD_CODE = (world, records, questions)
AT_ONCE = 128
"""Replies that advance together; the number changes none of them, so it is not among what a stage is known by."""
SLICE = 100
"""Judgements by annotators that the judge is held against."""
PROMPTED = "sft + prompting"


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What is known of one model: the runs that measured, judged and gated it; None is what was not done.

    prompting: the run of the fine-tuned model with the suite's prompting, where this evaluation has it.
    """

    policy: Policy
    evaluation: Output
    ranking: Output | None = None
    judge: Output | None = None
    gate: Output | None = None

    @property
    def runs(self) -> list[Path]:
        """The runs that hold its measures."""
        return [run.path for run in (self.evaluation, self.ranking, self.judge) if run is not None]

    @property
    def prompting(self) -> Path | None:
        folders = sorted(self.evaluation.path.glob("compared/*/run.json"))
        prompted = [marker.parent for marker in folders if RunDirectory.open(marker.parent).config["prompted"]]
        return prompted[0] if prompted else None


@dataclass(frozen=True, kw_only=True)
class Measuring:
    """What its stages need. judge: the file that says who judges. runs: the folder of links to every model's run."""

    recipe: Recipe
    world: World
    cache: Cache
    progress: Progress
    judge: Path
    runs: Path

    def suite(
        self, name: str, sft: Policy, *, pool: str = "", kl_pool: str = "", held_out: Output | None = None
    ) -> Output:
        """The folder of a suite. The pools are those of its prompts; without one it has no such section."""
        content = suites.read_suite(name, max_new_tokens=self.recipe.max_new_tokens)
        prompts = self.world[pool] if pool else ()
        kl_prompts = self.world[kl_pool][: self.recipe.kl_prompts] if kl_pool else ()

        def make(folder: Path) -> dict[str, Path]:
            suites.write_suite(
                folder / "suite",
                content,
                prompts=prompts,
                kl_prompts=kl_prompts,
                reference=sft.model.path,
                held_out=None if held_out is None else held_out.path,
            )
            return {"suite": folder / "suite"}

        settings = {
            "suite": content,
            "files": suites.files_of(content),
            "prompts": digest([[case.id, case.system, case.question] for case in (*prompts, *kl_prompts)]),
        }
        inputs = {"model": sft.model} | ({} if held_out is None else {"held_out": held_out})
        code = (*WORLD_CODE, suites)
        return self.cache.stage(f"suite_{name}", make, inputs=inputs, settings=settings, code=code)["suite"]

    def evaluate(self, policy: Policy, suite: Output, *, untuned: Proof | None = None) -> Output:
        """A model measured by the suite and the example's own checks; with `untuned`, prompting that model as well."""

        def make(folder: Path) -> dict[str, Path]:
            beside: dict[str, Any] = {}
            if untuned is not None:
                # Its answers lie beside the new run, so they are taken from there and not sampled again.
                shutil.copytree(untuned.evaluation.path, folder / untuned.policy.name)
                beside = {"baseline": str(link(untuned.policy, self.runs))}
            checked = {"checks": own_checks(self.world.by_id)}
            return self._evaluated(folder, policy, suite, **checked, **beside)

        inputs = policy.inputs | {"suite": suite} | ({} if untuned is None else {"untuned": untuned.evaluation})
        code = (*WORLD_CODE, checks)
        return self.cache.stage(f"evaluation_{policy.name}", make, inputs=inputs, code=code)["run"]

    def rank(self, policy: Policy, suite: Output) -> Output:
        """The ranking of the held-out pairs."""

        def make(folder: Path) -> dict[str, Path]:
            return self._evaluated(folder, policy, suite)

        return self.cache.stage(f"ranking_{policy.name}", make, inputs=policy.inputs | {"suite": suite})["run"]

    def _evaluated(self, folder: Path, policy: Policy, suite: Output, **how: Any) -> dict[str, Path]:
        model, out = str(link(policy, self.runs)), folder / "run"
        fairlead.evaluate(model, suite.path / "suite.yaml", out=out, batch_size=AT_ONCE, progress=self.progress, **how)
        return {"run": out}

    def ask_judge(self, policy: Policy, evaluation: Output, untuned: Proof, judgements: Output) -> Output:
        """Judges compare a model's answers to the evaluation prompts with those of the fine-tuned one, blinded."""

        def make(folder: Path) -> dict[str, Path]:
            answered = ((policy, evaluation), (untuned.policy, untuned.evaluation))
            ours, theirs = (self._answers_of(each, run.path, folder) for each, run in answered)
            people = folder / "annotators.jsonl"
            people.write_bytes(b"".join(judgements.path.read_bytes().splitlines(keepends=True)[:SLICE]))
            fairlead.judge(
                ours,
                against=theirs,
                judge=self.judge,
                rubric=sets.RUBRIC,
                human=people,
                out=folder / "run",
                progress=self.progress,
            )
            return {"run": folder / "run"}

        inputs = policy.inputs | {
            "answers": evaluation,
            "against": untuned.evaluation,
            "judgements": judgements,
        }
        settings = {"judge": digest_file(self.judge), "rubric": digest_file(sets.RUBRIC)}
        return self.cache.stage(f"judge_{policy.name}", make, inputs=inputs, settings=settings)["run"]

    def _answers_of(self, policy: Policy, evaluation: Path, folder: Path) -> Path:
        """A file of the answers, under the path of their model: by that a gate knows whose they are."""
        name, to = str(link(policy, self.runs)), folder / f"{policy.name}.jsonl"
        rows = []
        for row in read_answers(evaluation):
            named = tuple(msgspec.structs.replace(each, model=name) for each in row.candidates)
            rows.append(msgspec.structs.replace(row, candidates=named))
        fairlead.write(rows, to)
        return to

    def hold_against_gate(self, proof: Proof, untuned: Proof, *, audit: Output, sweep: Output) -> Output:
        """The gate's decision about an adapter. It is what it is: nothing here depends on it."""
        assert proof.judge is not None
        judge = proof.judge

        def make(folder: Path) -> dict[str, Path]:
            fairlead.gate(
                proof.policy.run,
                policy=GATE,
                eval=proof.evaluation.path,
                baseline=untuned.evaluation.path,
                judge=judge.path,
                audit=audit.path,
                sweep=sweep.path,
                out=folder / "run",
            )
            return {"run": folder / "run"}

        inputs = proof.policy.inputs | {"evaluation": proof.evaluation, "judge": judge, "audit": audit, "sweep": sweep}
        inputs |= {"baseline": untuned.evaluation}
        settings = {"gate": digest_file(GATE)}
        return self.cache.stage(f"gate_{proof.policy.name}", make, inputs=inputs, settings=settings)["run"]

    def register(self, policies: Mapping[str, Policy], gates: Mapping[str, Output]) -> Output:
        """Every adapter in a registry, and those that were held against the gate promoted as far as that lets them."""
        adapters = {name: policy for name, policy in policies.items() if policy.adapter is not None}

        def make(folder: Path) -> dict[str, Path]:
            steps = decisions.register(
                folder / "registry",
                {name: policy.run for name, policy in adapters.items()},
                {name: gate.path for name, gate in gates.items()},
            )
            decisions.write_steps(steps, folder / "steps.json")
            return {"registry": folder / "registry", "steps": folder / "steps.json"}

        inputs = {name: policy.adapter for name, policy in adapters.items() if policy.adapter is not None}
        inputs |= {f"gate of {name}": gate for name, gate in gates.items()}
        return self.cache.stage("registry", make, inputs=inputs, code=(decisions,))["steps"]


def read_answers(evaluation: Path) -> list[Candidates]:
    """A model's answers to the suite's prompts. They are not checked again: an empty reply of a model is a row here."""
    (file,) = sorted((evaluation / "artifacts").glob("answers-prompts-*.jsonl"))
    return [msgspec.json.decode(line, type=Candidates) for line in file.read_bytes().splitlines()]


def answered_by(proofs: Mapping[str, Proof]) -> dict[str, Path]:
    """The evaluation of every model by its name; that of prompting the fine-tuned one stands last."""
    prompted = next((proof.prompting for proof in proofs.values() if proof.prompting is not None), None)
    found = {name: proof.evaluation.path for name, proof in proofs.items()}
    return found if prompted is None else found | {PROMPTED: prompted}


def results_of(proofs: Mapping[str, Proof], prose: frozenset[str]) -> list[Results]:
    """What was measured of every model, as `answered_by` names them. `prose`: see `read_results`."""
    return [
        read_results(name, proofs[name].runs if name in proofs else [run], prose=prose)
        for name, run in answered_by(proofs).items()
    ]


def shares_of_gain(evaluation: Path) -> list[dict[str, Any]]:
    """What share of each gain of the first model prompting reaches, as far as that is settled."""
    file = evaluation / "prompting.json"
    shares: list[dict[str, Any]] = json.loads(file.read_bytes())["shares"] if file.is_file() else []
    return [share for share in shares if share["low"] is not None]

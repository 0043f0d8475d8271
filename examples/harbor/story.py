"""The story as stages: transcripts → fine-tuning → drafts → edits → a sweep of β → the gate → a repair, and again.

Each stage goes through Fairlead's own verbs and leaves files; a stage whose inputs, settings and code are unchanged is
not run again. How models are measured and decided on is measuring.py's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np

import fairlead
from examples.harbor import annotators, checks, editors, model, sets, transcripts
from examples.harbor.cache import Cache, Output, content_digest
from examples.harbor.checks import own_checks
from examples.harbor.decisions import point_of
from examples.harbor.measuring import AT_ONCE, WORLD_CODE, Measuring, Proof
from examples.harbor.policies import Policy, link
from examples.harbor.recipe import (
    CHOSEN_BETA,
    DRAFT_TEMPERATURE,
    FIRST_TRY,
    REPAIR,
    REPAIRED,
    SECOND_ROUND,
    SHIPPED,
    SWEPT,
    SWEPT_BETAS,
    Arm,
    Recipe,
    dpo_config,
    sft_config,
)
from examples.harbor.suites import GATE, write_constraints
from examples.harbor.world import World
from fairlead.config import Config
from fairlead.data.pairing import PairingSettings
from fairlead.data.records import Candidates, Edit, Preference, Row
from fairlead.identity import digest, digest_file
from fairlead.progress import Progress
from fairlead.runs.atomic import write_json

R = TypeVar("R", bound=Row)

EDIT_CODE = (*WORLD_CODE, editors, checks, sets)
JUDGE_CODE = (*WORLD_CODE, annotators, checks, sets)
SFT = "sft"


@dataclass(frozen=True, kw_only=True)
class Told:
    """The story's end: every model of it, what is known of those that were measured, and what was decided.

    audits: the run directory of each audit, by what was audited. sweep: the run of the sweep. registered: what the
    registry said. ceiling: the annotators' agreement with the held-out labels.
    """

    policies: Mapping[str, Policy]
    proofs: Mapping[str, Proof]
    sweep: Path
    registered: Path
    ceiling: float
    pair_counts: Mapping[str, int]
    audits: Mapping[str, Path]


@dataclass(frozen=True, kw_only=True)
class Story:
    """What every stage needs. `seed` is of training and sampling; the world has its own."""

    recipe: Recipe
    world: World
    cache: Cache
    measuring: Measuring
    reference_cache: Path
    seed: int
    progress: Progress

    def tell(self, base: Output, *, measure_on: str) -> Told:
        """Run every stage. `measure_on` is the pool to measure on: `evaluation`, or `recipe` for choosing settings."""
        at = self.measuring
        sft = self._fine_tune(base)
        drafts = self._sample(sft, "drafts", ("preference", "repair", "red_team"))
        held_out = self._held_out_pairs(self._sample(sft, "held_out_samples", ("held_out",), n=2))
        pairs = self._first_pairs(drafts)
        audits = {"judgements": self._audit("judgements", held_out["judgements"])}
        audits |= {name: self._audit(name, rows, held_out["pairs"]) for name, rows in pairs.items()}
        suite = at.suite("evaluation", sft, pool=measure_on, kl_pool="held_out")
        policies = {SFT: sft}
        proofs = {SFT: Proof(policy=sft, evaluation=at.evaluate(sft, suite))}
        swept, sweep = self._sweep(sft, pairs["first"])

        def prove(policy: Policy, audit: Output, *, prompting: bool = False) -> None:
            """Measure a model, have it judged, and hold it against the gate."""
            policies[policy.name] = policy
            evaluation = at.evaluate(policy, suite, untuned=proofs[SFT] if prompting else None)
            judge = at.ask_judge(policy, evaluation, proofs[SFT], held_out["judgements"])
            proof = Proof(policy=policy, evaluation=evaluation, judge=judge)
            gate = at.hold_against_gate(proof, proofs[SFT], audit=audit, sweep=sweep)
            proofs[policy.name] = replace(proof, gate=gate)

        prove(swept[FIRST_TRY], audits["first"])
        policies[CHOSEN_BETA] = swept[CHOSEN_BETA]
        prove(self._align(sft, REPAIR, pairs["repair"]), audits["repair"])
        failures = self._sample(policies[REPAIRED], "red_team_replies", ("red_team",), temperature=0.0)
        pairs["second"] = self._second_pairs(drafts, failures, pairs["repair"])
        audits["second"] = self._audit("second", pairs["second"], held_out["pairs"])
        prove(self._align(sft, SECOND_ROUND, pairs["second"]), audits["second"], prompting=True)
        ranking = at.suite("ranking", sft, held_out=held_out["pairs"])
        for name in (SFT, SHIPPED):
            proofs[name] = replace(proofs[name], ranking=at.rank(policies[name], ranking))
        gates = {name: proof.gate for name, proof in proofs.items() if proof.gate is not None}
        return Told(
            policies=policies,
            proofs=proofs,
            sweep=sweep.path,
            registered=at.register(policies, gates).path,
            ceiling=float(np.mean(json.loads(held_out["ceiling"].path.read_text()))),
            pair_counts={name: len(fairlead.read(output.path).rows) for name, output in pairs.items()},
            audits={name: output.path for name, output in audits.items()},
        )

    def _fine_tune(self, base: Output) -> Policy:
        """Full fine-tuning on the transcripts: the model whose voice is to be mended."""

        def write(folder: Path) -> dict[str, Path]:
            saved, path = folder / "transcripts.json", folder / "transcripts.jsonl"
            write_json(saved, transcripts.exported(self.world["sft"], self.world.seed))
            fairlead.write(sets.read_in(saved), path)
            return {"rows": path}

        settings = {"seed": self.world.seed, "mix": dict(self.recipe.sizes.sft)}
        rows = self.cache.stage("transcripts", write, settings=settings, code=(*WORLD_CODE, transcripts, sets))["rows"]

        def train(folder: Path) -> dict[str, Path]:
            given = sft_config(
                self.recipe, model=str(base.path), rows=str(rows.path), output=str(folder), seed=self.seed
            )
            return {"model": fairlead.train(Config(**given), progress=self.progress).artifact}

        settings = sft_config(self.recipe, model="", rows="", output="", seed=self.seed)
        made = self.cache.stage(SFT, train, inputs={"base": base, "rows": rows}, settings=settings)
        return self._named(Policy(name=SFT, model=made["model"]))

    def _named(self, policy: Policy) -> Policy:
        """The model, its run to be found under its name."""
        link(policy, self.measuring.runs)
        return policy

    def _sweep(self, sft: Policy, pairs: Output) -> tuple[dict[str, Policy], Output]:
        """Adapters at every β, measured on the prompts that settings are chosen on; and the run that compares them."""
        suite = self.measuring.suite("validation", sft, pool="recipe", kl_pool="recipe")
        betas = f"loss.beta={','.join(str(beta) for beta in SWEPT_BETAS.values())}"

        def make(folder: Path) -> dict[str, Path]:
            paths = {"model": str(sft.model.path), "rows": str(pairs.path), "reference": str(self.reference_cache)}
            fairlead.sweep(
                dpo_config(self.recipe, SWEPT, output=str(folder), seed=self.seed, **paths),
                overrides=[betas],
                suite=suite.path / "suite.yaml",
                judge=self.measuring.judge,
                rubric=sets.RUBRIC,
                constraints=write_constraints(folder / "constraints.yaml"),
                checks=own_checks(self.world.by_id),
                out=folder / "run",
                batch_size=AT_ONCE,
                progress=self.progress,
            )
            runs = {name: point_of(folder / "run", {"loss.beta": beta}) for name, beta in SWEPT_BETAS.items()}
            return {"run": folder / "run"} | {name: run / "artifacts" / "adapter" for name, run in runs.items()}

        settings = dpo_config(self.recipe, SWEPT, model="", rows="", output="", reference="", seed=self.seed)
        files = [digest_file(file) for file in (self.measuring.judge, sets.RUBRIC, GATE)]
        made = self.cache.stage(
            "sweep",
            make,
            inputs=sft.inputs | {"pairs": pairs, "suite": suite},
            settings=settings | {"sweep": betas, "files": files},
            code=(*WORLD_CODE, checks),
        )
        swept = {name: Policy(name=name, model=sft.model, adapter=made[name]) for name in SWEPT_BETAS}
        return {name: self._named(policy) for name, policy in swept.items()}, made["run"]

    def _align(self, sft: Policy, arm: Arm, pairs: Output) -> Policy:
        """Preference training of an adapter on the fine-tuned model, which is also the reference."""

        def config(**paths: str) -> dict[str, Any]:
            return dpo_config(self.recipe, arm, seed=self.seed, **paths)

        def train(folder: Path) -> dict[str, Path]:
            given = config(
                model=str(sft.model.path),
                rows=str(pairs.path),
                output=str(folder),
                reference=str(self.reference_cache),
            )
            return {"adapter": fairlead.train(Config(**given), progress=self.progress).artifact}

        settings = config(model="", rows="", output="", reference="")
        made = self.cache.stage(arm.name, train, inputs=sft.inputs | {"pairs": pairs}, settings=settings)
        return self._named(Policy(name=arm.name, model=sft.model, adapter=made["adapter"]))

    def _sample(
        self, policy: Policy, name: str, pools: tuple[str, ...], *, n: int = 1, temperature: float = DRAFT_TEMPERATURE
    ) -> Output:
        """Replies of a model to the prompts of some pools."""
        prompts = [row for pool in pools for row in self.world.rows(pool)]
        sampling = {"n": n, "temperature": temperature, "max_new_tokens": self.recipe.max_new_tokens, "seed": self.seed}

        def generate(folder: Path) -> dict[str, Path]:
            path = folder / f"{name}.jsonl"
            fairlead.generate(
                prompts=prompts, to=path, progress=self.progress, **policy.where, **sampling, batch_size=AT_ONCE
            )
            return {"replies": path}

        settings = {"prompts": digest([[row.id, row.prompt[0].content, row.prompt[1].content] for row in prompts])}
        return self.cache.stage(name, generate, inputs=policy.inputs, settings=settings | sampling)["replies"]

    def _first_pairs(self, drafts: Output) -> dict[str, Output]:
        """Agents' edits of the drafts; the same with the pairs that differ in the disclaimer alone."""

        def make(folder: Path) -> dict[str, Path]:
            rows = self._by_pool(drafts)
            edits = editors.edits(self.world.by_id, rows["preference"], seed=self.world.seed)
            first = self._pairs_of(edits, folder / "edits.jsonl")
            repair = editors.repair_pairs(self.world.by_id, rows["repair"], seed=self.world.seed)
            kept = sets.keep(first, folder / "first", name="first")
            return {
                "first": kept,
                "repair": sets.keep([*first, *repair], folder / "repair", name="repair", parents=[kept]),
            }

        made = self.cache.stage(
            "pairs", make, inputs={"drafts": drafts}, settings={"seed": self.world.seed}, code=EDIT_CODE
        )
        return dict(made.outputs)

    def _pairs_of(self, edits: Sequence[Edit], saved: Path) -> tuple[Preference, ...]:
        """Pairs of the edits as the agents' tool saves them in the file `saved`."""
        fairlead.write(edits, saved)
        return fairlead.make_pairs(sets.read_in(saved)).pairs

    def _audit(self, name: str, rows: Output, held_out: Output | None = None) -> Output:
        """What is wrong with a set, before anything is trained on it."""

        def make(folder: Path) -> dict[str, Path]:
            held = None if held_out is None else held_out.path
            return {"run": sets.audit(rows.path, folder / "run", held_out=held, seed=self.world.seed)}

        inputs = {"rows": rows} | ({} if held_out is None else {"held_out": held_out})
        settings = {"seed": self.world.seed, "required": digest_file(sets.REQUIRED)}
        return self.cache.stage(f"audit_{name}", make, inputs=inputs, settings=settings, code=(sets,))["run"]

    def _second_pairs(self, drafts: Output, failures: Output, repaired: Output) -> Output:
        """The second round, once the red team has shown that refusals were lost.

        Drafts that refuse ordinary questions are left out, since as rejected sides they teach against refusing. What
        the repaired model said where it should have refused comes in as rejected, and refusals whose tone was edited.
        """

        def make(folder: Path) -> dict[str, Path]:
            rows, cases, seed = self._by_pool(drafts), self.world.by_id, self.world.seed
            first = editors.edits(cases, rows["preference"], seed=seed)
            edits: list[Edit] = editors.without_spurious_refusals(cases, first)
            edits += editors.tone_edits(cases, rows["red_team"], seed=seed, count=self.recipe.tone_edits)
            edits += editors.refuse_or_comply(cases, rows["red_team"], _read(failures, Candidates), seed=seed)
            disclaimers = [row for row in fairlead.read(repaired.path).rows if row.meta.get("source") == "repair"]
            rows = [*self._pairs_of(edits, folder / "edits.jsonl"), *disclaimers]
            return {"second": sets.keep(rows, folder / "second", name="second", parents=[repaired.path])}

        made = self.cache.stage(
            "second_pairs",
            make,
            inputs={"drafts": drafts, "failures": failures, "repaired": repaired},
            settings={"seed": self.world.seed, "tone_edits": self.recipe.tone_edits},
            code=EDIT_CODE,
        )
        return made["second"]

    def _held_out_pairs(self, samples: Output) -> Mapping[str, Output]:
        """Two samples of each held-out prompt, compared by annotators; and how far annotators agree with the labels."""

        def make(folder: Path) -> dict[str, Path]:
            judged = annotators.judgements(self.world.by_id, _read(samples, Candidates), seed=self.world.seed)
            fairlead.write(judged, folder / "judgements.jsonl")
            settings = PairingSettings(ties="ignore")
            pairs = fairlead.make_pairs(sets.read_in(folder / "judgements.jsonl"), settings).pairs
            fairlead.write(pairs, folder / "held_out.jsonl")
            write_json(folder / "ceiling.json", annotators.ceiling(self.world.by_id, pairs, seed=self.world.seed))
            names = {"pairs": "held_out.jsonl", "judgements": "judgements.jsonl", "ceiling": "ceiling.json"}
            return {output: folder / name for output, name in names.items()}

        return self.cache.stage(
            "held_out_pairs", make, inputs={"samples": samples}, settings={"seed": self.world.seed}, code=JUDGE_CODE
        ).outputs

    def _by_pool(self, drafts: Output) -> dict[str, list[Candidates]]:
        pools: dict[str, list[Candidates]] = {}
        for row in _read(drafts, Candidates):
            pools.setdefault(row.id.rpartition("-")[0], []).append(row)
        return pools


def base_model(path: str | None, folder: Path, progress: Progress) -> Output:
    """The model to start from: the example's own, fetched into `folder`, or the one that the user names."""
    found = model.fetch(folder, progress=progress) if path is None else Path(path)
    return Output(path=found, sha256=content_digest(found) if found.exists() else digest(path))


def _read(output: Output, kind: type[R]) -> list[R]:
    """The rows of a file that a stage wrote. They are not checked again: an empty reply of a model is a row here."""
    return [msgspec.json.decode(line, type=kind) for line in output.path.read_bytes().splitlines()]

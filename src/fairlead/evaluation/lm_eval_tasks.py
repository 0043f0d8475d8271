"""Tasks of EleutherAI's lm-eval, put to a model that is loaded already: its figures as measures, its samples as items.

The package is an extra (`fairlead[lm-eval]`); data sets of its own tasks come from the hub, those of one's own tasks
from where their YAML files say.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from math import isfinite
from typing import Any

from fairlead.config.faults import nearest
from fairlead.errors import ConfigError, Fault, MachineError
from fairlead.evaluation.estimates import Z
from fairlead.evaluation.results import Item, Measurement
from fairlead.evaluation.suite import LmEval
from fairlead.evaluation.table import LM_EVAL, kind_of
from fairlead.models.language_model import LanguageModel

STDERR = "_stderr"
PLAIN = "none"
"""The filter of lm-eval that leaves answers as they are."""
REMEDY = "Install it with: pip install 'fairlead[lm-eval]'. Or leave lm_eval out of the suite."
LOGGERS = ("lm_eval", "lm-eval")
CLOSE = 1e-6


@dataclass(frozen=True, kw_only=True)
class TaskResults:
    """What tasks gave: a figure for each of their metrics, and the items of those that are means of their items."""

    measures: tuple[Measurement, ...]
    items: tuple[Item, ...]


@dataclass(frozen=True, kw_only=True)
class Tasks:
    """The tasks of a suite, and lm-eval's list of all tasks, which takes seconds to make."""

    section: LmEval
    manager: Any


def find_tasks(section: LmEval) -> Tasks:
    """The tasks of a suite, among lm-eval's own and those of the suite's folder.

    Raises MachineError where lm-eval is not installed, ConfigError for tasks that it does not know.
    """
    if find_spec("lm_eval") is None:
        raise MachineError(f"lm_eval needs the package `lm_eval`. {REMEDY}")
    from lm_eval.tasks import TaskManager

    with _quiet():
        manager = TaskManager(include_path=section.include)
    known = manager.all_tasks
    faults = []
    for place, name in enumerate(section.tasks):
        if name not in known:
            close = nearest(name, known)
            remedy = f"Did you mean {close}?" if close else "`lm-eval ls tasks` lists them; lm_eval.include adds yours."
            faults.append(Fault(field=f"lm_eval.tasks.{place}", problem=f"{name!r} is no task.", remedy=remedy))
    if faults:
        raise ConfigError(faults, source="suite")
    return Tasks(section=section, manager=manager)


def run_tasks(lm: LanguageModel, tasks: Tasks, *, batch_size: int = 32) -> TaskResults:
    """The tasks put to a model. Raises MachineError where the data of a task cannot be had."""
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM

    section = tasks.section
    with _quiet():
        model = HFLM(pretrained=lm.model, tokenizer=lm.tokenizer, batch_size=batch_size)
        try:
            found = simple_evaluate(
                model=model,
                tasks=list(section.tasks),
                task_manager=tasks.manager,
                num_fewshot=section.num_fewshot,
                limit=section.limit,
                apply_chat_template=section.apply_chat_template,
                log_samples=True,
            )
        except OSError as error:  # a hub that cannot be reached is a ConnectionError, which is one
            told = " ".join(str(error).split())
            remedy = "Check the network, or name a task whose data are on this machine."
            raise MachineError(f"lm_eval: the data of a task cannot be had ({told}). {remedy}") from error
    return read_results(found)


def read_results(results: Mapping[str, Any]) -> TaskResults:
    """The figures and the items in what lm-eval gives.

    A metric becomes lm_eval/TASK/METRIC, with its filter after a comma where that changes answers. The interval is
    the value ± 1.96 of lm-eval's own standard errors, within 0 and 1 for a share; none where it gives no error.
    """
    measures: list[Measurement] = []
    items: list[Item] = []
    for task, figures in results["results"].items():
        samples = results.get("samples", {}).get(task, ())
        n = results.get("n-samples", {}).get(task, {}).get("effective", len(samples))
        for key, value in figures.items():
            metric, _, filtered = key.partition(",")
            if not filtered or metric.endswith(STDERR) or not _is_number(value):
                continue
            name = f"{LM_EVAL}{task}/{metric}" + ("" if filtered == PLAIN else f",{filtered}")
            error = figures.get(f"{metric}{STDERR},{filtered}")
            measures.append(_measurement(name, float(value), error, n))
            items += _items(name, metric, filtered, samples, float(value))
    return TaskResults(measures=tuple(measures), items=tuple(items))


def _measurement(name: str, value: float, error: Any, n: int) -> Measurement:
    kind = kind_of(name)
    low = high = None
    if _is_number(error):
        low, high = value - Z * error, value + Z * error
        if kind.unit == "share":
            low, high = max(0.0, low), min(1.0, high)
    return Measurement(
        name=name, value=value, low=low, high=high, n=n, unit=kind.unit, direction=kind.direction, meaning=kind.meaning
    )


def _items(name: str, metric: str, filtered: str, samples: Sequence[Mapping[str, Any]], value: float) -> Iterator[Item]:
    """One item a document, where the figure is their mean; of a perplexity, for instance, there are none."""
    own = [
        (str(sample["doc_id"]), float(sample[metric]))
        for sample in samples
        if sample.get("filter", PLAIN) == filtered and _is_number(sample.get(metric))
    ]
    if own and abs(sum(each for _, each in own) / len(own) - value) <= CLOSE:
        yield from (Item(measure=name, id=document, value=each) for document, each in sorted(own))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and isfinite(value)


@contextmanager
def _quiet() -> Generator[None]:
    """lm-eval warns of what is meant here: a model that is loaded already."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)

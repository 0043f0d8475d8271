"""What a loss asks of the rows: other prompts' completions, and no field that it has no place for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fairlead.config import Config
from fairlead.engine.rendering import Renderer
from fairlead.errors import DataError
from fairlead.losses.binding import bind
from fairlead.stages.rows import TrainingRows, read_training_rows
from tests.tiny import tiny_tokenizer
from tests.training.small import rows_of, write_rows


def read(folder: Path, kind: str, loss: str, *, first: dict[str, Any] | None = None, **held: Any) -> TrainingRows:
    """Eight rows to train on, the first of them with the fields `first`, and four held out with the fields `held`."""
    rows = rows_of(kind, 8)
    rows[0] |= first or {}
    train = write_rows(folder / "train.jsonl", rows)
    held_out = write_rows(folder / "held.jsonl", [{**row, **held} for row in rows_of(kind, 4, first=100)])
    config = Config(
        model={"path": "none"}, data={"train": str(train), "eval": str(held_out)}, loss={"name": loss}, adapter={}
    )
    return read_training_rows(config, bind([(loss, {}, 1.0)]), Renderer(tiny_tokenizer()))


@pytest.mark.parametrize(("loss", "completions"), [("kto", 2), ("bco", 1), ("apo_zero_unpaired", 1)])
def test_only_losses_that_compare_with_other_prompts_get_their_completions(
    tmp_path: Path, loss: str, completions: int
) -> None:
    rows = read(tmp_path, "feedback", loss)
    assert {len(group.completions) for group in (*rows.train, *rows.held_out)} == {completions}


@pytest.mark.parametrize(("label", "words"), [(True, "row is desirable.*with sft"), (False, "is undesirable.*Add")])
def test_thumbs_that_all_point_one_way_are_refused(tmp_path: Path, label: bool, words: str) -> None:
    file = write_rows(tmp_path / "one.jsonl", [{**row, "label": label} for row in rows_of("feedback", 4)])
    config = Config(model={"path": "none"}, data={"train": str(file)}, loss={"name": "kto"}, adapter={})
    with pytest.raises(DataError, match=rf"one\.jsonl.*{words}"):
        read_training_rows(config, bind([("kto", {}, 1.0)]), Renderer(tiny_tokenizer()))


def test_only_losses_that_compare_with_other_prompts_need_them(tmp_path: Path) -> None:
    prompt = rows_of("feedback", 1)[0]["prompt"]
    file = write_rows(tmp_path / "one.jsonl", [{**row, "prompt": prompt} for row in rows_of("feedback", 8)])
    config = Config(model={"path": "none"}, data={"train": str(file)}, loss={"name": "kto"}, adapter={})
    renderer = Renderer(tiny_tokenizer())
    assert len(read_training_rows(config, bind([("bco", {}, 1.0)]), renderer).train) == 8
    with pytest.raises(DataError, match=r"one\.jsonl.*the loss kto compares each row with the completion of another"):
        read_training_rows(config, bind([("kto", {}, 1.0)]), renderer)


@pytest.mark.parametrize(
    ("loss", "field", "value", "words"),
    [
        ("aot", "weight", 2.0, "has the weight 2, which the loss aot has no place for. Remove the field `weight`"),
        ("ipo", "margin", 0.5, "has a margin, which the loss ipo has no place for. Remove the field `margin`"),
    ],
)
def test_a_field_that_the_loss_has_no_place_for_is_named_with_its_row(
    tmp_path: Path, loss: str, field: str, value: float, words: str
) -> None:
    with pytest.raises(DataError, match=r"train\.jsonl: row .*has ") as caught:
        read(tmp_path, "preference", loss, first={"id": "odd", field: value})
    assert f"row odd {words}" in str(caught.value)
    assert caught.value.field == field
    with pytest.raises(DataError, match=r"held\.jsonl"):
        read(tmp_path, "preference", loss, **{field: value})
    read(tmp_path, "preference", "dpo", first={field: value})

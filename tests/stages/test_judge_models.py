"""More than two models: every two compared, and ranked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fairlead.data.reading import read
from fairlead.errors import DataError
from fairlead.evaluation.results import read_item_list, read_measures
from fairlead.stages.judge import Judging, judge
from tests.evaluation.judging.server import always_a, serving
from tests.stages.test_judge import GOOD, PLAIN, candidates, config, rules, server_judge, value

N = 20
SHARES = {"best": 16, "middle": 11, "weak": 6}
"""How many of 20 answers of each model are good; which ones differs."""


def texts(name: str, start: int) -> list[str]:
    return [GOOD if (n + start) % N < SHARES[name] else PLAIN for n in range(N)]


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """The candidate is the middle one."""
    return [
        candidates(tmp_path / f"{name}.jsonl", texts(name, start), name)
        for name, start in (("middle", 3), ("weak", 8), ("best", 0))
    ]


def run(files: list[Path], panel: Path, name: str = "run") -> Judging:
    return judge(*files, judge=panel, out=files[0].parent / name)


def test_every_two_models_are_compared_and_ranked(files: list[Path], tmp_path: Path) -> None:
    result = run(files, config(tmp_path, [rules()]))
    assert result.comparisons == 3 * N
    assert result.ranking is not None
    assert result.ranking.models == ("best", "middle", "weak")
    strengths = [value(result, "judge/strength", model=name) for name in result.ranking.models]
    assert None not in strengths
    assert strengths == sorted(strengths, reverse=True)  # type: ignore[type-var]
    assert sum(strengths) == pytest.approx(0)  # type: ignore[arg-type]
    measures = read_measures(result.run)
    assert measures.model == "middle"
    # Its answers against both others', half of which are even: two of 20 prompts each way decide.
    ours, best, weak = texts("middle", 3), texts("best", 0), texts("weak", 8)
    expected = [worth(a, b) for other in (best, weak) for a, b in zip(ours, other, strict=True)]
    assert value(result, "judge/win_rate") == pytest.approx(sum(expected) / (2 * N))
    assert value(result, "judge/win_rate", against="weak") == pytest.approx(sum(expected[N:]) / N)
    assert value(result, "judge/win_rate", model="middle") == value(result, "judge/win_rate")
    items = read_item_list(result.run)
    assert len(items) == 2 * N
    assert len({item.group for item in items}) == N
    record = json.loads((result.run / "ranking.json").read_bytes())
    assert [each["name"] for each in record["models"]] == ["best", "middle", "weak"]
    assert sum(pair["first_wins"] + pair["second_wins"] + pair["ties"] for pair in record["pairs"]) == 3 * N
    page = (result.run / "report.html").read_text()
    assert "Bradley–Terry strength" in page
    assert "Candidate against the others" in page


def worth(a: str, b: str) -> float:
    return 0.5 if a == b else float(a == GOOD)


def test_the_order_of_the_other_models_decides_nothing(files: list[Path], tmp_path: Path) -> None:
    panel = config(tmp_path, [rules()])
    one, other = run(files, panel), run([files[0], files[2], files[1]], panel, "again")
    assert one.measures == other.measures
    assert one.ranking == other.ranking
    for name in ("ranking.json", "verdicts.jsonl", "items.jsonl", "artifacts/preferences.jsonl"):
        assert (one.run / name).read_bytes() == (other.run / name).read_bytes()
    led_by_best = run([files[2], *files[:2]], panel, "best")
    assert led_by_best.ranking is not None
    assert one.ranking is not None
    assert led_by_best.ranking.strengths == one.ranking.strengths


def test_two_files_are_a_candidate_and_a_baseline(files: list[Path], tmp_path: Path) -> None:
    panel = config(tmp_path, [rules()])
    plain = run(files[:2], panel)
    named = judge(files[0], against=files[1], judge=panel, out=tmp_path / "named")
    assert plain.ranking is None
    assert plain.measures == named.measures
    assert not (plain.run / "ranking.json").exists()
    assert {tuple(measure.slice) for measure in plain.measures} == {(), ("segment",), ("judge",)}


def test_preferences_of_every_two_models_have_names_of_their_own(files: list[Path], tmp_path: Path) -> None:
    result = run(files, config(tmp_path, [rules()], for_people=0))
    rows = read(result.run / "artifacts" / "preferences.jsonl").rows
    assert len({row.id for row in rows}) == len(rows) == result.preferences > N


def test_a_void_run_ranks_nobody(files: list[Path], tmp_path: Path) -> None:
    with serving(always_a) as server:
        result = run(files, config(tmp_path, [server_judge(server)]))
    assert result.void
    assert value(result, "judge/strength", model="best") is None
    assert value(result, "judge/win_rate", against="best") is None
    page = (result.run / "report.html").read_text()
    assert "Void: nothing can be concluded" in page
    assert "Bradley–Terry" not in page


def test_models_of_one_name_are_called_after_their_files(tmp_path: Path) -> None:
    files = [candidates(tmp_path / f"{n}.jsonl", texts("best", n), "m" if n else "first") for n in range(3)]
    result = run(files, config(tmp_path, [rules()]))
    assert result.ranking is not None
    assert set(result.ranking.models) == {"first", "1.jsonl", "2.jsonl"}


def test_answers_of_some_models_are_counted_where_others_have_none(files: list[Path], tmp_path: Path) -> None:
    fewer = candidates(tmp_path / "fewer.jsonl", texts("best", 0)[: N // 2], "fewer")
    result = run([files[0], files[1], fewer], config(tmp_path, [rules()]))
    assert result.comparisons == N + N
    assert result.left_out == {str(files[0]): N // 2, str(files[1]): N // 2}


def test_mistakes(files: list[Path], tmp_path: Path) -> None:
    panel = config(tmp_path, [rules()])
    with pytest.raises(DataError, match=r"is named twice.*Name each file once"):
        run([files[0], files[1], files[0]], panel)
    elsewhere = tmp_path / "elsewhere.jsonl"
    elsewhere.write_text(files[0].read_text().replace("Question", "Riddle"))
    with pytest.raises(DataError, match=r"no prompt of it has an answer in .*elsewhere\.jsonl too"):
        run([*files, elsewhere], panel)
    (tmp_path / "other").mkdir()
    twins = [tmp_path / "other" / "middle.jsonl"]
    twins[0].write_text(files[0].read_text().replace(PLAIN, "no answer"))
    with pytest.raises(DataError, match=r"another file holds answers of the same model.*Rename one"):
        run([files[0], files[1], *twins], panel)

"""Parts of rows as one long sequence of texts, each made when it is asked for: a million rows are not copied."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from copy import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead.data.audit.items import completions_of
from fairlead.data.audit.material import Indices, hash_of
from fairlead.data.records import Candidates, Judgement, Ranking, Row
from fairlead.data.split import prompt_key, prompt_text
from fairlead.data.texts import normalized

UNORDERED = (Judgement, Ranking, Candidates)
"""Kinds of rows whose order of completions says nothing of their worth."""

TextsOf = Callable[[Row], Sequence[str]]


class Parts(Sequence[str]):
    """Texts of some rows, any number of each. hashes: of each part's key; owners: the place of its row; both [n].

    keys: what parts that are taken for the same have in common.
    """

    def __init__(self, rows: Sequence[Row], texts: TextsOf, keys: TextsOf) -> None:
        self.rows, self._texts = rows, texts
        hashes, owners, numbers = array("Q"), array("q"), array("q")
        for place, row in enumerate(rows):
            for number, key in enumerate(keys(row)):
                hashes.append(hash_of(0, key))
                owners.append(place)
                numbers.append(number)
        self.hashes: NDArray[np.uint64] = np.array(hashes)
        self.owners: Indices = np.array(owners)
        self._numbers: Indices = np.array(numbers)

    def only(self, wanted: Indices) -> Parts:
        """Some of the parts."""
        some = copy(self)
        some.hashes, some.owners, some._numbers = self.hashes[wanted], self.owners[wanted], self._numbers[wanted]
        return some

    def __len__(self) -> int:
        return len(self.hashes)

    def __getitem__(self, place: Any) -> Any:
        return self._texts(self.rows[self.owners[place]])[self._numbers[place]]


def prompts(rows: Sequence[Row]) -> Parts:
    """The prompt of each row."""
    return Parts(rows, lambda row: [prompt_text(row)], lambda row: [prompt_key(row)])


def answers(rows: Sequence[Row]) -> Parts:
    """The prompt with each completion of each row."""
    return Parts(rows, _answers, _answer_keys)


def _answers(row: Row) -> list[str]:
    prompt = prompt_text(row)
    return [f"{prompt}\n{text}" for text in completions_of(row)]


def _answer_keys(row: Row) -> list[str]:
    prompt = prompt_key(row)
    return [f"{prompt} {normalized(text)}" for text in completions_of(row)]


def sides(rows: Sequence[Row]) -> Parts:
    """The completions of each row; in an order of their own where that of the row says nothing of their worth."""
    return Parts(rows, _sides, lambda row: [normalized(text) for text in _sides(row)])


def _sides(row: Row) -> list[str]:
    texts = completions_of(row)
    return sorted(texts, key=normalized) if isinstance(row, UNORDERED) else texts

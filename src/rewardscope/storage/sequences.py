"""The model's inputs of a save-acts folder, as tokens with their texts: one a trace, and one group
of them in memory at a time.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, final

import msgspec
import numpy as np
from numpy.typing import NDArray

from rewardscope.errors import BadRecord


# Shape legend: N rows, T tokens of a group, G groups.
class ActSequence(msgspec.Struct, frozen=True, kw_only=True):
    """One input of the model: `tokens` are the texts of its tokens, `step_ends` the positions
    where steps are scored.
    """

    problem: str
    trace: int
    tokens: tuple[str, ...] = ()
    step_ends: tuple[int, ...] = ()
    scores: tuple[float, ...] | None = None
    correct: bool | None = None


class TokenTexts(NamedTuple):
    """The token texts of the sequences of a group: those of sequence i are `code_T[starts[i] :
    starts[i + 1]]`, positions in `texts`.
    """

    starts: NDArray[np.int64]
    code_T: NDArray[np.int32]
    texts: Sequence[str]


class SequenceFile(Protocol):
    """A file of sequences in groups that are read each at once; `starts_G` are the numbers of their
    first sequences, and the count of all at the end.
    """

    path: Path
    starts_G: NDArray[np.int64]

    def read(
        self, group: int, wanted: Sequence[int] | None = None, *, texts: bool = True
    ) -> list[ActSequence]:
        """Return the sequences of a group, or those at some places in it; without `texts` their
        tokens are left out.
        """
        ...

    def token_texts(self, group: int) -> TokenTexts: ...


@final
class Sequences:
    """The sequences of a save-acts folder, by number; one group is in memory at a time."""

    def __init__(self, file: SequenceFile) -> None:
        self._file = file

    def __len__(self) -> int:
        return int(self._file.starts_G[-1])

    def __iter__(self) -> Iterator[ActSequence]:
        for group in range(len(self._file.starts_G) - 1):
            yield from self._file.read(group)

    def without_texts(self) -> Iterator[ActSequence]:
        """Yield all sequences with their tokens left out."""
        for group in range(len(self._file.starts_G) - 1):
            yield from self._file.read(group, texts=False)

    def chosen(self, numbers: Iterable[int]) -> Iterator[tuple[int, ActSequence]]:
        """Yield some sequences with their numbers, ascending."""
        wanted = np.unique(np.fromiter(numbers, dtype=np.int64))
        groups = np.searchsorted(self._file.starts_G, wanted, side="right") - 1
        for group in np.unique(groups).tolist():
            mine = wanted[groups == group]
            places = (mine - self._file.starts_G[group]).tolist()
            yield from zip(mine.tolist(), self._file.read(group, places), strict=True)

    def lengths(self, numbers: NDArray[np.integer]) -> NDArray[np.int64]:
        """Return how many tokens some sequences have."""
        found = np.zeros(len(numbers), dtype=np.int64)
        groups = np.searchsorted(self._file.starts_G, numbers, side="right") - 1
        for group in np.unique(groups).tolist():
            mine = np.flatnonzero(groups == group)
            length_S = np.diff(self._file.token_texts(group).starts)
            found[mine] = length_S[numbers[mine] - self._file.starts_G[group]]
        return found

    def text_reader(self) -> "TextReader":
        """Return a reader of single tokens' texts."""
        return TextReader(self._file)


@final
class TextReader:
    """Gives tokens as positions in `texts`, which grows: the texts that were asked for so far, in
    that order.
    """

    def __init__(self, file: SequenceFile) -> None:
        self.texts: list[str] = []
        self._codes: dict[str, int] = {}
        self._file = file
        self._held: tuple[int, TokenTexts] | None = None

    def read(self, sequence_N: NDArray[np.integer], token_N: NDArray[Any]) -> NDArray[np.int32]:
        """Return the codes [N] of the texts at some positions of sequences; -1 where the sequence
        or the position is below 0.
        """
        found_N = np.full(len(sequence_N), -1, dtype=np.int64)  # in `texts` of the groups, joined
        known = np.flatnonzero((sequence_N >= 0) & (token_N >= 0))
        group_N = np.searchsorted(self._file.starts_G, sequence_N[known], side="right") - 1
        texts: list[str] = []
        for group in np.unique(group_N).tolist():
            rows, of_group = known[group_N == group], self._token_texts(group)
            number = sequence_N[rows] - self._file.starts_G[group]
            place = of_group.starts[number] + token_N[rows]
            if (place >= of_group.starts[number + 1]).any():
                raise BadRecord(
                    f"{self._file.path}: a row stands for a token that its sequence does not have;"
                    " re-run invoke save-acts"
                )
            found_N[rows] = of_group.code_T[place] + len(texts)
            texts += of_group.texts
        used, first, back_N = np.unique(found_N, return_index=True, return_inverse=True)
        codes = np.full(len(used), -1, dtype=np.int32)
        for at in np.argsort(first).tolist():
            if used[at] >= 0:
                codes[at] = self._code(texts[used[at]])
        return codes[back_N]

    def _code(self, text: str) -> int:
        code = self._codes.setdefault(text, len(self.texts))
        if code == len(self.texts):
            self.texts.append(text)
        return code

    def _token_texts(self, group: int) -> TokenTexts:
        if self._held is None or self._held[0] != group:
            self._held = (group, self._file.token_texts(group))
        return self._held[1]

"""What a layer's page shows, as plain JSON values: a list of every feature that fires, and pieces
with the statistics and contexts of those that are shown.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import msgspec
import numpy as np

from rewardscope.dashboard.cards import Card, Difference, Known
from rewardscope.dashboard.details import Details, LayerFirings, Statistics, gather
from rewardscope.dashboard.feature_list import feature_list
from rewardscope.dashboard.intervals import Examples, collect
from rewardscope.dashboard.text_store import TextStore, Windows, short
from rewardscope.dashboard.trace_firings import TraceFirings
from rewardscope.features.categories import CATEGORIES
from rewardscope.features.contexts import fill
from rewardscope.features.diff_table import FeatureDiff
from rewardscope.features.examples import HISTOGRAM_BINS, Contrast, contrast, top_texts
from rewardscope.features.firing import DataSet

# Shape legend: F features, T features that are shown, C token categories, H histogram bins.
BEFORE, AFTER = 24, 12  # tokens of context
N_TEXTS = 6
N_PARTNERS = 8
PIECE = 64  # features whose details lie in one file


class Layer(NamedTuple):
    """The values of a layer's page."""

    meta: dict[str, Any]
    listed: dict[str, Any]
    """See `feature_list`."""
    pieces: Iterator[dict[str, Any]]
    """Of `PIECE` features each their cards, and the texts of their contexts."""


def choose_features(
    statistics: Statistics, diffs: Sequence[FeatureDiff], *, top: int, by_diff: bool
) -> np.ndarray:
    """Return at most `top` features that fire: those with the most activation, or with the largest
    difference of firing rates.
    """
    weight_F = statistics.mass_F.copy()
    if by_diff:
        weight_F = np.zeros_like(weight_F)
        for row in diffs:
            weight_F[row.feature] = max(weight_F[row.feature], abs(row.difference))
    order = np.argsort(-weight_F, kind="stable")[:top]
    return order[(weight_F[order] > 0) & (statistics.mass_F[order] > 0)]


def layer_data(
    encoded: Sequence[LayerFirings],
    diffs: Sequence[FeatureDiff],
    *,
    top: int,
    by_diff: bool,
    n_examples: int,
    cosine_F: np.ndarray | None = None,
    known: Mapping[int, Known] | None = None,
    traces: TraceFirings | None = None,
) -> Layer:
    """Return the values of a layer's page.

    `diffs` are the rows of this layer, `known` what other tables say of features; `traces` gets the
    firings on the traces that are shown.
    """
    data_sets = [one.data for one in encoded]
    statistics = gather([one.sums for one in encoded])
    features = choose_features(statistics, diffs, top=top, by_diff=by_diff)
    details = Details(encoded, features, statistics.max_F, n=n_examples)
    for number, one in enumerate(encoded):
        for piece in details.add(number, one):
            if traces is not None:
                traces.add(number, piece)
    found = collect(
        data_sets,
        details.peaks,
        n=n_examples,
        n_chance=details.n_chance,
        before=BEFORE,
        after=AFTER,
    )
    of_feature = [list(chain(*kinds)) for kinds in zip(*found, strict=True)]
    for number, one in enumerate(encoded):
        fill(of_feature, number, one.file.read(), details.place_F)
    pairs = list(dict.fromkeys((row.reasoning, row.instruct) for row in diffs))
    cards = _Cards(features, statistics, details, pairs, diffs, cosine_F, known or {})
    meta = {
        "categories": CATEGORIES,
        "pairs": pairs,
        "n_firing": int((statistics.mass_F > 0).sum()),
        "n_shown": len(features),
        "piece": PIECE,
        "data_sets": [_data_set(data) for data in data_sets],
        "step_rows": details.steps_S.tolist(),
        "step_tags": sorted(details.step_tags),
        "pair_rows": details.co_firing.n_counted,
    }
    listed = feature_list(details, statistics, pairs, diffs, cosine_F, n_texts=N_TEXTS)
    return Layer(meta, listed, cards.pieces(found, Windows(data_sets, chain(*of_feature))))


class _Cards(NamedTuple):
    """What the cards of a layer are made of."""

    features: np.ndarray
    statistics: Statistics
    details: Details
    pairs: list[tuple[str, str]]
    diffs: Sequence[FeatureDiff]
    cosine_F: np.ndarray | None
    known: Mapping[int, Known]

    def pieces(self, found: Examples, windows: Windows) -> Iterator[dict[str, Any]]:
        of_feature: dict[int, list[FeatureDiff]] = {}
        for row in self.diffs:
            of_feature.setdefault(row.feature, []).append(row)
        for start in range(0, len(self.features), PIECE):
            places = range(start, min(start + PIECE, len(self.features)))
            wanted = (example for place in places for kind in found for example in kind[place])
            texts = TextStore(windows, wanted)
            cards = [self._card(place, found, texts, of_feature) for place in places]
            yield {"features": msgspec.to_builtins(cards), **texts.tables()}

    def _card(
        self, place: int, found: Examples, texts: TextStore, diffs: Mapping[int, list[FeatureDiff]]
    ) -> Card:
        feature, details = int(self.features[place]), self.details
        count_D, mass_C = (
            self.statistics.count_DF[:, feature],
            self.statistics.mass_CF[:, feature],
        )
        rows_D = details.rows_D
        mass, n = float(mass_C.sum()), int(count_D.sum())
        top = top_texts(feature, details.masses, details.texts, total=mass, n=N_TEXTS)
        steps = zip(details.steps_TS[place].tolist(), details.steps_S.tolist(), strict=True)
        hist_H = details.histograms.count_TH[place]
        return Card(
            id=feature,
            rate=short(n / rows_D.sum()),
            n=n,
            mean=short(mass / n),
            max=short(self.statistics.max_F[feature]),
            mass=short(mass),
            rates=[short(rate) for rate in count_D / rows_D],
            kinds=[short(share) for share in mass_C / mass],
            hist=hist_H.tolist(),
            thirds=hist_H.reshape(3, HISTOGRAM_BINS // 3).sum(axis=1).tolist(),
            steps=[short(fired / rows) if rows else None for fired, rows in steps],
            texts=[(text, short(share)) for text, share in top],
            reward=_difference(contrast(details.rewards.of(place))),
            right=_difference(contrast(details.rights.of(place))),
            diffs=[_diff(row, self.pairs) for row in diffs.get(feature, ())],
            examples=[texts.place(example) for example in found.top[place]],
            middle=[texts.place(example) for example in found.middle[place]],
            low=[texts.place(example) for example in found.low[place]],
            partners=[
                (int(self.features[p.place]), short(p.correlation), short(p.pmi), p.together)
                for p in details.co_firing.strongest(place, N_PARTNERS)
            ],
            cosine=None if self.cosine_F is None else short(self.cosine_F[feature]),
            known=self.known.get(feature),
        )


def _difference(found: Contrast) -> Difference:
    d, interval = found.difference, None  # None also where there are too few problems for bounds
    if d is not None and d.low is not None and d.high is not None:
        interval = (short(d.value), short(d.low), short(d.high), d.n)
    return Difference(
        fires=None if found.fires is None else short(found.fires),
        elsewhere=None if found.elsewhere is None else short(found.elsewhere),
        difference=interval,
        n_fires=found.n_fires,
        n_elsewhere=found.n_elsewhere,
        n_problems=found.n_problems,
    )


def _diff(row: FeatureDiff, pairs: list[tuple[str, str]]) -> list[Any]:
    return [
        pairs.index((row.reasoning, row.instruct)),
        row.difference,
        row.low,
        row.high,
        row.log2_ratio,
        row.q_value,
        row.favours,
    ]


def _data_set(data: DataSet) -> dict[str, Any]:
    return {
        "name": data.name,
        "rows": len(data.store.rows),
        "problems": len(data.store.problems),
        "traces": len(data.store.sequences),
        "every_token": data.every_token,
    }

"""The features and contexts of a layer's page in the layout of a Neuronpedia export.

<model>/<layer>-<set>/{release,model,sourceset,source}.jsonl
<model>/<layer>-<set>/{features,activations}/batch-0.jsonl.gz ...
"""

import gzip
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, final

import msgspec
import numpy as np

from rewardscope.dashboard.neuronpedia_records import (
    Activation,
    Feature,
    Model,
    Release,
    Source,
    SourceSet,
)
from rewardscope.dashboard.text_store import short
from rewardscope.sae.model.inference import Sae

# Shape legend: F features, D width, T features of a piece, K neighbours.
N_CLOSEST = 10
N_COORDINATES = 3


class Origin(NamedTuple):
    """What an export is of; `created` is an ISO time."""

    model: str
    run: str
    layer: int
    data_sets: tuple[str, ...]
    n_traces: int
    created: str

    @property
    def model_id(self) -> str:
        return identifier(self.model)

    @property
    def set_name(self) -> str:
        return identifier(self.run)

    @property
    def source(self) -> str:
        """The id of the layer's SAE, which is the name of its folder."""
        return f"{self.layer}-{self.set_name}"


def identifier(name: str) -> str:
    """Return a name of letters, digits, dots and dashes."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-") or "unnamed"


def head_lines(origin: Origin, *, width: int) -> dict[str, bytes]:
    """Return the content of the files that say what the export is of, by name."""
    model, created = origin.model_id, origin.created
    title = f"SAE {origin.run} on the process reward model {origin.model}"
    records = {
        "release.jsonl": Release(
            name=origin.set_name, description=title, description_short=title, created_at=created
        ),
        "model.jsonl": Model(
            id=model,
            display_name=origin.model,
            display_name_short=origin.model,
            dimension=width,
            created_at=created,
            updated_at=created,
        ),
        "sourceset.jsonl": SourceSet(
            model_id=model,
            name=origin.set_name,
            description=title,
            release_name=origin.set_name,
            created_at=created,
        ),
        "source.jsonl": Source(
            id=origin.source,
            model_id=model,
            set_name=origin.set_name,
            num_prompts=origin.n_traces,
            dataset=", ".join(origin.data_sets),
            created_at=created,
        ),
    }
    return {name: msgspec.json.encode(record) + b"\n" for name, record in records.items()}


@final
class Batches:
    """Turns the pieces of a layer's page into the lines of features and of their contexts."""

    def __init__(self, origin: Origin, sae: Sae) -> None:
        self._origin = origin
        self._W_dec_FD = sae.W_dec_FD.float().cpu().numpy()
        norm_F1 = np.linalg.norm(self._W_dec_FD, axis=1, keepdims=True)
        self._unit_FD = self._W_dec_FD / np.maximum(norm_F1, 1e-30)

    def lines(self, piece: Mapping[str, Any]) -> tuple[bytes, bytes]:
        """Return the compressed lines of the features and of the activations of a piece."""
        cards = piece["features"]
        cosine_TF = self._unit_FD[[card["id"] for card in cards]] @ self._unit_FD.T
        features = [self._feature(card, cosine_TF[at]) for at, card in enumerate(cards)]
        activations = [line for card in cards for line in self._activations(card, piece)]
        return _compressed(features), _compressed(activations)

    def _feature(self, card: Mapping[str, Any], cosine_F: np.ndarray) -> Feature:
        number, hist, origin = card["id"], card["hist"], self._origin
        row_D = self._W_dec_FD[number]
        size_D = np.abs(row_D)
        coordinates = np.argsort(-size_D, kind="stable")[:N_COORDINATES].tolist()
        partners = [partner for partner, *_ in card["partners"]]
        closest = np.argsort(-cosine_F, kind="stable")[: N_CLOSEST + 1]
        closest = closest[closest != number][:N_CLOSEST]
        return Feature(
            model_id=origin.model_id,
            layer=origin.source,
            index=str(number),
            created_at=origin.created,
            max_act_approx=card["max"],
            vector=_short(row_D),
            vector_default_steer_strength=card["max"],
            hook_name=f"blocks.{origin.layer}.hook_resid_post",
            frac_nonzero=card["rate"],
            freq_hist_data_bar_values=_short(
                (at + 0.5) * card["max"] / len(hist) for at in range(len(hist))
            ),
            freq_hist_data_bar_heights=hist,
            neuron_alignment_indices=coordinates,
            neuron_alignment_values=_short(row_D[coordinates]),
            neuron_alignment_l1=_short(size_D[coordinates] / max(size_D.sum(), 1e-30)),
            correlated_features_indices=partners,
            correlated_features_pearson=[phi for _, phi, *_ in card["partners"]],
            correlated_features_l1=_short(cosine_F[partners]),
            topk_cos_sim_indices=closest.tolist(),
            topk_cos_sim_values=_short(cosine_F[closest]),
        )

    def _activations(
        self, card: Mapping[str, Any], piece: Mapping[str, Any]
    ) -> Iterator[Activation]:
        most, third = card["max"], card["max"] / 3
        low, middle, _ = (rows / card["n"] for rows in card["thirds"])
        for kind, bounds in (
            ("examples", (-1.0, most, -1.0)),
            ("middle", (short(third), short(2 * third), short(middle))),
            ("low", (0.0, short(third), short(low))),
        ):
            for number, example in enumerate(card[kind]):
                yield self._activation(card["id"], f"{kind}-{number}", example, piece, bounds)

    def _activation(
        self,
        feature: int,
        name: str,
        example: list[Any],
        piece: Mapping[str, Any],
        bounds: tuple[float, float, float],
    ) -> Activation:
        segment, peak, start, end, fired = example
        trace, _, codes, *_ = piece["segments"][segment]
        source, origin = piece["traces"][trace], self._origin
        at = dict(fired)
        values = [at.get(position, 0.0) for position in range(start, end)]
        most = max(values)
        key = f"{origin.model_id}|{origin.source}|{feature}|{name}"
        return Activation(
            id=hashlib.blake2b(key.encode(), digest_size=12).hexdigest(),
            model_id=origin.model_id,
            layer=origin.source,
            index=str(feature),
            tokens=[piece["tokens"][code] for code in codes[start:end]],
            values=values,
            max_value=most,
            max_value_token_index=values.index(most),
            min_value=min(values),
            bin_min=bounds[0],
            bin_max=bounds[1],
            bin_contains=bounds[2],
            qualifying_token_index=peak - start,
            data_source=origin.data_sets[source["data_set"]],
            data_index=f"{source['problem']}, trace {source['trace']}",
            created_at=origin.created,
        )


def _short(values: Iterable[float]) -> list[float]:
    return [short(value) for value in values]


def _compressed(records: Iterable[msgspec.Struct]) -> bytes:
    lines = b"".join(msgspec.json.encode(record) + b"\n" for record in records)
    return gzip.compress(lines, compresslevel=5, mtime=0)

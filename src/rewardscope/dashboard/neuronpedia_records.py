"""The lines of a Neuronpedia export, as typed records in its spelling.

Fields that a PRM has no value for (logits of a vocabulary, attention heads, losses) keep the empty
default that the format has for them. Source: the export of Neuronpedia, as of SAEDashboard 0.8.
"""

import msgspec

CREATOR = "rewardscope"  # Neuronpedia wants the id of an account; replace it before an import
_SNAKE = ("neuron_", "correlated_", "neg_", "pos_", "frac_", "freq_", "logits_", "decoder_", "num_")


def spelled(name: str) -> str:
    """Return a field's name in the export: camelCase but for some statistics."""
    if name.startswith(_SNAKE):
        return name
    first, *rest = name.split("_")
    return first + "".join(part.title() for part in rest)


class Release(msgspec.Struct, frozen=True, kw_only=True, rename=spelled):
    """`release.jsonl`: what is published together."""

    name: str
    description: str
    description_short: str
    created_at: str
    creator_name: str = CREATOR
    creator_name_short: str = CREATOR
    creator_id: str = CREATOR
    visibility: str = "PUBLIC"
    urls: tuple[str, ...] = ()


class Model(msgspec.Struct, frozen=True, kw_only=True, rename=spelled):
    """`model.jsonl`: the model whose states the features are of."""

    id: str
    display_name: str
    display_name_short: str
    dimension: int
    created_at: str
    updated_at: str
    instruct: bool = False
    creator_id: str = CREATOR
    visibility: str = "PUBLIC"
    inference_enabled: bool = False
    layers: int = 0
    neurons_per_layer: int = 0


class SourceSet(msgspec.Struct, frozen=True, kw_only=True, rename=spelled):
    """`sourceset.jsonl`: the SAE run."""

    model_id: str
    name: str
    description: str
    release_name: str
    created_at: str
    creator_name: str = CREATOR
    creator_id: str = CREATOR
    has_dashboards: bool = True
    visibility: str = "PUBLIC"
    show_correlated: bool = True


class Source(msgspec.Struct, frozen=True, kw_only=True, rename=spelled):
    """`source.jsonl`: the SAE of one layer, and the texts that it was shown on."""

    id: str
    model_id: str
    set_name: str
    num_prompts: int
    dataset: str
    created_at: str
    num_tokens_in_prompt: int | None = None
    creator_id: str = CREATOR
    has_dashboards: bool = True
    inference_enabled: bool = False
    visibility: str = "PUBLIC"


class Feature(msgspec.Struct, frozen=True, kw_only=True, rename=spelled):
    """A line of `features/`; `layer` is the id of the source.

    frac_nonzero: share of rows; freq_hist...: middles of bins of activation, and rows in them;
    neuron_alignment...: coordinates of the decoder direction with the largest size, l1 their share
    of all; correlated_features...: pearson of firing or not, l1 the cosine of the decoder
    directions, which is what SAEDashboard writes there; topk...: the closest decoder directions.
    """

    model_id: str
    layer: str
    index: str
    created_at: str
    max_act_approx: float
    vector: list[float]
    vector_default_steer_strength: float
    hook_name: str
    frac_nonzero: float
    freq_hist_data_bar_values: list[float]
    freq_hist_data_bar_heights: list[int]
    neuron_alignment_indices: list[int]
    neuron_alignment_values: list[float]
    neuron_alignment_l1: list[float]
    correlated_features_indices: list[int]
    correlated_features_pearson: list[float]
    correlated_features_l1: list[float]
    topk_cos_sim_indices: list[int]
    topk_cos_sim_values: list[float]
    creator_id: str = CREATOR
    has_vector: bool = True
    vector_label: str | None = None
    correlated_neurons_indices: tuple[int, ...] = ()
    correlated_neurons_pearson: tuple[float, ...] = ()
    correlated_neurons_l1: tuple[float, ...] = ()
    neg_str: tuple[str, ...] = ()
    neg_values: tuple[float, ...] = ()
    pos_str: tuple[str, ...] = ()
    pos_values: tuple[float, ...] = ()
    logits_hist_data_bar_heights: tuple[float, ...] = ()
    logits_hist_data_bar_values: tuple[float, ...] = ()
    decoder_weights_dist: tuple[float, ...] = ()


class Activation(msgspec.Struct, frozen=True, kw_only=True, rename=spelled):
    """A line of `activations/`: a context of a feature.

    bin...: the range of activations that it stands for, and its share of the rows where the
    feature fires; -1, the largest activation and -1 for the strongest contexts. qualifying...: the
    token that the context was chosen for, from its start. data...: the data set, and the problem
    with the number of the trace.
    """

    id: str
    model_id: str
    layer: str
    index: str
    tokens: list[str]
    values: list[float]
    max_value: float
    max_value_token_index: int
    min_value: float
    bin_min: float
    bin_max: float
    bin_contains: float
    qualifying_token_index: int
    data_source: str
    data_index: str
    created_at: str
    creator_id: str = CREATOR
    dfa_values: tuple[float, ...] = ()
    dfa_target_index: int | None = None
    dfa_max_value: float | None = None
    loss_values: tuple[float, ...] = ()
    logit_contributions: str | None = None

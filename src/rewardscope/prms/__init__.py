"""Process reward models behind one protocol: a file per family, a scorer for all of them.

Importing this module loads neither torch nor transformers, so that stages can name the default PRM.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from rewardscope.errors import BadRecord, MissingInput, UnknownName
from rewardscope.paths import hub_name
from rewardscope.records import Encoded

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from rewardscope.models.flops import Flops

DEFAULT_PRM = "Qwen/Qwen2.5-Math-PRM-7B"
PrmEngineName = Literal["auto", "vllm", "hf"]
Beyond = Literal["drop", "score"]
"""What becomes of an input that is longer than the PRM's window: it is refused, or it is scored out
there and marked.
"""


class PrmAdapter(Protocol):
    """What one PRM family knows.

    Batching, padding, device, dtype and capture stay in `scorer.py`.
    """

    family: str
    names: tuple[str, ...]  # hub ids of the published models
    architectures: tuple[str, ...]  # what the config of such a model may name
    # where others have that architecture too: a part of the model's own name, in lower case; else
    # ()
    marks: tuple[str, ...]
    score_range: tuple[float, float]  # the least and the greatest score
    # whether the tokens up to a step's end, and its score, stay when steps are appended
    incremental: bool
    # whether the head is linear, so that there is one reward direction
    linear_head: bool

    def load(self, name: str, *, device: torch.device, dtype: torch.dtype) -> PreTrainedModel:
        """Load the model in evaluation mode.

        Raises: MissingInput, BadRecord where the head's keys do not fit.
        """
        ...

    def encode(
        self, tokenizer: PreTrainedTokenizerBase, question: str, steps: Sequence[str]
    ) -> Encoded:
        """Encode one solution.

        Raises: BadRecord for no step, an empty step, or a step that holds a marker of the prompt.
        """
        ...

    def read_out(self, model: PreTrainedModel, states_ND: Tensor) -> Tensor:
        """Return the scores [N] of residual-stream states [N, D] taken after the last block: final
        norm, head, squashing.
        """
        ...

    def direction(self, model: PreTrainedModel) -> Tensor | None:
        """Return the reward direction [D] of a linear head, the gain of the final norm in it, or
        None where the head is not linear.

        It belongs to the residual stream after the last block; `linear_direction` in `common.py`
        gives the formula.
        """
        ...


class Scorer(Protocol):
    """Score solutions with one PRM, whatever runs below.

    `window` is the number of positions that the PRM was trained for, `max_positions` the longest
    input in tokens that is taken.
    """

    tokenizer: PreTrainedTokenizerBase
    window: int
    max_positions: int
    flops: Flops
    tokens_encoded: int  # running count over all calls

    @property
    def reuses(self) -> bool:
        """Say whether what earlier calls scored is not encoded again."""
        ...

    def encode(self, question: str, steps: Sequence[str]) -> Encoded:
        """Encode one solution. Raises: BadRecord; TooLong beyond `max_positions`."""
        ...

    def score(self, batch: Sequence[Encoded]) -> list[tuple[float, ...]]:
        """Return one score in the family's range for each step of each input, in order."""
        ...


def adapters() -> tuple[PrmAdapter, ...]:
    """Return the registry: one adapter of each family.

    Those that are known by a mark come before those that are not.
    """
    from rewardscope.prms.math_shepherd import MathShepherdAdapter
    from rewardscope.prms.outcome import OutcomeAdapter
    from rewardscope.prms.pure import PureAdapter
    from rewardscope.prms.qwen import QwenAdapter
    from rewardscope.prms.reasonflux import ReasonFluxAdapter
    from rewardscope.prms.rlhflow import RlhflowAdapter
    from rewardscope.prms.skywork import SkyworkAdapter
    from rewardscope.prms.token_classification import H4Adapter, TrlAdapter

    marked = (
        ReasonFluxAdapter(),
        MathShepherdAdapter(),
        RlhflowAdapter(),
        H4Adapter(),
        PureAdapter(),
    )
    return (*marked, QwenAdapter(), SkyworkAdapter(), TrlAdapter(), OutcomeAdapter())


def find_adapter(name: str) -> PrmAdapter:
    """Return the adapter that serves a hub id or a local folder.

    Raises: MissingInput for a folder that is not there; UnknownName where no family serves the
    model.
    """
    known = [published for adapter in adapters() for published in adapter.names]
    own_id = hub_name(name).id
    named = next((adapter for adapter in adapters() if own_id in adapter.names), None)
    if named is not None:
        return named
    architectures = _architectures(name, known)
    for adapter in adapters():
        if _fits(adapter, name, architectures):
            return adapter
    raise UnknownName(
        f"PRM {name} of architecture {', '.join(architectures) or 'none'}:", Path(name).name, known
    )


def refuse_prm(policy: str) -> None:
    """Refuse a PRM as a policy where nothing but its name tells: its config is that of a language
    model.

    Raises: BadRecord.
    """
    own = Path(hub_name(policy).id).name.lower()
    for adapter in adapters():
        published = own in {Path(known).name.lower() for known in adapter.names}
        if published or ("prm" in own and any(mark in own for mark in adapter.marks)):
            raise BadRecord(
                f"model {policy} is by its name a PRM ({adapter.family}), which writes no text;"
                " pass it as --prm, or give its folder another name where it is none"
            )


def _fits(adapter: PrmAdapter, name: str, architectures: Sequence[str]) -> bool:
    own_name = Path(hub_name(name).id).name.lower()
    marked = not adapter.marks or any(mark in own_name for mark in adapter.marks)
    return marked and not set(adapter.architectures).isdisjoint(architectures)


def _architectures(name: str, known: Sequence[str]) -> list[str]:
    """Read the `architectures` of a model's config, from its folder or from the hub."""
    from rewardscope.models.names import check_model_name

    config = Path(name) / "config.json"
    if not config.is_file():
        hub_id = hub_name(name).id
        if Path(name).is_dir() or hub_id.count("/") != 1 or name.startswith((".", "/", "~")):
            check_model_name(name)  # no hub id: it says which folder or file is not there
        return _hub_architectures(name, known)
    try:
        return json.loads(config.read_text(encoding="utf-8")).get("architectures") or []
    except json.JSONDecodeError as error:
        raise BadRecord(f"{config} is not JSON ({error.msg})") from None


def _hub_architectures(name: str, known: Sequence[str]) -> list[str]:
    from transformers import PreTrainedConfig

    from rewardscope.models.names import check_model_name

    try:
        check_model_name(name)  # one request; the library asks for minutes
        hub_id, revision = hub_name(name)
        config, _ = PreTrainedConfig.get_config_dict(hub_id, revision=revision or "main")
    except (MissingInput, OSError):
        raise UnknownName("PRM (not on the hub, or the hub is out of reach)", name, known) from None
    return config.get("architectures") or []


def load_scorer(
    name: str,
    *,
    engine: PrmEngineName = "auto",
    device: str = "auto",
    dtype: str = "auto",
    growing: bool = False,
    window: int | None = None,
    beyond: Beyond = "drop",
) -> Scorer:
    """Load a PRM by hub id or folder. `auto` takes hf: vLLM's step pooling can neither reuse a
    prefix nor give hidden states.

    With `growing`, solutions that grow from call to call are scored on what is kept of them, where
    the engine is hf. `window` stands in for the positions of the PRM's config; `beyond` says what
    becomes of longer inputs.

    Raises: UnknownName, MissingInput, BadRecord, ConfigError.
    """
    if engine == "vllm":
        from rewardscope.prms.vllm import VllmScorer

        return VllmScorer(name, dtype=dtype, window=window, beyond=beyond)
    from rewardscope.prms.scorer import HfScorer

    scorer = HfScorer(name, device=device, dtype=dtype, window=window, beyond=beyond)
    if not growing:
        return scorer
    from rewardscope.prms.prefix import PrefixScorer

    return PrefixScorer(scorer)

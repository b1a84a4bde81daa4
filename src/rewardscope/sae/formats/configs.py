"""What the config of an SAE says, in each layout, as typed structs: a value of a wrong type is one
line that names it.

Fields that change no output are left out. What SAELens wrote before its version 6 is read too:
names of then (`activation_fn_str`, `hook_point`) stand beside those of now.
"""

from pathlib import Path
from typing import Any, TypeVar

import msgspec

from rewardscope.errors import BadRecord
from rewardscope.storage.tables import read_json_as

T = TypeVar("T", bound=msgspec.Struct)


class OwnConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Ours."""

    architecture: str
    d_in: int = 0
    d_sae: int = 0
    k: int | None = None
    layer: int | None = None
    activation: str = "topk"
    metadata: dict[str, Any] = {}


class ActivationArguments(msgspec.Struct, frozen=True, kw_only=True):
    """`activation_fn_kwargs` of SAELens before 6."""

    k: int | None = None


class SaelensMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """Where the SAE reads."""

    hook_name: str | None = None
    hook_layer: int | None = None
    hook_head_index: int | None = None
    training_architecture: str | None = None


class SaelensConfig(SaelensMetadata, frozen=True, kw_only=True):
    """SAELens 6, and before it, when what is now `metadata` was at the top."""

    architecture: str = "standard"
    d_in: int | None = None
    d_sae: int | None = None
    k: int | float | None = None
    layer: int | None = None
    activation_fn: str | None = None
    activation_fn_str: str | None = None
    activation_fn_kwargs: ActivationArguments | None = None
    hook_point: str | None = None
    hook_point_head_index: int | None = None
    apply_b_dec_to_input: bool = True
    finetuning_scaling_factor: bool = False
    normalize_activations: str | bool | None = None
    reshape_activations: str | None = None
    rescale_acts_by_decoder_norm: bool = False
    metadata: SaelensMetadata = SaelensMetadata()

    @property
    def hook(self) -> str | None:
        """The place that the SAE reads."""
        return self.metadata.hook_name or self.hook_name or self.hook_point

    @property
    def head(self) -> int | None:
        """The attention head that the SAE reads, if it reads one."""
        for index in (
            self.metadata.hook_head_index,
            self.hook_head_index,
            self.hook_point_head_index,
        ):
            if index is not None:
                return index
        return None


class SparsifyConfig(msgspec.Struct, frozen=True, kw_only=True):
    """sparsify; `signed` was an option of versions that took the largest by size."""

    k: int = 32
    activation: str = "topk"
    signed: bool = False
    transcode: bool = False
    skip_connection: bool = False
    d_in: int | None = None


class Trainer(msgspec.Struct, frozen=True, kw_only=True):
    """`trainer` of a dictionary_learning config."""

    dict_class: str
    layer: int | None = None
    k: int | None = None
    submodule_name: str | None = None


class Buffer(msgspec.Struct, frozen=True, kw_only=True):
    """`buffer` of a dictionary_learning config: which side of the submodule was read."""

    io: str | None = None


class DictionaryConfig(msgspec.Struct, frozen=True, kw_only=True):
    """dictionary_learning."""

    trainer: Trainer
    buffer: Buffer | None = None


class BareConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What may lie beside a bare state dict."""

    k: int | None = None
    layer: int | None = None
    apply_b_dec_to_input: bool = True


class ModelName(msgspec.Struct, frozen=True, kw_only=True):
    """`metadata`, as far as it names the model: ours a PRM, SAELens any model."""

    prm: str | None = None
    model_name: str | None = None


class TrainedWith(msgspec.Struct, frozen=True, kw_only=True):
    """A config of any layout, as far as it says whose states the SAE was trained on."""

    metadata: ModelName = ModelName()


def read_config(path: Path, kind: type[T]) -> T:
    """Read a config. Raises: MissingInput; BadRecord with the file and the field."""
    return read_json_as(path, kind)


def read_settings(path: Path) -> dict[str, Any]:
    """Read all of a config, for what is kept of it. Raises: MissingInput, BadRecord."""
    return read_json_as(path, dict[str, Any])


def refuse(path: Path, name: str, value: object, wanted: str) -> None:
    """Raises: BadRecord for a setting under which the SAE computes something else."""
    raise BadRecord(f"{path}: {name} is {value!r}; {wanted} can be read")

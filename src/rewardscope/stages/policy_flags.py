"""The flags of tasks that load a policy: its engine, what it is asked, and how it samples."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from rewardscope.engines import EngineName, Server
from rewardscope.errors import ConfigError, MissingInput
from rewardscope.problems.prompts import (
    DEFAULT_PROMPT,
    PromptForm,
    check_prompt,
    read_examples,
    read_template,
)
from rewardscope.settings import Settings
from rewardscope.stage import flag_of, option
from rewardscope.stages.model_flags import ModelFlags, check_model
from rewardscope.storage.files import sha256

if TYPE_CHECKING:
    from rewardscope.engines import Engine

GPU_SHARE, GPU_SHARE_BESIDE_A_PRM = 0.9, 0.5  # of the memory, for a policy in vLLM
Flags = TypeVar("Flags", bound="PolicyFlags")


@dataclass(frozen=True, kw_only=True)
class PolicyFlags(ModelFlags):
    """The flags of every task in which a policy writes."""

    model_name: str = option(help="hub id or folder of the policy", key=False)
    engine: EngineName = option(
        "auto",
        help=(
            "vllm, hf, server (with --base-url), or auto (vllm where it is installed and a GPU is"
            " there)"
        ),
    )
    base_url: str | None = option(
        None,
        help="OpenAI-compatible server of the policy, as http://localhost:8000/v1; its key is read"
        " from POLICY_API_KEY",
        key=False,
    )
    api: Literal["auto", "completions", "chat"] = option(
        "auto",
        help=(
            "how the server is asked: completions (prompts by the tokenizer of --model-name), chat"
            " (the server makes them), or auto (chat where --model-name is no folder or hub id)"
        ),
        later=True,
    )
    requests: int = option(16, help="requests to the server at a time", key=False, at_most=10_000)
    timeout: float = option(600.0, help="seconds that a request to the server may take", key=False)
    top_p: float = option(
        1.0, help="nucleus: sample from the fewest tokens that hold this probability"
    )
    top_k: int = option(0, help="sample from the best so many tokens; 0 is all", later=True)
    min_p: float = option(
        0.0,
        help="sample from tokens with at least this share of the best one's probability",
        later=True,
    )
    system_prompt: str | None = option(
        None, help="system turn before the question: a text, or @file", later=True
    )
    prompt: str = option(
        DEFAULT_PROMPT,
        help="the user's turn, with the question in the place of {question}: a text, or @file",
        later=True,
    )
    template: Path | None = option(
        None, help="jinja chat template in place of the tokenizer's own", later=True
    )
    few_shot: Path | None = option(
        None, help="jsonl file of question and solution, shown as earlier turns", later=True
    )
    tensor_parallel: int = option(1, help="vllm: GPUs that share the policy", key=False)
    gpu_memory: float | None = option(
        None,
        help=(
            "vllm: share of a GPU's memory for the policy (default:"
            f" {GPU_SHARE}, beside a PRM {GPU_SHARE_BESIDE_A_PRM})"
        ),
        key=False,
    )

    def __post_init__(self) -> None:
        self.check_counts("tensor_parallel", "requests")
        self._check_server()
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"--top-p {self.top_p}: it must be above 0 and at most 1")
        if self.top_k < 0:
            raise ConfigError(f"--top-k {self.top_k}: it must be 0 (all tokens) or more")
        if not 0 <= self.min_p <= 1:
            raise ConfigError(f"--min-p {self.min_p}: it must be 0 to 1")
        if self.gpu_memory is not None and not 0 < self.gpu_memory <= 1:
            raise ConfigError(f"--gpu-memory {self.gpu_memory}: a share above 0, up to 1")

    def _check_server(self) -> None:
        if self.base_url is None:
            if self.engine == "server" or self.api != "auto":
                raise ConfigError("--engine server and --api need --base-url, where the server is")
            return
        if self.engine not in ("auto", "server"):
            raise ConfigError(f"--base-url and --engine {self.engine}: pass one of them")
        if not self.timeout > 0:
            raise ConfigError(f"--timeout {self.timeout}: it must be above 0")
        if self.asks_by_chat and self.template is not None:
            raise ConfigError(
                "--template: a server that is asked by chat makes prompts by its own; pass --api"
                " completions"
            )

    @property
    def asks_by_chat(self) -> bool:
        """Whether the policy's server makes the prompts, and no tokenizer is known."""
        if self.base_url is None or self.api != "auto":
            return self.api == "chat"
        return not ("/" in self.model_name or Path(self.model_name).is_dir())

    def check_policy(self) -> None:
        """Raises: MissingInput where what is read of the policy here is not there."""
        if not self.asks_by_chat:
            check_model("--model-name", self.model_name, writes=True)

    def check_counts(self, *names: str) -> None:
        """Raises: ConfigError for a flag that is given and below 1."""
        for name in names:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{flag_of(name)} {value}: at least 1 is needed")

    def resolved(self: Flags) -> Flags:
        """Return the flags with texts in the place of @files, and the revision in the policy's
        name.

        Raises: ConfigError, MissingInput.
        """
        revised = self.revised("model_name")
        return dataclasses.replace(
            revised,
            engine="server" if self.base_url else self.engine,
            system_prompt=_text("--system-prompt", self.system_prompt or "") or None,
            prompt=_text("--prompt", self.prompt),
        )

    def prompt_form(self) -> PromptForm:
        """Return how a question becomes a prompt. Raises: ConfigError, MissingInput, BadRecord."""
        check_prompt("--prompt", self.prompt)
        return PromptForm(
            system=self.system_prompt or "",
            prompt=self.prompt,
            template=read_template(self.template) if self.template else "",
            examples=read_examples(self.few_shot) if self.few_shot else (),
        )

    def result_settings(self) -> dict[str, Any]:
        """Return the values that change the result; of files, what is in them."""
        return super().result_settings() | {
            name: f"sha256:{sha256(path)}"
            for name in ("template", "few_shot")
            if (path := getattr(self, name)) is not None
        }

    def load_policy(self, settings: Settings, *, gpu_share: float) -> "Engine":
        """Load the policy. Raises: MissingInput, ConfigError, ServerError."""
        from rewardscope.engines import load_engine

        self.check_policy()
        server = self.base_url and Server(
            base_url=self.base_url,
            api="chat" if self.asks_by_chat else "completions",
            at_once=self.requests,
            timeout=self.timeout,
            api_key=settings.policy_api_key,
        )
        return load_engine(
            self.model_name,
            engine=self.engine,
            device=self.device,
            dtype=self.dtype,
            gpu_share=self.gpu_memory or gpu_share,
            tensor_parallel=self.tensor_parallel,
            server=server or None,
        )


def _text(flag: str, value: str) -> str:
    """Return the text of a flag, or of the file that it names behind an @."""
    if not value.startswith("@"):
        return value
    path = Path(value[1:])
    if not path.is_file():
        raise MissingInput(f"{flag} {value}: no such file")
    try:
        return path.read_text(encoding="utf-8").strip("\n")
    except UnicodeDecodeError:
        raise ConfigError(f"{flag} {value}: not UTF-8 text") from None

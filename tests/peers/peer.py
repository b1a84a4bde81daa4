"""Run by the interpreter of the peers' environment: save or load a checkpoint with another library,
and give its outputs.

peer.py save saelens topk FOLDER x.npy out.npy
peer.py load saelens - FOLDER x.npy out.npy
"""

import json
import os
import sys
from pathlib import Path

os.environ["SPARSIFY_DISABLE_TRITON"] = "1"  # its Triton decoder needs a GPU
import numpy as np
import torch

D, F, K = 16, 64, 5


def randomise(module: torch.nn.Module) -> None:
    """Give every parameter values that a trained one could have, so that no bias is 0 and no row
    has norm 1.
    """
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=random) * 0.5)
            if name == "threshold":
                parameter.abs_()


def saelens(action: str, kind: str, folder: Path, x: torch.Tensor) -> torch.Tensor:
    from sae_lens import (
        SAE,
        BatchTopKTrainingSAE,
        BatchTopKTrainingSAEConfig,
        TopKTrainingSAE,
        TopKTrainingSAEConfig,
    )
    from sae_lens.saes.gated_sae import GatedSAE, GatedSAEConfig
    from sae_lens.saes.jumprelu_sae import JumpReLUSAE, JumpReLUSAEConfig
    from sae_lens.saes.sae import SAEMetadata
    from sae_lens.saes.standard_sae import StandardSAE, StandardSAEConfig

    if action == "save":
        common = {
            "d_in": D,
            "d_sae": F,
            "metadata": SAEMetadata(hook_name="blocks.7.hook_resid_post", model_name="m"),
        }
        makers = {
            "topk": lambda: TopKTrainingSAE(TopKTrainingSAEConfig(k=K, **common)),
            "batchtopk": lambda: BatchTopKTrainingSAE(BatchTopKTrainingSAEConfig(k=K, **common)),
            "jumprelu": lambda: JumpReLUSAE(
                JumpReLUSAEConfig(apply_b_dec_to_input=False, **common)
            ),
            "standard": lambda: StandardSAE(StandardSAEConfig(**common)),
            "gated": lambda: GatedSAE(GatedSAEConfig(**common)),
        }
        sae = makers[kind]()
        randomise(sae)
        if kind == "batchtopk":
            sae.topk_threshold = torch.tensor(0.8, dtype=torch.double)
        (
            sae.save_inference_model(folder)
            if kind in ("topk", "batchtopk")
            else sae.save_model(folder)
        )
    return SAE.load_from_disk(folder)(x)


def sparsify(action: str, kind: str, folder: Path, x: torch.Tensor) -> torch.Tensor:
    from sparsify import SparseCoder, SparseCoderConfig

    if action == "save":
        sae = SparseCoder(D, SparseCoderConfig(num_latents=F, k=K))
        randomise(sae)
        sae.save_to_disk(folder)
    sae = SparseCoder.load_from_disk(folder)
    values, indices, _ = sae.encode(x)
    return sae.decode(values, indices)


def dictionary_learning(action: str, kind: str, folder: Path, x: torch.Tensor) -> torch.Tensor:
    from dictionary_learning import dictionary, utils
    from dictionary_learning.trainers import batch_top_k, matryoshka_batch_top_k, top_k

    if action == "save":
        makers = {
            "AutoEncoderTopK": lambda: top_k.AutoEncoderTopK(D, F, K),
            "BatchTopKSAE": lambda: batch_top_k.BatchTopKSAE(D, F, K),
            "MatryoshkaBatchTopKSAE": lambda: matryoshka_batch_top_k.MatryoshkaBatchTopKSAE(
                D, F, K, [16, 48]
            ),
            "JumpReluAutoEncoder": lambda: dictionary.JumpReluAutoEncoder(D, F),
            "AutoEncoder": lambda: dictionary.AutoEncoder(D, F),
            "AutoEncoderNew": lambda: dictionary.AutoEncoderNew(D, F),
            "GatedAutoEncoder": lambda: dictionary.GatedAutoEncoder(D, F),
        }
        sae = makers[kind]()
        randomise(sae)
        if "TopK" in kind:
            sae.threshold.fill_(0.8)
        folder.mkdir(parents=True)
        torch.save(sae.state_dict(), folder / "ae.pt")
        (folder / "config.json").write_text(
            json.dumps(
                {"trainer": {"dict_class": kind, "k": K, "layer": 7, "lm_name": "m"}, "buffer": {}}
            )
        )
    sae, _ = utils.load_dictionary(str(folder), "cpu")
    return sae(x)


def main() -> None:
    base = Path(sys.argv[1])
    rows = torch.from_numpy(np.load(base / "x.npy"))
    for job in json.loads((base / "jobs.json").read_text()):
        with torch.no_grad():
            outputs = globals()[job["library"]](
                job["action"], job["kind"], base / job["folder"], rows
            )
        np.save(base / job["out"], outputs.numpy())


if __name__ == "__main__":
    main()

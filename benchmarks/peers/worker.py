"""One trainer of the SAE benchmark in a process of its own: `worker.py NAME JOB`, then orders on
stdin, an answer a line on stdout.

Orders: `steps N` takes N steps and answers with the process CPU seconds and wall seconds; `finish`
answers with the FVU on rows that no step saw and the memory. JOB is JSON: rows (an .npy), layers,
features, k, batch, auxk, threads. Every trainer gets the same rows in the same order. Ours and the
plain references run in the project's environment, the others in `.peers`.
"""

import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple, Protocol

# its Triton decoder needs a GPU; this is its own path for CPUs
os.environ["SPARSIFY_DISABLE_TRITON"] = "1"
import numpy as np
import torch
from torch import Tensor

# Shape legend: N rows, D width, F features.
HELD_OUT = 8192
LR = 1e-3
DEAD = 10**9
# each layer reads the same rows from another place, so that no layer finds the other's rows in the
# cache
SHIFT = 1009


class Weights(NamedTuple):
    """An SAE for raw rows: pre-activations are (x - b_dec) @ W_enc + b_enc."""

    W_enc_DF: Tensor
    b_enc_F: Tensor
    W_dec_FD: Tensor
    b_dec_D: Tensor


class Trainer(Protocol):
    """One step trains every layer once."""

    def step(self, number: int, rows: list[Tensor]) -> None: ...

    def weights(self) -> Weights | None:
        """Return those of the first layer."""
        ...


class Ours:
    """rewardscope. With AuxK half the features are counted as dead, whatever they do."""

    def __init__(self, job: dict[str, Any], sample: list[Tensor]) -> None:
        self.job, layers = job, range(job["layers"])
        self.trainer = our_trainer(job, dict(enumerate(sample)))
        self.dead = [
            self.trainer.layers[layer].rows_since_fired_F[: job["features"] // 2]
            for layer in layers
        ]

    def step(self, number: int, rows: list[Tensor]) -> None:
        if self.job["auxk"]:
            for dead in self.dead:
                dead.fill_(DEAD)
        self.trainer.step(dict(enumerate(rows)))

    def weights(self) -> Weights:
        from rewardscope.sae.train.trainer import folded

        # the threshold of batchtopk is not used: FVU is measured by batch
        sae = folded(self.trainer.layers[0], self.trainer.scales[0], layer=0, threshold=0.0)
        return Weights(sae.W_enc_DF, sae.b_enc_F, sae.W_dec_FD, sae.b_dec_D)


class OursPlain(Ours):
    """Ours without AuxK, to see what it costs."""

    def __init__(self, job: dict[str, Any], sample: list[Tensor]) -> None:
        super().__init__(job | {"auxk": False}, sample)


def our_trainer(job: dict[str, Any], sample: dict[int, Tensor]) -> Any:
    from rewardscope.sae.train.activations import ACTIVATIONS
    from rewardscope.sae.train.trainer import Shape, TrainOptions
    from rewardscope.sae.train.trainer import Trainer as Ours

    shapes = dict.fromkeys(sample, Shape(job["features"], job["k"]))
    options = TrainOptions(
        shapes=shapes,
        activation=ACTIVATIONS[job["activation"]](),
        n_steps=10**6,
        lr=LR,
        warmup=0.0,
        decay=0.0,
        clip=0.0,
        aux_alpha=1 / 32 if job["auxk"] else 0.0,
        k_aux=None,
        dead_after=DEAD // 2,
        bf16=False,
        seed=0,
        device=torch.device("cpu"),
    )
    return Ours(sample, options)


class Dense:
    """The same model, start and optimizer as ours in plain dense torch with autograd: what FVU must
    be equal to.
    """

    def __init__(self, job: dict[str, Any], sample: list[Tensor]) -> None:
        trainer = our_trainer(job | {"auxk": False}, dict(enumerate(sample)))
        self.k, self.layers = job["k"], []
        for layer, sae in trainer.layers.items():
            parameters = [
                torch.nn.Parameter(w.clone())
                for w in (sae.W_enc_FD, sae.b_enc_F, sae.W_dec_FD, sae.b_dec_D)
            ]
            adam = torch.optim.Adam(parameters, lr=LR, fused=True)
            self.layers.append((parameters, adam, trainer.scales[layer]))

    def step(self, number: int, rows: list[Tensor]) -> None:
        for ((W_enc_FD, b_enc_F, W_dec_FD, b_dec_D), adam, scale), raw_ND in zip(
            self.layers, rows, strict=True
        ):
            x_ND = raw_ND * scale
            top = ((x_ND - b_dec_D) @ W_enc_FD.T + b_enc_F).topk(self.k, dim=1, sorted=False)
            acts_NF = torch.zeros(len(x_ND), len(b_enc_F)).scatter(
                1, top.indices, top.values.relu()
            )
            error_ND = x_ND - b_dec_D - acts_NF @ W_dec_FD
            loss = error_ND.square().sum() / (x_ND - x_ND.mean(dim=0)).square().sum()
            loss.backward()
            with torch.no_grad():
                W_dec_FD.grad -= (W_dec_FD.grad * W_dec_FD).sum(dim=1, keepdim=True) * W_dec_FD
                adam.step()
                adam.zero_grad(set_to_none=True)
                W_dec_FD /= W_dec_FD.norm(dim=1, keepdim=True)

    def weights(self) -> Weights:
        (W_enc_FD, b_enc_F, W_dec_FD, b_dec_D), _, scale = self.layers[0]
        return Weights(
            W_enc_FD.detach().T,
            b_enc_F.detach() / scale,
            W_dec_FD.detach(),
            b_dec_D.detach() / scale,
        )


class Limit:
    """What no TopK step can do without: the encoder's product, and where `whole` also torch.topk
    and fused Adam.
    """

    whole = True

    def __init__(self, job: dict[str, Any], sample: list[Tensor]) -> None:
        from rewardscope.sae.train.memory import keep_freed_memory

        keep_freed_memory()  # as ours does: a limit is not to wait for pages
        width, self.k = sample[0].shape[1], job["k"]
        shapes = ((job["features"], width), (job["features"],), (job["features"], width), (width,))
        self.layers = []
        for _ in sample:
            parameters = [torch.randn(shape) for shape in shapes]
            for parameter in parameters:
                parameter.grad = torch.randn_like(parameter)
            self.layers.append((parameters, torch.optim.Adam(parameters, lr=LR, fused=True)))

    def step(self, number: int, rows: list[Tensor]) -> None:
        for (parameters, adam), x_ND in zip(self.layers, rows, strict=True):
            pre_NF = torch.addmm(parameters[1], x_ND, parameters[0].T)
            if self.whole:
                pre_NF.topk(self.k, dim=1, sorted=False)
                adam.step()

    def weights(self) -> None:
        return None


class MatmulLimit(Limit):
    whole = False


class SaeLens:
    """SAELens: the step of its SAETrainer."""

    sparse = False

    def __init__(self, job: dict[str, Any], sample: list[Tensor]) -> None:
        from sae_lens import (
            BatchTopKTrainingSAE,
            BatchTopKTrainingSAEConfig,
            TopKTrainingSAE,
            TopKTrainingSAEConfig,
        )
        from sae_lens.config import SAETrainerConfig
        from sae_lens.training.sae_trainer import SAETrainer

        self.job, self.trainers = job, []
        shape: dict[str, Any] = {
            "d_in": sample[0].shape[1],
            "d_sae": job["features"],
            "k": job["k"],
        }
        for _ in sample:
            torch.manual_seed(0)
            if job["activation"] == "batchtopk":
                sae = BatchTopKTrainingSAE(BatchTopKTrainingSAEConfig(**shape))
            else:
                options = {
                    "use_sparse_activations": self.sparse,
                    "rescale_acts_by_decoder_norm": not self.sparse,
                }
                sae = TopKTrainingSAE(TopKTrainingSAEConfig(**shape, **options))
            total = job["batch"] * 10**6
            config = SAETrainerConfig(
                total_training_samples=total,
                train_batch_size_samples=job["batch"],
                lr=LR,
                lr_end=LR,
            )
            self.trainers.append(SAETrainer(config, sae, iter(())))

    def step(self, number: int, rows: list[Tensor]) -> None:
        for trainer, x_ND in zip(self.trainers, rows, strict=True):
            if self.job["auxk"]:
                trainer.n_forward_passes_since_fired[: self.job["features"] // 2] = DEAD
            trainer.step(x_ND)
            trainer.n_training_steps += 1

    def weights(self) -> Weights:
        sae = self.trainers[0].sae
        norm_F = (
            sae.W_dec.norm(dim=1)
            if sae.cfg.rescale_acts_by_decoder_norm
            else torch.ones(len(sae.W_dec))
        )
        return Weights(
            *(
                w.detach()
                for w in (
                    sae.W_enc * norm_F,
                    sae.b_enc * norm_F,
                    sae.W_dec / norm_F[:, None],
                    sae.b_dec,
                )
            )
        )


class SaeLensSparse(SaeLens):
    sparse = True


class Sparsify:
    """sparsify: the steps of its Trainer's loop, which itself wants a language model, with Adam."""

    def __init__(self, job: dict[str, Any], sample: list[Tensor]) -> None:
        from sparsify import SparseCoder, SparseCoderConfig

        self.job, self.layers = job, []
        for x_ND in sample:
            torch.manual_seed(0)
            coder = SparseCoder(
                x_ND.shape[1], SparseCoderConfig(num_latents=job["features"], k=job["k"])
            )
            coder.b_dec.data = x_ND.mean(dim=0)
            since = torch.zeros(job["features"], dtype=torch.long)
            self.layers.append((coder, torch.optim.Adam(coder.parameters(), lr=LR), since))

    def step(self, number: int, rows: list[Tensor]) -> None:
        for (coder, adam, since_F), x_ND in zip(self.layers, rows, strict=True):
            if self.job["auxk"]:
                since_F[: len(since_F) // 2] = DEAD
            coder.set_decoder_norm_to_unit_norm()
            out = coder(x=x_ND, y=x_ND, dead_mask=since_F > DEAD // 2 if self.job["auxk"] else None)
            (out.fvu + out.auxk_loss / 32).backward()
            coder.remove_gradient_parallel_to_decoder_directions()
            adam.step()
            adam.zero_grad()
            since_F += len(x_ND)
            since_F[out.latent_indices.flatten()] = 0

    def weights(self) -> Weights:
        coder = self.layers[0][0]
        coder.set_decoder_norm_to_unit_norm()
        return Weights(
            *(
                w.detach()
                for w in (coder.encoder.weight.T, coder.encoder.bias, coder.W_dec, coder.b_dec)
            )
        )


class DictionaryLearning:
    """dictionary_learning: the update of its trainers."""

    def __init__(self, job: dict[str, Any], sample: list[Tensor]) -> None:
        from dictionary_learning.trainers.batch_top_k import BatchTopKTrainer
        from dictionary_learning.trainers.top_k import TopKTrainer

        self.job = job
        kind = BatchTopKTrainer if job["activation"] == "batchtopk" else TopKTrainer
        shape = {"activation_dim": sample[0].shape[1], "dict_size": job["features"], "k": job["k"]}
        options = {
            "auxk_alpha": 1 / 32 if job["auxk"] else 0.0,
            "lr": LR,
            "warmup_steps": 0,
            "seed": 0,
            "device": "cpu",
        }
        self.trainers = [
            kind(steps=10**6, layer=0, lm_name="none", **shape, **options) for _ in sample
        ]

    def step(self, number: int, rows: list[Tensor]) -> None:
        for trainer, x_ND in zip(self.trainers, rows, strict=True):
            if self.job["auxk"]:
                trainer.num_tokens_since_fired[: self.job["features"] // 2] = DEAD
            trainer.update(number, x_ND)

    def weights(self) -> Weights:
        ae = self.trainers[0].ae
        return Weights(
            *(
                w.detach()
                for w in (ae.encoder.weight.T, ae.encoder.bias, ae.decoder.weight.T, ae.b_dec)
            )
        )


TRAINERS: dict[str, type] = {
    "ours": Ours,
    "ours-plain": OursPlain,
    "dense": Dense,
    "limit": Limit,
    "matmul": MatmulLimit,
    "saelens": SaeLens,
    "saelens-sparse": SaeLensSparse,
    "sparsify": Sparsify,
    "dictionary_learning": DictionaryLearning,
}
MODULES = {
    "saelens": "sae_lens",
    "saelens-sparse": "sae_lens",
    "sparsify": "sparsify",
    "dictionary_learning": "dictionary_learning",
}


def fvu(weights: Weights, x_ND: Tensor, *, k: int, batch_wise: bool) -> float:
    """Return the variance left on rows, from the weights alone, the same for every library;

    `batch_wise` takes the k N largest.
    """
    W_enc_DF, b_enc_F, W_dec_FD, b_dec_D = weights
    left, total = 0.0, float((x_ND - x_ND.mean(dim=0)).double().square().sum())
    for chunk_ND in x_ND.split(1024):
        pre_NF = ((chunk_ND - b_dec_D) @ W_enc_DF + b_enc_F).relu()
        least = (
            pre_NF.flatten().topk(k * len(chunk_ND)).values[-1]
            if batch_wise
            else pre_NF.topk(k, dim=1).values[:, -1:]
        )
        left += float(
            (chunk_ND - b_dec_D - (pre_NF * (pre_NF >= least)) @ W_dec_FD).double().square().sum()
        )
    return left / total


def current_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def main() -> None:
    name, job = sys.argv[1], json.loads(sys.argv[2])
    answers, sys.stdout = sys.stdout, sys.stderr  # libraries print
    torch.set_num_threads(job["threads"])
    pool_ND = torch.from_numpy(np.load(job["rows"]))
    train_ND, held_ND = pool_ND[:-HELD_OUT], pool_ND[-HELD_OUT:]
    order = torch.randperm(len(train_ND), generator=torch.Generator().manual_seed(1))

    def rows(number: int) -> list[Tensor]:
        place = torch.arange(number * job["batch"], (number + 1) * job["batch"])
        return [
            train_ND[order[(place + SHIFT * layer) % len(order)]] for layer in range(job["layers"])
        ]

    sample = [train_ND[:HELD_OUT]] * job["layers"]
    __import__(MODULES.get(name, "rewardscope.sae.train.trainer"))
    base = current_mib()
    trainer: Trainer = TRAINERS[name](job, sample)
    done = 0
    answers.write(json.dumps({"ready": name}) + "\n")
    answers.flush()
    for line in sys.stdin:
        order_name, *values = line.split()
        if order_name == "finish":
            weights = trainer.weights()
            # before the FVU, which is no part of training
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            batch_wise = job["activation"] == "batchtopk"
            error = (
                None
                if weights is None
                else fvu(weights, held_ND, k=job["k"], batch_wise=batch_wise)
            )
            answer = {
                "fvu": error,
                "peak_mib": round(peak),
                "above_start_mib": round(peak - base),
                "steps": done,
                "torch": torch.__version__,
            }
        else:
            batches = [rows(done + index) for index in range(int(values[0]))]
            cpu, wall = time.process_time(), time.perf_counter()
            for batch in batches:
                trainer.step(done, batch)
                done += 1
            answer = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()

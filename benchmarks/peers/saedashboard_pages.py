"""Pages of SAEDashboard for some features of a random SAE on a random model, one thread, in the
environment of `make_saedashboard.sh`: `saedashboard_pages.py FOLDER JOB`.

JOB is JSON: prompts, tokens (of a prompt), layers, width, features, k, shown, layer. Writes what
ours reads to FOLDER (states.npy, tokens.npy, W_enc.npy, W_dec.npy) and prints CPU seconds, the
bytes of the page, and what one forward pass over the prompts takes.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from sae_dashboard.data_writing_fns import save_feature_centric_vis
from sae_dashboard.sae_vis_data import SaeVisConfig
from sae_dashboard.sae_vis_runner import SaeVisRunner
from sae_lens import HookedSAETransformer
from sae_lens.saes.topk_sae import TopKSAE, TopKSAEConfig
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformer_lens import HookedTransformerConfig
from transformers import PreTrainedTokenizerFast

VOCABULARY = 500


def make_model(job: dict) -> HookedSAETransformer:
    words = {f" t{number}": number for number in range(VOCABULARY)}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(words, unk_token=" t0")),
        bos_token=" t0",
        eos_token=" t1",
        pad_token=" t2",
    )
    config = HookedTransformerConfig(
        n_layers=job["layers"],
        d_model=job["width"],
        n_ctx=job["tokens"],
        d_head=64,
        act_fn="gelu",
        d_vocab=VOCABULARY,
        seed=0,
        device="cpu",
        default_prepend_bos=False,
    )
    model = HookedSAETransformer(config)
    model.tokenizer = tokenizer  # set_tokenizer would load it again by name
    return model


def make_sae(job: dict) -> TopKSAE:
    config = TopKSAEConfig(
        d_in=job["width"],
        d_sae=job["features"],
        k=job["k"],
        rescale_acts_by_decoder_norm=True,  # its pages fold the norms, which are 1 here
        device="cpu",
    )
    sae = TopKSAE(config)
    rows = torch.randn(job["features"], job["width"], generator=torch.Generator().manual_seed(1))
    rows = torch.nn.functional.normalize(rows, dim=1)
    with torch.no_grad():
        sae.W_dec.copy_(rows)
        sae.W_enc.copy_(rows.T)
        sae.b_enc.zero_()
        sae.b_dec.zero_()
    return sae


def main() -> None:
    folder, job = Path(sys.argv[1]), json.loads(sys.argv[2])
    torch.set_num_threads(1)
    model, sae = make_model(job), make_sae(job)
    hook = f"blocks.{job['layer']}.hook_resid_post"
    sae.cfg.metadata.hook_name = hook
    random = torch.Generator().manual_seed(2)
    tokens = torch.randint(3, VOCABULARY, (job["prompts"], job["tokens"]), generator=random)
    began, states = time.process_time(), []
    with torch.inference_mode():
        for batch in tokens.split(64):
            found = model.run_with_cache(batch, names_filter=hook, stop_at_layer=job["layer"] + 1)
            states.append(found[1][hook].flatten(0, 1))
    forward = time.process_time() - began
    np.save(folder / "states.npy", torch.cat(states).numpy())
    np.save(folder / "tokens.npy", tokens.numpy())
    np.save(folder / "W_enc.npy", sae.W_enc.detach().numpy())
    np.save(folder / "W_dec.npy", sae.W_dec.detach().numpy())
    config = SaeVisConfig(
        hook_point=hook,
        features=list(range(job["shown"])),
        minibatch_size_features=64,
        minibatch_size_tokens=64,
    )
    began, page = time.process_time(), folder / "page.html"
    data = SaeVisRunner(config).run(encoder=sae, model=model, tokens=tokens)
    save_feature_centric_vis(sae_vis_data=data, filename=page)
    seconds = time.process_time() - began
    print(json.dumps({"seconds": seconds, "bytes": page.stat().st_size, "forward": forward}))


if __name__ == "__main__":
    main()

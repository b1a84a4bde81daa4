"""A decoder whose weights are set by hand, and an SAE that reads two things from it: a token, and a
token after a mark that stands anywhere before it.
"""

from pathlib import Path

import numpy as np
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from rewardscope.features.firing import DataSet, open_data_set
from rewardscope.features.injection import Text
from rewardscope.models.forward import run
from rewardscope.models.sites import Site
from rewardscope.sae.model.inference import Sae
from rewardscope.storage.acts import ActStore
from rewardscope.storage.sequences import ActSequence
from tests.act_files import ActRow
from tests.unit.sae.planted import Acts, write_acts

VOCABULARY, WIDTH = 24, 32
SEEN, EVER = 30, 31  # coordinates: whether the mark was there before, and a constant
LAST = 15  # of a head's coordinates, that which rotary positions leave alone
MARK, TOKEN, CONTEXT = 1, 2, 3  # ids; from 4 on are fillers, from 10 on those of all texts
TOKEN_FEATURE, CONTEXT_FEATURE, OTHER_FEATURE = 0, 1, 2


def marked_model() -> Qwen2ForCausalLM:
    """Return a model that adds 1 to SEEN at the mark and at every position after it."""
    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=4,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        rope_parameters={"rope_type": "default", "rope_theta": 1e16},
        max_position_embeddings=512,
        tie_word_embeddings=False,
    )
    model = Qwen2ForCausalLM(config).eval()
    scale = (WIDTH / 2) ** 0.5  # what the norm makes of 1, two coordinates being 1
    attention = "model.layers.0.self_attn"
    with torch.no_grad():
        weights = dict(model.named_parameters())
        for name, weight in weights.items():
            weight.fill_(1 if "layernorm" in name else 0)
        weights["model.embed_tokens.weight"][:, :VOCABULARY] = torch.eye(VOCABULARY)
        weights["model.embed_tokens.weight"][:, EVER] = 1
        weights[f"{attention}.q_proj.weight"][LAST, EVER] = 20 / scale
        weights[f"{attention}.k_proj.weight"][LAST, MARK] = 20 / scale
        weights[f"{attention}.v_proj.weight"][0, MARK] = 1 / scale
        weights[f"{attention}.o_proj.weight"][SEEN, 0] = 1
    return model


def planted_sae() -> Sae:
    """Return features: TOKEN; CONTEXT after the mark; filler 10 as it is."""
    W_enc_DF = torch.zeros(WIDTH, 3)
    W_enc_DF[TOKEN, TOKEN_FEATURE] = 4
    W_enc_DF[[CONTEXT, SEEN], CONTEXT_FEATURE] = 4
    W_enc_DF[10, OTHER_FEATURE] = 1
    return Sae(
        W_enc_DF=W_enc_DF,
        b_enc_F=torch.tensor([0.0, -4.5, 0.0]),
        W_dec_FD=W_enc_DF.T.clone(),
        b_dec_D=torch.zeros(WIDTH),
        threshold_F=torch.zeros(3),
        layer=0,
        info={},
    )


def solutions(*, reasoning: bool, n: int, seed: int) -> list[list[int]]:
    """Return solutions of fillers and CONTEXT tokens; those of reasoning have TOKEN too."""
    rng = np.random.default_rng([seed, reasoning])
    found = []
    for _ in range(n):
        ids = rng.integers(4, VOCABULARY, size=rng.integers(45, 70))
        ids[rng.random(len(ids)) < 0.08] = CONTEXT
        if reasoning:
            ids[rng.random(len(ids)) < 0.08] = TOKEN
        found.append(ids.tolist())
    return found


def texts_of(*, reasoning: bool, n: int, seed: int) -> list[Text]:
    """Return inputs with a prompt of two tokens; that of reasoning has the mark."""
    prompt = (MARK, 9) if reasoning else (8, 9)
    made = solutions(reasoning=reasoning, n=n, seed=seed)
    return [Text(f"p/{i}", (*prompt, *ids), 2, len(ids) + 2) for i, ids in enumerate(made)]


def captured(folder: Path, model: Qwen2ForCausalLM, texts: list[Text]) -> DataSet:
    """Write a save-acts folder of the solutions."""
    states, rows, sequences = [], [], []
    for text in texts:
        ids_BT = torch.tensor([text.ids])
        states.append(
            run(model, ids_BT, watch=[Site(0)]).states[Site(0)][0, text.start : text.stop]
        )
        for token in range(text.start, text.stop):
            end = token == text.stop - 1
            rows.append(ActRow(text.problem, 0, 0, token, text.ids[token], end, None, None))
        tokens = tuple(f" {token}" for token in text.ids)
        sequences.append(
            ActSequence(problem=text.problem, trace=0, tokens=tokens, step_ends=(text.stop - 1,))
        )
    acts = Acts({0: torch.cat(states).detach()}, rows, sequences)
    return open_data_set(folder.name, ActStore(write_acts(folder, acts)))

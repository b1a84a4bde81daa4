"""The chain on real traces with a real model, end to end; `invoke test --real` asks for it."""

import json
from pathlib import Path
from typing import Any

import pytest

from rewardscope.records import Estimate
from tests.real.chain import FROZEN, OWN, SAES, run
from tests.real.smollm2 import NAME, weights
from tests.real.traces import TRACES


@pytest.fixture(scope="module")
def asked_for(request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("--real"):
        pytest.skip("a real model is fetched and run for minutes; ask with --real")
    if not TRACES.is_dir():
        pytest.skip("the real traces are not here: they are no part of the project")


@pytest.mark.usefixtures("asked_for")
@pytest.mark.filterwarnings("default")  # of libraries that load real weights
def test_real_traces_go_through_the_chain_with_a_real_model(tmp_path: Path) -> None:
    found = run(tmp_path / "data", problems=12, characters=600, features=4)
    study = found.pop("study")
    print(json.dumps(found, indent=1), study, sep="\n")
    for name in ("tiny-prm", NAME):
        of_name = {one: found[name][one.name] for one in SAES}
        fvu = {one: Estimate(**report["quality"]["fvu"]).value for one, report in of_name.items()}
        assert 0 < fvu[OWN] < fvu[FROZEN]
        assert all(Path(report["diff"]).is_file() for report in of_name.values())
        assert name in study
        assert (Path(found[name]["dash"]) / "index.html").is_file()
    assert (Path(found[NAME]["inject"]) / "verdicts.csv").is_file()


@pytest.mark.usefixtures("asked_for")
@pytest.mark.filterwarnings("default")
def test_the_weights_of_the_wheel_are_those_of_a_model_that_can_add() -> None:
    from transformers import AutoTokenizer, LlamaForCausalLM

    folder = weights()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model: Any = LlamaForCausalLM.from_pretrained(folder)
    question = [{"role": "user", "content": "What is 2+3?"}]
    prompt = tokenizer.apply_chat_template(
        question, add_generation_prompt=True, return_dict=True, return_tensors="pt"
    )
    ids = model.generate(**prompt, max_new_tokens=24, do_sample=False)
    assert "5" in tokenizer.decode(ids[0, prompt["input_ids"].shape[1] :])

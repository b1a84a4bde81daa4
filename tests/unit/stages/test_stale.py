"""A result older than what it was made from is named, and no figure mixes it with others."""

import logging
from pathlib import Path

import pytest

from rewardscope.errors import MissingInput
from rewardscope.settings import Settings
from rewardscope.stages.stale import fresh_of
from rewardscope.storage.files import digest, manifest_of, write_json, write_text


def make(path: Path, *inputs: Path) -> Path:
    """Write a result that was made from others, as they are now."""
    write_text(path, f"{path.name} {len(inputs)}")
    entries = {str(each): {"source": str(each), "digest": digest(each)} for each in inputs}
    write_json(manifest_of(path), {"stage": path.stem, "inputs": entries, "outputs": {}})
    return path


def test_results_of_changed_inputs_are_left_out_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    model = make(tmp_path / "elsewhere" / "model.json")
    a, b = (make(settings.data_dir / f"{name}.jsonl", model) for name in "ab")
    acts = make(settings.data_dir / "acts.jsonl", a)
    probes = [make(settings.data_dir / "one.csv", acts), make(settings.data_dir / "two.csv", b)]
    make(model, a)  # models and data sets are not looked at
    assert fresh_of("probes", probes, settings) == probes
    make(a, model, b)  # so that acts are stale, and what was made from them
    logger = logging.getLogger("rewardscope")
    logger.addHandler(caplog.handler)
    try:
        assert fresh_of("probes", probes, settings) == probes[1:]
    finally:
        logger.removeHandler(caplog.handler)
    (message,) = set(caplog.messages)  # twice, where the logger hands its messages on as well
    assert f"{probes[0]} is stale: {acts} changed since; run invoke one again" in message
    with pytest.raises(MissingInput, match="one again"):
        fresh_of("probes", probes[:1], settings)
    a.unlink()  # what is gone tells nothing
    assert fresh_of("probes", probes, settings) == probes

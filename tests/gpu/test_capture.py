"""Capture on a GPU: what arrives in pinned memory is what the CPU computes, whatever is in
flight.
"""

import pytest
import torch

from rewardscope.capturing.batches import stream_acts
from tests.act_files import as_rows
from tests.unit.capturing.capturing import FAMILIES, LAYERS, bare_source, random_items

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.mark.parametrize("batch_tokens", [1, 90, 10_000])
@pytest.mark.parametrize("family", FAMILIES)
def test_states_that_a_gpu_gives_are_those_of_the_cpu(family: str, batch_tokens: int) -> None:
    source, items, layers = (
        bare_source(family),
        random_items((5, 41, 3, 17, 17, 80, 29, 2, 64) * 5),
        tuple(range(LAYERS)),
    )
    expected = list(
        stream_acts(source, items, layers, dtype=torch.float32, batch_tokens=batch_tokens)
    )
    source.model.to("cuda")
    found = list(stream_acts(source, items, layers, dtype=torch.float32, batch_tokens=batch_tokens))
    assert [as_rows(batch.rows) for batch in found] == [as_rows(b.rows) for b in expected]
    for one, other in zip(found, expected, strict=True):
        for layer in layers:
            assert one.acts[layer].is_pinned()
            torch.testing.assert_close(one.acts[layer], other.acts[layer], rtol=1e-3, atol=1e-3)

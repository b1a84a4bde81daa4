import pytest
import torch
from torch import Tensor

from rewardscope.sae.train.activations import ActivationName
from rewardscope.sae.train.activations.jumprelu import LOG_THRESHOLD
from rewardscope.sae.train.layer import LayerSae
from rewardscope.sae.train.ranks import OneProcess
from rewardscope.sae.train.sparse import TorchKernels
from tests.unit.sae.dense import ALPHA, D, F, K, N, dense_loss, make_layer, make_rule, rows

ACTIVATIONS: tuple[ActivationName, ...] = ("topk", "batchtopk", "jumprelu", "matryoshka")


def gradients(layer: LayerSae, x_ND: Tensor, dead: Tensor | None = None, *, alpha: float = ALPHA):
    return layer.gradients(x_ND, dead=dead, alpha=alpha, kernels=TorchKernels(), ranks=OneProcess())


@pytest.mark.parametrize("n_dead", [None, 2, 9])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_equal_those_of_the_dense_loss(
    activation: ActivationName, n_dead: int | None
) -> None:
    x_ND, dead = rows(), None if n_dead is None else torch.arange(n_dead)
    layer = make_layer(activation)
    dense = {name: tensor.clone().requires_grad_() for name, tensor in layer.parameters().items()}
    grads, report = gradients(layer, x_ND, dead)
    reference = dense_loss(dense, make_rule(activation), x_ND, dead)
    reference.backward()
    assert report.loss.item() == pytest.approx(reference.item(), rel=1e-12)
    assert set(grads) == set(dense)
    for name, tensor in dense.items():
        assert tensor.grad is not None and tensor.grad.abs().max() > 0
        torch.testing.assert_close(
            grads[name],
            tensor.grad,
            rtol=1e-10,
            atol=1e-12,
            msg=lambda text, name=name: f"{name}: {text}",
        )


@pytest.mark.parametrize("name", ["W_enc_FD", "b_enc_F"])
def test_the_auxiliary_loss_reaches_the_encoder_as_finite_differences_say(name: str) -> None:
    x_ND, dead, step = rows(), torch.arange(9), 1e-6

    def loss_of_aux(delta: float, at: tuple[int, ...]) -> float:
        layer = make_layer("topk")
        layer.parameters()[name][at] += delta
        report = gradients(layer, x_ND, dead)[1]
        return ALPHA * report.aux.item()

    layer = make_layer("topk")
    by_aux = (
        gradients(layer, x_ND, dead)[0][name] - gradients(layer, x_ND, dead, alpha=0.0)[0][name]
    )
    # A feature that TopK chose moves the error, which AuxK takes as a constant: only the others are
    # compared.
    z_NF = (x_ND - layer.b_dec_D) @ layer.W_enc_FD.T + layer.b_enc_F
    chosen = set(z_NF.topk(K, dim=1).indices.flatten().tolist())
    compared = [feature for feature in range(9) if feature not in chosen]
    assert compared
    for feature in compared:
        at = (feature, 2) if name == "W_enc_FD" else (feature,)
        numeric = (loss_of_aux(step, at) - loss_of_aux(-step, at)) / (2 * step)
        assert by_aux[at].item() == pytest.approx(numeric, rel=1e-4, abs=1e-9)
    assert by_aux[compared].abs().max() > 1e-4


def test_a_batch_in_small_chunks_gives_the_same_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    from rewardscope.sae.train import pickers

    for activation in ACTIVATIONS:
        whole = gradients(make_layer(activation), rows(), torch.arange(5))[0]
        monkeypatch.setitem(pickers._CHUNK, "cpu", 3 * F)
        chunked = gradients(make_layer(activation), rows(), torch.arange(5))[0]
        monkeypatch.undo()
        for name in whole:
            torch.testing.assert_close(chunked[name], whole[name], rtol=1e-12, atol=1e-13)


def test_an_encoder_product_of_bfloat16_copies_stays_close_and_its_gradients_are_float64() -> None:
    exact, rough = (gradients(make_layer("jumprelu", bf16=bf16), rows()) for bf16 in (False, True))
    assert all(gradient.dtype == torch.float64 for gradient in rough[0].values())
    assert rough[1].fvu.item() != exact[1].fvu.item()
    assert rough[1].fvu.item() == pytest.approx(exact[1].fvu.item(), rel=0.05)


def test_rows_since_a_feature_fired_are_counted_in_rows() -> None:
    layer, x_ND = make_layer("topk"), rows(seed=4)
    z_NF = (x_ND - layer.b_dec_D) @ layer.W_enc_FD.T + layer.b_enc_F
    fired = {f for row in z_NF for f in row.topk(K).indices.tolist() if row[f] > 0}
    gradients(layer, x_ND)
    gradients(layer, x_ND)
    assert layer.rows_since_fired_F.tolist() == [0 if f in fired else 2 * N for f in range(F)]


def test_a_closed_gate_near_its_threshold_does_not_count_as_firing() -> None:
    layer, x_ND = make_layer("jumprelu"), rows()
    z_NF = (x_ND - layer.b_dec_D) @ layer.W_enc_FD.T + layer.b_enc_F
    open_NF = z_NF > layer.extra[LOG_THRESHOLD].exp()
    report = gradients(layer, x_ND)[1]
    assert report.l0.item() == pytest.approx(float(open_NF.sum()) / N)
    assert layer.rows_since_fired_F.tolist() == [0 if fired else N for fired in open_NF.any(dim=0)]


def test_the_projected_gradient_leaves_the_decoder_rows_length_alone() -> None:
    layer = make_layer("topk")
    grads = gradients(layer, rows())[0]
    layer.project_gradient(grads)
    assert (grads["W_dec_FD"] * layer.W_dec_FD).sum(dim=1).abs().max() < 1e-12
    layer.W_dec_FD *= 3.0
    layer.constrain()
    torch.testing.assert_close(layer.W_dec_FD.norm(dim=1), torch.ones(F, dtype=torch.float64))


def test_two_processes_with_some_of_the_rows_each_have_the_gradients_of_one() -> None:
    """The sums that `ranks` adds up are all that processes need of one another.

    The first has an even number, as AuxK skips rows.
    """
    x_ND, dead = rows(n=2 * N), torch.arange(6)
    whole = gradients(make_layer("matryoshka"), x_ND, dead)[0]
    told: list[Tensor] = []

    class Recorder:
        def sum_(self, tensor: Tensor) -> Tensor:
            told.append(tensor.clone())
            return tensor

    for half_ND in x_ND.split(N + 1):
        make_layer("matryoshka").gradients(
            half_ND, dead=dead, alpha=ALPHA, kernels=TorchKernels(), ranks=Recorder()
        )
    sums = [
        one + other
        for one, other in zip(told[: len(told) // 2], told[len(told) // 2 :], strict=True)
    ]

    class Summed:
        def __init__(self) -> None:
            self.left = list(sums)

        def sum_(self, tensor: Tensor) -> Tensor:
            return self.left.pop(0)

    halves = [
        make_layer("matryoshka").gradients(
            half, dead=dead, alpha=ALPHA, kernels=TorchKernels(), ranks=Summed()
        )[0]
        for half in x_ND.split(N + 1)
    ]
    for name, gradient in whole.items():
        torch.testing.assert_close(
            halves[0][name] + halves[1][name], gradient, rtol=1e-10, atol=1e-12
        )


def test_the_width_is_that_of_the_rows() -> None:
    assert {
        name: tuple(tensor.shape) for name, tensor in make_layer("jumprelu").parameters().items()
    } == {
        "W_enc_FD": (F, D),
        "b_enc_F": (F,),
        "W_dec_FD": (F, D),
        "b_dec_D": (D,),
        "log_threshold_F": (F,),
    }

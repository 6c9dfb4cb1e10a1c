"""Laws of `latent.distillation` and of notebook 09: lines, curves, couplings and a student."""

from __future__ import annotations

import ast
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

import tiny
from ldmlib.diffusion.guidance import predictor
from ldmlib.diffusion.process import Diffusion, Prediction
from ldmlib.diffusion.samplers import euler
from ldmlib.diffusion.schedule import Schedule
from ldmlib.diffusion.spacing import time_grid
from ldmlib.latent.config import LatentDiffusionConfig
from ldmlib.latent.distillation import (
    PairLoss,
    Pairs,
    couple,
    distil,
    sinkhorn,
    straightness,
    teacher_pairs,
)
from ldmlib.latent.model import LatentDiffusion
from ldmlib.networks.autoencoder import AutoencoderConfig
from ldmlib.networks.unet import UNetConfig
from ldmlib.probability.exact_denoisers import ExactDenoiser
from ldmlib.probability.mixtures import GaussianMixture
from ldmlib.rng import randn_like, seeded
from ldmlib.training.config import TrainConfig

TWIN = Path(__file__).parents[2] / "notebooks/py/09_flow_matching_and_distillation.py"
FLOW = Schedule("flow")
LINE = GaussianMixture.isotropic(torch.tensor([[-1.0], [0.3]]).double(), 0.2)
ASK_LINE = predictor(Diffusion("flow", "x0"), ExactDenoiser(LINE, FLOW))


def functions() -> SimpleNamespace:
    """The functions that notebook 09 defines, without running the rest of it."""
    tree = ast.parse(TWIN.read_text(encoding="utf-8"))
    tree.body = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    names = {"torch": torch, "randn_like": randn_like, "ask_line": ASK_LINE, "time_grid": time_grid}
    exec(compile(tree, str(TWIN), "exec"), names)
    return SimpleNamespace(**names)


NB = functions()


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=seeded(9, seed), dtype=torch.float64)


def tiny_model(seed: int = 0, **options) -> LatentDiffusion:
    """Pictures (1, 8, 8), latents (2, 4, 4), three classes, random weights."""
    first = AutoencoderConfig(latent_channels=2, widths=(8,))
    net = UNetConfig(2, (8, 16), 1, heads=2, num_classes=3)
    config = LatentDiffusionConfig(
        first, net, size=8, classes=("a", "b", "c"), steps=2, guidance=1.5, **options
    )
    return tiny.randomised(LatentDiffusion(config), seed).eval()


# --------------------------------------------------------------------------- flow matching
def test_flow_matching_is_the_librarys_loss() -> None:
    x0, eps, t = normal(6, 2, 3, 3, seed=1), normal(6, 2, 3, 3, seed=2), torch.rand(6).double()
    network = lambda x, t, cond=None: torch.sin(3 * x) + t.view(-1, 1, 1, 1)  # noqa: E731
    theirs = Diffusion("flow", "flow").loss(network, x0, t=t, eps=eps)
    torch.testing.assert_close(NB.naive_flow_loss(network, x0, eps, t).float(), theirs.float())


@pytest.mark.parametrize(("x", "t"), [(0.4, 0.6), (-0.7, 0.3), (0.1, 0.95)])
def test_the_best_velocity_is_the_mean_of_the_lines(x: float, t: float) -> None:
    """E[eps - x0 | x_t = x] by an integral over x0, against the exact denoiser's."""
    x0 = torch.linspace(-2.5, 2.0, 40_001, dtype=torch.float64)[:, None]
    eps = (x - (1 - t) * x0) / t
    weight = (LINE.log_prob(x0) - eps[:, 0] ** 2 / 2).softmax(0)
    mean = float(weight @ (eps - x0)[:, 0])
    assert float(NB.velocity(torch.tensor([[x]]).double(), t)) == pytest.approx(mean, abs=1e-6)


def test_curves_in_one_dimension_keep_their_order_and_lines_by_chance_do_not() -> None:
    start = normal(40, 1, seed=3)
    *_, last = euler(ASK_LINE, start, time_grid(200), FLOW)
    assert NB.crossings(start[:, 0], last.x[:, 0]) == 0
    by_chance = LINE.sample(40, seeded(4))[:, 0]
    expected = 40 * 39 / 4  # each pair of lines crosses or not, as a coin falls
    assert NB.crossings(start[:, 0], by_chance) == pytest.approx(expected, rel=0.25)
    assert NB.crossings(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0])) == 1


# --------------------------------------------------------------------------- straightness
def test_straight_walks_have_no_bend() -> None:
    times = torch.tensor([1.0, 0.9, 0.4, 0.0]).double()
    first, last = normal(5, 3, seed=5), normal(5, 3, seed=6)
    stages = torch.stack([first * t + last * (1 - t) for t in times])
    assert straightness(stages, times) == pytest.approx(0, abs=1e-12)


def test_a_bend_by_hand() -> None:
    """Along (0,0) -> (1,1) -> (2,0) in two halves: off by (0, 2) and by (0, -2) all the way."""
    stages = torch.tensor([[[0.0, 0.0]], [[1.0, 1.0]], [[2.0, 0.0]]])
    assert straightness(stages, torch.tensor([1.0, 0.5, 0.0])) == pytest.approx(4)
    with pytest.raises(ValueError, match="3 stages for 2 times"):
        straightness(stages, torch.tensor([1.0, 0.0]))


def test_straightness_of_a_gaussians_curves_is_the_integral() -> None:
    """N(0, s^2): the curves are x_1 r(t), r = sqrt((1 - t)^2 s^2 + t^2), and all is known."""
    s = 0.3
    gaussian = GaussianMixture.isotropic(torch.zeros(1, 1).double(), s)
    ask = predictor(Diffusion("flow", "x0"), ExactDenoiser(gaussian, FLOW))
    x, times = normal(400, 1, seed=7), time_grid(400)
    stages = torch.stack([x, *[state.x for state in euler(ask, x, times, FLOW)]])
    t = torch.linspace(0, 1, 20_001, dtype=torch.float64)
    rate = (t - (1 - t) * s**2) / ((1 - t) ** 2 * s**2 + t**2).sqrt()
    expected = float((x**2).mean() * torch.trapezoid((rate - (1 - s)) ** 2, t))
    assert straightness(stages, times) == pytest.approx(expected, rel=0.03)
    assert NB.straightness(stages) == pytest.approx(straightness(stages, times), rel=1e-9)


# --------------------------------------------------------------------------- coupling
def test_the_table_is_fair_to_points_and_noises() -> None:
    table = sinkhorn(normal(12, 2, 3, seed=8), normal(12, 2, 3, seed=9), blur=0.1, rounds=300)
    torch.testing.assert_close(table.sum(0), torch.ones(12).double(), atol=1e-9, rtol=0)
    torch.testing.assert_close(table.sum(1), torch.ones(12).double(), atol=1e-3, rtol=0)
    torch.testing.assert_close(
        sinkhorn(normal(5, 2, seed=1), normal(5, 2, seed=2)),
        NB.sinkhorn(normal(5, 2, seed=1), normal(5, 2, seed=2)),
    )


def test_with_little_blur_it_is_the_shortest_pairing() -> None:
    optimize = pytest.importorskip("scipy.optimize")
    x, e = normal(10, 2, seed=10), normal(10, 2, seed=11)
    _, best = optimize.linear_sum_assignment((torch.cdist(x, e) ** 2).numpy())
    table = sinkhorn(x, e, blur=0.002, rounds=3000)
    assert table.argmax(1).tolist() == best.tolist()


def test_a_batch_of_one_leaves_chance_to_its_own() -> None:
    x, e = normal(7, 2, seed=12), normal(7, 2, seed=13)
    assert torch.equal(couple(x, e, 1), e)


def test_coupling_stays_in_its_batch_and_makes_lines_short() -> None:
    x, e = normal(1000, 2, seed=14), normal(1000, 2, seed=15)
    chosen = couple(x, e, 50, seeded(1))
    for part, own in zip(chosen.split(50), e.split(50), strict=True):
        assert (part[:, None] == own).all(2).any(1).all()
    assert ((chosen - x) ** 2).sum() < 0.2 * ((e - x) ** 2).sum()
    used = (e[:, None] == chosen).all(2).sum(1).double()
    assert used.mean() == 1 and used.max() <= 6
    assert torch.equal(chosen, couple(x, e, 50, seeded(1)))
    assert len(couple(x[:70], e[:70], 50, seeded(1))) == 70  # the rest is a batch, too


# --------------------------------------------------------------------------- one family
@pytest.mark.parametrize("sigma", [0.01, 0.3, 1.0, 7.0])
def test_edms_input_and_target_have_unit_variance(sigma: float) -> None:
    data = 0.5
    skip, out, into = NB.edm(sigma, data)
    x0, eps = data * normal(200_000, seed=16), normal(200_000, seed=17)
    x = x0 + sigma * eps
    assert float((into * x).var()) == pytest.approx(1, rel=0.02)
    assert float(((x0 - skip * x) / out).var()) == pytest.approx(1, rel=0.02)


def test_the_weighted_loss_of_the_picture_is_the_networks_loss() -> None:
    """Law 11: with the weight 1 / c_out^2 the two are one number."""
    sigma, x0 = torch.tensor([0.1, 1.0, 5.0]).double(), normal(3, seed=18)
    x, answer = x0 + sigma * normal(3, seed=19), normal(3, seed=20)
    skip, out, _ = NB.edm(sigma, 0.5)
    picture = (skip * x + out * answer - x0) ** 2 / out**2
    torch.testing.assert_close(picture, (answer - (x0 - skip * x) / out) ** 2)


@pytest.mark.parametrize(
    ("schedule", "target", "family", "sign"),
    [("cosine", "v", NB.edm, -1), ("linear", "v", NB.edm, -1), ("flow", "flow", NB.flow_as_edm, 1)],
)
def test_v_and_flow_are_of_edms_family(schedule: str, target: str, family, sign: int) -> None:
    process, t = Diffusion(schedule, target), torch.tensor([0.02, 0.4, 0.9]).double()
    alpha, sigma = process.coefficients(t, normal(3, 4))
    x_t, answer = normal(3, 4, seed=21), normal(3, 4, seed=22)
    theirs = process.predict(lambda x, t, cond: answer, x_t, t).x0
    skip, out, into = family(sigma / alpha)
    torch.testing.assert_close(skip * x_t / alpha + sign * out * answer, theirs)
    torch.testing.assert_close(into * x_t / alpha, x_t)  # what the network sees is x_t itself


# --------------------------------------------------------------------------- a student
def test_pairs_are_what_the_teacher_would_draw() -> None:
    teacher = tiny_model()
    pairs = teacher_pairs(teacher, 7, seed=3, batch_size=3)
    assert pairs.noise.shape == pairs.x0.shape == (7, 2, 4, 4)
    torch.testing.assert_close(teacher.decode(pairs.x0), teacher.sample(7, seed=3))
    assert torch.equal(pairs.labels, teacher.draw_labels(7, seed=3))
    whole = teacher_pairs(teacher, 7, seed=3)
    torch.testing.assert_close(pairs.x0, whole.x0)
    other = teacher_pairs(teacher, 7, pairs.labels, guidance=1.0, seed=3)
    assert torch.equal(other.noise, pairs.noise) and not torch.allclose(other.x0, pairs.x0)


def test_a_teacher_of_another_schedule_is_refused() -> None:
    with pytest.raises(ValueError, match="must be of schedule and parametrisation 'flow'"):
        teacher_pairs(tiny_model(diffusion=Diffusion("cosine", "v")), 2)


def test_times_come_as_often_as_their_shares() -> None:
    loss = PairLoss(times=(1.0, 0.5), shares=(0.75, 0.25))
    drawn = loss.draw_times(400, seeded(1))
    assert set(drawn.tolist()) == {1.0, 0.5}
    assert int((drawn == 1).sum()) == pytest.approx(300, abs=1)
    assert set(PairLoss().draw_times(100, seeded(2)).tolist()) == set(PairLoss().times)
    with pytest.raises(ValueError, match="one share for each time"):
        PairLoss(times=(1.0,), shares=(0.5,))


def test_the_loss_is_flow_matching_on_the_pairs() -> None:
    """Each pair on its own line: the network sees x_t, t and the label that belong together."""
    noise, x0 = tiny.noise(40, 2, 4, 4, seed=1), tiny.noise(40, 2, 4, 4, seed=2)
    y, seen = torch.arange(40), []

    def network(x, t, cond):
        seen.append((x, t, cond))
        return torch.zeros_like(x)

    value = PairLoss()(network, torch.stack([noise, x0], 1), y, seeded(3), 0)
    ((x, t, cond),) = seen
    t_ = t.view(-1, 1, 1, 1)
    torch.testing.assert_close(x, (1 - t_) * x0 + t_ * noise)
    assert torch.equal(cond, y) and set(t.tolist()) == set(PairLoss().times)
    torch.testing.assert_close(value, ((noise - x0) ** 2).mean())
    perfect = lambda x, t, cond: noise - x0  # noqa: E731
    assert PairLoss()(perfect, torch.stack([noise, x0], 1), y, seeded(3), 0) == 0


def test_a_student_learns_its_pairs_and_leaves_the_teacher_alone() -> None:
    teacher = tiny_model()
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    pairs = teacher_pairs(teacher, 16, seed=4)
    config = TrainConfig(steps=120, batch_size=16, lr=5e-3, ema=0.9, precision="float32")
    student, state = distil(teacher, pairs, config, progress=False)
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
    assert state.step == 120 and not student.training
    assert (student.config.sampler, student.config.steps, student.config.guidance) == (
        "euler",
        4,
        1,
    )

    def off(model: LatentDiffusion, steps: int) -> float:
        *_, last = model.film(16, pairs.labels, steps, seed=4, sampler="euler")
        return float((last.x - pairs.x0).norm() / pairs.x0.norm())

    for steps in (1, 2, 4):
        assert off(student, steps) < 0.5 * off(teacher, 1)


def test_pairs_that_come_apart_cannot_be_learned() -> None:
    """The failure that notebook 09 shows: the loss stays where a mean leaves it."""
    noise, x0 = tiny.noise(64, 2, 4, 4, seed=5), tiny.noise(64, 2, 4, 4, seed=6)
    both = torch.stack([noise, x0], 1)

    def best_mean(pairs: Tensor) -> float:
        """The loss of the best answer that knows the noise but not whom it belongs to."""
        guess = lambda x, t, cond: x - pairs[:, 1].mean(0)  # noqa: E731
        return float(PairLoss((1.0,), (1.0,))(guess, pairs, None, seeded(1), 0))

    variance = float(x0.var())
    assert best_mean(both) == pytest.approx(variance, rel=0.1)
    known = lambda x, t, cond: x - x0  # noqa: E731
    one = PairLoss((1.0,), (1.0,))
    assert one(known, both, None, seeded(1), 0) < 1e-12
    apart = torch.stack([noise.roll(1, 0), x0], 1)
    lost = lambda x, t, cond: x - x0.roll(1, 0)  # noqa: E731  the noise's own picture
    assert float(one(lost, apart, None, seeded(1), 0)) > variance


def test_a_model_without_labels_has_students_too() -> None:
    pairs = Pairs(tiny.noise(8, 2, 4, 4), tiny.noise(8, 2, 4, 4, seed=1))
    net = UNetConfig(2, (8, 16), 1, heads=2)
    first = AutoencoderConfig(latent_channels=2, widths=(8,))
    teacher = tiny.randomised(LatentDiffusion(LatentDiffusionConfig(first, net, size=8)))
    config = TrainConfig(steps=2, batch_size=8, precision="float32")
    student, _ = distil(teacher, pairs, config, PairLoss((1.0,), (1.0,)), progress=False)
    assert student.sample(2, steps=1).shape == (2, 1, 8, 8)


def test_the_flows_prediction_at_the_noise_is_one_step() -> None:
    """A student's single step of Euler is its x0_hat at t = 1: nothing else is asked."""
    x, u = normal(4, 3, seed=23), normal(4, 3, seed=24)
    (state,) = euler(lambda x, t: Prediction(x - u, x), x, time_grid(1), FLOW)
    torch.testing.assert_close(state.x, x - u)
    assert math.isclose(state.t, 0.0)

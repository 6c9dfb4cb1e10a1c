"""The exam: ninety minutes on paper with a calculator, every number from the student's name."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ldmlib.diffusion.guidance import predictor
from ldmlib.diffusion.process import Diffusion, Parametrisation, Prediction
from ldmlib.diffusion.samplers import ddim, heun
from ldmlib.diffusion.spacing import time_grid
from ldmlib.evaluation.metrics import gaussian_frechet
from ldmlib.gan.theory import optimal_discriminator
from ldmlib.networks.autoencoder import DiagonalGaussian
from ldmlib.networks.unet import UNet, UNetConfig
from ldmlib.probability.mixtures import GaussianMixture
from ldmlib.teach.assignments.sheet import Draw, Question, Sheet

# Question, right answer, wrong answers: their order is drawn.
CHOICES = (
    (
        "Which of these notices a model that hands out its training pictures?",
        "the distance to the nearest training picture",
        ("FID", "Inception Score", "recall"),
    ),
    (
        "Two sets of real digits are compared. What does their FID do when both grow?",
        "it falls towards 0, about like 1 / n",
        ("it grows like n", "it stays as it is", "it is 0 at once"),
    ),
    (
        "The KL term of a VAE is near 0 after one epoch. What has happened?",
        "the latents say nothing, and every picture decodes alike",
        ("the model has converged", "the latents fill the prior well", "the decoder is too small"),
    ),
    (
        "Where is the adversary in a latent diffusion model?",
        "in the loss of the autoencoder",
        ("in the loss of the denoiser", "in the sampler", "in both trainings"),
    ),
)
SYMPTOMS = (
    ("reconstructions are washed out, the background is grey", "wrong range: 0 to 1 for -1 to 1"),
    ("right shapes, too strong, with ragged edges", "latents decoded without undoing the scale"),
    ("blotches as at the first step, though the loss is fine", "an EMA that is too slow"),
    ("nothing to see, but a worse score", "the network is told the next step's time"),
    ("the judge's loss is 0 within seconds", "the judge is shown real pictures only"),
    ("the first loss is not the variance of the target", "data not scaled, or another target"),
)


def make(student: str, draw: Draw) -> Sheet:
    """The sheet of one student."""
    makers = (_judge, _latent_kl, _jump, _clean, _turned, _step, _guided, _average, _distance,
              _skips, _calls)  # fmt: skip
    found = [one for maker in makers for one in maker(draw)]
    found += [_choice(draw, *choice) for choice in CHOICES]
    found += [_drawing(), _museum(draw)]
    questions = [Question(str(i), *parts) for i, parts in enumerate(found, 1)]
    title = "Exam: latent diffusion models, 90 minutes"
    return Sheet("exam", title, student, tuple(questions))


def _at(*values: float) -> Tensor:
    return torch.tensor([values], dtype=torch.float64)


def _judge(draw: Draw) -> Iterator[tuple]:
    a, b, x = draw.number(0.5, 1.5), draw.number(-1.5, -0.5), draw.number(-0.9, 0.9)
    p, q = (GaussianMixture.isotropic(_at(m), 1.0) for m in (a, b))
    yield (
        f"Real numbers come from N({a}, 1), forged ones from N({b}, 1), as many of each. What does "
        f"the best judge answer at x = {x}: how probable is it that x is real?",
        4,
        float(optimal_discriminator(p, q, _at(x))),
        "D* = p / (p + q): the sigmoid of ((x - b)^2 - (x - a)^2) / 2.",
    )


def _latent_kl(draw: Draw) -> Iterator[tuple]:
    means = [draw.number(-1.5, 1.5) for _ in range(2)]
    stds = [draw.one_of((0.2, 0.4, 0.5, 0.8)) for _ in range(2)]
    mean, std = (_at(*v) for v in (means, stds))
    yield (
        f"An encoder answers with two latents of means {means} and standard deviations {stds}. "
        "How many nats is the KL divergence to N(0, I)?",
        4,
        float(DiagonalGaussian(mean, 2 * std.log()).kl()),
        "Half the sum of mean^2 + std^2 - 1 - log std^2, over both latents.",
    )


def _jump(draw: Draw) -> Iterator[tuple]:
    betas = [draw.one_of((0.1, 0.19, 0.2, 0.36, 0.51)) for _ in range(3)]
    abar = float(torch.prod(1 - _at(*betas)))
    yield (
        f"Three steps of forward diffusion have beta = {betas[0]}, {betas[1]} and {betas[2]}. "
        "Written as one jump, what is the factor of the picture?",
        3,
        abar**0.5,
        "sqrt(abar), and abar is the product of the 1 - beta.",
    )
    yield (
        "And the standard deviation of the noise in that jump?",
        3,
        (1 - abar) ** 0.5,
        "sqrt(1 - abar): the root is what is most often forgotten.",
    )


def _clean(draw: Draw) -> Iterator[tuple]:
    t, x_t, u = draw.number(0.2, 0.8), draw.number(-1, 1), draw.number(-1.5, 1.5)
    alpha, sigma = Diffusion("flow").coefficients(torch.tensor([t]), _at(x_t))
    yield (
        f"Flow schedule, alpha = 1 - t and sigma = t. At t = {t} the network sees x_t = {x_t} and "
        f"answers {u} for the target eps - x_0. What is its guess of x_0?",
        4,
        float(Parametrisation("flow").prediction(_at(u), _at(x_t), alpha, sigma).x0),
        "x_0 = x_t - sigma u, since alpha + sigma = 1.",
    )


def _turned(draw: Draw) -> Iterator[tuple]:
    alpha, sigma = draw.one_of(((0.6, 0.8), (0.8, 0.6), (0.28, 0.96), (0.96, 0.28)))
    x_t, v = draw.number(-1, 1), draw.number(-1, 1)
    answer = Parametrisation("v").prediction(_at(v), _at(x_t), _at(alpha), _at(sigma)).x0
    yield (
        f"Now alpha = {alpha}, sigma = {sigma}, x_t = {x_t}, and the network answers {v} for the "
        "target v = alpha eps - sigma x_0. What is its guess of x_0?",
        4,
        float(answer),
        "alpha x_t - sigma v, since alpha^2 + sigma^2 = 1.",
    )


def _step(draw: Draw) -> Iterator[tuple]:
    t, s = draw.one_of((0.8, 0.9)), draw.one_of((0.4, 0.5, 0.6))
    x_t, x0 = draw.number(-1, 1), draw.number(-1, 1)
    eps = (x_t - (1 - t) * x0) / t
    times = torch.tensor([t, s], dtype=torch.float64)
    state = next(ddim(lambda x, _: Prediction(_at(x0), _at(eps)), _at(x_t), times,
                      Diffusion("flow").curves))  # fmt: skip
    yield (
        f"Flow schedule again. At t = {t} we have x_t = {x_t}, and the guess of x_0 is {x0}. One "
        f"DDIM step leads to s = {s}. What is x_s?",
        5,
        float(state.x),
        "eps = (x_t - (1 - t) x_0) / t, then (1 - s) x_0 + s eps.",
    )


def _guided(draw: Draw) -> Iterator[tuple]:
    cond, uncond, w = draw.number(0.2, 1), draw.number(-1, 0.1), draw.one_of((1.5, 2.0, 3.0))

    def denoiser(x: Tensor, t: Tensor, label: Tensor) -> Tensor:
        return torch.where(label[:, None] < 0, uncond, cond).double()

    predict = predictor(Diffusion("flow", "x0"), denoiser, torch.tensor([3]), w)
    yield (
        f"With the label the network guesses x_0 = {cond}, without it {uncond}. What is the guess "
        f"under guidance w = {w}?",
        3,
        float(predict(_at(0.0), torch.tensor(0.5)).x0),
        "uncond + w (cond - uncond).",
    )


def _average(draw: Draw) -> Iterator[tuple]:
    start, weight = draw.number(-1, 1), draw.number(-2, 2)
    decay, steps = draw.one_of((0.8, 0.9, 0.95)), draw.whole(2, 4)
    average = _at(start)
    for _ in range(steps):
        average = average.lerp(_at(weight), 1 - decay)
    yield (
        f"An EMA of decay {decay} stands at {start}; the weight stands at {weight} and does not "
        f"move. Where is the EMA after {steps} updates?",
        3,
        float(average),
        "weight + decay^n (start - weight).",
    )


def _distance(draw: Draw) -> Iterator[tuple]:
    m1, m2 = draw.number(-2, -0.5), draw.number(0.5, 2)
    s1, s2 = draw.number(0.2, 1), draw.number(1.2, 2)
    answer = gaussian_frechet(_at(m1)[0], _at(s1**2), _at(m2)[0], _at(s2**2))
    yield (
        f"Two Gaussians on a line: means {m1} and {m2}, standard deviations {s1} and {s2}. What is "
        "their squared Fréchet distance?",
        4,
        float(answer),
        "(m1 - m2)^2 + (s1 - s2)^2.",
    )


def _skips(draw: Draw) -> Iterator[tuple]:
    levels, blocks = draw.whole(2, 4), draw.whole(1, 3)
    net = UNet(UNetConfig(in_channels=1, channels=(8,) * levels, blocks=blocks, heads=1))
    yield (
        f"A UNet has {levels} levels with {blocks} block(s) each on the way down, and a halving "
        "between levels. The stem, each block and each halving leave a skip. How many skips are "
        "kept?",
        3,
        1 + len(net.down),
        "1 + levels x blocks + (levels - 1).",
        True,
    )


def _calls(draw: Draw) -> Iterator[tuple]:
    steps = draw.whole(5, 40)
    guess = Prediction(_at(0.0), _at(0.0))
    *_, last = heun(lambda x, _: guess, _at(0.0), time_grid(steps), Diffusion("flow").curves)
    yield (
        f"Heun's sampler takes {steps} steps. How often is the network asked?",
        4,
        last.evaluations,
        "Twice a step, and once in the last one.",
        True,
    )


# --------------------------------------------------------------------------- words
def _choice(draw: Draw, text: str, right: str, wrong: tuple[str, ...]) -> tuple:
    options = draw.shuffled((right, *wrong))
    letters = dict(zip("abcd", options, strict=True))
    shown = "; ".join(f"({letter}) {option}" for letter, option in letters.items())
    answer = next(letter for letter, option in letters.items() if option == right)
    return f"{text} {shown}. One letter.", 3, answer, f"{right[0].upper()}{right[1:]}."


def _drawing() -> tuple:
    return (
        "Draw the two trainings of a latent diffusion model, and beside them how it draws a new "
        "picture. Mark what is trained, what is frozen, where noise enters and where a loss is.",
        12,
        None,
        "Autoencoder with its loss 3; encoder frozen, latents scaled 2; noise at time t, denoiser "
        "told t, squared error 3; drawing from noise through denoiser and decoder 3; no "
        "adversary in the second training 1.",
    )


def _museum(draw: Draw) -> tuple:
    (one, first), (two, second) = draw.shuffled(SYMPTOMS)[:2]
    return (
        f"Two symptoms: {one}; {two}. For each: a cause, a test that would prove it, a cure.",
        12,
        None,
        f"For each, cause 2, test 2, cure 2. The causes: {first}; {second}.",
    )

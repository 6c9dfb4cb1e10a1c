"""Assignment 1, after notebook 04: probability, latent spaces and the forward process, exactly."""

from __future__ import annotations

import torch
from torch import Tensor

from ldmlib.data import mnist
from ldmlib.diffusion.process import Diffusion
from ldmlib.probability.estimates import kl_gaussians, monte_carlo
from ldmlib.probability.mixtures import GaussianMixture
from ldmlib.probability.pca import PCA
from ldmlib.rng import seeded
from ldmlib.teach.assignments.sheet import Draw, Question, Sheet

DIGITS = 500  # of each of two classes, for the question on principal components
DIMS = 120


def make(student: str, draw: Draw) -> Sheet:
    """The sheet of one student."""
    mixture, numbers = _mixture(draw)
    draws = [round(v, 3) for v in mixture.sample(40, seeded(draw.seed))[:, 0].tolist()]
    latents = _latents(draw)
    data = {**numbers, "draws": draws, "latents": [[round(v, 2) for v in z] for z in latents]}
    questions = (
        *_bayes(draw, mixture),
        _error(draws),
        _kl(draw),
        _elbo(draw),
        _components(draw),
        _scale(draw, latents),
        *_steps(draw, mixture),
        _words(draw),
    )
    title = "Assignment 1: a distribution, a latent space, a destruction"
    return Sheet("1", title, student, questions, data)


def _gaussian(mean: float, variance: float) -> GaussianMixture:
    one = torch.tensor([mean, variance], dtype=torch.float64)
    return GaussianMixture.gaussian(one[:1], one[1:, None])


def _at(x: float) -> Tensor:
    return torch.tensor([[x]], dtype=torch.float64)


def _mixture(draw: Draw) -> tuple[GaussianMixture, dict[str, list[float]]]:
    weight = draw.number(0.2, 0.8, 2)
    means = [draw.number(-2.5, -0.8), draw.number(0.8, 2.5)]
    stds = [draw.number(0.4, 1.2), draw.number(0.4, 1.2)]
    numbers = {"weights": [weight, round(1 - weight, 2)], "means": means, "stds": stds}
    w, m, s = (torch.tensor(v, dtype=torch.float64) for v in numbers.values())
    return GaussianMixture(m[:, None], s[:, None, None] ** 2, w), numbers


def _bayes(draw: Draw, mixture: GaussianMixture) -> list[Question]:
    x = draw.number(-0.9, 0.9)
    return [
        Question(
            "1a",
            f"The data hold `weights`, `means` and `stds` of a mixture of two Gaussians. You see "
            f"x = {x}. How probable is it that x came from the first of the two?",
            2,
            float(mixture.responsibilities(_at(x))[0, 0]),
            "Prior times likelihood, over the sum of both: `mixture.responsibilities`.",
        ),
        Question(
            "1b",
            f"What is the score of this mixture at x = {x}?",
            2,
            float(mixture.score(_at(x))[0, 0]),
            "The pulls (m_k - x) / std_k^2, weighted by p(k | x): `mixture.score`.",
        ),
    ]


def _error(draws: list[float]) -> Question:
    return Question(
        "2",
        "`draws` are independent draws from some distribution. What is the standard error of "
        "their mean?",
        2,
        float(monte_carlo(torch.tensor(draws, dtype=torch.float64)).error),
        "The root of variance / n, the variance with n - 1: `probability.monte_carlo`.",
    )


def _kl(draw: Draw) -> Question:
    (m_q, s_q), (m_p, s_p) = ((draw.number(-1, 1), draw.number(0.5, 2)) for _ in range(2))
    return Question(
        "3",
        f"q is a Gaussian of mean {m_q} and standard deviation {s_q}, p one of mean {m_p} and "
        f"standard deviation {s_p}. How many nats is KL(q || p)?",
        2,
        float(kl_gaussians(_gaussian(m_q, s_q**2), _gaussian(m_p, s_p**2))),
        "Draws from q, so log(s_p / s_q) + (s_q^2 + (m_q - m_p)^2) / (2 s_p^2) - 1/2: "
        "`probability.kl_gaussians`.",
    )


def _elbo(draw: Draw) -> Question:
    x, s = draw.number(-2, 2), draw.number(0.5, 1.5)
    m, v = draw.number(-1, 1), draw.number(0.2, 1.2)
    shrink = 1 / (1 + s**2)
    evidence = float(_gaussian(0.0, 1 + s**2).log_prob(_at(x)))
    gap = float(kl_gaussians(_gaussian(m, v), _gaussian(shrink * x, s**2 * shrink)))
    return Question(
        "4",
        f"z is standard normal and x = z + {s} eps. You see x = {x}, and guess that z has mean "
        f"{m} and variance {v}. What is the ELBO?",
        3,
        evidence - gap,
        "Fit minus price. The key takes the other way round: log p(x) minus the gap, the KL from "
        "the guess to the true posterior.",
    )


def _components(draw: Draw) -> Question:
    first, second = sorted(draw.shuffled(range(10))[:2])
    percent = draw.one_of((80, 85, 90))
    data = mnist("train")
    of = [data.images[data.labels == k][:DIGITS] for k in (first, second)]
    x = torch.cat(of).double() / 127.5 - 1
    enough = int((PCA.fit(x, DIMS).explained() < percent / 100).sum()) + 1
    return Question(
        "5",
        f"Take the first {DIGITS} training pictures of the digit {first} and the first {DIGITS} of "
        f'the digit {second} from `data.mnist("train")`. How many principal components of these '
        f"{2 * DIGITS} pictures hold {percent} % of their variance?",
        3,
        enough,
        "`pca.PCA.fit(x, dims).explained()`, and the first place at or above the share.",
        exact=True,
    )


def _latents(draw: Draw) -> list[list[float]]:
    """Two channels of a few latents, each with a mean and a width of its own."""
    rows = []
    for _ in range(2):
        middle, width = draw.number(-3, 3), draw.number(0.5, 4)
        rows.append([round(middle + width * draw.number(-2, 2, 2), 2) for _ in range(12)])
    return rows


def _scale(draw: Draw, latents: list[list[float]]) -> Question:
    channel, place = draw.whole(1, 2), draw.whole(1, 12)
    z = torch.tensor(latents[channel - 1], dtype=torch.float64)
    return Question(
        "6",
        "`latents` holds two channels (rows) of a training set's latents. Scale each channel to "
        f"mean 0 and standard deviation 1 (divide by n - 1). What does number {place} of channel "
        f"{channel} become? Count from 1.",
        2,
        float((z[place - 1] - z.mean()) / z.std()),
        "One mean and one standard deviation for each channel: `LatentDiffusion.fit_latent_scale`.",
    )


def _steps(draw: Draw, mixture: GaussianMixture) -> list[Question]:
    name, x0, x_t = (
        draw.one_of(("linear", "cosine", "flow")),
        draw.number(-1, 1),
        draw.number(-1, 1),
    )
    s, t = draw.one_of((0.3, 0.4, 0.5)), draw.one_of((0.6, 0.7, 0.8))
    times = (torch.tensor([v], dtype=torch.float64) for v in (s, t))
    back = Diffusion(name, "v").posterior(_at(x0), _at(x_t), *times)
    here = draw.number(-0.8, 0.8)
    texts = (
        f"The schedule is `{name}`, a clean pixel is x_0 = {x0}, and at t = {t} it was seen as "
        f"{x_t}. What is the mean of q(x_s | x_t, x_0) at s = {s}?",
        "And its standard deviation?",
        f"Points of the mixture of question 1 were noised to t = {t} with the flow schedule. You "
        f"see x_t = {here}. What is the best guess of x_0, in squared error?",
    )
    keys = (
        "(r sigma_s^2 x_t + a alpha_s x_0) / sigma_t^2 with r = alpha_t / alpha_s and a = "
        "sigma_t^2 - r^2 sigma_s^2: `Diffusion.posterior(...).mean`.",
        "sigma_s sqrt(a) / sigma_t: `Diffusion.posterior(...).std`.",
        "The mean of the posterior of x_0, by Tweedie's formula or component by component: "
        "`mixture.denoise(x_t, 1 - t, t)`.",
    )
    guess = float(mixture.denoise(_at(here), 1 - t, t)[0, 0])
    answers, names = (float(back.mean), float(back.std), guess), ("7a", "7b", "8")
    return [
        Question(n, *rest) for n, *rest in zip(names, texts, (2, 2, 3), answers, keys, strict=True)
    ]


def _words(draw: Draw) -> Question:
    picture = draw.one_of((
        "the posterior of question 8 at three noise levels, with its mean in each",
        "the ELBO of question 4 against the variance of the guess, with log p(x) as a line",
        "the error of the reconstruction of question 5 against the number of components",
    ))  # fmt: skip
    return Question(
        "9",
        f"Draw {picture}. Before you run the cell, write down in one sentence what you expect; "
        "afterwards, in three sentences, what you see, why it is so, and what would change it. "
        "Hand in the notebook.",
        10,
        None,
        "A prediction that could have failed 2; the picture, right and labelled 3; what is seen "
        "2; why 2; what would change it 1.",
    )

"""The checks of notebook 03 accept the truth and name every usual mistake; they never raise."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from ldmlib.check import vae as check
from ldmlib.networks.autoencoder import DiagonalGaussian


def said(capsys: pytest.CaptureFixture, check_it: Callable, answer: object) -> tuple[bool, str]:
    result = check_it(answer)
    return result, capsys.readouterr().out


def assert_named(capsys, check_it: Callable, answer: object, words: str) -> None:
    result, text = said(capsys, check_it, answer)
    assert not result
    assert text.startswith("Not yet") and words in text, text


# --------------------------------------------------------------------------- KL
def kl(m, s, a, b):
    return (0.5 * ((s / b) ** 2 + ((m - a) / b) ** 2 - 1) + (b / s).log()).sum(1)


def kl_terms(m, s, a, b):
    return 0.5 * ((s / b) ** 2 + ((m - a) / b) ** 2 - 1) + (b / s).log()


KL_WRONG = {
    "swapped": (lambda m, s, a, b: kl(a, b, m, s), "changed places"),
    "std as variance": (lambda m, s, a, b: kl(m, s.sqrt(), a, b.sqrt()), "as variances"),
    "no half": (lambda *args: 2 * kl(*args), "1/2 is missing"),
    "half only on the log": (
        lambda m, s, a, b: ((s / b) ** 2 + ((m - a) / b) ** 2 - 1 + (b / s).log()).sum(1),
        "all terms but log",
    ),
    "half on all": (
        lambda m, s, a, b: 0.5 * ((s / b) ** 2 + ((m - a) / b) ** 2 - 1 + (b / s).log()).sum(1),
        "applied to log",
    ),
    "sign": (lambda *args: -kl(*args), "sign is wrong"),
    "log sign": (
        lambda m, s, a, b: (0.5 * ((s / b) ** 2 + ((m - a) / b) ** 2 - 1) - (b / s).log()).sum(1),
        "log term has the wrong sign",
    ),
    "no -1": (lambda m, s, a, b: kl(m, s, a, b) + 1.5, "equal Gaussians must give 0"),
    "mean over dimensions": (lambda *args: kl_terms(*args).mean(1), "do not average"),
    "not summed": (kl_terms, "sum over the last axis"),
    "summed over the batch": (lambda *args: kl(*args).sum(), "summed over the batch"),
    "averaged over the batch": (lambda *args: kl(*args).mean(), "averaged over the batch"),
    "averaged over everything": (lambda *args: kl_terms(*args).mean(), "averaged over the batch"),
    "something else": (lambda m, s, a, b: m[:, 0], "should be"),
}


@pytest.mark.parametrize(("answer", "words"), KL_WRONG.values(), ids=KL_WRONG.keys())
def test_kl_names_the_mistake(answer, words, capsys) -> None:
    assert_named(capsys, check.kl, answer, words)


def test_kl_accepts_the_truth(capsys) -> None:
    def by_torch(m, s, a, b):
        q, p = torch.distributions.Normal(m, s), torch.distributions.Normal(a, b)
        return torch.distributions.kl_divergence(q, p).sum(1)

    assert said(capsys, check.kl, kl)[0]
    assert said(capsys, check.kl, by_torch)[0]


# --------------------------------------------------------------------------- reparameterisation
def draw(mean, logvar):
    return mean + (logvar / 2).exp() * torch.randn_like(mean)


def seeded_draw(mean, logvar):
    torch.manual_seed(0)
    return draw(mean, logvar)


REPARAMETERISE_WRONG = {
    "no noise": (lambda m, v: m + 0 * v, "no noise"),
    "no mean": (lambda m, v: (v / 2).exp() * torch.randn_like(m), "mean is missing"),
    "no std": (lambda m, v: m + torch.randn_like(m), "always has width 1"),
    "variance": (lambda m, v: m + v.exp() * torch.randn_like(m), "multiply by the variance"),
    "logvar": (lambda m, v: m + v * torch.randn_like(m), "multiply by logvar itself"),
    "half logvar": (lambda m, v: m + v / 2 * torch.randn_like(m), "take exp"),
    "root of std": (lambda m, v: m + (v / 4).exp() * torch.randn_like(m), "exp(logvar / 4)"),
    "exponent's sign": (lambda m, v: m + (-v / 2).exp() * torch.randn_like(m), "wrong sign"),
    "root of logvar": (lambda m, v: m + v.sqrt() * torch.randn_like(m), "NaN"),
    "another width": (lambda m, v: m + 7 * torch.randn_like(m), "should have widths"),
    "noise shared over the batch": (
        lambda m, v: m + (v / 2).exp() * torch.randn(m.shape[1]),
        "shared by the whole batch",
    ),
    "one number for all": (
        lambda m, v: m + (v / 2).exp() * torch.randn(1),
        "shared by the whole batch",
    ),
    "noise shared over the latents": (
        lambda m, v: m + (v / 2).exp() * torch.randn(len(m), 1),
        "share one eps",
    ),
    "uniform noise": (lambda m, v: m + (v / 2).exp() * torch.rand_like(m), "torch.randn"),
    "seeded inside": (seeded_draw, "two calls give the same"),
    "detached": (lambda m, v: draw(m, v).detach(), "no gradient can flow"),
    "std detached": (lambda m, v: draw(m, v.detach()), "no gradient reaches logvar"),
    "torch.normal": (lambda m, v: torch.normal(m, (v / 2).exp()), "gradient"),
    "library sampler": (
        lambda m, v: torch.distributions.Normal(m, (v / 2).exp()).sample(),
        "no gradient can flow",
    ),
    "wrong shape": (lambda m, v: draw(m, v).sum(1), "shape of mean"),
    "not a tensor": (lambda m, v: 1.0, "shape of mean"),
}


@pytest.mark.parametrize(
    ("answer", "words"), REPARAMETERISE_WRONG.values(), ids=REPARAMETERISE_WRONG.keys()
)
def test_reparameterise_names_the_mistake(answer, words, capsys) -> None:
    assert_named(capsys, check.reparameterise, answer, words)


def test_reparameterise_accepts_the_truth(capsys) -> None:
    assert said(capsys, check.reparameterise, draw)[0]
    assert said(
        capsys, check.reparameterise, lambda m, v: m - v.exp().sqrt() * torch.randn(m.shape)
    )[0]
    assert said(capsys, check.reparameterise, lambda m, v: DiagonalGaussian(m, v).sample())[0]


def test_reparameterise_leaves_the_random_state_alone(capsys) -> None:
    before = torch.random.get_rng_state()
    check.reparameterise(draw)
    assert torch.equal(before, torch.random.get_rng_state())


# --------------------------------------------------------------------------- ELBO
def fit(x, y, sigma):
    return -((x - y) ** 2).flatten(1).sum(1) / (2 * sigma**2)


def kl0(m, v):
    return 0.5 * (m**2 + v.exp() - 1 - v).sum(1)


def elbo(x, y, m, v, sigma):
    return fit(x, y, sigma) - kl0(m, v)


ELBO_WRONG = {
    "the loss": (lambda *args: -elbo(*args), "that is the loss"),
    "plus KL": (lambda x, y, m, v, s: fit(x, y, s) + kl0(m, v), "KL term has the wrong sign"),
    "fit's sign": (lambda x, y, m, v, s: -fit(x, y, s) - kl0(m, v), "fit has the wrong sign"),
    "no KL": (lambda x, y, m, v, s: fit(x, y, s), "KL term is missing"),
    "no sigma": (lambda x, y, m, v, s: fit(x, y, 1.0) - kl0(m, v), "sigma is missing"),
    "no sigma, no half": (lambda x, y, m, v, s: 2 * fit(x, y, 1) - kl0(m, v), "sigma is missing"),
    "sigma not squared": (lambda x, y, m, v, s: s * fit(x, y, s) - kl0(m, v), "2 sigma^2"),
    "no half": (lambda x, y, m, v, s: 2 * fit(x, y, s) - kl0(m, v), "in front of the squares"),
    "no half in KL": (lambda x, y, m, v, s: fit(x, y, s) - 2 * kl0(m, v), "1/2 of the KL"),
    "mean over pixels": (lambda x, y, m, v, s: fit(x, y, s) / 9 - kl0(m, v), "over the pixels"),
    "mean over latents": (lambda x, y, m, v, s: fit(x, y, s) - kl0(m, v) / 2, "over the latents"),
    "mean over the batch": (lambda *args: elbo(*args).mean(), "averaged over the batch"),
    "sum over the batch": (lambda *args: elbo(*args).sum(), "summed over the batch"),
    "something else": (lambda x, *args: x[:, 0, 0, 0], "should be"),
}


@pytest.mark.parametrize(("answer", "words"), ELBO_WRONG.values(), ids=ELBO_WRONG.keys())
def test_elbo_names_the_mistake(answer, words, capsys) -> None:
    assert_named(capsys, check.elbo, answer, words)


def test_elbo_accepts_the_truth(capsys) -> None:
    assert said(capsys, check.elbo, elbo)[0]


# --------------------------------------------------------------------------- latent scale
AXES = (0, 2, 3)


def scale(z):
    return z.mean(AXES, keepdim=True), z.std(AXES, keepdim=True)


SCALE_WRONG = {
    "one for all channels": (lambda z: (z.mean(), z.std()), "over all channels"),
    "one for all channels, shaped": (
        lambda z: (z.mean((0, 1, 2, 3), keepdim=True), z.std((0, 1, 2, 3), keepdim=True)),
        "over all channels",
    ),
    "over the batch only": (lambda z: (z.mean(0), z.std(0)), "over the batch only"),
    "over the batch only, shaped": (
        lambda z: (z.mean(0, keepdim=True), z.std(0, keepdim=True)),
        "over the batch only",
    ),
    "a picture at a time": (
        lambda z: (z.mean((2, 3), keepdim=True), z.std((2, 3), keepdim=True)),
        "for each picture",
    ),
    "variance": (lambda z: (scale(z)[0], z.var(AXES, keepdim=True)), "is the variance"),
    "swapped": (lambda z: scale(z)[::-1], "changed places"),
    "no keepdim": (lambda z: (z.mean(AXES), z.std(AXES)), "keepdim"),
    "no mean": (lambda z: (torch.zeros(1, 3, 1, 1), scale(z)[1]), "mean is left at 0"),
    "only one part": (lambda z: scale(z)[1], "return two things"),
    "something else": (lambda z: (z[:1, :, :1, :1], scale(z)[1]), "should be"),
}


@pytest.mark.parametrize(("answer", "words"), SCALE_WRONG.values(), ids=SCALE_WRONG.keys())
def test_latent_scale_names_the_mistake(answer, words, capsys) -> None:
    assert_named(capsys, check.latent_scale, answer, words)


def test_latent_scale_accepts_the_truth(capsys) -> None:
    assert said(capsys, check.latent_scale, scale)[0]
    biased = lambda z: (scale(z)[0], z.var(AXES, keepdim=True, unbiased=False).sqrt())  # noqa: E731
    assert said(capsys, check.latent_scale, biased)[0]


UNSCALE_WRONG = {
    "not undone": (lambda z, m, s: z, "nothing is undone"),
    "twice": (lambda z, m, s: (z - m) / s, "second time"),
    "order": (lambda z, m, s: (z + m) * s, "order is wrong"),
    "no mean": (lambda z, m, s: z * s, "mean is not added"),
    "no std": (lambda z, m, s: z + m, "std is not multiplied"),
    "variance": (lambda z, m, s: z * s**2 + m, "variance"),
    "mean's sign": (lambda z, m, s: z * s - m, "wrong sign"),
}


@pytest.mark.parametrize(("answer", "words"), UNSCALE_WRONG.values(), ids=UNSCALE_WRONG.keys())
def test_unscale_names_the_mistake(answer, words, capsys) -> None:
    assert_named(capsys, check.unscale, answer, words)


def test_unscale_accepts_the_truth(capsys) -> None:
    assert said(capsys, check.unscale, lambda z, m, s: z * s + m)[0]


# --------------------------------------------------------------------------- every check
CHECKS = (check.kl, check.reparameterise, check.elbo, check.latent_scale, check.unscale)


@pytest.mark.parametrize("check_it", CHECKS)
def test_untouched_stubs_are_told_so(check_it, capsys) -> None:
    for stub in (lambda *args: None, lambda *args: ...):
        assert_named(capsys, check_it, stub, "not filled in yet")


@pytest.mark.parametrize("check_it", CHECKS)
def test_errors_in_the_readers_code_become_words(check_it, capsys) -> None:
    assert_named(capsys, check_it, lambda *args: args[0].no_such_thing, "AttributeError")
    assert_named(capsys, check_it, lambda: None, "TypeError")

"""Checks for notebook 03: the KL term, reparameterisation, the ELBO and the latent scale."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ldmlib.check.core import NOT_FILLED, Case, Verdict, attempt, judge_cases, verdict
from ldmlib.rng import seeded


# --------------------------------------------------------------------------- KL of two Gaussians
def _kl_terms(mean_q: Tensor, std_q: Tensor, mean_p: Tensor, std_p: Tensor) -> Tensor:
    """KL(q || p) of each pair of 1-D Gaussians, in nats."""
    ratio = std_q / std_p
    return 0.5 * (ratio**2 + ((mean_q - mean_p) / std_p) ** 2 - 1) - ratio.log()


def kl(answer: Callable) -> Verdict:
    """``answer(mean_q, std_q, mean_p, std_p)``, each (n, d): KL(q || p) in nats, (n,)."""
    return judge_cases(
        answer,
        [_kl_case(1, 5, 3), _kl_case(11, 3, 4)],
        right="the KL divergence of two Gaussians, in nats, summed over the dimensions.",
    )


def _kl_case(seed: int, n: int, d: int) -> Case:
    generator = seeded(3, seed)
    mean_q, mean_p = torch.randn(2, n, d, generator=generator).double()
    std_q, std_p = 0.4 + torch.rand(2, n, d, generator=generator).double()
    args = (mean_q, std_q, mean_p, std_p)
    terms, truth = _kl_terms(*args), _kl_terms(*args).sum(1)
    log_ratio = (std_p / std_q).log()
    quadratic = (std_q / std_p) ** 2 + ((mean_q - mean_p) / std_p) ** 2
    as_variances = _kl_terms(mean_q, std_q.sqrt(), mean_p, std_p.sqrt())
    return Case(
        truth,
        {
            "that is KL(p || q): q and p have changed places. KL is not symmetric, and the "
            "average is taken over q.": _kl_terms(mean_p, std_p, mean_q, std_q).sum(1),
            "the arguments are standard deviations, and you use them as variances: square them "
            "first.": as_variances.sum(1),
            "it is twice too large: the factor 1/2 is missing.": 2 * truth,
            "the 1/2 belongs to all terms but log(std_p / std_q), which is already half of the "
            "log of the variances.": (log_ratio + quadratic - 1).sum(1),
            "the 1/2 is applied to log(std_p / std_q) as well, which is already half of the log "
            "of the variances.": (0.5 * (log_ratio + quadratic - 1)).sum(1),
            "the sign is wrong: a KL divergence is never negative.": -truth,
            "the log term has the wrong sign: it is log(std_p / std_q).": (
                0.5 * (quadratic - 1) - log_ratio
            ).sum(1),
            "the -1/2 for each dimension is missing: two equal Gaussians must give 0.": (
                truth + 0.5 * terms.shape[1]
            ),
            "p is missing: that is the KL divergence to N(0, 1).": _kl_terms(
                mean_q, std_q, torch.zeros_like(mean_p), torch.ones_like(std_p)
            ).sum(1),
            "the squares are divided by std_p, not by its square.": (
                log_ratio + (std_q**2 + (mean_q - mean_p) ** 2) / (2 * std_p) - 0.5
            ).sum(1),
            "the squares are divided by q's variance: it is p's.": (
                log_ratio + (std_q**2 + (mean_q - mean_p) ** 2) / (2 * std_q**2) - 0.5
            ).sum(1),
            "that is in bits: take the natural logarithm, not log2.": lambda v: (
                _close(v, truth / math.log(2))
                or _close(v, truth + (1 / math.log(2) - 1) * log_ratio.sum(1))
            ),
            "the difference of the means is not squared.": (
                terms + ((mean_q - mean_p) - (mean_q - mean_p) ** 2) / (2 * std_p**2)
            ).sum(1),
            "you have summed over the pairs instead of over the dimensions: use axis 1.": terms.sum(
                0
            ),
            "sum over the dimensions, do not average: independent dimensions add up their "
            "nats.": terms.mean(1),
            "one number for each dimension is left: sum over the last axis, to (n,).": terms,
            "you have summed over the batch as well: keep one number for each row, "
            "(n,).": terms.sum(),
            "you have averaged over the batch as well: keep one number for each row, "
            "(n,).": lambda v: _close(v, truth.mean()) or _close(v, terms.mean()),
        },
        args,
        "the KL divergence",
    )


def _close(value: Tensor, wrong: Tensor) -> bool:
    return value.shape == wrong.shape and torch.allclose(value.double(), wrong, atol=1e-4)


# --------------------------------------------------------------------------- reparameterisation
ROWS = 4000
LOGVAR = (-3.0, 0.6, 1.8)


def reparameterise(answer: Callable) -> Verdict:
    """``answer(mean, logvar)``, both (n, d): one differentiable draw for each entry, (n, d)."""
    mean = torch.randn(ROWS, len(LOGVAR), generator=seeded(3, 2)) * 2
    logvar = torch.tensor(LOGVAR).repeat(ROWS, 1)
    inputs = [mean.requires_grad_(), logvar.requires_grad_()]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        z, fault = attempt(lambda: answer(*inputs))
        again, _ = attempt(lambda: answer(*inputs))
        swapped = torch.cat([logvar[: ROWS // 2], logvar[ROWS // 2 :].flip(1)]).detach()
        mixed, _ = attempt(lambda: answer(mean.detach(), swapped))
    fault = fault or _draw_fault(z, again, mean.detach(), logvar.detach())
    fault = fault or _rows_fault(mixed, mean.detach(), swapped)
    return verdict(
        fault or _gradient_fault(z, *inputs),
        "mean + std * eps: fresh noise for every number, and gradients reach mean and logvar.",
    )


def _draw_fault(z: Tensor, again: Tensor, mean: Tensor, logvar: Tensor) -> str | None:
    """What is wrong with the values of a draw, or None."""
    if z is None or z is Ellipsis:
        return NOT_FILLED
    if not isinstance(z, Tensor) or z.shape != mean.shape:
        came = tuple(z.shape) if isinstance(z, Tensor) else type(z).__name__
        return f"the draw should have the shape of mean, {tuple(mean.shape)}, but is {came}."
    rest, z = z.detach() - mean, z.detach()
    if not bool(rest.isfinite().all()):
        return "the draw contains NaN or infinity: the std is exp(logvar / 2), without a log."
    if bool((rest.abs() < 1e-6).all()):
        return "there is no noise in it: you return the mean. Draw eps with torch.randn_like."
    if float((z * mean).mean() / (mean**2).mean()) < 0.5:
        return "the mean is missing: z = mean + std * eps."
    return (
        _shared_noise_fault(rest)
        or _width_fault(rest, logvar)
        or _shape_fault(rest)
        or _frozen_noise_fault(z, again)
    )


def _spread_is(rest: Tensor, std: Tensor) -> bool:
    """Is each column of `rest` as wide as `std` says?"""
    return torch.allclose(rest.std(0), std[0], rtol=0.15)


def _shared_noise_fault(rest: Tensor) -> str | None:
    """Noise drawn for one row, or one column, and used for all."""
    if bool((rest.std(0) < 1e-4).all()):
        return (
            "every row has the same noise: one eps is shared by the whole batch. Draw noise of "
            "the shape of mean, torch.randn_like(mean)."
        )
    columns = rest / rest.std(0)
    if torch.allclose(columns, columns[:, :1].expand_as(columns), atol=1e-3):
        return "all numbers of a row share one eps: draw noise of mean's whole shape."
    if bool((rest > -1e-4).all()):
        return "the noise is never negative: use torch.randn (normal), not torch.rand (uniform)."
    return None


def _width_fault(rest: Tensor, logvar: Tensor) -> str | None:
    """The standard deviation of the noise against the usual mistakes, column by column."""
    mistakes = {
        "the noise always has width 1: multiply eps by the std.": torch.ones_like(logvar),
        "you multiply by the variance: the std is exp(logvar / 2), not exp(logvar).": logvar.exp(),
        "you multiply by logvar itself: the std is exp(logvar / 2).": logvar.abs(),
        "you multiply by logvar / 2: take exp of it.": logvar.abs() / 2,
        "the std is exp(logvar / 2), not exp(logvar / 4) or the root of the std.": (
            logvar / 4
        ).exp(),
        "the noise is uniform between -1 and 1: use torch.randn (normal).": (logvar / 2).exp()
        / 3**0.5,
        "the exponent has the wrong sign: the std is exp(+logvar / 2).": (-logvar / 2).exp(),
    }
    truth = (logvar / 2).exp()
    if _spread_is(rest, truth):
        return None
    for message, std in mistakes.items():
        if _spread_is(rest, std):
            return message
    got = ", ".join(f"{v:.2f}" for v in rest.std(0).tolist())
    wanted = ", ".join(f"{v:.2f}" for v in truth[0].tolist())
    return f"for logvar = {LOGVAR} the noise should have widths {wanted}, but has {got}."


def _shape_fault(rest: Tensor) -> str | None:
    """Noise of the right width that is not normal: its fourth moment says so (normal: 3)."""
    noise = (rest - rest.mean(0)) / rest.std(0)
    off = float((rest.mean(0) / rest.std(0)).abs().max())
    if off > 0.1:
        return "the noise has a mean of its own: it should be normal around 0, torch.randn_like."
    fourth = float((noise**4).mean())
    if abs(fourth - 3) < 0.3:
        return None
    if abs(fourth - 1.8) < 0.1:
        return (
            "the noise is uniform: it has the right standard deviation and the wrong shape. A "
            "Gaussian posterior needs normal noise, torch.randn_like."
        )
    return (
        "the noise has the right standard deviation, but it is not normal: draw it with "
        "torch.randn_like."
    )


def _rows_fault(z: Any, mean: Tensor, logvar: Tensor) -> str | None:
    """Each row has a logvar of its own: half of them have another one here."""
    noise = (z - mean).detach() / (logvar / 2).exp()
    for half in noise.chunk(2):
        if not torch.allclose(half.std(0), torch.ones(half.shape[1]), rtol=0.15):
            return "all rows get the same std: each row has its own logvar, so do not average it."
    return None


def _frozen_noise_fault(z: Tensor, again: Tensor) -> str | None:
    if isinstance(again, Tensor) and torch.equal(z, again.detach()):
        return "two calls give the same draw: do not seed inside the function, draw fresh noise."
    return None


def _gradient_fault(z: Tensor, mean: Tensor, logvar: Tensor) -> str | None:
    """Do gradients flow back to both inputs?"""
    if not z.requires_grad:
        return (
            "no gradient can flow through this draw (no_grad, detach or a sampler such as "
            "torch.normal): write it as mean + std * eps."
        )
    gradients = torch.autograd.grad(z.sum(), (mean, logvar), allow_unused=True)
    for name, gradient in zip(("mean", "logvar"), gradients, strict=True):
        if gradient is None or not bool(gradient.abs().sum() > 0):
            return f"no gradient reaches {name}: leave .detach() and torch.normal out."
    return None


# --------------------------------------------------------------------------- ELBO
def elbo(answer: Callable) -> Verdict:
    """``answer(x, x_hat, mean, logvar, sigma)``: the ELBO without its constant, (n,).

    Pictures (n, C, H, W), posterior (n, d), a decoder that is sure up to `sigma`.
    """
    return judge_cases(
        answer,
        [_elbo_case(3, 0.4, (4, 1, 3, 3), 2), _elbo_case(13, 0.7, (2, 3, 4, 2), 5)],
        right="fit minus KL, in nats, for each picture; -ELBO is what training minimises.",
    )


def _elbo_case(seed: int, sigma: float, shape: tuple[int, ...], dims: int) -> Case:
    generator = seeded(3, seed)
    x, x_hat = torch.rand(2, *shape, generator=generator).double() * 2 - 1
    mean, logvar = torch.randn(2, shape[0], dims, generator=generator).double()
    squares = ((x - x_hat) ** 2).flatten(1)
    kl = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).sum(1)
    fit = -squares.sum(1) / (2 * sigma**2)
    truth = fit - kl
    return Case(
        truth,
        {
            "that is the loss, -ELBO: the bound itself is better when it is higher.": -truth,
            "the KL term has the wrong sign: the bound is the fit MINUS the KL.": fit + kl,
            "the fit has the wrong sign: log p(x | z) falls when the squared error grows.": (
                -fit - kl
            ),
            "the KL term is missing: that is only the fit.": fit,
            "sigma is missing: log p(x | z) = -squares / (2 sigma^2).": (
                lambda v: _close(v, -squares.sum(1) / 2 - kl) or _close(v, -squares.sum(1) - kl)
            ),
            "you divide by 2 sigma: it is 2 sigma^2.": -squares.sum(1) / (2 * sigma) - kl,
            "the 1/2 in front of the squares is missing.": 2 * fit - kl,
            "the 1/2 of the KL term is missing.": fit - 2 * kl,
            "the squares are averaged over the pixels: sum them. With the mean the KL term wins "
            "and the latents go silent.": fit / squares.shape[1] - kl,
            "sum the KL over the latents of each picture, do not average it.": fit - kl / dims,
            "the -1 of the KL term is missing: a posterior that equals the prior costs nothing.": (
                fit - kl - dims / 2
            ),
            "the mean enters the KL squared.": fit
            - 0.5 * (mean + logvar.exp() - 1 - logvar).sum(1),
            "logvar is the logarithm of the variance, not of the standard deviation.": lambda v: (
                _close(v, fit - 0.5 * (mean**2 + (2 * logvar).exp() - 1 - 2 * logvar).sum(1))
            ),
            "log of the variance is logvar itself: no further log, and exp for the variance.": fit
            - 0.5 * (mean**2 + logvar - 1 - logvar.exp()).sum(1),
            "that is the absolute difference: square it.": -(x - x_hat).abs().flatten(1).sum(1)
            / (2 * sigma**2)
            - kl,
            "you have averaged over the batch: keep one number for each picture, (n,).": (
                truth.mean()
            ),
            "you have summed over the batch: keep one number for each picture, (n,).": truth.sum(),
        },
        (x, x_hat, mean, logvar, sigma),
        "the ELBO",
    )


# --------------------------------------------------------------------------- latent scale
def _latents(seed: int = 4) -> Tensor:
    """Latents (n, c, h, w) whose channels, and whose positions, differ in mean and width."""
    z = torch.randn(64, 3, 4, 4, generator=seeded(3, seed)).double()
    channel = torch.tensor([0.3, 1.0, 4.0]).double().view(1, 3, 1, 1)
    place = torch.linspace(-1, 1, 16).double().view(1, 1, 4, 4)
    return channel * (z * (1.3 + place) + torch.tensor([2.0, -1.0, 0.5]).view(1, 3, 1, 1) + place)


def latent_scale(answer: Callable) -> Verdict:
    """``answer(z)`` for latents (n, c, h, w): mean and std of each channel, both (1, c, 1, 1)."""
    return judge_cases(
        answer,
        [_scale_case(_latents()), _scale_case(_latents(14)[:40, :2, :3].flip(1) - 1)],
        right="one mean and one std for each channel, over all pictures and positions.",
    )


def _scale_case(z: Tensor) -> Case:
    axes = (0, 2, 3)
    mean, std = z.mean(axes, keepdim=True), z.std(axes, keepdim=True)
    whole, places = (z.mean(), z.std()), (z.mean(0), z.std(0))
    return Case(
        (mean, std),
        {
            "that is one number over all channels: a quiet channel would stay quiet. Leave axis 1 "
            "out of the average.": lambda v: _numbers(v, *whole),
            "that is taken over the batch only: one number for every position. All positions of a "
            "channel share one scale: average over axes 0, 2 and 3.": lambda v: _numbers(
                v, *places
            ),
            "that is one number for each picture: the scale belongs to the training set, so "
            "average over the batch too.": lambda v: len(v[0]) == len(z),
            "the second number is the root of the mean square: subtract the mean first.": (
                mean,
                z.square().mean(axes, keepdim=True).sqrt(),
            ),
            "return two things, mean and std.": lambda v: isinstance(v, Tensor),
            "the second number is the variance: take its root.": (mean, std**2),
            "std and mean have changed places: return the mean first.": (std, mean),
            "the shape should be (1, c, 1, 1), so that it can be subtracted from z: use "
            "keepdim=True.": lambda v: _numbers(v, mean, std),
            "the mean is left at 0: channels may be off centre.": lambda v: (
                _numbers((v[1], v[1]), std, std) and not bool(torch.as_tensor(v[0]).any())
            ),
        },
        (z,),
        "the pair (mean, std)",
        1e-2,
    )


def _numbers(value, mean: Tensor, std: Tensor) -> bool:
    """Do the two parts hold these numbers, whatever their shapes?"""
    pairs = zip(value, (mean, std), strict=True)
    parts = [(torch.as_tensor(v).double().flatten(), w.flatten()) for v, w in pairs]
    return all(len(v) == len(w) and torch.allclose(v, w, rtol=1e-2) for v, w in parts)


def unscale(answer: Callable) -> Verdict:
    """``answer(z_scaled, mean, std)``: back to the latents that the decoder knows."""
    return judge_cases(
        answer,
        [_unscale_case(_latents()), _unscale_case(_latents(14)[:40, :2, :3].flip(1) - 1)],
        right="z_scaled * std + mean: decode(unscale(scale(z))) is decode(z) again.",
    )


def _unscale_case(z: Tensor) -> Case:
    mean, std = z.mean((0, 2, 3), keepdim=True), z.std((0, 2, 3), keepdim=True)
    scaled = (z - mean) / std
    return Case(
        z,
        {
            "mean and std have changed places.": scaled * mean + std,
            "you divide by the std: that is what scaling did.": scaled / std + mean,
            "nothing is undone: the decoder would get the scaled latents, which it never saw in "
            "training.": scaled,
            "that scales a second time instead of undoing it: multiply by std, then add the "
            "mean.": (scaled - mean) / std,
            "the order is wrong: scaling subtracted the mean first and divided last, so undo the "
            "division first.": (scaled + mean) * std,
            "the mean is not added back.": scaled * std,
            "the std is not multiplied back.": scaled + mean,
            "you multiply by the variance: use the std.": scaled * std**2 + mean,
            "the mean comes back with the wrong sign: add it.": scaled * std - mean,
        },
        (scaled, mean, std),
        "the latents",
    )

"""Answers of every style: what is right passes however it is written, what is wrong does not."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ldmlib.check import (
    core,
    editing,
    evaluation,
    fast_sampling,
    few_steps,
    forward,
    gan,
    probability,
    start,
    text,
    training,
    unet,
    vae,
)
from ldmlib.data import mnist
from ldmlib.evaluation import metrics
from ldmlib.images import from_uint8

Normal = torch.distributions.Normal


def year() -> torch.Tensor:
    test = mnist("test")
    return from_uint8(torch.stack([test.images[test.labels == int(d)][0] for d in "2026"]))


def said(capsys, check: Callable, answer: object, *more: object) -> str:
    torch.manual_seed(0)
    verdict = check(answer, *more)
    printed = capsys.readouterr().out.strip()
    assert printed == verdict.said and printed.startswith("Right" if verdict else "Not yet: ")
    return printed


# --------------------------------------------------------------------------- right, in other words
def score_in_python(x, means, stds, weights):
    for one in x.tolist():
        rows = list(zip(means.tolist(), stds.tolist(), weights.tolist(), strict=True))
        parts = [w * math.exp(-((one - m) ** 2) / (2 * s * s)) / s for m, s, w in rows]
        pulls = [p * (m - one) / s**2 for p, (m, s, _) in zip(parts, rows, strict=True)]
        yield sum(pulls) / sum(parts)


def score_by_autograd(x, means, stds, weights):
    x = x.requires_grad_()
    logs = torch.logsumexp(weights.log() + Normal(means, stds).log_prob(x[:, None]), 1)
    return torch.autograd.grad(logs.sum(), x)[0]


def judge_turn_in_two_halves(generator, discriminator, optimizer, real, noise):
    optimizer.zero_grad(set_to_none=True)
    with torch.no_grad():
        fake = generator(noise)
    (F.softplus(-discriminator(real)).mean() / 2).backward()
    (F.softplus(discriminator(fake)).mean() / 2).backward()
    optimizer.step()
    return "done"


def merge_as_generator(pieces, pair):
    i = 0
    while i < len(pieces):
        both = tuple(pieces[i : i + 2]) == pair
        yield "".join(pair) if both else pieces[i]
        i += 2 if both else 1


def attention_in_numpy(q, k, v, counts):
    logits = q.numpy() @ k.numpy().T / math.sqrt(q.shape[1])
    logits[:, ~counts.numpy()] = -1e9
    weights = np.exp(logits - logits.max(1, keepdims=True))
    return weights / weights.sum(1, keepdims=True) @ v.numpy()


def floor_of_chunks(reference, held_out, n):
    order = torch.randperm(len(held_out))
    return np.mean([metrics.fid(held_out[order[i * n :][:n]], reference) for i in range(5)])


def pasted_by_index(x, drawn, mask):
    x, mask = x.clone(), mask.expand_as(x)
    x[mask] = drawn[mask]
    return x


RIGHT = {
    "pictures in a list": (start.reads, lambda: list(year()), "2026"),
    "pictures in an array": (start.reads, lambda: year().double().numpy(), "2026"),
    "a float": (start.evaluations, lambda: 19.0, 10),
    "a generator": (probability.score, lambda: score_in_python),
    "autograd": (probability.score, lambda: score_by_autograd),
    "floats in a list": (probability.estimate, lambda: lambda v: [
        float(v.mean()), float(v.var()), float(v.std()) / len(v) ** 0.5]),
    "one tensor for three": (probability.estimate, lambda: lambda v: torch.stack(
        [v.mean(), v.var(), v.std() / len(v) ** 0.5])),
    "trapezoids": (probability.posterior, lambda: lambda z, p, q: (
        p * q / torch.trapezoid(p * q, z))),
    "python floats": (gan.accuracy, lambda: lambda z, real: sum(
        (a > 0) == b for a, b in zip(z[:, 0].tolist(), real.tolist(), strict=True)) / len(real)),
    "shape (1,)": (gan.accuracy, lambda: lambda z, r: ((z > 0) == r[:, None]).double().mean(0)),
    "two halves": (gan.judge_turn, lambda: judge_turn_in_two_halves),
    "torch.distributions": (vae.kl, lambda: lambda a, b, c, d: torch.distributions.kl_divergence(
        Normal(a, b), Normal(c, d)).sum(-1).float().tolist()),
    "rsample": (vae.reparameterise, lambda: lambda m, lv: Normal(m, (lv / 2).exp()).rsample()),
    "in place on its own": (vae.reparameterise, lambda: lambda m, lv: torch.randn(
        m.shape).mul_(lv.exp().sqrt()).add_(m)),
    "arrays": (vae.latent_scale, lambda: lambda z: [
        z.numpy().mean((0, 2, 3), keepdims=True), z.numpy().std((0, 2, 3), keepdims=True)]),
    "one-element tensor": (forward.variance, lambda: lambda a, s, v: torch.tensor(
        [a**2 * v + s**2])),
    "torch.Size": (unet.shapes, lambda: {
        "skips": np.int64(9), "middle": np.array([128, 16, 16]), "last_block": 64.0}),
    "nested lists": (unet.film, lambda: lambda h, s, b: [
        [h[i, j] * (1 + s[i, j]) + b[i, j] for j in range(h.shape[1])] for i in range(len(h))]),
    "a list of labels": (training.label_dropout, lambda: lambda y, u, p: [
        -1 if a < p else int(b) for a, b in zip(u, y, strict=True)]),
    "lerp": (training.guidance, lambda: lambda c, u, w: torch.lerp(u, c, w)),
    "an EMA in place": (training.ema, lambda: lambda a, w, d: a.mul_(d).add_(w, alpha=1 - d)),
    "disjoint chunks": (evaluation.floor, lambda: floor_of_chunks),
    "a fixed seed": (evaluation.floor, lambda: lambda r, h, n: metrics.fid(
        h[torch.randperm(len(h), generator=torch.Generator().manual_seed(1))[:n]], r)),
    "2 ** log2": (evaluation.inception, lambda: lambda z: 2 ** (
        z.softmax(1) * (z.softmax(1) / z.softmax(1).mean(0)).log2()).sum(1).mean()),
    "linear in x_t": (fast_sampling.ddim_step, lambda: lambda x, x0, at, st, a, s: (
        s / st * x + (a - s * at / st) * x0)),
    "numpy with a zero": (fast_sampling.karras, lambda: lambda n, a, b: np.append(
        np.linspace(a ** (1 / 7), b ** (1 / 7), n) ** 7, 0)),
    "a stack": (few_steps.flow_pair, lambda: lambda x, e, t: torch.stack(
        [torch.lerp(x, e, t), e - x])),
    "a tensor of three": (few_steps.noise_family, lambda: lambda s: torch.tensor(
        [1, -s, (1 + s * s) ** -0.5])),
    "yield": (text.merge, lambda: merge_as_generator),
    "numpy and -1e9": (text.attention, lambda: attention_in_numpy),
    "words left out": (text.attention, lambda: lambda q, k, v, c: (
        (q @ k[c].T / q.shape[1] ** 0.5).softmax(1) @ v[c])),
    "ties and max": (text.first_places, lambda: lambda f: (
        f.diagonal() >= f.max(1).values).float().mean().item()),
    "20 log10": (editing.psnr, lambda: lambda a, b: 20 * math.log10(
        2 / float(F.mse_loss(a, b)) ** 0.5)),
    "a list of times": (editing.times_of_edit, lambda: lambda t, s: [
        s, *(one for one in t.tolist() if one < s - 1e-9)]),
    "indexing": (editing.paste, lambda: pasted_by_index),
}  # fmt: skip


@pytest.mark.parametrize("case", RIGHT.values(), ids=RIGHT.keys())
def test_a_right_answer_passes_in_any_style(case, capsys) -> None:
    check, answer, *more = case
    assert said(capsys, check, answer(), *more).startswith("Right")


# --------------------------------------------------------------------------- wrong, and named
def draws(combine: Callable, pick: Callable) -> Callable:
    return lambda r, h, n: combine([metrics.fid(*pick(r, h, n)) for _ in range(5)])


def mean(values: list) -> float:
    return sum(values) / len(values)


def one(r, h, n):
    return h[torch.randperm(len(h))[:n]], r


def two_parts(r, h, n):
    order = torch.randperm(len(h))
    return h[order[:n]], h[order[n : 2 * n]]


def step_of_ddim(x0, x_t, s, t, schedule):
    eps = (x_t - schedule.alpha(t) * x0) / schedule.sigma(t)
    return schedule.alpha(s) * x0 + schedule.sigma(s) * eps


def all_overlaps(pieces, pair):
    hits = [i for i in range(len(pieces) - 1) if (pieces[i], pieces[i + 1]) == pair]
    return ["".join(pair) if i in hits else piece
            for i, piece in enumerate(pieces) if i in hits or i - 1 not in hits]  # fmt: skip


def through_text(pieces, pair):
    return "|".join(pieces).replace("|".join(pair), "".join(pair)).split("|")


def noisy(noise: Callable) -> Callable:
    return lambda m, lv: m + (lv / 2).exp() * noise(m)


def in_place_film(h, scale, shift):
    h *= 1 + scale[:, :, None, None]
    return h.add_(shift[:, :, None, None])


def in_place_merge(pieces, pair):
    pieces[:] = merge_as_generator(list(pieces), pair)
    return pieces


def in_place_dropout(labels, u, p):
    labels[u < p] = -1
    return labels


WRONG = {
    "a text": (start.reads, "2026", "pictures, but is the text '2026'", "2026"),
    "a function for pictures": (start.reads, lambda: 1, "not been called", "2026"),
    "grey pictures": (start.reads, year() / 2 + 0.5, "from -1 (black) to 1", "2026"),
    "a number as text": (start.evaluations, "19", "leave out the quotes", 10),
    "a function for a number": (start.evaluations, lambda: 19, "hand in its result", 10),
    "printed": (gan.accuracy, lambda z, r: None, "`return` is missing"),
    "written down": (gan.accuracy, lambda z, r: ((z[:, 0] > 0) == r).double().mean() * 0 + 0.4,
                     "same result for every input"),
    "not a function": (forward.variance, 0.506, "needs your function itself"),
    "a constant": (forward.variance, lambda a, s, v: 0.506, "same result for every input"),
    "only this v": (forward.variance, lambda a, s, v: a**2 * 0.4 + s**2, "not for another"),
    "no v": (forward.variance, lambda a, s, v: a**2 + s**2, "v is missing"),
    "cross term": (forward.variance, lambda a, s, v: (a * v**0.5 + s) ** 2, "do not add up"),
    "a caret": (forward.variance, lambda a, s, v: a ^ 2, "`**`, not `^`"),
    "no call": (probability.estimate, lambda v: (v.mean, v.var, v.std), "is a function"),
    "DDIM": (forward.posterior_mean, step_of_ddim, "a step of DDIM"),
    "uniform": (vae.reparameterise, noisy(lambda m: (torch.rand_like(m) - 0.5) * 12**0.5),
                "noise is uniform"),
    "signs": (vae.reparameterise, noisy(lambda m: torch.randint(0, 2, m.shape) * 2.0 - 1),
              "it is not normal"),
    "shifted": (vae.reparameterise, noisy(lambda m: torch.randn_like(m) + 1), "mean of its own"),
    "one row's std": (vae.reparameterise, lambda m, lv: m + (lv[0] / 2).exp() * torch.randn_like(m),
                      "each row has its own"),
    "bits": (vae.kl, lambda a, b, c, d: torch.distributions.kl_divergence(
        Normal(a, b), Normal(c, d)).sum(1) / math.log(2), "in bits"),
    "keepdim": (vae.kl, lambda a, b, c, d: torch.distributions.kl_divergence(
        Normal(a, b), Normal(c, d)).sum(1, True), "with the right numbers in it"),
    "changed input": (unet.film, in_place_film, "`h` was changed in place"),
    "changed list": (text.merge, in_place_merge, "`pieces` was changed in place"),
    "changed labels": (training.label_dropout, in_place_dropout, "`labels` was changed in place"),
    "labels as floats": (training.label_dropout, lambda y, u, p: torch.where(u < p, -1.0, y),
                         "whole numbers"),
    "only this w": (training.guidance, lambda c, u, w: u + 3 * (c - u), "not for another"),
    "with replacement": (evaluation.floor, draws(mean, lambda r, h, n: (
        h[torch.randint(len(h), (n,))], r)), "with replacement"),
    "swapped": (evaluation.floor, draws(mean, lambda r, h, n: one(h, r, n)), "changed places"),
    "minimum": (evaluation.floor, draws(min, one), "smallest of several draws"),
    "maximum": (evaluation.floor, draws(max, one), "largest of several draws"),
    "sum": (evaluation.floor, draws(sum, one), "sum of several draws"),
    "two halves": (evaluation.floor, draws(mean, two_parts), "reference is not used"),
    "even and odd": (evaluation.floor, lambda r, h, n: metrics.fid(h[::2], h[1::2]),
                     "reference is not used"),
    "root of FID": (evaluation.floor, lambda r, h, n: metrics.fid(*one(r, h, n)) ** 0.5, "root"),
    "a floor written down": (evaluation.floor, lambda r, h, n: 1.8, "same result for every input"),
    "log2": (evaluation.inception, lambda z: (
        z.softmax(1) * (z.softmax(1) / z.softmax(1).mean(0)).log2()).sum(1).mean().exp(), "base 2"),
    "rows for columns": (text.attention, lambda q, k, v, c: (
        (q @ k[c].T / q.shape[1] ** 0.5).softmax(1) @ v[c]).T, "changed places"),
    "overlaps": (text.merge, all_overlaps, "overlapping pairs are all merged"),
    "through a text": (text.merge, through_text, "not pieces"),
    "PSNR by picture": (editing.psnr, lambda a, b: torch.stack(
        [10 * torch.log10(4 / (x - y).square().mean()) for x, y in zip(a, b, strict=True)]
    ).mean(), "mean of each picture's PSNR"),
    "// for /": (text.first_places, lambda f: (
        (f.argmax(1) == torch.arange(len(f))).sum() // len(f)), "use `/`"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_answer_fails_and_is_named(case, capsys) -> None:
    check, answer, words, *more = case
    printed = said(capsys, check, answer, *more)
    assert printed.startswith("Not yet") and words in printed


def test_the_minimum_is_found_and_honest_draws_are_not_for_many_seeds() -> None:
    for seed in range(2):
        torch.manual_seed(seed)
        assert evaluation.floors.fault(draws(mean, one)) is None, seed
        assert evaluation.floors.fault(lambda r, h, n: metrics.fid(*one(r, h, n))) is None, seed
        assert "smallest" in evaluation.floors.fault(draws(min, one)), seed


@pytest.mark.parametrize(
    ("wrong", "words"),
    [(-2.0, "the sign is wrong"), (4.0, "twice as large"), (1.0, "half as large"),
     (2**0.5, "the root of it"), (0.5, "upside down")],
)  # fmt: skip
def test_a_slip_that_no_check_foresaw_gets_a_hint(wrong: float, words: str) -> None:
    if words == "half as large":
        assert words in core.find_fault(1.5, 3.0)
    else:
        assert words in core.find_fault(wrong, 2.0)

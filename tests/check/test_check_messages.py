"""Every exercise of Part I: the right answer passes, each typical mistake has its words."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable
from pathlib import Path

import jupytext
import pytest
import torch
import torch.nn.functional as F

from ldmlib.check import evaluation, forward, gan, probability, start, training, unet, vae
from ldmlib.data import mnist
from ldmlib.evaluation import metrics
from ldmlib.images import from_uint8
from ldmlib.networks.unet import time_embedding

PART_ONE = sorted(Path(__file__).parents[2].glob("notebooks/py/0[0-7]*.py"))
NORMAL = torch.distributions.Normal


def drawn(digits: str) -> torch.Tensor:
    """Real digits of these classes, the first of each in the test set."""
    test = mnist("test")
    return from_uint8(torch.stack([test.images[test.labels == int(d)][0] for d in digits]))


def turn(loss: Callable, *, clean: bool = True, detach: bool = True) -> Callable:
    """A judge's turn with this loss of (real logits, fake logits), and mistakes on demand."""

    def answer(generator, discriminator, optimizer, real, noise):
        fake = generator(noise).detach() if detach else generator(noise)
        value = loss(discriminator(real), discriminator(fake))
        if clean:
            optimizer.zero_grad()
        value.backward()
        optimizer.step()

    return answer


def forger(loss: Callable, *, clean: bool = True) -> Callable:
    """A forger's turn with this loss of the fake logits."""

    def answer(generator, discriminator, optimizer, noise):
        value = loss(discriminator(generator(noise)))
        if clean:
            optimizer.zero_grad()
        value.backward()
        optimizer.step()

    return answer


def judged(real, fake):
    return (F.softplus(-real).mean() + F.softplus(fake).mean()) / 2


def pulls(x, m, s, w, power=2):
    posterior = (w.log() + NORMAL(m, s).log_prob(x[:, None])).softmax(1)
    return (posterior * (m - x[:, None]) / s**power).sum(1)


def gaussian_elbo(x, m, v, s):
    fit = -((x - m) ** 2 + v) / (2 * s**2) - 0.5 * math.log(2 * math.pi * s**2)
    return fit, 0.5 * (m**2 + v - 1 - math.log(v))


def gaussians_kl(mq, sq, mp, sp):
    return ((sp / sq).log() + (sq**2 + (mq - mp) ** 2) / (2 * sp**2) - 0.5).sum(1)


def vae_parts(x, y, m, lv, s):
    return -((x - y) ** 2).flatten(1).sum(1) / (2 * s**2), 0.5 * (m**2 + lv.exp() - 1 - lv).sum(1)


def step(s, t, schedule):
    r = schedule.alpha(t) / schedule.alpha(s)
    return r, schedule.sigma(t) ** 2 - r**2 * schedule.sigma(s) ** 2


def posterior_mean(x0, xt, s, t, schedule):
    (r, a), sigma = step(s, t, schedule), schedule.sigma
    return (r * sigma(s) ** 2 * xt + a * schedule.alpha(s) * x0) / sigma(t) ** 2


def floor(reference, held_out, n):
    orders = [torch.randperm(len(held_out))[:n] for _ in range(5)]
    return sum(metrics.fid(held_out[order], reference) for order in orders) / 5


def inception(z, axis=1):
    p = z.softmax(axis)
    return (p * (p / p.mean(0)).log()).sum(1).mean().exp()


SHAPES = {"skips": 9, "middle": (128, 16, 16), "last_block": 64}
# check -> (right answer, typical wrong ones, further arguments of the check)
CASES: dict[str, tuple] = {
    "start.reads": (drawn("2026"), [drawn("6202"), drawn("2222"), drawn("202"), drawn("2206")],
                    ("2026",)),
    "start.evaluations": (19, [10, 20, 21, 9], (10,)),
    "probability.score": (pulls, [
        lambda *a: -pulls(*a),
        lambda *a: pulls(*a, power=1),
        lambda x, m, s, w: (w * (m - x[:, None]) / s**2).sum(1),
    ]),
    "probability.estimate": (lambda v: (v.mean(), v.var(), (v.var() / len(v)).sqrt()), [
        lambda v: (v.sum(), v.var(), (v.var() / len(v)).sqrt()),
        lambda v: (v.mean(), v.std(), (v.var() / len(v)).sqrt()),
        lambda v: (v.mean(), v.var(), v.std()),
    ]),
    "probability.posterior": (lambda z, p, q: p * q / ((p * q).sum() * (z[1] - z[0])), [
        lambda z, p, q: p * q,
        lambda z, p, q: p * q / (p * q).sum(),
        lambda z, p, q: q / (q.sum() * (z[1] - z[0])),
    ]),
    "probability.elbo": (lambda *a: gaussian_elbo(*a)[0] - gaussian_elbo(*a)[1], [
        lambda *a: sum(gaussian_elbo(*a)),
        lambda *a: gaussian_elbo(*a)[0],
        lambda *a: gaussian_elbo(*a)[1] - gaussian_elbo(*a)[0],
    ]),
    "gan.accuracy": (lambda z, real: ((z[:, 0] > 0) == real).double().mean(), [
        lambda z, real: ((z > 0) == real).double().mean(),
        lambda z, real: ((z[:, 0] > 0.5) == real).double().mean(),
        lambda z, real: ((z[:, 0] > 0) != real).double().mean(),
    ]),
    "gan.judge_loss": (judged, [
        lambda real, fake: judged(real.sigmoid(), fake.sigmoid()),
        lambda real, fake: judged(fake, real),
        lambda real, fake: 2 * judged(real, fake),
    ]),
    "gan.judge_turn": (turn(judged), [
        turn(judged, clean=False),
        turn(judged, detach=False),
        turn(lambda real, fake: judged(fake, real)),
        turn(lambda real, fake: F.softplus(-real).mean()),
    ]),
    "gan.generator_turn": (forger(lambda fake: F.softplus(-fake).mean()), [
        forger(lambda fake: F.softplus(fake).mean()),
        forger(lambda fake: -F.softplus(fake).mean()),
        forger(lambda fake: F.softplus(-fake).mean(), clean=False),
    ]),
    "vae.kl": (gaussians_kl, [
        lambda mq, sq, mp, sp: gaussians_kl(mp, sp, mq, sq),
        lambda mq, sq, mp, sp: gaussians_kl(mq, sq.sqrt(), mp, sp.sqrt()),
        lambda *a: 2 * gaussians_kl(*a),
    ]),
    "vae.reparameterise": (lambda m, lv: m + (lv / 2).exp() * torch.randn_like(m), [
        lambda m, lv: m,
        lambda m, lv: m + lv.exp() * torch.randn_like(m),
        lambda m, lv: m + (lv / 2).exp() * torch.randn(m.shape[1]),
    ]),
    "vae.elbo": (lambda *a: vae_parts(*a)[0] - vae_parts(*a)[1], [
        lambda *a: vae_parts(*a)[1] - vae_parts(*a)[0],
        lambda *a: sum(vae_parts(*a)),
        lambda *a: vae_parts(*a)[0],
    ]),
    "vae.latent_scale": (lambda z: (z.mean((0, 2, 3), True), z.std((0, 2, 3), keepdim=True)), [
        lambda z: (z.mean(), z.std()),
        lambda z: (z.mean((0, 2, 3), True), z.var((0, 2, 3), keepdim=True)),
        lambda z: (z.mean((0, 2, 3)), z.std((0, 2, 3))),
    ]),
    "vae.unscale": (lambda z, m, s: z * s + m, [
        lambda z, m, s: z,
        lambda z, m, s: (z + m) * s,
        lambda z, m, s: z * s,
    ]),
    "forward.variance": (lambda a, s, v: a**2 * v + s**2, [
        lambda a, s, v: (a**2 * v + s**2) ** 0.5,
        lambda a, s, v: s**2,
        lambda a, s, v: a * v + s,
    ]),
    "forward.time_of_snr": (lambda snr: 1 / (1 + snr**0.5), [
        lambda snr: 1 / (1 + snr),
        lambda snr: snr**0.5 / (1 + snr**0.5),
        lambda snr: 1 + snr,
    ]),
    "forward.one_step": (step, [
        lambda *a: (step(*a)[0], step(*a)[1] ** 0.5),
        lambda *a: step(*a)[::-1],
        lambda s, t, schedule: (schedule.alpha(t), schedule.sigma(t) ** 2),
    ]),
    "forward.posterior_mean": (posterior_mean, [
        lambda x0, xt, s, t, schedule: schedule.alpha(s) * x0,
        lambda x0, xt, s, t, schedule: xt / step(s, t, schedule)[0],
        lambda x0, xt, s, t, schedule: (
            posterior_mean(x0, xt, s, t, schedule) * schedule.sigma(t) ** 2
        ),
    ]),
    "unet.embedding": (time_embedding, [
        lambda t, dim: time_embedding(t / 1000, dim),
        lambda t, dim: time_embedding(t, dim).roll(dim // 2, 1),
        lambda t, dim: time_embedding(t, dim)[:, : dim // 2],
    ]),
    "unet.shapes": (SHAPES, [
        SHAPES | {"skips": 7}, SHAPES | {"middle": (128, 32, 32)}, SHAPES | {"last_block": 32},
    ]),
    "unet.film": (lambda h, s, b: h * (1 + s[:, :, None, None]) + b[:, :, None, None], [
        lambda h, s, b: h * s[:, :, None, None] + b[:, :, None, None],
        lambda h, s, b: h * (1 + s) + b,
        lambda h, s, b: h * (1 + s[:, :, None, None]),
    ]),
    "unet.x0_from_v": (lambda v, x, a, s: a * x - s * v, [
        lambda v, x, a, s: a * x + s * v,
        lambda v, x, a, s: s * x + a * v,
        lambda v, x, a, s: (x - s * v) / a,
    ]),
    "training.label_dropout": (lambda y, u, p: torch.where(u < p, -1, y), [
        lambda y, u, p: torch.where(u < p, y, -1),
        lambda y, u, p: torch.where(u < p, 0, y),
        lambda y, u, p: torch.full_like(y, -1),
    ]),
    "training.guidance": (lambda c, u, w: u + w * (c - u), [
        lambda c, u, w: c + w * (u - c),
        lambda c, u, w: c + w * (c - u),
        lambda c, u, w: u + w * c,
    ]),
    "training.ema": (lambda a, w, d: d * a + (1 - d) * w, [
        lambda a, w, d: (1 - d) * a + d * w,
        lambda a, w, d: d * a + w,
        lambda a, w, d: (a + w) / 2,
    ]),
    "evaluation.frechet_1d": (lambda a, s, b, r: (a - b) ** 2 + (s - r) ** 2, [
        lambda a, s, b, r: (a - b) ** 2 + s**2 + r**2,
        lambda a, s, b, r: (a - b) ** 2 + (s**2 - r**2) ** 2,
        lambda a, s, b, r: (a - b) ** 2,
    ]),
    "evaluation.floor": (floor, [
        lambda r, h, n: metrics.fid(h, r),
        lambda r, h, n: metrics.fid(h[:n], r),
        lambda r, h, n: metrics.fid(r, r),
    ]),
    "evaluation.inception": (inception, [
        lambda z: inception(z).log(),
        lambda z: inception(z, axis=0),
        lambda z: (-(z.softmax(1) * z.log_softmax(1)).sum(1)).mean().exp(),
    ]),
}  # fmt: skip
MODULES = {m.__name__.split(".")[-1]: m for m in (
    evaluation, forward, gan, probability, start, training, unet, vae)}  # fmt: skip
each_check = pytest.mark.parametrize("name", CASES)
# What is said where no mistake was recognised.
UNFORESEEN = re.compile(
    "should (be|have|hold) .*, but (is|has|holds) |your code stopped|not filled"
)


def said(name: str, answer: object, capsys: pytest.CaptureFixture) -> tuple[bool, str]:
    """What the check answers, and says."""
    module, function = name.split(".")
    more = CASES[name][2] if len(CASES[name]) > 2 else ()
    torch.manual_seed(0)
    verdict = getattr(MODULES[module], function)(answer, *more)
    printed = capsys.readouterr().out.strip()
    assert verdict.said == printed
    return bool(verdict), printed


def test_every_exercise_is_here() -> None:
    asked = set()
    for path in PART_ONE:
        cells = jupytext.read(path).cells
        text = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
        imports = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.ImportFrom)]
        (module,) = {n.names[0].name for n in imports if n.module == "ldmlib.check"
                     and n.names[0].asname == "check"}  # fmt: skip
        for cell in cells:
            if "check" in cell.metadata.get("tags", []):
                calls = [n.value for n in ast.parse(cell.source).body]
                asked |= {f"{module}.{call.func.attr}" for call in calls}
    assert asked == set(CASES)


@each_check
def test_the_right_answer_passes(name: str, capsys) -> None:
    passed, words = said(name, CASES[name][0], capsys)
    assert passed and words.startswith("Right"), words


@each_check
def test_three_typical_mistakes_have_words_of_their_own(name: str, capsys) -> None:
    wrong = CASES[name][1]
    answers = [said(name, answer, capsys) for answer in wrong]
    assert not [words for passed, words in answers if passed or not words.startswith("Not yet: ")]
    words = [words.removeprefix("Not yet: ") for _, words in answers]
    assert len(set(words)) == len(wrong) >= 3
    assert not [w for w in words if UNFORESEEN.search(w)]

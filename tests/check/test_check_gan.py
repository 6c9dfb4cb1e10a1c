"""The checks of notebook 02 accept the truth and name every usual mistake; they never raise."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from ldmlib.check import gan as check


def assert_named(capsys, check_it: Callable, answer: object, words: str) -> None:
    result = check_it(answer)
    text = capsys.readouterr().out
    assert not result
    assert text.startswith("Not yet") and words in text, text


def assert_right(capsys, check_it: Callable, answer: object) -> None:
    assert check_it(answer)
    assert capsys.readouterr().out.startswith("Right: ")


@pytest.mark.parametrize(
    "check_it", [check.accuracy, check.judge_loss, check.judge_turn, check.generator_turn]
)
def test_untouched_and_broken_answers(check_it: Callable, capsys) -> None:
    assert_named(capsys, check_it, lambda *args: ..., "not filled in yet")
    assert_named(capsys, check_it, lambda *args: 1 / 0, "ZeroDivisionError")
    assert_named(capsys, check_it, lambda: 1, "TypeError")


# --------------------------------------------------------------------------- accuracy
def right_share(logits, is_real):
    return ((logits[:, 0] > 0) == is_real).double().mean()


ACCURACY_WRONG = {
    "broadcast": (lambda v, y: ((v > 0) == y).double().mean(), "(n, n) table"),
    "border": (lambda v, y: ((v[:, 0] > 0.5) == y).double().mean(), "border"),
    "both": (lambda v, y: ((v > 0.5) == y).double().mean(), "border for logits is 0"),
    "mistakes": (lambda v, y: 1 - right_share(v, y), "share of mistakes"),
    "count": (lambda v, y: ((v[:, 0] > 0) == y).sum(), "divide by n"),
    "real only": (lambda v, y: (v[y, 0] > 0).double().mean(), "only the real"),
    "called real": (lambda v, y: (v > 0).double().mean(), "share called real"),
    "a table": (lambda v, y: (v[:, 0] > 0) == y, "one yes or no for each picture"),
}


@pytest.mark.parametrize(("answer", "words"), ACCURACY_WRONG.values(), ids=ACCURACY_WRONG.keys())
def test_accuracy_names_the_mistake(answer, words, capsys) -> None:
    assert_named(capsys, check.accuracy, answer, words)


def test_accuracy_accepts_the_truth(capsys) -> None:
    assert_right(capsys, check.accuracy, right_share)
    assert_right(capsys, check.accuracy, lambda v, y: right_share(v, y).item())
    assert_right(
        capsys, check.accuracy, lambda v, y: ((v.sigmoid() > 0.5).flatten() == y).float().mean()
    )


# --------------------------------------------------------------------------- loss
def cross_entropy(real, fake):
    return (F.softplus(-real).mean() + F.softplus(fake).mean()) / 2


def hinge(real, fake):
    return (F.relu(1 - real).mean() + F.relu(1 + fake).mean()) / 2


LOSS_WRONG = {
    "sigmoid twice": (lambda r, f: cross_entropy(r.sigmoid(), f.sigmoid()), "applied twice"),
    "swapped": (lambda r, f: cross_entropy(f, r), "labels are swapped"),
    "no half": (lambda r, f: 2 * cross_entropy(r, f), "twice too large"),
    "real only": (lambda r, f: F.softplus(-r).mean(), "only the real"),
    "half of real": (lambda r, f: F.softplus(-r).mean() / 2, "add the fakes"),
    "fakes only": (lambda r, f: F.softplus(f).mean(), "only the fakes"),
    "fakes as real": (lambda r, f: (F.softplus(-r) + F.softplus(-f)).mean() / 2, "towards 'real'"),
    "sign": (lambda r, f: -cross_entropy(r, f), "sign is wrong"),
    "hinge": (hinge, "hinge loss"),
    "no mean": (lambda r, f: (F.softplus(-r) + F.softplus(f)) / 2, "take means"),
    "sum": (lambda r, f: (F.softplus(-r) + F.softplus(f)).sum() / 2, "sums instead of means"),
}


@pytest.mark.parametrize(("answer", "words"), LOSS_WRONG.values(), ids=LOSS_WRONG.keys())
def test_loss_names_the_mistake(answer, words, capsys) -> None:
    assert_named(capsys, check.judge_loss, answer, words)


def test_loss_accepts_the_truth(capsys) -> None:
    def by_torch(real, fake):
        bce = F.binary_cross_entropy_with_logits
        return (bce(real, torch.ones_like(real)) + bce(fake, torch.zeros_like(fake))) / 2

    assert_right(capsys, check.judge_loss, cross_entropy)
    assert_right(capsys, check.judge_loss, by_torch)


# --------------------------------------------------------------------------- the judge's turn
def judge_turn(loss=cross_entropy, detach=True, clear=True, step=True):
    """A turn with faults to order."""

    def turn(generator, discriminator, optimizer, real, noise):
        fake = generator(noise)
        fake = fake.detach() if detach else fake
        value = loss(discriminator(real), discriminator(fake))
        if clear:
            optimizer.zero_grad()
        value.backward()
        if step:
            optimizer.step()

    return turn


def both_move(generator, discriminator, optimizer, real, noise):
    judge_turn(detach=False)(generator, discriminator, optimizer, real, noise)
    torch.optim.SGD(generator.parameters(), lr=0.1).step()


def without_graph(generator, discriminator, optimizer, real, noise):
    with torch.no_grad():
        cross_entropy(discriminator(real), discriminator(generator(noise)))
    optimizer.step()


JUDGE_WRONG = {
    "no detach": (judge_turn(detach=False), "detach the fakes"),
    "no zero_grad": (judge_turn(clear=False), "zero_grad"),
    "no step": (judge_turn(step=False), "did not move"),
    "swapped": (judge_turn(lambda r, f: cross_entropy(f, r)), "labels are swapped"),
    "real only": (judge_turn(lambda r, f: F.softplus(-r).mean()), "real pictures only"),
    "half of real": (judge_turn(lambda r, f: F.softplus(-r).mean() / 2), "real pictures only"),
    "no half": (judge_turn(lambda r, f: 2 * cross_entropy(r, f)), "twice too long"),
    "uphill": (judge_turn(lambda r, f: -cross_entropy(r, f)), "uphill"),
    "sigmoid twice": (
        judge_turn(lambda r, f: cross_entropy(r.sigmoid(), f.sigmoid())),
        "applied twice",
    ),
    "swapped and not cleared": (
        judge_turn(lambda r, f: cross_entropy(f, r), clear=False),
        "labels are swapped",
    ),
    "generator moved": (both_move, "generator's weights moved"),
    "no gradient": (without_graph, "no gradient reached the judge"),
    "other loss": (judge_turn(lambda r, f: (r - 3).pow(2).mean()), "slope of its loss"),
}


@pytest.mark.parametrize(("answer", "words"), JUDGE_WRONG.values(), ids=JUDGE_WRONG.keys())
def test_judge_turn_names_the_mistake(answer, words, capsys) -> None:
    assert_named(capsys, check.judge_turn, answer, words)


def test_judge_turn_accepts_the_truth(capsys) -> None:
    assert_right(capsys, check.judge_turn, judge_turn())

    def under_no_grad(generator, discriminator, optimizer, real, noise):
        with torch.no_grad():
            fake = generator(noise)
        judge_turn()(lambda _: fake, discriminator, optimizer, real, noise)

    assert_right(capsys, check.judge_turn, under_no_grad)


# --------------------------------------------------------------------------- the forger's turn
def forger_turn(loss=lambda v: F.softplus(-v).mean(), detach=False, clear=True, step=True):
    """A turn with faults to order."""

    def turn(generator, discriminator, optimizer, noise):
        fake = generator(noise)
        value = loss(discriminator(fake.detach() if detach else fake))
        if clear:
            optimizer.zero_grad()
        value.backward()
        if step:
            optimizer.step()

    return turn


def judge_moves(generator, discriminator, optimizer, noise):
    forger_turn()(generator, discriminator, optimizer, noise)
    torch.optim.SGD(discriminator.parameters(), lr=0.1).step()


FORGER_WRONG = {
    "towards fake": (forger_turn(lambda v: F.softplus(v).mean()), "label 'fake'"),
    "saturating": (forger_turn(lambda v: -F.softplus(v).mean()), "saturating"),
    "hinge": (forger_turn(lambda v: -v.mean()), "hinge"),
    "sigmoid twice": (forger_turn(lambda v: F.softplus(-v.sigmoid()).mean()), "applied twice"),
    "uphill": (forger_turn(lambda v: -F.softplus(-v).mean()), "uphill"),
    "detached": (forger_turn(detach=True), "did not move"),
    "detached, not cleared": (forger_turn(detach=True, clear=False), "no gradient reached"),
    "no zero_grad": (forger_turn(clear=False), "zero_grad"),
    "no step": (forger_turn(step=False), "did not move"),
    "judge moved": (judge_moves, "judge's weights moved"),
    "other loss": (forger_turn(lambda v: (v - 3).pow(2).mean()), "slope of its loss"),
}


@pytest.mark.parametrize(("answer", "words"), FORGER_WRONG.values(), ids=FORGER_WRONG.keys())
def test_forger_turn_names_the_mistake(answer, words, capsys) -> None:
    assert_named(capsys, check.generator_turn, answer, words)


def test_forger_turn_accepts_the_truth(capsys) -> None:
    assert_right(capsys, check.generator_turn, forger_turn())
    ones = forger_turn(lambda v: F.binary_cross_entropy_with_logits(v, torch.ones_like(v)))
    assert_right(capsys, check.generator_turn, ones)

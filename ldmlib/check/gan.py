"""Checks for notebook 02: the judge's accuracy and loss, and one turn of each player."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ldmlib.check.core import NOT_FILLED, Case, Verdict, attempt, judge_cases, verdict
from ldmlib.rng import seeded
from ldmlib.training.adversarial import discriminator_loss, generator_loss

LR = 0.05


# --------------------------------------------------------------------------- accuracy
def accuracy(answer: Callable) -> Verdict:
    """``answer(logits, is_real)``, (n, 1) and (n,) bool: share of pictures named rightly."""
    return judge_cases(
        answer,
        [_accuracy_case(1, 40), _accuracy_case(11, 25)],
        right="the share of pictures, real and fake, that the judge names rightly.",
    )


def _accuracy_case(seed: int, n: int) -> Case:
    generator = seeded(2, seed)
    logits = torch.randn(n, 1, generator=generator) + 0.4
    is_real = torch.rand(n, generator=generator) < 0.3
    flat = logits[:, 0]
    truth = ((flat > 0) == is_real).double().mean()
    return Case(
        truth,
        {
            "shapes (n, 1) and (n,) were compared, and gave an (n, n) table: every picture against "
            "every label. Flatten the logits first.": ((logits > 0) == is_real).double().mean(),
            "these are logits, not probabilities: the border between fake and real is 0, not "
            "0.5.": ((flat > 0.5) == is_real).double().mean(),
            "shapes (n, 1) and (n,) made an (n, n) table, and the border for logits is 0, not "
            "0.5.": ((logits > 0.5) == is_real).double().mean(),
            "that is the share of mistakes: one minus what is asked.": 1 - truth,
            "that is the number of right answers: divide by n.": truth * len(flat),
            "only real pictures called real were counted: fakes called fake are right, too.": (
                ((flat > 0) & is_real).double().mean()
            ),
            "one yes or no for each picture is left: take their mean.": lambda v: v.shape == (n,),
            "that is a percentage: a share lies between 0 and 1.": 100 * truth,
            "`//` divides whole numbers and drops the rest: use `/`.": (
                lambda v: float(v) == 0 and not v.is_floating_point()
            ),
            "only the real pictures were counted: fakes called fake are right answers as well.": (
                flat[is_real] > 0
            )
            .double()
            .mean(),
            "that is the share called real, whatever they are.": (flat > 0).double().mean(),
        },
        (logits, is_real),
        "the accuracy",
    )


# --------------------------------------------------------------------------- the judge's loss
def judge_loss(answer: Callable) -> Verdict:
    """``answer(real, fake)``, logits (n,) each: the halved binary cross-entropy, a number."""
    return judge_cases(
        answer,
        [_loss_case(2, 30), _loss_case(12, 17)],
        right="cross-entropy with label 1 for real and 0 for fake, halved.",
    )


def _loss_case(seed: int, n: int) -> Case:
    generator = seeded(2, seed)
    real, fake = 2 * torch.randn(2, n, generator=generator).double() + 0.3
    truth = discriminator_loss(real, fake, "non_saturating")

    least = ((real.sigmoid() - 1).square().mean() + fake.sigmoid().square().mean()) / 2

    def with_logits(a: Tensor, b: Tensor) -> Tensor:
        return discriminator_loss(a, b, "non_saturating")

    return Case(
        truth,
        {
            "the sigmoid is applied twice: binary_cross_entropy_with_logits (and softplus) takes "
            "logits and does it by itself.": with_logits(real.sigmoid(), fake.sigmoid()),
            "the labels are swapped: real pictures have label 1, fakes 0.": with_logits(fake, real),
            "it is twice too large: halve the sum of the two means.": 2 * truth,
            "only the real pictures are judged: a judge that always says 'real' would be "
            "perfect.": F.softplus(-real).mean(),
            "only half of it is there, the real pictures; add the fakes.": (
                F.softplus(-real).mean() / 2
            ),
            "only the fakes are judged: a judge that always says 'fake' would be "
            "perfect.": F.softplus(fake).mean(),
            "the fakes are trained towards 'real': for the judge their label is 0.": (
                (F.softplus(-real) + F.softplus(-fake)).mean() / 2
            ),
            "the sign is wrong: a loss is small where the judge is right.": -truth,
            "that is the hinge loss; here the binary cross-entropy is asked for.": (
                discriminator_loss(real, fake, "hinge")
            ),
            "the logarithm is the natural one here, not log2 or log10.": lambda v: any(
                abs(float(v) - float(truth) / math.log(base)) < 1e-4 for base in (2, 10)
            ),
            "that is the least-squares loss; here the binary cross-entropy is asked for.": (
                lambda v: any(
                    abs(float(v) - factor * float(least)) < 1e-4 for factor in (0.5, 1, 2)
                )
            ),
            "those are plain means of logits, the loss of a Wasserstein critic; here the binary "
            "cross-entropy is asked for.": lambda v: any(
                abs(abs(float(v)) - factor * abs(float(fake.mean() - real.mean()))) < 1e-4
                for factor in (0.5, 1)
            ),
            "one number for each picture is left: take means.": lambda v: v.ndim > 0,
            "sums instead of means: the loss must not depend on the batch size.": (
                lambda v: float(v) > 5 * float(truth)
            ),
        },
        (real, fake),
        "the loss",
    )


# --------------------------------------------------------------------------- turns
class _Table:
    """Two small players before a turn, with old gradients lying about, and what they were."""

    def __init__(self) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.generator, self.discriminator = nn.Linear(3, 2), nn.Linear(2, 1)
            self.optimizers = [
                torch.optim.SGD(network.parameters(), lr=LR)
                for network in (self.generator, self.discriminator)
            ]
        draws = seeded(2, 3)
        self.real = torch.randn(16, 2, generator=draws) + 1
        self.noise = torch.randn(16, 3, generator=draws)
        for p in [*self.generator.parameters(), *self.discriminator.parameters()]:
            p.grad = torch.full_like(p, 3.0)
        self.before = [self._weights(n) for n in (self.generator, self.discriminator)]

    @staticmethod
    def _weights(network: nn.Module) -> Tensor:
        return torch.cat([p.detach().flatten() for p in network.parameters()]).clone()

    def moves(self) -> tuple[Tensor, Tensor]:
        """How far the generator and the discriminator have moved, in units of the rate."""
        now = (self.generator, self.discriminator)
        return tuple((self._weights(n) - b) / LR for n, b in zip(now, self.before, strict=True))

    def step(self, loss: Callable[[], Tensor], whose: int) -> Tensor:
        """The move of a player that minimises `loss` from clean gradients; nothing is changed."""
        network = (self.generator, self.discriminator)[whose]
        slopes = torch.autograd.grad(loss(), list(network.parameters()), allow_unused=True)
        flat = [
            torch.zeros(p.numel()) if slope is None else slope.flatten()
            for slope, p in zip(slopes, network.parameters(), strict=True)
        ]
        return -torch.cat(flat)

    def stale(self, whose: int) -> Tensor:
        """The move that the old gradients alone would have made."""
        return torch.full_like(self.before[whose], -3.0)

    def fake(self) -> Tensor:
        """Logits of the fakes, (n, 1)."""
        return self.discriminator(self.generator(self.noise))


def _near(move: Tensor, wanted: Tensor) -> bool:
    return torch.allclose(move, wanted, atol=1e-3)


def judge_turn(answer: Callable) -> Verdict:
    """``answer(generator, discriminator, optimizer, real, noise)``: one update of the judge.

    The optimiser is the discriminator's; logits are (n, 1); the loss is `judge_loss`'s.
    """
    table = _Table()

    def loss(real: Tensor, fake: Tensor) -> Tensor:
        return discriminator_loss(real, fake, "non_saturating")

    def logits() -> tuple[Tensor, Tensor]:
        return table.discriminator(table.real), table.fake()

    truth = table.step(lambda: loss(*logits()), 1)
    others = {
        "the labels are swapped: real pictures have label 1, fakes 0.": table.step(
            lambda: loss(*logits()[::-1]), 1
        ),
        "the judge saw real pictures only: nobody showed it a fake.": table.step(
            lambda: F.softplus(-logits()[0]).mean(), 1
        ),
        "the judge saw real pictures only (and the loss is halved).": table.step(
            lambda: F.softplus(-logits()[0]).mean() / 2, 1
        ),
        "the step is twice too long: halve the sum of the two means.": 2 * truth,
        "the judge was moved uphill: minimise its loss.": -truth,
        "sums instead of means: the step must not depend on the batch size.": (
            len(table.real) * truth
        ),
        "the sigmoid is applied twice: the loss takes logits.": table.step(
            lambda: loss(*(v.sigmoid() for v in logits())), 1
        ),
    }
    networks = (table.generator, table.discriminator)
    args = (*networks, table.optimizers[1], table.real, table.noise)
    result, fault = attempt(lambda: answer(*args))
    fault = fault or _turn_fault(table, 1, truth, others, result)
    return verdict(fault, "the judge moved, and the generator was left alone.")


def generator_turn(answer: Callable) -> Verdict:
    """``answer(generator, discriminator, optimizer, noise)``: one update of the generator.

    The optimiser is the generator's; the loss is the non-saturating one.
    """
    table = _Table()
    truth = table.step(lambda: generator_loss(table.fake(), "non_saturating"), 0)
    others = {
        "the generator is trained towards the label 'fake': it wants to be called "
        "real.": table.step(lambda: F.softplus(table.fake()).mean(), 0),
        "that is the saturating loss log(1 - D): its gradient is weak where the generator is bad. "
        "Minimise -log D.": table.step(lambda: generator_loss(table.fake(), "saturating"), 0),
        "that is the hinge game's loss; here -log D is asked for.": table.step(
            lambda: generator_loss(table.fake(), "hinge"), 0
        ),
        "the sigmoid is applied twice: the loss takes logits.": table.step(
            lambda: generator_loss(table.fake().sigmoid(), "non_saturating"), 0
        ),
        "the generator was moved uphill: minimise its loss.": -truth,
        "the step is half as long: the generator's loss is the mean of -log D, not halved.": (
            truth / 2
        ),
        "sums instead of means: the step must not depend on the batch size.": (
            len(table.noise) * truth
        ),
    }
    args = (table.generator, table.discriminator, table.optimizers[0], table.noise)
    result, fault = attempt(lambda: answer(*args))
    fault = fault or _turn_fault(table, 0, truth, others, result)
    return verdict(fault, "the generator moved towards 'real', and the judge stayed as it was.")


def _turn_fault(
    table: _Table, whose: int, truth: Tensor, others: dict[str, Tensor], result: object
) -> str | None:
    """What was wrong with a turn, from who moved and how; None if nothing."""
    name, other = (("generator", "judge"), ("judge", "generator"))[whose]
    moves = table.moves()
    mine, his = moves[whose], moves[1 - whose]
    if result is ... or result is None and not mine.any() and not his.any():
        still = (table.generator, table.discriminator)
        kept = [p.grad is not None and bool((p.grad == 3).all()) for p in _parameters(*still)]
        return NOT_FILLED if all(kept) else f"the {name} did not move: call optimizer.step()."
    if his.any():
        return f"the {other}'s weights moved: it is the {name}'s turn."
    if not mine.any():
        return f"the {name} did not move: call loss.backward(), then optimizer.step()."
    gradients = [p.grad for p in (table.discriminator, table.generator)[whose].parameters()]
    if whose == 1 and any(g is not None and not bool((g == 3).all()) for g in gradients):
        return "gradients went into the generator: detach the fakes before the judge sees them."
    if _near(mine, truth):
        return None
    if _near(mine, table.stale(whose)):
        return f"no gradient reached the {name}: leave .detach() and no_grad out of its own turn."
    if _near(mine, truth + table.stale(whose)):
        return "old gradients were added: call optimizer.zero_grad() before loss.backward()."
    for message, wrong in others.items():
        if _near(mine, wrong) or _near(mine, wrong + table.stale(whose)):
            return message
    return f"the {name} moved, but not down the slope of its loss: compare with section 1."


def _parameters(*networks: nn.Module) -> list[nn.Parameter]:
    return [p for network in networks for p in network.parameters()]

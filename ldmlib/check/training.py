"""Checks of the exercises in `06_training_a_latent_diffusion_model`."""

import torch

from ldmlib.check.core import find_fault, judge, verdict


def label_dropout(answer) -> bool:
    """Exercise 1: ``drop(labels, u, p)`` replaces labels whose u lies below p by -1."""
    labels = torch.tensor([3, 1, 4, 1, 5])
    u, p = torch.tensor([0.05, 0.5, 0.09, 0.99, 0.1]), 0.1
    kept = torch.tensor([-1, 1, -1, 1, 5])
    mistakes = {
        "you dropped the labels that should stay, and kept the others: turn the comparison round":
            torch.tensor([3, -1, 4, -1, -1]),
        "0 is the label of a real class here: the null label is -1": torch.tensor([0, 1, 0, 1, 5]),
        "u = p counts as 'not below': use < and not <=": torch.tensor([-1, 1, -1, 1, -1]),
        "all labels were dropped: decide one by one, with a mask": torch.full((5,), -1),
        "dropped labels are replaced, not removed: the batch must keep its length":
            lambda value: len(value) < 5,
    }  # fmt: skip
    return judge(
        answer,
        kept,
        mistakes,
        args=(labels, u, p),
        name="drop(labels, u, p)",
        right="the network now also learns to draw without a label.",
    )


def guidance(answer) -> bool:
    """Exercise 2: ``guide(cond, uncond, w)`` is uncond + w (cond - uncond)."""
    cond, uncond, w = torch.tensor([2.0, -1.0]), torch.tensor([1.0, 3.0]), 3.0
    mistakes = {
        "w = 0 gives the conditional answer: cond and uncond are exchanged":
            cond + w * (uncond - cond),
        "w = 0 must leave uncond alone, but you start from cond; some papers count w that way, "
        "here w = 1 is the plain conditional model": cond + w * (cond - uncond),
        "the difference points away from the label: it is cond - uncond":
            uncond + w * (uncond - cond),
        "the weights must sum to 1, so that equal answers stay as they are":
            uncond + w * cond,
    }  # fmt: skip
    return judge(
        answer,
        uncond + w * (cond - uncond),
        mistakes,
        args=(cond, uncond, w),
        name="guide(cond, uncond, 3)",
        right="0 ignores the label, 1 obeys it, more overshoots.",
    )


def ema(answer) -> bool:
    """Exercise 3: ``ema_step(average, weights, decay)``."""
    average, weights, decay = torch.tensor([1.0, 2.0]), torch.tensor([3.0, -2.0]), 0.9
    mistakes = {
        "decay is the share of the *old average* that stays; you gave it to the new weights":
            (1 - decay) * average + decay * weights,
        "the shares sum to more than 1: the new weights get only 1 - decay":
            decay * average + weights,
        "that is the plain mean of both: use the decay": (average + weights) / 2,
        "the average may not stay as it was": average,
    }  # fmt: skip
    fault = find_fault(
        answer,
        decay * average + (1 - decay) * weights,
        mistakes,
        args=(average, weights, decay),
        name="ema_step",
    )
    return verdict(fault, "a slow follower: each step moves it by 1 - decay of the way.")

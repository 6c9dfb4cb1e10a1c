"""Checks of the exercises in `06_training_a_latent_diffusion_model`."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ldmlib.check.core import Case, Verdict, judge_cases


def label_dropout(answer: Callable[..., Any]) -> Verdict:
    """Exercise 1: ``drop(labels, u, p)`` replaces labels whose u lies below p by -1."""
    first = torch.tensor([3, 1, 4, 1, 5]), torch.tensor([0.05, 0.5, 0.09, 0.99, 0.1]), 0.1
    other = torch.tensor([7, 0, 0, 2]), torch.tensor([0.3, 0.2, 0.6, 0.05]), 0.4
    return judge_cases(
        answer,
        [_dropout_case(*first), _dropout_case(*other)],
        right="the network now also learns to draw without a label.",
    )


def _dropout_case(labels: Tensor, u: Tensor, p: float) -> Case:
    mistakes = {
        "you dropped the labels that should stay, and kept the others: turn the comparison round":
            torch.where(u < p, labels, -1),
        "0 is the label of a real class here: the null label is -1": torch.where(u < p, 0, labels),
        "u = p counts as 'not below': use < and not <=": torch.where(u <= p, -1, labels),
        "all labels were dropped: decide one by one, with a mask": torch.full_like(labels, -1),
        "nothing was dropped: return the new labels": labels,
        "that is the mask: put -1 where it is True, and the label elsewhere": (
            lambda value: value.dtype == torch.bool
        ),
        "dropped labels are replaced, not removed: the batch must keep its length": (
            lambda value: len(value) < len(labels)
        ),
    }  # fmt: skip
    truth = torch.where(u < p, -1, labels)
    return Case(truth, mistakes, (labels, u, p), "drop(labels, u, p)")


def guidance(answer: Callable[..., Any]) -> Verdict:
    """Exercise 2: ``guide(cond, uncond, w)`` is uncond + w (cond - uncond)."""
    cond, uncond = torch.tensor([2.0, -1.0]), torch.tensor([1.0, 3.0])
    return judge_cases(
        answer,
        [_guidance_case(cond, uncond, 3.0), _guidance_case(cond.square(), uncond - 0.7, 1.6)],
        right="0 ignores the label, 1 obeys it, more overshoots.",
    )


def _guidance_case(cond: Tensor, uncond: Tensor, w: float) -> Case:
    mistakes = {
        "w = 0 gives the conditional answer: cond and uncond are exchanged":
            cond + w * (uncond - cond),
        "w = 0 must leave uncond alone, but you start from cond; some papers count w that way, "
        "here w = 1 is the plain conditional model": cond + w * (cond - uncond),
        "the difference points away from the label: it is cond - uncond":
            uncond + w * (uncond - cond),
        "the weights must sum to 1, so that equal answers stay as they are":
            uncond + w * cond,
        "that is only the difference: it is added to uncond": w * (cond - uncond),
    }  # fmt: skip
    truth = uncond + w * (cond - uncond)
    return Case(truth, mistakes, (cond, uncond, w), f"guide(cond, uncond, {w:g})")


def ema(answer: Callable[..., Any]) -> Verdict:
    """Exercise 3: ``ema_step(average, weights, decay)``; it may work in place, as EMAs do."""
    average, weights = torch.tensor([1.0, 2.0]), torch.tensor([3.0, -2.0])
    return judge_cases(
        answer,
        [_ema_case(average, weights, 0.9), _ema_case(average - 2, weights + 0.5, 0.6)],
        right="a slow follower: each step moves it by 1 - decay of the way.",
        in_place=True,
    )


def _ema_case(average: Tensor, weights: Tensor, decay: float) -> Case:
    mistakes = {
        "decay is the share of the *old average* that stays; you gave it to the new weights":
            (1 - decay) * average + decay * weights,
        "the shares sum to more than 1: the new weights get only 1 - decay":
            decay * average + weights,
        "that is the plain mean of both: use the decay": (average + weights) / 2,
        "the average may not stay as it was": average,
        "those are the new weights alone: the average has no memory": weights,
        "the sign of the step is wrong: the average moves towards the weights":
            average - (1 - decay) * (weights - average),
        "only the step came back: add it to the average": (1 - decay) * (weights - average),
    }  # fmt: skip
    truth = decay * average + (1 - decay) * weights
    return Case(truth, mistakes, (average, weights, decay), "ema_step")

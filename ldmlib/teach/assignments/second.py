"""Assignment 2, after notebook 07: five sets of pictures to unmask, and one change to train."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ldmlib.data import mnist
from ldmlib.evaluation.evaluator import mnist_evaluator
from ldmlib.images import from_uint8, to_uint8
from ldmlib.rng import seeded
from ldmlib.teach.assignments.sheet import Draw, Question, Sheet

N = 500  # pictures in each set
LETTERS = "ABCDE"
KINDS = "honest, blurred, collapsed, copied, forgetful"
CHANGES = (
    'recipe.diffusion with time_sampling="uniform"',
    'recipe.diffusion with Diffusion("cosine", "v")',
    "recipe.label_dropout set to 0, and samples drawn with guidance 1",
    "recipe.unet with half as many channels at every level",
    "recipe.training with ema=0",
    "recipe.autoencoder_loss with kl=0",
    "recipe.autoencoder with 2 latent channels (and recipe.unet with as many in_channels)",
)


def make(student: str, draw: Draw) -> Sheet:
    """The sheet of one student. Scoring the sets takes some seconds, the first time a minute."""
    letters = dict(zip(draw.shuffled(("honest", *MAKERS)), LETTERS, strict=True))
    facts = {"forgotten": draw.whole(0, 9), "different": draw.whole(8, 20)}
    facts |= {"width": draw.number(0.6, 1.0, 2), "seed": draw.seed % 2**31}
    sets = {"honest": _test_digits(facts)} | {kind: f(facts) for kind, f in MAKERS.items()}
    pictures = {letters[kind]: sets[kind] for kind in sorted(sets, key=letters.get)}
    kinds = {letter: kind for kind, letter in letters.items()}
    questions = (
        *(_kind(letter, kinds[letter]) for letter in LETTERS),
        *(_fid(letter, pictures[letter]) for letter in LETTERS),
        _floor(),
        *_what_is_missing(letters, facts),
        _change(draw),
    )
    title = "Assignment 2: five generators walk in, and one change of your own"
    return Sheet("2", title, student, questions, pictures=pictures)


# --------------------------------------------------------------------------- the sets
def _order(n: int, facts: dict, stream: int) -> Tensor:
    return torch.randperm(n, generator=seeded(facts["seed"], stream))


def _test_digits(facts: dict, stream: int = 0) -> Tensor:
    """Real digits that no model has seen."""
    images = mnist("test").images
    return images[_order(len(images), facts, stream)[:N]]


def _blurred(facts: dict) -> Tensor:
    """Real digits, a little out of focus."""
    bell = torch.exp(-(torch.arange(-4.0, 5.0) ** 2) / (2 * facts["width"] ** 2))
    kernel = torch.outer(bell, bell) / bell.sum() ** 2
    x = F.conv2d(from_uint8(_test_digits(facts, 1)) + 1, kernel[None, None], padding=4) - 1
    return to_uint8(x.clamp(-1, 1))


def _collapsed(facts: dict) -> Tensor:
    """A few pictures, again and again, in some order."""
    few = _test_digits(facts, 2)[: facts["different"]]
    return few.repeat(N // len(few) + 1, 1, 1, 1)[:N][_order(N, facts, 3)]


def _copied(facts: dict) -> Tensor:
    """The training set, handed out again."""
    images = mnist("train").images
    return images[_order(len(images), facts, 4)[:N]]


def _forgetful(facts: dict) -> Tensor:
    """Real digits, but one class never comes."""
    test = mnist("test")
    rest = test.images[test.labels != facts["forgotten"]]
    return rest[_order(len(rest), facts, 5)[:N]]


MAKERS = {
    "blurred": _blurred,
    "collapsed": _collapsed,
    "copied": _copied,
    "forgetful": _forgetful,
}


# --------------------------------------------------------------------------- the questions
def _kind(letter: str, kind: str) -> Question:
    whole = (
        f"The file beside this sheet holds five sets of {N} pictures, from A to E. Each is one of: "
        f"{KINDS}. (Forgetful: one digit never comes.) What is set A?"
    )
    return Question(
        f"1{letter}",
        whole if letter == "A" else f"And set {letter}?",
        2,
        kind,
        "Look; then FID, recall, the classifier's counts, and the nearest training pictures.",
    )


def _fid(letter: str, pictures: Tensor) -> Question:
    return Question(
        f"2{letter}",
        f"The FID of set {letter}, against all training digits.",
        1,
        mnist_evaluator().fid(from_uint8(pictures)),
        "`mnist_evaluator().fid(images.from_uint8(pictures))`.",
    )


def _floor() -> Question:
    return Question(
        "3",
        f"The floor at n = {N}.",
        1,
        mnist_evaluator().floor(N),
        f"`mnist_evaluator().floor({N})`: what so many real test digits score. It is the same for "
        "everybody.",
    )


def _what_is_missing(letters: dict[str, str], facts: dict) -> list[Question]:
    return [
        Question(
            "4a",
            "Which digit does the forgetful set never draw?",
            2,
            facts["forgotten"],
            f"Set {letters['forgetful']}: count what the classifier reads.",
            exact=True,
        ),
        Question(
            "4b",
            "How many different pictures does the collapsed set hold?",
            2,
            facts["different"],
            f"Set {letters['collapsed']}: `pictures.flatten(1).unique(dim=0)`.",
            exact=True,
        ),
    ]


def _change(draw: Draw) -> Question:
    return Question(
        "5",
        f"Change one thing in notebook 06: {draw.one_of(CHANGES)}. Before you train, write down "
        "what you expect for the loss, for the pictures and for the FID. Train twice with the "
        "same seed, with and without the change, for the same number of steps; hand in the "
        "notebook with both rows of pictures, FID with n and floor, and what you conclude.",
        20,
        None,
        "A prediction that could have failed 4; one change and nothing else 4; both scored alike, "
        "with n and floor 4; pictures side by side 2; a conclusion that the numbers carry, with "
        "the bootstrap's interval or a second seed 4; what to try next 2.",
    )

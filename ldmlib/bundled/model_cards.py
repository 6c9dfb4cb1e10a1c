"""Model cards: the text that lies beside bundled weights, and the facts that it needs."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path
from shutil import copyfile

import torch

from ldmlib.evaluation.evaluator import Report
from ldmlib.storage.files import asset, load_json, save_bytes

TRAINED_FACTS = ("seconds", "machine", "commit")
DIGITS = """- **Data:** MNIST, 60,000 training pictures, CC BY-SA 3.0 (see LICENSE.txt).
- **Licence of the weights:** CC BY-SA 3.0, as the data they were made from."""
EMOJI = """- **Data:** emoji with captions, 4,687 training pictures in three styles: Twemoji
  (CC BY 4.0), Noto Emoji (Apache-2.0), Fluent Emoji (MIT); see LICENSE.txt. One caption in ten was
  held out.
- **Licence of the weights:** CC BY 4.0; name the three sets of emoji as LICENSE.txt does."""


def describe(target: Path, card: str, data: str = "mnist") -> None:
    """Put a model card and the licence of the embedded `data` beside weights."""
    save_bytes(target / "MODEL_CARD.md", card.encode())
    copyfile(asset("data", data, "LICENSE.txt"), target / "LICENSE.txt")


def trained(target: Path, seconds: int) -> dict[str, object]:
    """Seconds, machine and commit of a training, also of an earlier one that is scored again."""
    if (target / "config.json").is_file():
        before = load_json(target / "config.json")
        before = before.get("facts", before)
        if before.get("seconds") == seconds:
            return {key: before[key] for key in TRAINED_FACTS}
    return {"seconds": seconds, "machine": machine(), "commit": commit()}


def machine() -> str:
    """Processor family and cores, for the model card."""
    n = torch.get_num_threads()
    cores = f"{n} CPU core{'s' if n > 1 else ''}"
    return f"{cores} ({platform.machine()}, torch {torch.__version__})"


def commit() -> str:
    """Short hash of the code that trained, or 'unknown' outside a git checkout."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _how(about: str, made: dict[str, str], facts: dict, data: str = DIGITS) -> str:
    """Title, data, licence, how each part was made, and the training: the upper half of a card."""
    parts = "\n".join(f"- **{heading}:** {text}" for heading, text in made.items())
    cost = "time not recorded"
    if "seconds" in facts:
        cost = f"{facts['seconds'] / 60:.0f} minutes on {facts['machine']}"
    return f"""# Model card: {about}

{data}
{parts}
- **Training:** {cost}, seed {facts["seed"]},
  commit {facts.get("commit", "not recorded")}; `make weights` repeats it.
"""


def model_card(about: str, made: dict[str, str], report: Report, facts: dict, limits: str) -> str:
    """The card of a model that draws: what it is, how good, and where it ends.

    Args:
        about: one sentence, after "name" and an empty line.
        made: heading -> how that part was made.
        facts: `seconds`, `machine`, `seed` and `commit` of the training.
        limits: sentences about what the model cannot do.
    """
    return f"""{_how(about, made, facts)}
## Score

Own features (`mnist_features`), training split as reference, official test split as floor:

```
{report}
```

## Limits

{limits} The scores compare only with the same features, n and reference.
"""


def written_card(
    about: str,
    made: dict[str, str],
    scores: list[str],
    facts: dict,
    limits: str,
    data: str = DIGITS,
) -> str:
    """The card of a model with its scores as lines of text; else as `model_card`."""
    lines = "\n".join(scores)
    return f"""{_how(about, made, facts, data)}
## Score

```
{lines}
```

## Limits

{limits}
"""


def emoji_card(
    about: str, made: dict[str, str], scores: list[str], facts: dict, limits: str
) -> str:
    """The card of a model of emoji."""
    return written_card(about, made, scores, facts, limits, EMOJI)


def classifier_card(name: str, config: object, facts: dict) -> str:
    """The card of a bundled classifier of digits.

    Args:
        facts: `accuracy`, `steps` and `seed`; `seconds`, `machine`, `commit` where known.
    """
    made = {"Network": f"{config}.", "Steps": f"{facts['steps']} of batch 128."}
    about = f"{name}\n\nClassifier of handwritten digits, 32 x 32, grey; its features are used."
    return f"""{_how(about, made, facts)}
## Score

{facts["accuracy"]:.2%} of MNIST's 10,000 test digits are named rightly.

## Limits

It has seen digits in MNIST's style and nothing else: what it says about other pictures means
nothing, and scores made with its features compare only with each other.
"""

"""A prompt to type: what a text model draws for it, and the way from noise to there."""

from __future__ import annotations

from functools import lru_cache

import ipywidgets

from ldmlib.data.emoji_set import with_style
from ldmlib.latent.model import LatentDiffusion
from ldmlib.widgets.film import film_frames

KEPT = 16  # films that are kept for when a setting comes back
STRONGEST = 8.0


def prompt_explorer(
    model: LatentDiffusion,
    prompt: str = "red apple",
    guidance: float | None = None,
    seed: int = 0,
    n: int = 4,
    steps: int = 8,
) -> ipywidgets.VBox:
    """Words, style, guidance and seed: n pictures, and a slider back to the noise they came from.

    A prompt that cannot be read is answered by a sentence, and the pictures stay.

    Args:
        prompt, guidance, seed: where the controls begin (guidance: the model's own).
        n, steps: how many pictures, in how many steps of the sampler.

    Returns:
        box whose children are the prompt, the row of controls, the sentence and the picture.

    Raises:
        ValueError: a model that is not asked in words.
    """
    model.config.tokens([prompt])
    words = ipywidgets.Text(value=prompt, description="prompt", continuous_update=False)
    choices = [("any style", ""), *((style, style) for style in model.config.styles)]
    style = ipywidgets.SelectionSlider(options=choices, value="", description="style")
    strength = model.config.guidance if guidance is None else guidance
    weight = ipywidgets.FloatSlider(
        value=strength, min=0, max=STRONGEST, step=0.5, description="w", continuous_update=False
    )
    seeds = ipywidgets.IntSlider(
        value=seed, min=0, max=20, description="seed", continuous_update=False
    )
    step = ipywidgets.IntSlider(value=steps, min=0, max=steps, description="step")
    said = ipywidgets.Label(value="")
    image = ipywidgets.Image(format="png")
    image.layout = ipywidgets.Layout(max_width="100%", align_self="flex-start")  # not stretched

    @lru_cache(maxsize=KEPT)
    def frames(asked: str, weight: float, seed: int) -> tuple[bytes, ...]:
        return tuple(film_frames(model, n, None, asked, steps, seed, weight))

    def redraw(_change: object = None) -> None:
        try:
            film = frames(with_style(words.value, style.value or None), weight.value, seeds.value)
        except ValueError as error:  # the reader's prompt: name what is wrong with it
            said.value = str(error)
            return
        said.value, image.value = "", film[step.value]

    for control in (words, style, weight, seeds, step):
        control.observe(redraw, names="value")
    redraw()
    return ipywidgets.VBox([words, ipywidgets.HBox([style, weight, seeds, step]), said, image])

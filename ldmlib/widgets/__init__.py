"""Things to move: ipywidgets that answer a question while you drag.

    schedule_explorer()                        # choose a schedule, drag t
    denoising_film(model, labels=[3, 7])       # drag through the steps from noise to digit
    mixture_explorer()                         # two bumps: their density and their score
    posterior_explorer()                       # what one observation says about its cause
    latent_walk(pca, points, labels)           # drag a digit through its principal components
    guidance_explorer(model, latents, labels)  # turn guidance up, see how far it carries digits
    prompt_explorer(model, "red apple")        # ask a text model in your own words
    fid_explorer(evaluator, pictures)          # spoil real digits, watch the scores
    animation(figures)                         # a picture that moves, also without a kernel
    quiz("03_vae")                             # the questions at the end of a notebook

Each function returns a widget; a notebook shows it when it is the last line of a cell. Pictures are
drawn into PNG bytes by one figure that pyplot does not know, so nothing piles up in memory. Only
what ipywidgets 7 and 8 share is used.
"""

from ldmlib.widgets.animation import animation
from ldmlib.widgets.film import denoising_film
from ldmlib.widgets.guidance import guidance_explorer
from ldmlib.widgets.mixtures import mixture_explorer
from ldmlib.widgets.posterior import posterior_explorer
from ldmlib.widgets.prompts import prompt_explorer
from ldmlib.widgets.quiz import quiz
from ldmlib.widgets.schedules import schedule_explorer
from ldmlib.widgets.scores import fid_explorer
from ldmlib.widgets.walk import latent_walk

__all__ = [
    "animation",
    "denoising_film",
    "fid_explorer",
    "guidance_explorer",
    "latent_walk",
    "mixture_explorer",
    "posterior_explorer",
    "prompt_explorer",
    "quiz",
    "schedule_explorer",
]

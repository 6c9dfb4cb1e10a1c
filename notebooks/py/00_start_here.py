# %% [markdown]
# # 00 · Start here: digits out of noise in ten minutes
#
# [Open in Colab](https://colab.research.google.com/github/ldm-course/ldm-course/blob/main/notebooks/00_start_here.ipynb)
#
# This notebook takes you straight to the destination. A trained latent diffusion model comes with the course: you load it, it draws digits that nobody ever wrote, and you watch it do so. Afterwards you read the map, and the other notebooks take you there on foot.
#
# The picture under "Digits that nobody wrote" is the goal of Part I. In notebook [06](06_training_a_latent_diffusion_model.ipynb) you will train such a model yourself.
#
# > **You will be able to** load a latent diffusion model and draw digits of your choice; name its three parts and say what each does; find your way through the course.
# >
# > **Needs** nothing but Python. A little PyTorch helps.
# >
# > **Takes** about 10 seconds to run, ten minutes to read, and 0.7 GB of memory, on 2 CPU cores.
#
# New to notebooks? Click into a cell and press Shift + Enter. The cell runs, and the next one is selected. If something odd happens, choose *Kernel > Restart Kernel and Run All Cells* from the menu.

# %% tags=["setup"]
# On Colab this installs the course's library and upgrades nothing; elsewhere it only looks for it.
import os, subprocess, sys  # noqa: E401
from importlib.util import find_spec

source = os.environ.get("LDMLIB_SOURCE", "git+https://github.com/ldm-course/ldm-course@v0.1.0")
if "COLAB_RELEASE_TAG" in os.environ and find_spec("ldmlib") is None:
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", source]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(
            f"pip could not install {source}. Solve this and run the cell again:\n{done.stderr}"
        )
try:
    import ldmlib.latent.model  # noqa: F401
except Exception as error:
    raise ImportError(
        f"ldmlib cannot be imported ({error}): on Colab, choose Runtime > Disconnect and delete "
        f"runtime and run this cell again; elsewhere, use `make lab`, or `pip install {source}`."
    ) from None

# %%
import matplotlib.pyplot as plt
import torch

from ldmlib import LatentDiffusion, plotting

# %% [markdown]
# ## Digits that nobody wrote
#
# **Predict.** We ask for every digit four times, from different noise. Will the four threes be the same three?

# %% mystnb={"image": {"alt": "Forty digits in four rows, 0 to 9 in each. All can be read, and no two of a column are alike."}}
model = LatentDiffusion.from_pretrained("mnist")
labels = torch.arange(10).repeat(4)
pictures = model.sample(len(labels), labels, seed=0)
plotting.show(pictures, columns=10, scale=0.9)
plt.show()

# %% [markdown]
# **Explain.** Each picture began as its own sheet of noise, and the model turned the noise into a digit of the class that we asked for. The class says *what* to draw; the noise decides *how*: slant, width, the loop of the two. The model has never stored a picture, and these were drawn on your machine just now.
#
# Is it more than an impression? The course brings a small network that reads digits. Does it read what we asked for?

# %% tags=["nbval-check-output"]
from ldmlib.networks.classifier import bundled_classifier

read = bundled_classifier("mnist_features")(pictures).argmax(1)
print("at least 36 of the 40 digits are read as asked for:", int((read == labels).sum()) >= 36)

# %% [markdown]
# **Change.** Put another `seed` into the cell above, or `torch.full((40,), 8)` for the labels. Then run it again.
#
# What machine did this run on? One sentence to copy into a question or a bug report:

# %%
from ldmlib.environment import describe_environment

print(describe_environment())

# %% [markdown]
# ## Move one slider
#
# The model does not draw in one stroke. It starts from noise and takes a few steps; at each step it guesses the finished picture, and moves a part of the way to its guess.
#
# **Predict.** After how many of the steps will you recognise the digits?

# %%
from ldmlib.widgets import denoising_film

film = denoising_film(model, labels=[2, 3, 5, 8], seed=4)
film

# %% [markdown]
# **Explain.** Drag the slider to the left, to step 0, and slowly back. Without a mouse: Tab leads from the cell to the slider, the arrow keys move it, and Shift + Tab leads back. (On a page without a running kernel the picture stays at the last step; the strip below shows some of the others.)
#
# - The **first row** is what the model really works on. It is no picture: it is a small block of numbers, called a *latent*.
# - The **second row** is that block, translated into a picture.
# - The **third row** is the model's guess of the end. The guess is blurred at first, since many digits are still possible, and it gets sharper as the choice narrows.

# %% mystnb={"image": {"alt": "Four digits, 2, 3, 5 and 8, a row each, at five times: blots at t = 0.8, shapes at 0.4, clear digits at 0."}}
states = list(model.film(4, [2, 3, 5, 8], seed=4))
frames = [model.decode(state.x) for state in states]
plotting.film(frames, [f"t = {state.t:.1f}" for state in states], scale=0.9)
plt.show()

# %% [markdown]
# The strip runs from noise at the left ($t$ near 1) to the digits at the right ($t = 0$): the same four digits as above.
#
# **Change.** In the film's cell, write `steps=3` into the call. Then try `steps=30`. Do more steps make better digits?
#
# ## What is inside
#
# A latent diffusion model has three parts, and each has its notebook:
#
# ```mermaid
# flowchart LR
#     subgraph training
#         X["picture x<br/>32 x 32"] -->|encoder| Z["latent z_0<br/>small"]
#         Z -->|"add noise<br/>(forward diffusion)"| ZT["noisy latent z_t"]
#         ZT -->|"denoiser, told t and the class"| G["guess of z_0"]
#         G -.->|"compare, and learn"| Z
#     end
#     subgraph drawing
#         N["pure noise"] -->|"denoiser,<br/>a few steps"| Z0["new latent"]
#         Z0 -->|decoder| Y["new picture"]
#     end
# ```
#
# 1. The **autoencoder** packs a picture into a small latent and unpacks it again. It is trained first, by itself: notebook [03](03_vae.ipynb).
# 2. The **noise schedule** says how a latent is destroyed, step by step, until only noise is left. Nothing is learned here: notebook [04](04_forward_diffusion.ipynb).
# 3. The **denoiser** looks at a noisy latent and guesses the clean one. It is the large network, and it is trained second: notebook [05](05_unet.ipynb).
#
# Drawing runs the film backwards: noise, denoiser, decoder. The encoder is not needed any more. No part plays against another one: a latent diffusion model is not a GAN.

# %% tags=["nbval-check-output"]
numbers = 32 * 32, torch.Size(model.latent_shape).numel()
print(
    f"a picture holds {numbers[0]} numbers, its latent {numbers[1]}: {numbers[0] // numbers[1]} times fewer"
)

# %% [markdown]
# That is the point of the word *latent*. The denoiser is asked many times for each picture, and all of its work happens on the small block. The autoencoder's two translations are needed once.
#
# Does the translation lose anything? Here are real digits, and the same digits packed and unpacked.

# %%
from ldmlib import data

real, _ = data.mnist("test").random_subset(10, seed=1).as_tensors()
latents = model.encode(real)
plotting.show_rows(
    {"real digits": real, "through the\nautoencoder": model.decode(latents)}, scale=0.8
)
plt.show()

# %%
plotting.show_latents(latents, title="their latents, a row for each channel", scale=0.6)
plt.show()

# %% [markdown]
# **Explain.** The latents still remember where the strokes are, but coarsely. The decoder knows how strokes look and fills in the rest.
#
# ## What could go wrong
#
# Inside the library, black is -1 and white is 1. Many programs expect black to be 0. Somebody hands them our pictures as they are. One conversion is missing, and no error is raised:

# %%
few = pictures[:10]
right, wrong = (few + 1) / 2, few.clamp(0, 1)
rows = {"right": right, "range forgotten": wrong}
plotting.show_rows({name: 2 * x - 1 for name, x in rows.items()}, scale=0.9)
plt.show()

# %% tags=["nbval-check-output"]
lost = 1 - wrong.mean() / right.mean()
print("more than a twentieth of the light is lost:", bool(lost > 0.05))

# %% [markdown]
# **Symptom:** everything darker than middle grey is cut off, so strokes get thin and jagged. It still looks like a digit, which is why this mistake lives long: only the scores become bad, and nobody knows why. **Cure:** convert in one place. `ldmlib.images` has `from_uint8` and `to_uint8`, and the rest of the library refuses pictures outside of -1 to 1. Notebook [06](06_training_a_latent_diffusion_model.ipynb) has a whole museum of such failures.
#
# ## Exercises
#
# The checks tell you in words what is not right yet.

# %%
from ldmlib.check import start as check

# %% [markdown]
# ### Exercise 1: write a year
#
# Make the model write 2026: four pictures, in this order.

# %% tags=["exercise"]
year = ...  # model.sample( ... )

# %% tags=["check", "nbval-check-output"]
check.reads(year, "2026")

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `model.sample(n, labels, seed=...)`: how many pictures, and which class for each?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `labels` may be a list with one class for each picture.
#
# </details>
#
# <details><summary>Solution</summary>
#
# `model.sample(4, [2, 0, 2, 6], seed=0)`. The next cell checks it.
#
# </details>

# %% mystnb={"image": {"alt": "Four drawn digits that read 2, 0, 2, 6."}} tags=["solution"]
year_solution = model.sample(4, [2, 0, 2, 6], seed=0)
plotting.show(year_solution, scale=0.9)
plt.show()
check.reads(year_solution, "2026")

# %% [markdown]
# ### Exercise 2: count the work
#
# The model's sampler is called Heun. In each step it asks the denoiser twice: at the step's start and at its end, to take the mean. Only the very last step, down to no noise at all, asks once. How often is the denoiser asked in 10 steps?

# %% tags=["exercise"]
calls = ...

# %% tags=["check", "nbval-check-output"]
check.evaluations(calls, steps=10)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# How many steps ask twice?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Nine steps ask twice, one asks once. The sampler also counts for you: look at `list(model.film(1, 3, steps=10))[-1].evaluations`.
#
# </details>
#
# <details><summary>Solution</summary>
#
# 2 x 10 - 1 = 19. The next cell lets the sampler count.
#
# </details>

# %% tags=["solution", "nbval-check-output"]
calls_solution = list(model.film(1, 3, steps=10, sampler="heun"))[-1].evaluations
print("the sampler counted", calls_solution)
check.evaluations(calls_solution, steps=10)

# %% [markdown]
# ### Exercise 3: design your own
#
# Draw a number of your own, eight digits long or more, in as few `steps` as you dare while each digit is still read as you asked. Guess first: which digit will be the first to fail? There is no check: `bundled_classifier` from the top of the notebook is the judge.

# %% tags=["exercise"]
mine = ...  # model.sample( ..., steps=..., seed=... )

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Begin with many steps, and take fewer and fewer.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `bundled_classifier("mnist_features")(mine).argmax(1)` are the digits as they are read.
#
# </details>
#
# <details><summary>Solution</summary>
#
# There is no single one. The next cell tries a number at several counts of steps.
#
# </details>

# %% tags=["solution"]
number, reader = torch.tensor([3, 1, 4, 1, 5, 9, 2, 6]), bundled_classifier("mnist_features")
for steps in (1, 2, 3, 5, 8):
    read = reader(model.sample(len(number), number, steps=steps, seed=0)).argmax(1)
    print(f"{steps} steps: {int((read == number).sum())} of {len(number)} are read as asked for")

# %% [markdown] tags=["teacher", "remove-cell"]
# **For the teacher.** Exercises, minutes to allow, and what to listen for.
#
# | exercise | minutes | expected | typical wrong answer | what the check says |
# |---|---|---|---|---|
# | 1: write a year | 5 | `model.sample(4, [2, 0, 2, 6], seed=0)` | one label for all four pictures | "the same digit everywhere; give `labels` a list, one for each." |
# | 2: count the work | 5 | 19 | 20: two looks in every step, the last one too | "almost: the last step, down to no noise, needs no second look." |
# | 3: design your own | 10 | open: read the guess as well as the picture | a guess that was written afterwards | no check |
#
# Misconception to listen for: *the model looks a digit up*. Let two neighbours draw the same label with different seeds, then with the same seed.

# %% [markdown]
# ## The map
#
# Part I walks the whole way once. Each notebook says at its top what it needs and how long it takes.
#
# | notebook | the question it answers |
# |---|---|
# | **00** you are here | what is at the end of the road? |
# | **01** [01_probability_and_latent_spaces](01_probability_and_latent_spaces.ipynb) | what is a distribution of pictures, and why a latent variable? |
# | **02** [02_gan_recap](02_gan_recap.ipynb) | what is a GAN, and what of it survives in a latent diffusion model? |
# | **03** [03_vae](03_vae.ipynb) | how does a picture become a small latent, and come back? |
# | **04** [04_forward_diffusion](04_forward_diffusion.ipynb) | how is a picture destroyed, exactly? |
# | **05** [05_unet](05_unet.ipynb) | which network can undo that? |
# | **06** [06_training_a_latent_diffusion_model](06_training_a_latent_diffusion_model.ipynb) | how do I train the whole thing, here, in minutes? |
# | **07** [07_evaluation_fid](07_evaluation_fid.ipynb) | is it any good, and how would I know? |
#
# Part II goes on from there, in any order: [08_faster_sampling](08_faster_sampling.ipynb) asks how few steps are enough, [09_flow_matching_and_distillation](09_flow_matching_and_distillation.ipynb) trains a student that needs one to four, [10_text_to_image](10_text_to_image.ipynb) draws in colour what you ask for in words, and [11_editing_images](11_editing_images.ipynb) changes, fills, mends and enlarges pictures.
#
# In a hurry? Read 04, then 06. Want to know how good the digits above are? Go to 07.
#
# All notebooks run on a laptop, without a graphics card and without a network. Everything that you read in them is also in the library `ldmlib`: small files, written to be opened.
#
# ## Recap
#
# 1. A latent diffusion model draws by removing noise, step by step.
# 2. It works on latents: small blocks of numbers, which an autoencoder translates to pictures and back.
# 3. The denoiser guesses the clean latent, and is told how noisy its input is and what to draw.
# 4. The same seed and label give the same picture; another seed gives another one.
# 5. Autoencoder first, denoiser second: two trainings, no adversary in the second.
#
# ## Quiz
#
# Choose an answer: each of them, right or wrong, gets a reason.

# %% tags=["quiz"]
from ldmlib.widgets import quiz

quiz("00_start_here")

# %% [markdown]
# ## Where to go next
#
# To [04](04_forward_diffusion.ipynb), the first of the three parts that needs no training; or to [03](03_vae.ipynb), which begins with the autoencoder.
#
# ## References
#
# - R. Rombach, A. Blattmann, D. Lorenz, P. Esser, B. Ommer. *High-Resolution Image Synthesis with Latent Diffusion Models*. 2022. arXiv 2112.10752.
# - J. Ho, A. Jain, P. Abbeel. *Denoising Diffusion Probabilistic Models*. 2020. arXiv 2006.11239.
# - Y. LeCun, C. Cortes, C. Burges. *The MNIST database of handwritten digits*. The digits that the model learned from.

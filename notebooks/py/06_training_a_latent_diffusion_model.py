# %% [markdown]
# # 06 Training a latent diffusion model
#
# [Open in Colab](https://colab.research.google.com/github/ldm-course/ldm-course/blob/main/notebooks/06_training_a_latent_diffusion_model.ipynb)
#
# In the next four minutes your laptop trains an autoencoder, then a diffusion model in its latent
# space, and draws digits that nobody ever wrote.

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
import time
from copy import deepcopy

import matplotlib.pyplot as plt
import torch

from ldmlib import LatentDiffusion, data, plotting
from ldmlib.check import training as check
from ldmlib.evaluation.evaluator import mnist_evaluator
from ldmlib.latent import recipes
from ldmlib.latent.stages import assemble, train_autoencoder, train_denoiser
from ldmlib.networks.autoencoder import Autoencoder
from ldmlib.networks.classifier import bundled_classifier
from ldmlib.networks.layers import count_parameters
from ldmlib.networks.unet import UNet, UNetConfig
from ldmlib.rng import seeded
from ldmlib.runtime import Runtime, best_device
from ldmlib.training.config import TrainConfig
from ldmlib.training.denoising import DenoisingObjective
from ldmlib.training.run import describe_speed, fit, resumable, train

started = time.perf_counter()

# %% [markdown]
# What you will have made, here drawn by a model that the same code trained for longer:

# %% mystnb={"image": {"alt": "Twenty digits of the bundled model, 0 to 9 twice, all easy to read."}}
example = LatentDiffusion.from_pretrained("mnist").sample(20, labels=torch.arange(20) % 10, seed=6)
plotting.show(example)
plt.show()

# %% [markdown]
# > **You will be able to** train both stages of a latent diffusion model (LDM), sample it class by
# > class, read its loss curve, stop and resume it, and recognise the four mistakes that spoil it
# > most often.
# >
# > **Needs** notebooks [03](03_vae.ipynb), [04](04_forward_diffusion.ipynb) and
# > [05](05_unet.ipynb). **Time and memory** on 2 CPU cores: see the table in the README, measured
# > by `make notebooks`; the last cell prints what this run took.
#
# The plan, two trainings one after the other:
#
# ```mermaid
# flowchart LR
#   x["digits x"] --> E["encoder"] --> z["latents z"] --> D["decoder"] --> xh["digits again"]
#   z --> S["scale to variance 1"] --> N["add noise at time t"] --> U["UNet guesses the noise and the digit"]
#   U -.-> L["squared error"]
# ```
#
# There is no adversary in the second stage. Rombach et al. (arXiv 2112.10752) train the denoiser by
# plain regression.

# %% [markdown]
# ## 1. The first stage: a small space that decodes well
#
# **Predict.** A digit here has 32 x 32 numbers, its latent 4 x 8 x 8. Which share of the numbers is
# left? And does a digit survive the trip there and back?

# %%
digits = data.mnist("train")
x, y = digits.as_tensors()
recipe = recipes.mnist_notebook()
recipe.autoencoder, recipe.autoencoder_loss

# %%
perceptual = bundled_classifier("mnist_perceptual")
options = resumable("06_first_stage", recipe)
first_stage = train_autoencoder(x, recipe, perceptual, **options)
print(f"{first_stage.step} steps, {first_stage.history[-1]['seconds']:.0f} s")

# %%
test_x, test_y = data.mnist("test").as_tensors()
with torch.no_grad():
    back = first_stage.ema.decode(first_stage.ema.encode(test_x[:16]).mode())
plotting.show_rows({"digits": test_x[:16], "there and back": back.clamp(-1, 1)})
plt.show()

# %% tags=["nbval-check-output"]
error = ((back - test_x[:16]) ** 2).mean().item()
print("share of the numbers left:", 4 * 8 * 8 / (32 * 32))
print("mean squared error below 0.05:", error < 0.05)

# %% [markdown]
# A quarter of the numbers is left, and the digits are hard to tell from the originals. Notebook
# [03](03_vae.ipynb) takes this stage apart term by term.
#
# **Change.** Set `kl` in `recipe.autoencoder_loss` to 0 with `dataclasses.replace` and train again:
# the pictures come back sharper, and section 6 will draw worse digits. A latent space that is easy
# to diffuse in beats one that reconstructs best.

# %% [markdown]
# ## 2. Encode once, scale once
#
# The encoder will not change any more. So all digits are encoded one single time, and the second
# stage never sees a pixel. That is where an LDM saves its time.
#
# **Predict.** The denoiser expects data of about unit variance, as the noise has. Are the latents
# like that?

# %%
model = assemble(digits, first_stage.ema, recipe).to(best_device())
z = model.fit_latent_scale(x)
print("mean of each channel as encoded:", model.latent_mean.cpu().flatten().numpy().round(2))
print("std of each channel as encoded: ", model.latent_std.cpu().flatten().numpy().round(2))

# %% tags=["nbval-check-output"]
print("latents:", tuple(z.shape))
print("scaled to mean 0:", z.mean((0, 2, 3)).abs().max().item() < 1e-3)
print("scaled to std 1:", (z.std((0, 2, 3)) - 1).abs().max().item() < 1e-3)

# %%
plotting.show_latents(z[:10], title="scaled latents: one row a channel, one column a digit")
plt.show()

# %% [markdown]
# They are not, so each channel is shifted and divided by its own mean and standard deviation,
# computed once on the whole training set and kept with the model. Decoding undoes it. Stable
# Diffusion does the same with a single number, 0.18215.

# %% [markdown]
# ## 3. One training step, by hand
#
# With $x_t = \alpha(t)\,z + \sigma(t)\,\epsilon$ and here $\alpha = 1 - t$, $\sigma = t$, the network
# is asked for $\epsilon - z$, the direction from the digit to the noise (flow matching, arXiv
# 2210.02747):
#
# $$ L = \mathbb{E}\; \lVert f_\theta(x_t, t, c) - (\epsilon - z) \rVert^2 $$


# %%
def naive_loss(network, z, label, t, eps):
    t_ = t[:, None, None, None]
    x_t = (1 - t_) * z + t_ * eps
    return ((network(x_t, t, label) - (eps - z)) ** 2).mean((1, 2, 3))


# %% tags=["nbval-check-output"]
t = torch.linspace(0.1, 0.9, 8)
eps = torch.randn(z[:8].shape, generator=seeded(0))
with torch.no_grad():
    mine = naive_loss(model.denoise, z[:8], y[:8], t, eps)
    library = recipe.diffusion.loss(model.denoise, z[:8], y[:8], t, eps)
print("largest difference below 1e-5:", (mine - library).abs().max().item() < 1e-5)

# %% [markdown]
# The library's loss is this line for any schedule and any target. What it adds in training: labels
# are replaced by "no label" (-1) one time in ten, so that the same network also learns to draw
# without being told what (section 7 uses that).

# %% [markdown]
# ## 4. Train the denoiser
#
# **Predict.** The last layer starts at zero, so the network first answers 0 to everything. What is
# the first loss? (The target is a difference of two things of variance 1.)
#
# Beside the weights we keep their exponential moving average (EMA), which samples better. And a
# second, badly chosen one, for the museum in section 9.

# %%
print(f"{count_parameters(model.denoiser) / 1e6:.1f} million weights")
objective = DenoisingObjective(recipe.diffusion, recipe.label_dropout)
slow_average = deepcopy(model.denoiser).eval()
snapshots, wanted = {}, {1, 100, 300, recipe.training.steps}

# %%
options = resumable("06_denoiser", recipe)
for state in fit(model.denoiser, objective, (z, y), recipe.training, **options):
    for slow, now in zip(slow_average.parameters(), state.model.parameters(), strict=True):
        slow.data.lerp_(now.data, 1 - 0.9999)
    if state.step in wanted:
        snapshots[state.step] = deepcopy(state.ema.state_dict())

# %%
print(f"{state.step} steps in {state.history[-1]['seconds']:.0f} s", end=" ")
print(describe_speed(state, objective, (z, y), recipe.training))

# %% mystnb={"image": {"alt": "The denoiser's loss against steps: it falls steeply in the first hundred steps and slowly after that."}}
plotting.loss_curve(state.history).set_ylim(0, 2.2)
plt.show()

# %% [markdown]
# It starts near 2, the variance of $\epsilon - z$, falls steeply, then hardly at all. That flat
# part is not idle: look at what the model draws as it goes. The same ten starting noises each time:


# %% mystnb={"image": {"alt": "Ten digits at four steps of the training: blots at step 1, most of them readable at step 100, and nearly the same shapes, cleaner, at 300 and 900."}}
def digits_at(weights, **options):
    model.denoiser.load_state_dict(weights)
    return model.sample(10, labels=torch.arange(10), seed=1, **options)


plotting.show_rows({f"step {step}": digits_at(w) for step, w in snapshots.items()})
plt.show()

# %% [markdown]
# **Explain.** The loss cannot go to 0: from a noisy latent nobody can know which noise was added.
# What is left is mostly that unavoidable part, so a tiny fall of the loss can be a visible gain.
# Which noise levels are hard?

# %%
model.denoiser.load_state_dict(snapshots[recipe.training.steps])
levels, losses = torch.linspace(0.02, 0.98, 17, dtype=torch.float64), []
test_z = model.encode(test_x[:500])
for level in levels:
    loss = recipe.diffusion.loss(model.denoise, test_z, test_y[:500], level.repeat(500),
                                 generator=seeded(1))  # fmt: skip
    losses.append(loss.mean().item())

# %%
_, ax = plt.subplots(figsize=(5, 3))
ax.plot(levels, losses, "o-", color=plotting.COLOURS[0])
ax.set(xlabel="t  (0 clean, 1 noise)", ylabel="loss on test digits", ylim=(0, None))
ax.grid(alpha=0.3)
plt.show()

# %% [markdown]
# Near $t = 0$ the noise is too faint to see, near $t = 1$ the digit is. The interesting work is in
# the middle, and `time_sampling="logit_normal"` trains there more often (arXiv 2403.03206).
#
# **Change.** Set `time_sampling="uniform"` in `recipe.diffusion` and compare the pictures.

# %% [markdown]
# ## 5. Sample
#
# Start from noise at $t = 1$, ask the network where the digit is, go a step in that direction,
# repeat; decode at the end. The film of it, in latent space and decoded:

# %% mystnb={"image": {"alt": "Six digits, a row each, at five times: fragments at t = 0.88, digits from 0.38 on."}}
states = list(model.film(6, labels=[0, 2, 3, 5, 8, 9], steps=8, seed=3))
frames = [model.decode(s.x) for s in states[::2]] + [model.decode(states[-1].x)]
titles = [f"t = {s.t:.2f}" for s in states[::2]] + ["t = 0"]
plotting.film(frames, titles)
plt.show()

# %%
samples = model.sample(50, labels=torch.arange(50) % 10, seed=2)
plotting.show(samples, title="drawn by the model you have just trained")
plt.show()

# %% tags=["nbval-check-output"]
classifier = bundled_classifier()
asked = torch.arange(200) % 10
seen = classifier(model.sample(200, labels=asked, seed=4)).argmax(1)
print("a classifier recognises at least 8 in 10:", (seen == asked).double().mean().item() > 0.8)
print(
    "classes it recognises at least half the time:",
    sum((seen[asked == k] == k).double().mean().item() > 0.5 for k in range(10)),
)

# %% [markdown]
# ## 6. How good is it?
#
# Notebook [07](07_evaluation_fid.ipynb) explains the Fréchet distance (FID). For now: lower is
# better, it depends on the number of pictures $n$, and *real* digits that the model never saw score
# the *floor*.

# %%
evaluator = mnist_evaluator()
floor = evaluator.floor(2000)


def fid_of(**options):
    fid = evaluator.fid(model.sample(2000, seed=5, **options))
    print(f"FID {fid:.1f} at n = 2,000; floor {floor:.1f}; ratio {fid / floor:.1f}")
    return fid


plain = fid_of(guidance=1.0)

# %% [markdown]
# ## 7. Guidance
#
# The network answers twice, with the label and without, and we go further in the direction of the
# difference (classifier-free guidance, arXiv 2207.12598):
#
# $$ f = f(\varnothing) + w\,\bigl(f(c) - f(\varnothing)\bigr) $$
#
# **Predict.** What will $w = 0$ draw when asked for a digit? What will a very large $w$ do?

# %% mystnb={"image": {"alt": "Rows of ten digits for guidance 0, 1, 1.5, 3 and 8: at 0 nobody's choice, from 1 on the digits asked for, bolder the larger w is."}}
labels = torch.arange(10)
plotting.show_rows({f"w = {w:g}": model.sample(10, labels, guidance=w, seed=8)
                    for w in (0.0, 1.0, 1.5, 3.0, 8.0)})  # fmt: skip
plt.show()

# %% [markdown]
# At 0 the label is ignored. At 1 the model draws from $p(x \mid c)$, with all its variety. Above, the
# digits become more typical and more alike, and far above they overshoot: guidance trades variety
# for certainty, and no longer samples the data's distribution.
#
# **Predict.** A model that had so little time draws some digits badly. Could guidance bring it
# *nearer* to the data? Our recipe uses it only in the middle of the way, where it is decided what
# the picture will show (arXiv 2404.07724):

# %%
print(f"guidance {recipe.guidance:g}, only for t in {recipe.guidance_interval}")
guided = fid_of()

# %% tags=["nbval-check-output"]
print("nearer to real digits than without:", guided < plain)

# %% [markdown]
# Early on, guidance would make all digits alike; at the end it only sharpens what is there. In
# between it corrects the class, and little variety is lost. Where you left out `guidance` above,
# `model.sample` used this setting.

# %% [markdown]
# ### How far does it carry them?
#
# Draw a line through latent space, from the average of all digits (place 0) through the average of
# one class (place 1). Every digit has a place on it: real threes spread around 1, all digits around
# 0. Guidance pushes along such lines.
#
# **Question for the controls.** Raise $w$ above 1, half a step at a time. Do the threes stop where
# real threes are, or do they walk on past them? Is it the same for other classes and other seeds?
#
# To follow your hand, the explorer draws with four Euler steps, and it takes the bundled model.
# Move a slider with the mouse or, once it is chosen, with the arrow keys.

# %%
from ldmlib.widgets import guidance_explorer

bundled = LatentDiffusion.from_pretrained("mnist")
latents, names = bundled.encode(test_x[:2000]), test_y[:2000]
guidance_explorer(bundled, latents, names, label=3, weight=3.0)

# %% [markdown]
# For readers without a kernel: the places of twenty threes at eight weights, and the band in which
# nine of ten real threes lie.


# %%
def place(z, label):
    """0 at the average latent, 1 at the average latent of the class."""
    middle = latents.mean(0)
    way = latents[names == label].mean(0) - middle
    return ((z - middle) * way).flatten(1).sum(1) / (way**2).sum()


def threes(w, n=20):
    *_, last = bundled.film(n, [3] * n, steps=4, guidance=w, seed=8, sampler="euler")
    return place(last.x.cpu(), 3)


# %%
weights = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0]
drawn = {w: threes(w) for w in weights}
low, high = place(latents[names == 3], 3).quantile(torch.tensor([0.05, 0.95])).tolist()
_, ax = plt.subplots(figsize=(6, 3))
ax.axhspan(low, high, color="0.9", label="9 of 10 real threes")
for w, places in drawn.items():
    ax.plot([w] * len(places), places, "o", color=plotting.COLOURS[0], alpha=0.4, ms=4)
ax.plot(weights, [p.mean() for p in drawn.values()], "k--", label="average of the drawn threes")
ax.set(xlabel="guidance weight w", ylabel="place: 0 any digit, 1 a three")
ax.legend()
plt.show()

# %% tags=["nbval-check-output"]
past = {w: (places > high).double().mean().item() for w, places in drawn.items()}
print("w = 0 stays near the average digit:", abs(drawn[0.0].mean().item()) < 0.4)
print("w = 1 ends among real threes:", low < drawn[1.0].mean().item() < high)
print("most drawn threes are past 19 of 20 real ones:")
print("  w = 1:", past[1.0] > 0.5, "- w = 8:", past[8.0] > 0.5)

# %% [markdown]
# **Explain.** Nothing tells guidance where to stop. It leads *away from all other digits*, and goes on
# past the real threes, to places where no real digit is. Each picture looks more certain; the set of
# them is less and less like the data. A model may therefore guide on a part of the way only (arXiv
# 2404.07724): `bundled.config` holds such an interval beside its weight.
#
# **Change.** Hand your own `model` to the explorer: it needs latents of its own, `model.encode(...)`.

# %% [markdown]
# ## 8. The same seconds in pixel space
#
# Is the autoencoder worth its trouble? Here is the same kind of UNet on the 32 x 32 pixels
# themselves, given as many seconds as the latent model had at the step shown beside it.
#
# **Predict.** How many steps will it get done?

# %%
pixel_recipe = recipes.mnist_pixels(steps=15)
pixel_model = assemble(digits, Autoencoder(pixel_recipe.autoencoder), pixel_recipe)
pixel_state = train_denoiser(pixel_model, x, y, pixel_recipe)
seconds = pixel_state.history[-1]["seconds"]
latent_step = max([1] + [h["step"] for h in state.history if h["seconds"] <= seconds])
print(f"in {seconds:.0f} s: {pixel_state.step} steps in pixel space, {latent_step} in latent space")

# %%
closest = min(snapshots, key=lambda step: abs(step - latent_step))
plotting.show_rows({
    f"pixels, step {pixel_state.step}": pixel_model.sample(10, labels, steps=8, seed=1),
    f"latents, step {closest}": digits_at(snapshots[closest]),
})  # fmt: skip
plt.show()

# %% [markdown]
# The pixel model is not wrong, only slow: each of its steps does far more arithmetic, and it must
# learn strokes pixel by pixel before it can learn digits. `make bench` runs this race for longer
# and against other libraries.

# %%
_ = model.denoiser.load_state_dict(snapshots[recipe.training.steps])

# %% [markdown]
# ## 9. What could go wrong: the failure museum
#
# Four exhibits. Each draws the same ten digits as the healthy model in the first row.
#
# 1. **Wrong range.** Pictures in [0, 1] fed to a model made for [-1, 1].
# 2. **Scale forgotten.** Latents decoded without undoing the scale. Our light KL keeps latents near
#    variance 1, so the row shows it with Stable Diffusion's factor instead.
# 3. **EMA too slow.** An average that remembers ten thousand steps of a training that had far fewer.
# 4. **Off by one.** The network is told the time of the *next* step.

# %% tags=["nbval-check-output"]
try:
    model.encode((test_x[:1] + 1) * 127.5)
except ValueError as error:
    print("the door check says:", str(error).split(";")[-1].strip())


# %%
def walk(n, late, steps=5):
    labels = torch.arange(n) % 10
    z = torch.randn(n, *model.latent_shape, generator=seeded(1))
    times = torch.linspace(1, 0, steps + 1)
    for now, following in zip(times[:-1], times[1:], strict=True):
        told = following if late else now
        z = z + (following - now) * model.denoise(z, told.repeat(n), labels)
    return model.decode(z)


# %%
ranged = model.decode(model.encode((test_x[:10] + 1) / 2))
last = list(model.film(10, labels, seed=1))[-1].x
unscaled = model.autoencoder.decode(last / 0.18215).detach().clamp(-1, 1)
slow = digits_at(slow_average.state_dict())
healthy = digits_at(snapshots[recipe.training.steps])

# %%
exhibits = {
    "1 range (reconstruction)": ranged,
    "2 scale forgotten": unscaled,
    "3 EMA too slow": slow,
}
plotting.show_rows({"healthy": healthy, **exhibits, "4 off by one": walk(10, late=True)})
plt.show()

# %% [markdown]
# The fourth is the slyest: its digits look almost as good as the healthy ones. A score sees it.

# %%
for late in (False, True):
    score = evaluator.fid(walk(1000, late))
    print(f"five Euler steps, network told the {'next' if late else 'right'} time: FID {score:.1f}")

# %% [markdown]
# | symptom | cause | cure |
# |---|---|---|
# | washed-out reconstructions, grey background | wrong range | `images.from_uint8`; `check_images` at the door |
# | right shapes, too strong, ragged edges | scale forgotten | `LatentDiffusion.decode`, never the decoder alone |
# | blotches as at the first step, though the loss is fine | EMA too slow | a decay with warm-up: `ema_decay(step, 0.999)` |
# | nothing to see, a worse score | off by one | one list of times for network and step |

# %% [markdown]
# ## 10. Stop and resume
#
# Long trainings are interrupted. With a folder, `fit` writes a checkpoint every so often and when
# you press stop; `resume=True` goes on. Step $k$ draws its batch and noise from the seed and $k$
# alone, so the stopped run ends at the very same weights:
#
# (The two long trainings above can do this, too. On a runtime that may be lost, such as Colab's, set
# the environment variable `LDMLIB_RUNS` to a folder on a mounted drive before you start: checkpoints
# go there, and the notebook, run again, goes on from them.)

# %%
import tempfile

tiny = TrainConfig(steps=12, batch_size=32, checkpoint_every=6, precision="float32")
networks = [UNet(UNetConfig(channels=(16, 32), blocks=1, num_classes=10)) for _ in range(2)]
networks[1].load_state_dict(networks[0].state_dict())
folder = tempfile.mkdtemp()
quietly = {"progress": False, "runtime": Runtime("cpu")}  # a GPU may round differently each time

# %% tags=["nbval-check-output"]
whole = train(networks[0], objective, (z, y), tiny, **quietly)
for half in fit(networks[1], objective, (z, y), tiny, folder=folder, **quietly):
    if half.step == 6:
        break  # the power cut
resumed = UNet(networks[1].config)
train(resumed, objective, (z, y), tiny, folder=folder, resume=True, **quietly)
same = all(
    torch.equal(a, b) for a, b in zip(networks[0].parameters(), resumed.parameters(), strict=True)
)
print("bit for bit the same:", same)

# %% [markdown]
# ## Exercises
#
# Each check says what is wrong, in words. Run it as often as you like.
#
# ### Exercise 1: label dropout
#
# Write `drop(labels, u, p)`: a copy of `labels` in which each label whose `u`
# (uniform in [0, 1)) lies below `p` is replaced by -1.


# %% tags=["exercise"]
def drop(labels, u, p):
    return ...


# %% tags=["check", "nbval-check-output"]
check.label_dropout(drop)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# You need a mask of the labels to replace, and something that chooses by a mask.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `torch.where(condition, a, b)` takes `a` where the condition holds.
#
# </details>
#
# <details><summary>Solution</summary>
#
# `torch.where(u < p, -1, labels)`: the next cell runs it.
#
# </details>


# %% tags=["solution"]
def drop_solution(labels, u, p):
    return torch.where(u < p, -1, labels)


check.label_dropout(drop_solution)

# %% [markdown]
# ### Exercise 2: guidance
#
# Write `guide(cond, uncond, w)` so that `w = 0` is the model without label, `w = 1`
# the one with it.


# %% tags=["exercise"]
def guide(cond, uncond, w):
    return ...


# %% tags=["check", "nbval-check-output"]
check.guidance(guide)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Put in w = 0 and w = 1 and see what must be left.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Start from `uncond` and add w times a difference.
#
# </details>
#
# <details><summary>Solution</summary>
#
# `uncond + w * (cond - uncond)`: the next cell runs it.
#
# </details>


# %% tags=["solution"]
def guide_solution(cond, uncond, w):
    return uncond + w * (cond - uncond)


check.guidance(guide_solution)

# %% [markdown]
# ### Exercise 3: EMA
#
# Write `ema_step(average, weights, decay)`: the new average after one update.


# %% tags=["exercise"]
def ema_step(average, weights, decay):
    return ...


# %% tags=["check", "nbval-check-output"]
check.ema(ema_step)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# A decay near 1 means: keep nearly all of the old average.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# The two shares sum to 1.
#
# </details>
#
# <details><summary>Solution</summary>
#
# `decay * average + (1 - decay) * weights`: the next cell runs it.
#
# </details>


# %% tags=["solution"]
def ema_solution(average, weights, decay):
    return decay * average + (1 - decay) * weights


check.ema(ema_solution)

# %% [markdown]
# ### Exercise 4: design your own
#
# Change one thing of `recipe`: the latent channels, the UNet's width, `time_sampling`, the schedule.
# Write down what you expect, train both stages again as in sections 1 to 4, and compare FID at the
# same number of seconds. There is no check: the score of section 6 is your judge.

# %% tags=["exercise"]
my_recipe = ...  # recipe with one thing changed

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# A recipe is a dataclass, and so are its parts: `dataclasses.replace(old, name=value)` gives a changed
# copy.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# From the inside out: first the part, then the recipe that holds it.
#
# </details>
#
# <details><summary>Solution</summary>
#
# One of many: times drawn evenly, instead of mostly from the middle. The next cell makes the recipe.
#
# </details>

# %% tags=["solution"]
from dataclasses import replace

recipe_solution = replace(recipe, diffusion=replace(recipe.diffusion, time_sampling="uniform"))
print(recipe.diffusion.time_sampling, "->", recipe_solution.diffusion.time_sampling)

# %% [markdown] tags=["teacher", "remove-cell"]
# **For the teacher.** Exercises, minutes to allow, and what to listen for.
#
# | exercise | minutes | expected | typical wrong answer | what the check says |
# |---|---|---|---|---|
# | 1: label dropout | 5 | `torch.where(u < p, -1, labels)` | 0 as the null label | "0 is the label of a real class here: the null label is -1" |
# | 2: guidance | 5 | `uncond + w * (cond - uncond)` | started from `cond` | "w = 0 must leave uncond alone, but you start from cond; some papers count w that way, here w = 1 is the plain conditional model" |
# | 3: EMA | 5 | `decay * average + (1 - decay) * weights` | decay given to the new weights | "decay is the share of the *old average* that stays; you gave it to the new weights" |
# | 4: design your own | 30 | open: a prediction, two scores at equal seconds | two changes at once | no check |
#
# Misconception to listen for: *the loss tells when to stop*. It is flat long before the pictures are good; section 6 measures pictures. Start the trainings before you explain them.

# %% [markdown]
# ## Recap
#
# - Two trainings: an autoencoder makes a small smooth space; a denoiser learns to walk in it.
# - Encode once, scale every channel to variance 1, undo it before decoding.
# - The loss is a plain squared error and flattens early; pictures go on improving.
# - Labels dropped now and then buy guidance; guidance buys certainty and costs variety.
# - A run that depends on seed and step alone can be stopped, resumed and repeated.
#
# ## Quiz
#
# Choose an answer: each of them, right or wrong, gets a reason.

# %% tags=["quiz"]
from ldmlib.widgets import quiz

quiz("06_training_a_latent_diffusion_model")

# %% [markdown]
# **Next:** [07](07_evaluation_fid.ipynb) asks how good these digits are, and how you would know.
#
# **References.** Rombach et al. 2022, arXiv 2112.10752 (LDM). Lipman et al. 2022, 2210.02747 (flow
# matching). Esser et al. 2024, 2403.03206 (logit-normal times). Ho and Salimans 2022, 2207.12598
# (guidance). Karras et al. 2022, 2206.00364 (Heun sampler).

# %%
print(f"this notebook took {(time.perf_counter() - started) / 60:.1f} minutes")

# %% [markdown]
# # 04 · Forward diffusion: destroying a digit, exactly
#
# [Open in Colab](https://colab.research.google.com/github/ldm-course/ldm-course/blob/main/notebooks/04_forward_diffusion.ipynb)
#
# Before a network can learn to remove noise, we must know exactly how noise is put in. At the end of this notebook you can bring any digit to any noise level in one line, and you can write down the step back in closed form.
#
# The first picture below shows what this is about: one digit on its way from $t = 0$ (the picture) to $t = 1$ (noise).
#
# > **You will be able to** add noise step by step and in one jump, and show that both are the same; compare the linear, cosine and flow schedules; derive the posterior $q(x_s \mid x_t, x_0)$ and check it by drawing samples; explain why noise in a latent space looks different from noise in pixels.
# >
# > **Needs** [00](00_start_here.ipynb). Nothing else: there is no training here. [03](03_vae.ipynb) explains the autoencoder of the last section.
# >
# > **Takes** about 10 seconds and 0.8 GB of memory on 2 CPU cores.

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
import math

import matplotlib.pyplot as plt
import torch

from ldmlib import LatentDiffusion, data, plotting
from ldmlib.diffusion.process import Diffusion
from ldmlib.diffusion.schedule import Schedule
from ldmlib.rng import seeded
from ldmlib.widgets import schedule_explorer

generator = seeded(0)

# %% mystnb={"image": {"alt": "A handwritten 3 in nine stages, from the clean digit at the left to pure noise at the right."}}
digits, labels = data.mnist("test").random_subset(64, seed=3).as_tensors()
digit = digits[labels == 3][:1]
eps = torch.randn(digit.shape, generator=generator)
times = torch.linspace(0, 1, 9)
stages = [(1 - t) * digit + t * eps for t in times]
plotting.film(stages, [f"t = {t:.2f}" for t in times], scale=0.9)
plt.show()
# %% [markdown]
# ## 1. One small step: shrink, then add
#
# The forward process has nothing to learn and nothing to tune once it is written down. One step takes the picture, makes it a little weaker, and adds a little Gaussian noise:
#
# $$x_i = \sqrt{1 - \beta_i}\; x_{i-1} + \sqrt{\beta_i}\; \varepsilon_i, \qquad \varepsilon_i \sim \mathcal N(0, I).$$
#
# DDPM takes 1000 such steps, with $\beta$ growing in a straight line from 0.0001 to 0.02.
#
# **Predict.** Why shrink the picture at all? What would happen to the size of the numbers after 1000 steps if we only added noise?

# %%
betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)


# %%
def one_step(x, beta):
    """One step of the forward process: shrink, then add."""
    return (1 - beta).sqrt() * x + beta.sqrt() * torch.randn(x.shape, generator=generator)


# %% mystnb={"image": {"alt": "The same 3 after 0, 10, 50, 100, 200, 300, 500 and 1000 small steps: it fades into noise and can hardly be read after 300."}}
x = digit
shown = {0: x}
for i, beta in enumerate(betas, start=1):
    x = one_step(x, beta).float()
    if i in (10, 50, 100, 200, 300, 500, 1000):
        shown[i] = x
plotting.film(list(shown.values()), [f"{i} steps" for i in shown], scale=0.9)
plt.show()
# %% [markdown]
# **Explain.** Each step multiplies the variance by $1 - \beta$ and then adds $\beta$. A variance of 1 therefore stays 1. Without shrinking, the variances of all steps would pile up on top of the picture, and the network of the next notebook would see numbers of a different size at every noise level. The next cell follows the variance of data that start at variance 1, once with shrinking and once without.

# %% tags=["nbval-check-output"]
kept, piled = torch.tensor(1.0), torch.tensor(1.0)
for beta in betas.float():
    kept = (1 - beta) * kept + beta
    piled = piled + beta
print(f"variance after 1000 steps: {kept:.3f} with shrinking, {piled:.2f} without")

# %% [markdown]
# **Change.** Multiply `betas` by 4 and run the film again. After how many steps is the digit gone now?
#
# ## 2. One jump equals many steps
#
# A thousand steps for a single training example would be far too slow. Happily, Gaussians are closed under what we do to them: a Gaussian, shrunk, plus another Gaussian, is a Gaussian. So the whole walk can be written as one jump.
#
# Let $m_i$ be the factor in front of $x_0$ after $i$ steps, and $v_i$ the variance of all the noise so far. One more step gives
#
# $$m_i = \sqrt{1 - \beta_i}\; m_{i-1}, \qquad v_i = (1 - \beta_i)\, v_{i-1} + \beta_i.$$
#
# **Predict.** Start with $m_0 = 1$ and $v_0 = 0$. What is $m_i^2 + v_i$?

# %%
m, v = torch.tensor(1.0, dtype=torch.float64), torch.tensor(0.0, dtype=torch.float64)
walk = []
for beta in betas:
    m, v = (1 - beta).sqrt() * m, (1 - beta) * v + beta
    walk.append((m, v))
factors, variances = map(torch.stack, zip(*walk))

# %% [markdown]
# $m_i^2 + v_i$ is always 1: what the picture loses, the noise gains. So one sequence is enough. It is called $\bar\alpha$:
#
# $$\bar\alpha_i = \prod_{j \le i} (1 - \beta_j), \qquad x_i = \sqrt{\bar\alpha_i}\; x_0 + \sqrt{1 - \bar\alpha_i}\; \varepsilon.$$

# %% tags=["nbval-check-output"]
alpha_bar = torch.cumprod(1 - betas, 0)
print("factor   = sqrt(abar):", bool((factors - alpha_bar.sqrt()).abs().max() < 1e-12))
print("variance = 1 - abar:  ", bool((variances - (1 - alpha_bar)).abs().max() < 1e-12))


# %%
def jump(x0, eps, i):
    """x after i steps (i = 1 .. 1000), in one line."""
    return alpha_bar[i - 1].sqrt() * x0 + (1 - alpha_bar[i - 1]).sqrt() * eps


# %% [markdown]
# So much for the algebra. Now the experiment: 20,000 pixels that all begin at the value 0.8 walk 300 small steps. Another 20,000 take one jump. Do they end in the same crowd?

# %%
steps, start = 300, torch.full((20_000,), 0.8, dtype=torch.float64)
walked = start
for beta in betas[:steps]:
    walked = one_step(walked, beta)
jumped = jump(start, torch.randn(start.shape, generator=generator), steps)

# %%
mean, std = 0.8 * alpha_bar[steps - 1].sqrt(), (1 - alpha_bar[steps - 1]).sqrt()
values = torch.linspace(-2, 3, 200)
density = torch.exp(-0.5 * ((values - mean) / std) ** 2) / (std * (2 * torch.pi) ** 0.5)
_, ax = plt.subplots(figsize=(6, 3), layout="constrained")
bins = torch.linspace(-2, 3, 61).numpy()
ax.hist(walked, bins, density=True, alpha=0.5, color=plotting.COLOURS[0], label="300 steps")
ax.hist(jumped, bins, density=True, histtype="step", color=plotting.COLOURS[1], label="one jump")
ax.plot(values, density, "k--", linewidth=1, label="closed form")
ax.axvline(0.8, color="0.6", linewidth=1)
ax.text(0.83, 0.02, "start", fontsize=8)
ax.set(xlabel="value of the pixel", ylabel="density")
ax.legend()
plt.show()
# %% tags=["nbval-check-output"]
edges = torch.sort(torch.cat([walked, jumped])).values
shares = [
    torch.searchsorted(torch.sort(x).values, edges, right=True) / len(x) for x in (walked, jumped)
]
print("means agree to 0.03:  ", bool((walked.mean() - jumped.mean()).abs() < 0.03))
print("standard deviations:  ", bool((walked.std() - jumped.std()).abs() < 0.03))
print("both crowds the same: ", bool((shares[0] - shares[1]).abs().max() < 0.02))

# %% [markdown]
# The last line compares the whole distributions, not only mean and spread: it looks for the value below which the two crowds differ most in their share. With 20,000 pixels, a difference of 0.02 would be surprising if they were drawn from the same law; it is smaller.
#
# **In the library.** `ldmlib` uses a time $t$ from 0 to 1 instead of a step number. Step $i$ of $T$ is the time $t = i / T$, and the two factors have names of their own:
#
# $$x_t = \alpha(t)\, x_0 + \sigma(t)\, \varepsilon, \qquad \alpha = \sqrt{\bar\alpha}, \quad \sigma = \sqrt{1 - \bar\alpha}.$$

# %%
ddpm = Diffusion("linear", "eps")

# %% tags=["nbval-check-output"]
largest = 0.0
for i in (1, 10, 500, 1000):
    ours, theirs = jump(digit, eps, i), ddpm.add_noise(digit, eps, torch.tensor([i / 1000]))
    largest = max(largest, float((ours - theirs).abs().max()))
print("largest difference between jump and Diffusion.add_noise below 1e-6:", largest < 1e-6)

# %% [markdown]
# ## 3. Three schedules side by side
#
# Nothing forces us to use DDPM's $\beta$. A *schedule* is any pair of curves that begins at $\alpha = 1, \sigma = 0$ and ends near $\alpha = 0$. Three are enough to know:
#
# | schedule | $\alpha(t)$ | $\sigma(t)$ | used by |
# |---|---|---|---|
# | linear | $\sqrt{\bar\alpha}$ from the $\beta$ above | $\sqrt{1 - \alpha^2}$ | DDPM |
# | cosine | $\cos\left(\frac{t + 0.008}{1.008} \frac{\pi}{2}\right)$, nearly | $\sqrt{1 - \alpha^2}$ | improved DDPM |
# | flow | $1 - t$ | $t$ | flow matching, recent large models |
#
# **Predict.** In which of the three is the digit destroyed earliest? At which $t$ are picture and noise equally strong in the flow schedule?

# %%
names = ("linear", "cosine", "flow")
plotting.schedules(names)
plt.show()
# %% mystnb={"image": {"alt": "Three rows of ten stages, one for each schedule: with linear the 3 is lost before the middle, with cosine and flow well after it."}}
times = torch.linspace(0.05, 0.95, 10)
rows = {}
for name in names:
    alpha, sigma = Schedule(name).alpha_sigma(times)
    rows[name] = alpha.view(-1, 1, 1, 1) * digit + sigma.view(-1, 1, 1, 1) * eps
axes = plotting.show_rows(rows, scale=0.75)
for i, t in enumerate(times):
    axes[0].text(16 + 34 * i, -2, f"t = {t:.2f}", ha="center", fontsize=8)
plt.show()


# %% [markdown]
# The digit and the noise are the same everywhere. The linear schedule hurries: it spends the right half of its time on pictures that are nothing but noise to the eye. The cosine schedule was made to mend this.
#
# The right measure of "how destroyed" is the **signal-to-noise ratio**, $\mathrm{SNR}(t) = \alpha(t)^2 / \sigma(t)^2$. It falls from infinity to (nearly) nothing. Here is each schedule written small, and the time at which its SNR is 1.


# %%
def naive(name, t):
    """alpha and sigma at the times t, written as in the table above."""
    if name == "flow":
        return 1 - t, t
    if name == "linear":
        alpha = alpha_bar[(t * 1000).round().long() - 1].sqrt()
    else:
        angle = (t + 0.008) / 1.008 * torch.pi / 2
        alpha = angle.cos() / math.cos(0.008 / 1.008 * math.pi / 2)
    return alpha, (1 - alpha**2).sqrt()


# %% tags=["nbval-check-output"]
grid = torch.arange(1, 1000, dtype=torch.float64) / 1000
for name in names:
    pairs = zip(naive(name, grid), Schedule(name).alpha_sigma(grid))
    difference = max(float((ours - theirs).abs().max()) for ours, theirs in pairs)
    equal = grid[Schedule(name).snr(grid) <= 1][0]
    print(f"{name:7} equal to ldmlib's: {difference < 1e-6},  SNR falls to 1 at t = {equal:.2f}")

# %% [markdown]
# **Explain.** The schedules differ in *when* they reach a noise level, and in the scale of the numbers: the flow schedule does not keep the variance at 1. They do not differ in the pictures on the way. Take the linear picture at SNR 1 and the flow picture at SNR 1, divide each by its $\sqrt{\alpha^2 + \sigma^2}$, and they are the same picture:

# %% tags=["nbval-check-output"]
pictures = []
for name in names:
    t = torch.linspace(0, 1, 100_001, dtype=torch.float64)
    alpha, sigma = Schedule(name).alpha_sigma(t[(Schedule(name).log_snr(t)).abs().argmin()])
    pictures.append((alpha * digit + sigma * eps) / (alpha**2 + sigma**2).sqrt())
largest = max(float((picture - pictures[0]).abs().max()) for picture in pictures)
print("at SNR 1 the three pictures are one picture, to 1e-3:", largest < 1e-3)

# %% [markdown]
# This is why the library can treat DDPM, cosine diffusion and flow matching with the same few lines: they walk the same road at different speeds.
#
# **Question for the sliders.** Take each schedule in turn, and drag $t$ up until you can no longer read the 7. At which $t$ is that, and at which SNR? Which of the two is the same for all schedules? (A page without a running kernel shows frames made beforehand.)

# %%
schedule_explorer()

# %% [markdown]
# **Explain.** The time differs from schedule to schedule, the SNR hardly does. What can be read depends on how strong the picture stands beside the noise; a schedule only says *when* that is.
#
# ## 4. What is left at the end
#
# At $t = 1$ the sampler of [06](06_training_a_latent_diffusion_model.ipynb) starts from pure noise. Was the training data at $t = 1$ pure noise as well?
#
# **Predict.** Which of these schedules really end at $\alpha(1) = 0$?

# %% tags=["nbval-check-output"]
for name in ("linear", "scaled_linear", "cosine", "flow"):
    print(f"{name:14} alpha(1) = {Schedule(name).terminal_alpha:.5f}")

# %% [markdown]
# `scaled_linear` is the schedule of Stable Diffusion. Its last state still holds some of the picture: not enough for the eye, but a network sees it. Average 2,000 noised copies of one digit at $t = 1$: the noise cancels, and what is left over is the digit.

# %% mystnb={"image": {"alt": "For three schedules a 3, one draw at the last step, pure noise to the eye, and ten times the mean of many: with scaled linear the 3 is still there, with the others nothing is."}}
left = {}
for name in ("scaled_linear", "linear", "flow"):
    alpha, sigma = Schedule(name).alpha_sigma(1.0)
    noise = torch.randn(2000, *digit.shape[1:], generator=generator)
    noised = alpha * digit + sigma * noise
    left[name] = torch.cat([digit, noised[:1], 10 * noised.mean(0, keepdim=True)])
axes = plotting.show_rows(left, scale=0.9)
for i, title in enumerate(("$x_0$", "one $x_1$", "10 x mean")):
    axes[0].text(17 + 34 * i, -3, title, ha="center", va="bottom", fontsize=8)
plt.show()

# %% [markdown]
# **Explain.** A network that trained on such data has learned that the mean brightness of $x_1$ tells the mean brightness of the picture. Real noise has mean brightness near zero, so every sample comes out medium grey. Very dark and very bright pictures become impossible. The cure is a schedule that ends in pure noise ("zero terminal SNR"), as the flow schedule does by construction.
#
# There is a price: at $\alpha = 0$, a network that predicts the noise says nothing about the picture. [05](05_unet.ipynb) compares the targets that avoid this. `Diffusion` refuses the combination:

# %% tags=["nbval-check-output"]
try:
    Diffusion("flow", "eps")
except ValueError as error:
    print(error)

# %% [markdown]
# ## 5. The step back, if we knew the picture
#
# Now the other direction. Somebody shows us $x_t$ and asks for $x_s$ at an earlier time $s < t$. If we also know $x_0$, the answer is a Gaussian that we can write down.
#
# Two facts speak about $x_s$:
#
# 1. **The past**: $x_s = \alpha_s x_0 + \sigma_s \varepsilon$. So $x_s$ is near $\alpha_s x_0$, with variance $\sigma_s^2$.
# 2. **The future**: going from $s$ to $t$ multiplies by $r = \alpha_t / \alpha_s$ and adds noise of variance $a = \sigma_t^2 - r^2 \sigma_s^2$. So $x_s$ is near $x_t / r$, with variance $a / r^2$.
#
# Bayes' rule multiplies the two Gaussians. Multiplying Gaussians means: **precisions add, and the mean is weighted by precision** (precision is one over variance):
#
# $$\frac{1}{\text{var}} = \frac{1}{\sigma_s^2} + \frac{r^2}{a}, \qquad \text{mean} = \text{var} \cdot \left( \frac{1}{\sigma_s^2}\, \alpha_s x_0 + \frac{r^2}{a}\, \frac{x_t}{r} \right).$$
#
# **Predict.** If $s$ is only a tiny step before $t$, which of the two voices is louder?


# %%
def posterior(x0, x_t, s, t, schedule):
    """Mean and standard deviation of q(x_s | x_t, x_0), by adding precisions."""
    (alpha_s, sigma_s), (alpha_t, sigma_t) = schedule.alpha_sigma(s), schedule.alpha_sigma(t)
    r = alpha_t / alpha_s
    added = sigma_t**2 - r**2 * sigma_s**2
    past, future = 1 / sigma_s**2, r**2 / added
    variance = 1 / (past + future)
    return variance * (past * alpha_s * x0 + future * x_t / r), variance.sqrt()


# %% tags=["nbval-check-output"]
s, t = torch.tensor([[0.4], [0.7]], dtype=torch.float64)
x_t = torch.randn(digit.shape, generator=generator).double()
for name in names:
    mean, std = posterior(digit, x_t, s, t, Schedule(name))
    theirs = Diffusion(name, "v").posterior(digit.double(), x_t, s, t)
    largest = max(float((mean - theirs.mean).abs().max()), float((std - theirs.std).abs().max()))
    print(f"{name:7} largest difference from Diffusion.posterior below 1e-9: {largest < 1e-9}")

# %% [markdown]
# **The experiment.** Draw a million pairs $(x_s, x_t)$ for one pixel with $x_0 = 1$. Keep only the pairs whose $x_t$ came out near $-0.5$. What is left of $x_s$ is the posterior, with no formula used.

# %%
flow, x0, seen = Schedule("flow"), torch.tensor(1.0), torch.tensor(-0.5)
s, t = torch.tensor(0.4), torch.tensor(0.7)
r = flow.alpha(t) / flow.alpha(s)
added = flow.sigma(t) ** 2 - r**2 * flow.sigma(s) ** 2
x_s = flow.alpha(s) * x0 + flow.sigma(s) * torch.randn(1_000_000, generator=generator)
x_t = r * x_s + added.sqrt() * torch.randn(1_000_000, generator=generator)
kept = x_s[(x_t - seen).abs() < 0.02]

# %%
mean, std = posterior(x0, seen, s, t, flow)
values = torch.linspace(-2, 2.2, 300)
curves = {
    "the past alone": (flow.alpha(s) * x0, flow.sigma(s)),
    "the future alone": (seen / r, added.sqrt() / r),
    "posterior": (mean, std),
}
_, ax = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
ax.hist(kept, 60, density=True, color="0.8", label="what was kept")
for i, (label, (mu, sd)) in enumerate(curves.items()):
    density = torch.exp(-0.5 * ((values - mu) / sd) ** 2) / (sd * (2 * torch.pi) ** 0.5)
    ax.plot(values, density, plotting.STYLES[2 - i], color=plotting.COLOURS[i], label=label)
ax.set(xlabel="$x_s$", ylabel="density", ylim=(0, None))
ax.legend(fontsize=8)
plt.show()
# %% tags=["nbval-check-output"]
print("kept more than 10,000 pairs:", len(kept) > 10_000)
print("mean within 0.02 of the formula:", bool((kept.mean() - mean).abs() < 0.02))
print("standard deviation within 0.02: ", bool((kept.std() - std).abs() < 0.02))
print(
    "the posterior is narrower than both voices:",
    bool(std < flow.sigma(s)) and bool(std < added.sqrt() / r),
)

# %% [markdown]
# **Explain.** The posterior lies between the two voices and is narrower than each. This Gaussian is the heart of sampling: a sampler walks back along it, from noise to picture. The only thing that it lacks is $x_0$. **Guessing $x_0$ from $x_t$ is all that the network has to do**, and [05](05_unet.ipynb) builds it.
#
# **Change.** Set $s$ to 0.69 and run the experiment again. The voice of the future becomes the louder one by far: over a short step, $x_t$ tells nearly everything.
#
# ## 6. Noise in pixels, noise in latents
#
# A latent diffusion model does all this not to pixels but to the latents of an autoencoder. We borrow the one of the bundled model. First, how do the two kinds of numbers differ?

# %% tags=["nbval-check-output"]
model = LatentDiffusion.from_pretrained("mnist")
latents = model.encode(digits)
print(f"a digit is {digits[0].numel()} numbers in pixels, {latents[0].numel()} in the latent space")

# %%
_, axes = plt.subplots(1, 2, figsize=(8, 2.4), layout="constrained")
pairs = (("pixels", digits), ("latents, scaled", latents))
for ax, (name, x), colour in zip(axes, pairs, plotting.COLOURS):
    ax.hist(x.flatten(), 60, density=True, color=colour)
    ax.set(xlabel="value", title=f"{name}: standard deviation {x.std():.1f}", yticks=[])
    ax.locator_params(axis="x", nbins=5)
plt.show()

# %% [markdown]
# Pixels are nearly all black (-1), and a few are white (1). The latents lie on both sides of 0. They were scaled, channel by channel, to mean 0 and variance 1 over the training set. This matters here: the SNR only means "signal to noise" if the signal has variance 1.
#
# **Predict.** We noise the digit at six times with the flow schedule: once in pixels, once in latents, and decode the noised latents. Will the decoded pictures look grainy?

# %%
times = torch.tensor([0.0, 0.3, 0.5, 0.7, 0.85, 0.95])
x0, z0 = digit.repeat(6, 1, 1, 1), model.encode(digit).repeat(6, 1, 1, 1)
noise = torch.randn(z0[:1].shape, generator=generator)
diffusion = Diffusion("flow", "flow")
z_t = diffusion.add_noise(z0, noise, times)
in_pixels, in_latents = diffusion.add_noise(x0, eps, times), model.decode(z_t)

# %%
rows = {"noise in pixels": in_pixels, "noise in latents,\ndecoded": in_latents}
axes = plotting.show_rows(rows, scale=0.95)
for i, t in enumerate(times):
    axes[0].text(16 + 34 * i, -2, f"t = {t:.2f}", ha="center", fontsize=8)
plt.show()

# %%
plotting.show_latents(z_t, title="the noised latents, a row for each channel", scale=0.8)
plt.show()

# %% [markdown]
# **Explain.** In pixel space the digit stands behind a curtain of grain: every pixel is disturbed by itself. In latent space the decoder turns each disturbed number into a patch of stroke. The strokes fade, break and bend, and the grain never appears, because the decoder has only learned to draw strokes. So the denoiser in the latent space has no pixels to polish. It spends all its effort on where strokes go.
#
# ## 7. What could go wrong
#
# **The missing root.** The most common mistake in published courses is $1 - \bar\alpha$ in front of the noise where $\sqrt{1 - \bar\alpha}$ belongs. It runs, and the pictures look noisy. The symptom is in the variance: data of variance 1 must stay at variance 1.

# %%
data_of_variance_1 = torch.randn(20_000, generator=generator)
noise = torch.randn(20_000, generator=generator)
right, wrong = [], []
for abar in alpha_bar[::20].float():
    right.append((abar.sqrt() * data_of_variance_1 + (1 - abar).sqrt() * noise).var())
    wrong.append((abar.sqrt() * data_of_variance_1 + (1 - abar) * noise).var())

# %%
_, ax = plt.subplots(figsize=(5.5, 2.8), layout="constrained")
t = torch.arange(0, 1000, 20) / 1000
ax.plot(t, torch.stack(right), color=plotting.COLOURS[0], label=r"$\sqrt{1 - \bar\alpha}$: right")
ax.plot(t, torch.stack(wrong), "--", color=plotting.COLOURS[1], label=r"$1 - \bar\alpha$: wrong")
ax.set(xlabel="t", ylabel="variance of $x_t$", ylim=(0, 1.2))
ax.legend()
plt.show()
# %% tags=["nbval-check-output"]
print(
    f"largest distance from variance 1: right {max(abs(v - 1) for v in right):.1f}, wrong {max(abs(v - 1) for v in wrong):.1f}"
)

# %% [markdown]
# **Cure.** Test mean *and* variance of what your noising returns, on data whose variance you know. `ldmlib`'s tests do just that for every schedule.
#
# **Off by one.** The papers count steps from 1 to $T$, Python counts from 0. Step $i = 0, \dots, T - 1$ of a table is the time $t = (i + 1) / T$. Write $i / T$ instead, and two things go wrong:

# %% tags=["nbval-check-output"]
step = torch.tensor([0, 999])
for name, t in (("(i + 1) / T", (step + 1) / 1000), ("i / T", step / 1000)):
    alpha, sigma = Schedule("cosine").alpha_sigma(t)
    print(f"t = {name:12} first sigma = {sigma[0]:.3f}, last alpha = {alpha[1]:.4f}")

# %% tags=["nbval-check-output"]
x_t = ddpm.add_noise(digit, eps, torch.tensor([0.0]))
print("noise recovered at sigma = 0:", ((x_t - digit) / 0.0).abs().max().item())

# %% [markdown]
# At the first step there is no noise at all: the network is asked to find noise in a clean picture, and a division by $\sigma = 0$ makes NaN. At the last step, the data are less noisy than what the sampler starts from, so the sampler's first question is one that the network has never been asked. **Cure:** put the shift in one place, and test both ends.
#
# **Fewer steps, same betas.** Somebody finds 1000 steps too slow, and takes 50 betas from 0.0001 to 0.02. How much picture is left at the end?

# %% tags=["nbval-check-output"]
short = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 50, dtype=torch.float64), 0)
print(
    f"abar at the end: {short[-1]:.2f} with 50 unscaled betas, "
    f"{Schedule('linear').table(50)['alpha_bar'][-1]:.5f} from the curve read at 50 places"
)

# %% [markdown]
# **Cure.** The schedule is the curve. Fewer steps read the same curve at fewer places: `Schedule(name).table(50)`.
#
# ## Exercises
#
# Each check says what is wrong, in words. Run it as often as you like.

# %%
from ldmlib.check import forward as check

# %% [markdown]
# ### Exercise 1: the variance of $x_t$
#
# Data have variance $v$, not 1. What is the variance of $x_t = \alpha x_0 + \sigma \varepsilon$?


# %% tags=["exercise"]
def variance(alpha, sigma, v):
    return ...  # variance of alpha x_0 + sigma eps, if x_0 has variance v


# %% tags=["check", "nbval-check-output"]
check.variance(variance)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# $x_0$ and $\varepsilon$ are independent. What is the variance of a sum of independent parts?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# $\mathrm{Var}(c\,x) = c^2\,\mathrm{Var}(x)$.
#
# </details>
#
# <details><summary>Solution</summary>
#
# The variances add, and each factor comes out squared: $\alpha^2 v + \sigma^2$. The next cell checks it.
#
# </details>


# %% tags=["solution"]
def variance_solution(alpha, sigma, v):
    return alpha**2 * v + sigma**2


check.variance(variance_solution)

# %% [markdown]
# ### Exercise 2: the time of a noise level
#
# At which $t$ does the flow schedule have a given SNR? Remember: $\alpha = 1 - t$, $\sigma = t$.


# %% tags=["exercise"]
def time_of_snr(snr):
    return ...  # the time t at which the flow schedule has alpha^2 / sigma^2 = snr


# %% tags=["check", "nbval-check-output"]
check.time_of_snr(time_of_snr)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Take the root of both sides of $(1 - t)^2 / t^2 = \mathrm{SNR}$.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# $1 - t = t \sqrt{\mathrm{SNR}}$. Collect the terms with $t$.
#
# </details>
#
# <details><summary>Solution</summary>
#
# $t = 1 / (1 + \sqrt{\mathrm{SNR}})$. The next cell checks it.
#
# </details>


# %% tags=["solution"]
def time_of_snr_solution(snr):
    return 1 / (1 + snr**0.5)


check.time_of_snr(time_of_snr_solution)

# %% [markdown]
# ### Exercise 3: one step of any schedule
#
# You have $x_s$ and want $x_t$ at a later time: $x_t = r\, x_s + \sqrt{a}\; \varepsilon$. Return $r$ and $a$. It must work for every schedule, and `schedule.alpha(t)` and `schedule.sigma(t)` are all you need.


# %% tags=["exercise"]
def step_forward(s, t, schedule):
    return ...  # (r, a): the factor and the added variance of the step from s to t


# %% tags=["check", "nbval-check-output"]
check.one_step(step_forward)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Two steps must give the same as one jump. Put $x_s = \alpha_s x_0 + \sigma_s \varepsilon'$ into the formula, and compare the factor of $x_0$ with $\alpha_t$.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# The noise in $x_s$ shrinks as well. The total variance $r^2 \sigma_s^2 + a$ must be $\sigma_t^2$.
#
# </details>
#
# <details><summary>Solution</summary>
#
# $r = \alpha_t / \alpha_s$ and $a = \sigma_t^2 - r^2 \sigma_s^2$. The next cell checks it.
#
# </details>


# %% tags=["solution"]
def step_forward_solution(s, t, schedule):
    r = schedule.alpha(t) / schedule.alpha(s)
    return r, schedule.sigma(t) ** 2 - r**2 * schedule.sigma(s) ** 2


check.one_step(step_forward_solution)

# %% [markdown]
# ### Exercise 4: the posterior's mean without fractions
#
# In papers the mean of $q(x_s \mid x_t, x_0)$ stands with one denominator only, $\sigma_t^2$. Bring the formula of section 5 to that form, and write it down. `x0` and `x_t` are tensors.


# %% tags=["exercise"]
def posterior_mean(x0, x_t, s, t, schedule):
    return ...  # mean of q(x_s | x_t, x_0), divided by nothing but sigma(t)^2


# %% tags=["check", "nbval-check-output"]
check.posterior_mean(posterior_mean)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# First the variance: $\frac{1}{\sigma_s^2} + \frac{r^2}{a} = \frac{a + r^2 \sigma_s^2}{\sigma_s^2\, a}$. What is the numerator?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# The numerator is $\sigma_t^2$, so the variance is $\sigma_s^2\, a / \sigma_t^2$. Multiply it into the bracket.
#
# </details>
#
# <details><summary>Solution</summary>
#
# $(r\, \sigma_s^2\, x_t + a\, \alpha_s\, x_0) / \sigma_t^2$. The next cell checks it.
#
# </details>


# %% tags=["solution"]
def posterior_mean_solution(x0, x_t, s, t, schedule):
    r, added = step_forward_solution(s, t, schedule)
    mean = r * schedule.sigma(s) ** 2 * x_t + added * schedule.alpha(s) * x0
    return mean / schedule.sigma(t) ** 2


check.posterior_mean(posterior_mean_solution)

# %% [markdown]
# ### Design your own
#
# Design a schedule: two functions $\alpha(t)$ and $\sigma(t)$ that keep the variance at 1, end without a trace of the picture, and make picture and noise equally strong at $t = 0.3$. Draw a digit's way beside the three of section 3. What would a network find hard about yours?

# %% [markdown] tags=["teacher", "remove-cell"]
# **For the teacher.** Exercises, minutes to allow, and what to listen for.
#
# | exercise | minutes | expected | typical wrong answer | what the check says |
# |---|---|---|---|---|
# | 1: the variance of $x_t$ | 5 | $\alpha^2 v + \sigma^2$ | factors not squared | "neither factor is squared, but a factor comes out of a variance squared." |
# | 2: the time of a noise level | 6 | $1 / (1 + \sqrt{\text{SNR}})$ | the root is missing | "the SNR is the square of alpha / sigma: a root is missing." |
# | 3: one step | 10 | $r = \alpha_t / \alpha_s$, $a = \sigma_t^2 - r^2 \sigma_s^2$ | $a = 1 - r^2$, from the DDPM formula | "1 - r^2 holds only where alpha^2 + sigma^2 = 1; the flow schedule is another." |
# | 4: the posterior's mean | 12 | $(r \sigma_s^2 x_t + a \alpha_s x_0) / \sigma_t^2$ | weights exchanged | "the weights are swapped: x_t counts for more the more noise x_s holds, sigma(s)^2." |
#
# Misconception to listen for: *noise is added until the picture is gone*. The picture is also shrunk; exercise 1 and section 4 show what happens otherwise.

# %% [markdown]
# ## Recap
#
# 1. Forward diffusion shrinks the picture and adds Gaussian noise. Nothing is learned.
# 2. Many small steps equal one jump: $x_t = \alpha(t)\, x_0 + \sigma(t)\, \varepsilon$.
# 3. Schedules walk the same road at different speeds. The SNR says where you are.
# 4. Knowing $x_0$, the step back is a Gaussian: precisions add. The network's only task is to guess $x_0$.
# 5. In latent space noise bends strokes; in pixel space it is grain.
#
# ## Quiz
#
# Choose an answer: each of them, right or wrong, gets a reason.

# %% tags=["quiz"]
from ldmlib.widgets import quiz

quiz("04_forward_diffusion")

# %% [markdown]
# ## Where to go next
#
# [05](05_unet.ipynb) builds the network that guesses. [06](06_training_a_latent_diffusion_model.ipynb) trains the whole model.
#
# ## References
#
# - J. Ho, A. Jain, P. Abbeel. *Denoising Diffusion Probabilistic Models*. 2020. arXiv 2006.11239. (Steps, jump and posterior: equations 2, 4, 6 and 7.)
# - J. Sohl-Dickstein et al. *Deep Unsupervised Learning using Nonequilibrium Thermodynamics*. 2015. arXiv 1503.03585.
# - A. Nichol, P. Dhariwal. *Improved Denoising Diffusion Probabilistic Models*. 2021. arXiv 2102.09672. (Cosine schedule.)
# - D. Kingma et al. *Variational Diffusion Models*. 2021. arXiv 2107.00630. (The SNR view.)
# - Y. Lipman et al. *Flow Matching for Generative Modeling*. 2022. arXiv 2210.02747.
# - S. Lin et al. *Common Diffusion Noise Schedules and Sample Steps are Flawed*. 2023. arXiv 2305.08891. (Terminal SNR.)

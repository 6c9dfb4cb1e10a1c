# %% [markdown]
# # 01 · Probability and latent spaces: what is a distribution of pictures?
#
# [Open in Colab](https://colab.research.google.com/github/ldm-course/ldm-course/blob/main/notebooks/01_probability_and_latent_spaces.ipynb)
#
# A generative model draws from a probability distribution over pictures. Here you will build such a model out of parts that are all *exact*: no network, no training, every answer a formula. You start with a coin and end with the smallest latent diffusion model there is.
#
# On the way you will have made the first picture below: a map on which every digit is a point.
#
# > **You will be able to** read a density, its mean and its variance off a picture; turn a belief around with Bayes' rule; follow a score field to its samples; compute $p(x) = \int p(x \mid z)\, p(z)\, dz$ and say how far off a Monte Carlo answer is; fit a model with KL either way round; state the ELBO and its gap; build a linear latent space of digits and say why it is not enough.
# >
# > **Needs** Python, a little PyTorch, and school mathematics. [00](00_start_here.ipynb) shows where the road leads.
# >
# > **Takes** about 1 minute and 1.5 GB of memory on 2 CPU cores.

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

from ldmlib import data, plotting
from ldmlib.check import probability as check
from ldmlib.evaluation.features import extract
from ldmlib.networks.classifier import bundled_classifier
from ldmlib.probability import pca
from ldmlib.probability.estimates import kl_gaussians, kl_monte_carlo, langevin, monte_carlo
from ldmlib.probability.mixtures import GaussianMixture
from ldmlib.rng import seeded
from ldmlib.widgets import animation, latent_walk, mixture_explorer, posterior_explorer

plt.rcParams["figure.dpi"] = 66
BLUE, ORANGE, GREEN = plotting.COLOURS[:3]


# %%
def agree(a, b, tolerance=1e-8):
    """True where no two numbers differ by more than the tolerance."""
    return bool((a - b).abs().max() < tolerance)


# %%
digits, labels = data.mnist("train").random_subset(20_000, seed=0).as_tensors()
test_digits, test_labels = data.mnist("test").random_subset(1000, seed=0).as_tensors()
plane = pca.digits_in_pca(dims=2)


# %%
def draw_digit(ax, point, picture, colour, size=0.18):
    """A digit in its class's colour at its place on the map; where it is black, it is clear."""
    rgba = torch.ones(32, 32, 4) * torch.tensor([*plt.colormaps["tab10"](int(colour))])
    rgba[..., 3] = (picture[0] + 1) / 2
    left, low = (point - size).tolist()
    ax.imshow(rgba, extent=(left, left + 2 * size, low, low + 2 * size), zorder=2)


# %%
_, ax = plt.subplots(figsize=(6.6, 6.1), layout="constrained")
taken = torch.zeros(0, 2)
places = plane.pca.encode(test_digits)
for point, picture, label in zip(places, test_digits, test_labels):
    if len(taken) == 0 or (taken - point).norm(dim=1).min() > 0.23:
        draw_digit(ax, point, picture, label)
        taken = torch.cat([taken, point[None]])
ax.set(xlim=(-2.2, 3.7), ylim=(-2.8, 2.8), xlabel="first number", ylabel="second number")
ax.set_title("1024 pixels, told in two numbers", fontsize=11)
plt.show()

# %% [markdown]
# ## 1. From a coin to a density
#
# Toss a fair coin $n$ times and note the share of heads. **Predict.** How many tosses do you need before the share is surely within 0.01 of one half? 100? 1,000? More?

# %%
tosses = (torch.rand(200, 10_000, generator=seeded(1)) < 0.5).double()
counts = torch.arange(1, 10_001)
share = tosses.cumsum(1) / counts

# %%
_, ax = plt.subplots(figsize=(7, 3), layout="constrained")
ax.plot(counts, share[:12].T, color="0.75", linewidth=0.6)
for sign in (-1, 1):
    ax.plot(counts, 0.5 + sign * 2 * 0.5 / counts.sqrt(), "--", color=ORANGE)
ax.plot([], [], color="0.75", label="share of heads, 12 series of tosses")
ax.plot([], [], "--", color=ORANGE, label=r"$1/2 \pm 2 \cdot 0.5 / \sqrt{n}$")
ax.set(xscale="log", xlim=(5, 10_000), ylim=(0, 1), xlabel="tosses $n$", ylabel="share of heads")
ax.legend()
plt.show()

# %% [markdown]
# **What happened.** The series close in on one half, but slowly: the spread of the share is $\sqrt{p (1 - p) / n}$. Ten times more exact costs a hundred times more tosses. To be within 0.01 nearly always, two such spreads must fit into 0.01, which takes 10,000 tosses. This $1/\sqrt n$ follows us through the whole course.

# %% tags=["nbval-check-output"]
for n in (100, 10_000):
    spread, formula = share[:, n - 1].std(), (0.25 / n) ** 0.5
    print(f"n = {n:6}: spread within a tenth of the formula: {abs(spread / formula - 1) < 0.1}")
inside = ((share[:, -1] - 0.5).abs() <= 0.01).double().mean()
print("after 10,000 tosses, more than 9 series in 10 are within 0.01:", bool(inside > 0.9))

# %% [markdown]
# ### When the outcomes lie close together
#
# A coin has two outcomes, a die six, and the brightness of a picture has as many as you like. With many outcomes each single one becomes rare, and its probability says little. What survives is **probability per width**: the *density*.
#
# Our first real quantity is the **ink** of a digit: the share of white in the picture, in percent.

# %%
ink = 100 * (digits.flatten(1).mean(1).double() + 1) / 2

# %%
_, axes = plt.subplots(1, 3, figsize=(10, 2.6), layout="constrained", sharey=True)
for ax, bins in zip(axes, (8, 30, 120)):
    ax.hist(ink, bins, density=True, color=BLUE)
    ax.set(title=f"{bins} bins", xlabel="ink of a digit (% white)", xlim=(0, 25))
axes[0].set_ylabel("probability per percent")
plt.show()

# %% [markdown]
# **Explain.** The bars get narrower, but the outline stays: its height is not a probability, its **area** is. Therefore a density may well be larger than 1.

# %% tags=["nbval-check-output"]
narrow = GaussianMixture.isotropic(torch.zeros(1, 1).double(), 0.1)
density = narrow.log_prob(torch.linspace(-1, 1, 2001).double()[:, None]).exp()
print(
    f"highest value of N(0, 0.1^2): {density.max():.2f}, area below it: {density.sum() * 0.001:.3f}"
)

# %% [markdown]
# ### Mean and variance by picture
#
# The **expectation** is where the histogram would balance on a finger: the average of all values, each as often as it comes. The **variance** is the average *squared* distance from there, and its root, the **standard deviation**, is a typical distance:
#
# $$\mathbb E[x] = \int x\, p(x)\, dx, \qquad \mathrm{Var}[x] = \mathbb E\left[(x - \mathbb E[x])^2\right] = \mathbb E[x^2] - \mathbb E[x]^2.$$

# %% tags=["nbval-check-output"]
mean = ink.mean()
distance = ((ink - mean) ** 2).mean()
shortcut = (ink**2).mean() - mean**2
print(f"mean ink {mean:.0f} %, standard deviation {distance.sqrt():.0f} %")
print("both formulas of the variance agree:", agree(distance, shortcut))

# %%
_, ax = plt.subplots(figsize=(6, 2.6), layout="constrained")
ax.hist(ink, 60, density=True, color="0.8")
ax.plot([mean], [-0.007], "^", color=ORANGE, markersize=12, label="mean: balance")
ax.hlines(0.03, mean - distance.sqrt(), mean + distance.sqrt(), color=BLUE, linewidth=4)
ax.plot([], [], color=BLUE, linewidth=4, label="one standard deviation each way")
ax.set(xlabel="ink (% white)", ylabel="density", xlim=(0, 25), ylim=(-0.015, None))
ax.legend(fontsize=8)
plt.show()

# %% [markdown]
# **Change.** Replace `ink` by `ink[labels == 1]`. Why do the two numbers fall?
#
# ## 2. Bayes by picture
#
# I have drawn a digit, either a 1 or a 0, and tell you only its ink. Which one is it? We measure how much ink each of the two has, and describe each by a Gaussian.

# %%
pair = [ink[labels == 1], ink[labels == 0]]
ones_and_zeros = GaussianMixture(
    means=torch.stack([part.mean() for part in pair])[:, None],
    covs=torch.stack([part.var() for part in pair])[:, None, None],
    weights=torch.tensor([len(part) for part in pair]).double() / sum(map(len, pair)),
)


# %%
def gaussian(x, mean, variance):
    """Density of N(mean, variance)."""
    return torch.exp(-((x - mean) ** 2) / (2 * variance)) / (2 * math.pi * variance) ** 0.5


# %% [markdown]
# **Bayes' rule** turns "how much ink has a 1?" around into "is it a 1, given its ink?". Write down both ways to end up at this ink, and take the share of one of them:
#
# $$p(k \mid x) = \frac{p(k)\, p(x \mid k)}{\sum_j p(j)\, p(x \mid j)}, \qquad \text{posterior} = \frac{\text{prior} \times \text{likelihood}}{\text{evidence}}.$$


# %%
def bayes(x, means, variances, priors):
    """Posterior over the classes k for values x: (n, k)."""
    joint = priors * gaussian(x[:, None], means, variances)
    return joint / joint.sum(1, keepdim=True)


# %%
values = torch.linspace(1, 25, 400).double()
means, variances = ones_and_zeros.means[:, 0], ones_and_zeros.covs[:, 0, 0]
joint = ones_and_zeros.weights * gaussian(values[:, None], means, variances)
posterior = bayes(values, means, variances, ones_and_zeros.weights)

# %%
_, axes = plt.subplots(1, 2, figsize=(10, 2.8), layout="constrained")
for k, (name, colour, style) in enumerate((("1", BLUE, "-"), ("0", ORANGE, "--"))):
    axes[0].hist(pair[k], 40, density=True, color=colour, alpha=0.15)
    axes[0].plot(
        values,
        joint[:, k] / ones_and_zeros.weights[k],
        style,
        color=colour,
        label=f"ink of a {name}",
    )
    axes[1].plot(values, posterior[:, k], style, color=colour, label=f"p({name} | ink)")
axes[0].set(title="likelihood: measured, and as a Gaussian", ylabel="density")
axes[1].set(title="posterior: what the ink tells", ylabel="probability", ylim=(-0.03, 1.03))
for ax, place in zip(axes, ("upper right", "center right")):
    ax.set(xlabel="ink (% white)")
    ax.legend(loc=place)
plt.show()

# %% tags=["nbval-check-output"]
theirs = ones_and_zeros.responsibilities(values[:, None])
print("equal to ldmlib's responsibilities:", agree(posterior, theirs))

# %% [markdown]
# **Predict.** With thousands of real digits in hand, we need not believe a formula. Of all ones and zeros with ink between 8.5 and 9.5 %, which share are ones?

# %% tags=["nbval-check-output"]
near = [float(((part > 8.5) & (part < 9.5)).sum()) for part in pair]
counted = near[0] / sum(near)
formula = float(bayes(torch.tensor([9.0]).double(), means, variances, ones_and_zeros.weights)[0, 0])
print(f"counted and formula differ by less than 0.1: {abs(counted - formula) < 0.1}")

# %% [markdown]
# **What happened.** Counting and Bayes' rule agree, as far as the Gaussians describe the ink.
#
# ### A belief about a number
#
# The same rule works for a continuous cause. Somebody draws a number $z$, adds noise, and shows you $x = z + \text{noise}$. What do you believe about $z$?
#
# **Question for the sliders.** Put $x$ at 0.6. With little noise the posterior is a narrow bump at $x$. What does it become when the noise grows, and where does its mean go? Is the mean always a place where $z$ may be?

# %%
posterior_explorer()

# %% [markdown]
# For readers without a kernel, four positions of the noise slider:


# %%
def believe(z, prior, x, noise):
    """Posterior density on an even grid z, and the evidence p(x)."""
    joint = prior * gaussian(x, z, noise**2)
    evidence = joint.sum() * (z[1] - z[0])
    return joint / evidence, evidence


# %%
z = torch.linspace(-5, 5, 801).double()
prior = 0.7 * gaussian(z, -1.5, 0.25) + 0.3 * gaussian(z, 1.5, 0.25)
_, axes = plt.subplots(1, 4, figsize=(11, 2.5), layout="constrained", sharey=True)
for ax, noise in zip(axes, (0.3, 0.8, 1.5, 4.0)):
    after, _ = believe(z, prior, 0.6, noise)
    ax.fill_between(z, prior, color="0.85", label="prior")
    ax.plot(z, after, color=BLUE, label="posterior")
    ax.axvline((after * z).sum() * 0.0125, color=GREEN, linestyle=":", label="its mean")
    ax.set(title=f"x = 0.6, noise {noise}", xlabel="z", xlim=(-4, 4), ylim=(0, 1.8))
axes[0].legend(fontsize=8)
plt.show()

# %% [markdown]
# **Explain.** With little noise we believe the observation, with much noise we fall back to the prior. In between, the posterior has two bumps, and its mean lies in the valley, where hardly any $z$ is. Remember this: the denoiser of a diffusion model answers with exactly this mean, and that is why its first guesses are blurred.
#
# ## 3. A mixture and its score
#
# A sum of weighted Gaussians is called a **mixture**: $p(x) = \sum_k w_k\, \mathcal N(x; m_k, v_k)$. The mixture of ones and zeros was one. It can take nearly any shape, and everything about it is known. That makes it the oracle of this course.
#
# The most useful thing to know is its **score**, the slope of the log density:
#
# $$\text{score}(x) = \nabla_x \log p(x) = \sum_k p(k \mid x)\, \frac{m_k - x}{v_k}.$$
#
# Each Gaussian pulls towards its mean, the harder the further away; the posterior says whose pull counts here.


# %%
def naive_score(x, means, variances, weights):
    """Score of a mixture in one dimension at x (n,)."""
    pulls = (means - x[:, None]) / variances
    return (bayes(x, means, variances, weights) * pulls).sum(1)


# %% tags=["nbval-check-output"]
x = values.clone().requires_grad_()
log_density = (ones_and_zeros.weights * gaussian(x[:, None], means, variances)).sum(1).log()
(slope,) = torch.autograd.grad(log_density.sum(), x)
ours = naive_score(values, means, variances, ones_and_zeros.weights)
print("equal to autograd's slope:  ", agree(ours, slope))
print("equal to ldmlib's score:    ", agree(ours, ones_and_zeros.score(values[:, None])[:, 0]))

# %% [markdown]
# **Question for the sliders.** Two bumps: how near must they come before they merge into one? Watch the dots where the score crosses zero: three of them for two bumps, one for one. Then make one bump rare: does a small weight change the score *inside* that bump?

# %%
mixture_explorer()

# %% [markdown]
# Without a kernel, four positions:


# %%
def draw_two_bumps(axes, means, weights):
    """Density above, score below, for two bumps of spread 0.6."""
    x, means = torch.linspace(-4, 4, 401).double(), torch.tensor(means).double()
    variances, weights = torch.tensor([0.36, 0.36]).double(), torch.tensor(weights).double()
    axes[0].plot(x, (weights * gaussian(x[:, None], means, variances)).sum(1), color=BLUE)
    axes[1].plot(x, naive_score(x, means, variances, weights), color=BLUE)
    axes[1].axhline(0, color="0.6", linewidth=1)
    axes[1].set(ylim=(-8, 8), xlabel="x")


# %%
_, axes = plt.subplots(2, 4, figsize=(11, 3.6), layout="constrained", sharex=True, sharey="row")
settings = [(1.5, 0.5), (0.7, 0.5), (0.5, 0.5), (1.5, 0.95)]
for column, (m, w) in zip(axes.T, settings):
    draw_two_bumps(column, [-m, m], [w, 1 - w])
    column[0].set_title(rf"means $\pm${m}, weight {w}", fontsize=10)
axes[0, 0].set_ylabel("density")
axes[1, 0].set_ylabel("score")
plt.show()

# %% tags=["nbval-check-output"]
line = torch.linspace(-4, 4, 8001).double()[:, None]
for m, w in ((0.65, 0.5), (0.55, 0.5)):
    means = torch.tensor([[-m], [m]]).double()
    bumps = GaussianMixture.isotropic(means, 0.6, torch.tensor([w, 1 - w]).double())
    uphill = bumps.score(line)[:, 0] > 0
    print(f"means {2 * m:.1f} apart: {int((uphill[1:] != uphill[:-1]).sum())} zero(s) of the score")

# %% [markdown]
# **Explain.** Equal bumps merge when their means are two spreads apart (here 1.2). In the last column the right bump is rare, and its density is hardly visible. But the score inside it is the same as before: it still crosses zero near 1.5. The score knows *where* the bumps are, and only in the valley between them does it learn *how much* each weighs. That will matter in a moment.
#
# A slider is only fun if the picture follows at once. Below 100 ms the hand does not notice a delay. On the machine that made this page:

# %%
import time

slider = mixture_explorer().children[0].children[0].children[0]

# %%
start = time.process_time()
for value in torch.linspace(-2, 2, 10):
    slider.value = float(value)
print(f"{(time.process_time() - start) * 100:.0f} ms of processor time a redraw")

# %% [markdown]
# ### In two dimensions
#
# In the plane the score is a field of arrows. Spreads become **covariance** matrices, which also say in which direction a bump is stretched: $\text{score}(x) = \sum_k p(k \mid x)\, C_k^{-1} (m_k - x)$.

# %%
three = GaussianMixture(
    means=torch.tensor([[-2.0, -1.0], [2.0, -1.0], [0.3, 2.0]]).double(),
    covs=torch.tensor(
        [[[0.5, 0.3], [0.3, 0.4]], [[0.3, -0.1], [-0.1, 0.5]], [[0.6, 0], [0, 0.15]]]
    ).double(),
    weights=torch.tensor([0.6, 0.3, 0.1]).double(),
)


# %%
def on_grid(count, size=4.0):
    """Points of a square grid, (count^2, 2)."""
    line = torch.linspace(-size, size, count).double()
    return torch.cartesian_prod(line, line)


def draw_density(ax, mixture, size=4.0):
    """The density in shades of grey."""
    line = torch.linspace(-size, size, 61)
    density = mixture.log_prob(on_grid(61, size)).exp().reshape(61, 61).T
    levels = density.max() * torch.tensor([0.005, 0.03, 0.1, 0.25, 0.5, 0.75, 1.0])
    shades = plt.colormaps["Greys"](torch.linspace(0.12, 0.55, 6))
    ax.contourf(line, line, density, levels, colors=shades)
    ax.set(xlim=(-size, size), ylim=(-size, size), aspect="equal")


# %%
def draw_score(ax, mixture, count):
    """Arrows, the long ones shortened to their root, so that all can be seen."""
    points = on_grid(count)
    arrows = mixture.score(points)
    arrows = arrows / arrows.norm(dim=1, keepdim=True).sqrt()
    ax.quiver(*points.T, *arrows.T, color=BLUE, width=0.06 / count, scale=3.5 * count)


# %% [markdown]
# Bayes' rule works here as well. We colour each place by its posterior: pure blue, orange or green where only one bump can have made the point, and a blend where it may have been either.

# %%
from matplotlib.colors import to_rgb


def draw_posterior(ax, mixture, size=4.0):
    """Each place in the bumps' colours, blended by their posterior; lines of equal density."""
    inks = torch.tensor([to_rgb(c) for c in plotting.COLOURS[:3]]).double()
    blend = (mixture.responsibilities(on_grid(201, size)) @ inks).reshape(201, 201, 3)
    ax.imshow(blend.transpose(0, 1), origin="lower", extent=(-size, size, -size, size), alpha=0.75)
    line = torch.linspace(-size, size, 61)
    density = mixture.log_prob(on_grid(61, size)).exp().reshape(61, 61).T
    levels = density.max() * torch.tensor([0.03, 0.1, 0.25, 0.5, 0.75])
    ax.contour(line, line, density, levels, colors="white", linewidths=0.8)


# %%
_, (left, right) = plt.subplots(1, 2, figsize=(9.6, 4.9), layout="constrained", sharey=True)
draw_density(left, three)
draw_score(left, three, 17)
left.set_title("density (grey) and its score (arrows)", fontsize=10)
draw_posterior(right, three)
for k, (x_k, y_k) in enumerate(three.means.tolist()):
    right.text(x_k, y_k, f"k = {k + 1}", color="white", ha="center", va="center", weight="bold")
right.set_title("posterior p(k | x), as a colour", fontsize=10)
plt.show()

# %% [markdown]
# **What happened.** The borders on the right are where the pulls change hands: cross one, and the arrows on the left turn to another bump.


# %%
def plane_score(x, means, covs, weights):
    """Score of a mixture in the plane, one component at a time."""
    joint, pulls = [], []
    for m, c, w in zip(means, covs, weights):
        pull = (m - x) @ c.inverse()
        energy = -(pull * (m - x)).sum(1) / 2
        joint.append(w * energy.exp() / (2 * math.pi * c.det().sqrt()))
        pulls.append(pull)
    joint, pulls = torch.stack(joint, 1), torch.stack(pulls, 1)  # (n, k) and (n, k, 2)
    return ((joint / joint.sum(1, keepdim=True))[..., None] * pulls).sum(1)


# %% tags=["nbval-check-output"]
ours = plane_score(on_grid(17), three.means, three.covs, three.weights)
print("largest difference from ldmlib's score below 1e-8:", agree(ours, three.score(on_grid(17))))

# %% [markdown]
# ## 4. Walking down the field
#
# The arrows point uphill. **Predict.** Put a thousand points anywhere and let them follow the arrows. Where do they end? Will they look like draws from the mixture?


# %%
def walk(score, x, step, steps, noise, generator):
    """Follow the score with steps of size `step`, shaken by noise at every step."""
    for _ in range(steps):
        shake = torch.randn(x.shape, generator=generator).double()
        x = x + step * score(x) + noise * math.sqrt(2 * step) * shake
    return x


# %%
begin = 2.0 * torch.randn(1000, 2, generator=seeded(2)).double()
still = walk(three.score, begin, 0.02, 400, noise=0, generator=seeded(3))
shaken = walk(three.score, begin, 0.02, 400, noise=1, generator=seeded(3))
drawn = three.sample(1000, seeded(4))

# %%
_, axes = plt.subplots(1, 4, figsize=(11, 3), layout="constrained", sharex=True, sharey=True)
names = ("the start", "following the arrows", "with noise: Langevin", "true draws")
for ax, x, name in zip(axes, (begin, still, shaken, drawn), names):
    draw_density(ax, three)
    ax.plot(*x[:500].T, ".", markersize=2, color=BLUE)
    ax.set_title(name, fontsize=10)
plt.show()

# %% [markdown]
# **What happened.** Without noise all points fall onto the tops: that is optimisation. With the right amount of noise they spread out and stay spread: that is **sampling**. The rule is named after Langevin:
#
# $$x \leftarrow x + h\, \text{score}(x) + \sqrt{2 h}\; \varepsilon, \qquad \varepsilon \sim \mathcal N(0, I).$$
#
# It needs nothing but the score. A network that knows the score can draw pictures.

# %% tags=["nbval-check-output"]
theirs = langevin(three.score, begin, 0.02, 400, seeded(3))
print("equal to ldmlib's langevin:", agree(shaken, theirs, 1e-5))

# %% [markdown]
# Here are the first steps again, as a film:


# %%
def walking(x, frames=20):
    """One figure, changed for each frame."""
    figure, ax = plt.subplots(figsize=(3.6, 3.8), layout="constrained")
    draw_density(ax, three)
    (dots,) = ax.plot(*x.T, ".", markersize=3, color=BLUE)
    generator = seeded(5)
    for frame in range(frames):
        ax.set_title(f"step {4 * frame}", fontsize=10)
        dots.set_data(*x.T)
        yield figure
        x = walk(three.score, x, 0.02, 4, noise=1, generator=generator)


animation(walking(begin[:300]), seconds=0.15)

# %% [markdown]
# **A closer look.** The picture seems fine. But count how many points ended in each bump.


# %%
def shares(x):
    """Which share of the points belongs to each component of `three`."""
    return three.responsibilities(x).argmax(1).bincount(minlength=3) / len(x)


# %%
for name, x in (("weights", None), ("true draws", drawn), ("Langevin", shaken)):
    found = three.weights if x is None else shares(x)
    print(f"{name:11}", "  ".join(f"{v:.2f}" for v in found.tolist()))

# %% tags=["nbval-check-output"]
print("true draws: within 0.05 of the weights:", agree(shares(drawn), three.weights, 0.05))
print("Langevin:   within 0.05 of the weights:", agree(shares(shaken), three.weights, 0.05))

# %% [markdown]
# **Explain.** Langevin's points sit in the right places in the wrong numbers. Each one climbed the bump nearest to its start and stays there: the valleys are too deep to cross in reasonable time, and inside a bump the score does not know the weights (remember the last column above). This is the reason why diffusion models exist. Their cure, noise of many sizes, comes in section 9.
#
# **Change.** Give the walk 4,000 steps. Do the shares get better? By how much?
#
# ## 5. A cause that nobody sees
#
# Where would a distribution of pictures come from? From causes: which digit, how slanted, how thick a pen. Call the cause $z$, a **latent variable**. Draw $z$, then draw $x$ given $z$. The density of $x$ then sums over all causes:
#
# $$p(x) = \int p(x \mid z)\, p(z)\, dz.$$
#
# A cause as simple as can be, $z \sim \mathcal N(0, 1)$, bent by a curve: $x = 2 \tanh(2 z) + 0.4\, \varepsilon$. **Predict.** $z$ has one bump. How many has $x$?


# %%
def bend(z):
    return 2 * torch.tanh(2 * z)


# %%
z = torch.linspace(-4, 4, 401).double()
x = torch.linspace(-4, 4, 401).double()
dz = dx = z[1] - z[0]
joint = gaussian(x[:, None], bend(z), 0.4**2) * gaussian(z, 0.0, 1.0)  # a row for each x

# %% [markdown]
# `joint` is a table with the density of every pair $(x, z)$. To forget $z$, add up each row: that is the integral, by hand.

# %%
marginal = joint.sum(1) * dz
generator = seeded(6)
causes = torch.randn(50_000, generator=generator).double()
seen = bend(causes) + 0.4 * torch.randn(50_000, generator=generator).double()

# %%
_, (left, right) = plt.subplots(
    1, 2, figsize=(8, 3.4), layout="constrained", sharey=True, width_ratios=(2, 1)
)
left.imshow(joint.sqrt(), cmap="Greys", origin="lower", extent=(-4, 4, -4, 4), aspect="auto")
left.plot(z, bend(z), "--", color=ORANGE, label="x without noise")
left.set(xlabel="cause z", ylabel="x", title="joint density p(x, z)")
right.hist(seen, 100, density=True, orientation="horizontal", color="0.8", label="draws")
right.plot(marginal, x, color=BLUE, label="sum over z")
right.set(xlabel="density", title="p(x)")
left.legend(loc="upper left")
right.legend(fontsize=8)
plt.show()

# %% tags=["nbval-check-output"]
print("area below p(x):", f"{float(marginal.sum() * dx):.4f}")
drawn_above, summed_above = (seen > 1).double().mean(), marginal[x > 1].sum() * dx
print("share of x > 1, by draws and by the sum, to 0.01:", agree(drawn_above, summed_above, 0.01))

# %% [markdown]
# **What happened.** One simple bump, sent through a curve, became two bumps: simple noise plus a function makes a complicated density. This is what every generative model with a decoder does. The decoder is the curve.
#
# ### The same by Monte Carlo
#
# A table over $z$ works for one number. For 256 latent numbers with 400 places each it would have more entries than there are atoms. But the integral is an expectation, and expectations are estimated by averages:
#
# $$p(x) = \mathbb E_{z \sim p(z)} \left[ p(x \mid z) \right] \approx \frac1n \sum_{i=1}^n p(x \mid z_i), \qquad z_i \sim p(z).$$
#
# How wrong is it? As with the coin: the variance of the average is the variance of one term divided by $n$. Its root is the **standard error**, $\sqrt{\mathrm{Var}[p(x \mid z)] / n}$.


# %%
def estimate(values):
    """Mean and standard error of independent values."""
    n = len(values)
    variance = ((values - values.mean()) ** 2).sum() / (n - 1)
    return values.mean(), (variance / n).sqrt()


# %% tags=["nbval-check-output"]
point = 1.0
truth = float(marginal[(x - point).abs().argmin()])
terms = gaussian(point, bend(causes), 0.4**2)
value, error = estimate(terms)
theirs = monte_carlo(terms)
print("Monte Carlo within 4 standard errors of the table:", agree(value, truth, 4 * error))
print("equal to ldmlib's monte_carlo:", agree(error, theirs.error))

# %% [markdown]
# **Predict.** A thousand people each estimate $p(1)$ with $n$ draws. Their answers scatter. How does the scatter change from $n = 10$ to $n = 1000$?

# %%
sizes, scatter = (10, 30, 100, 300, 1000, 3000), []
for n in sizes:
    z_many = torch.randn(1000, n, generator=seeded(n)).double()
    scatter.append(gaussian(point, bend(z_many), 0.4**2).mean(1).std())
law = terms.std() / torch.tensor(sizes).sqrt()

# %%
_, ax = plt.subplots(figsize=(5.5, 3), layout="constrained")
ax.loglog(sizes, scatter, "o", color=BLUE, label="scatter of 1000 answers")
ax.loglog(sizes, law, "--", color=ORANGE, label=r"standard error, $\sqrt{\mathrm{Var} / n}$")
ax.set(xlabel="draws n", ylabel="error of p(1)")
ax.legend()
ax.grid(alpha=0.3)
plt.show()

# %% tags=["nbval-check-output"]
ratios = torch.stack(scatter) / law
print("scatter within a tenth of the law at every n:", agree(ratios, 1, 0.1))
print(
    "100 times the draws, a tenth of the error, to 0.02:", agree(scatter[4] / scatter[0], 0.1, 0.02)
)

# %% [markdown]
# **Explain.** Monte Carlo does not care how many dimensions $z$ has: its error is always $1/\sqrt n$ times the spread of one term. The catch is that spread. For a real picture $x$ nearly every random $z$ gives $p(x \mid z) \approx 0$, and one lucky $z$ gives all the value. Then the average is useless until luck strikes. The cure is to ask for *likely* causes of this $x$: that is what the encoder of a VAE will do, and section 7 gives the formula.
#
# **Change.** Set `point = 3.5`, where $p(x)$ is tiny. Compare the standard error with the value itself.
#
# ## 6. How far apart are two distributions?
#
# The **Kullback-Leibler divergence** asks: if the data come from $q$ and I believe in $p$, how many nats do I lose for each draw, on average?
#
# $$\mathrm{KL}(q \,\|\, p) = \mathbb E_{x \sim q} \left[ \log q(x) - \log p(x) \right] \ge 0.$$
#
# It is 0 only if both are equal, and it is *not* symmetric. Again an expectation, so again an average over draws:


# %%
def kl_by_draws(q, p, n, generator):
    """KL(q || p) and its standard error: draw from q, compare the log densities."""
    x = q.sample(n, generator)
    return estimate(q.log_prob(x) - p.log_prob(x))


# %% [markdown]
# For two Gaussians in $d$ dimensions there is a formula, also for full covariances:
#
# $$\mathrm{KL}(q \,\|\, p) = \tfrac12 \left( \mathrm{tr}(C_p^{-1} C_q) + (m_p - m_q)^\top C_p^{-1} (m_p - m_q) - d + \log \frac{\det C_p}{\det C_q} \right).$$


# %%
def kl_formula(q, p):
    """KL of two single Gaussians."""
    inverse, off = p.covs[0].inverse(), p.means[0] - q.means[0]
    trace, apart = (inverse @ q.covs[0]).trace(), off @ inverse @ off
    return 0.5 * (trace + apart - q.dim + (p.covs[0].det() / q.covs[0].det()).log())


# %%
a = GaussianMixture.gaussian(three.means[0], three.covs[0])
b = GaussianMixture.gaussian(three.means[0] + 0.5, 2 * three.covs[1])

# %% tags=["nbval-check-output"]
for q, p in ((a, b), (b, a)):
    value, error = kl_by_draws(q, p, 100_000, seeded(7))
    exact = kl_formula(q, p)
    print(
        f"KL {exact:.3f}, by draws to 4 standard errors: {agree(value, exact, 4 * error)},", end=" "
    )
    print("equal to ldmlib's:", agree(exact, kl_gaussians(q, p)))

# %% [markdown]
# ### Fitting, both ways round
#
# Now fit *one* Gaussian $q$ to our mixture of three, by gradient descent on the KL. There are two ways round. **Predict.** Which one covers all three bumps, and which one picks a favourite?


# %%
def fit(loss, steps=300):
    """Gradient descent on mean and shape of one Gaussian; returns it after every step."""
    mean = torch.zeros(2).double().requires_grad_()
    shape = torch.eye(2).double().requires_grad_()
    optimiser, generator, path = torch.optim.Adam([mean, shape], lr=0.05), seeded(8), []
    for _ in range(steps):
        q = GaussianMixture.gaussian(mean, shape @ shape.T)
        path.append(GaussianMixture.gaussian(mean.detach().clone(), (shape @ shape.T).detach()))
        optimiser.zero_grad()
        loss(q, generator).backward()
        optimiser.step()
    return path


# %%
kl = kl_monte_carlo
paths = {
    "KL(q || p): draws from q": fit(lambda q, generator: kl(q, three, 300, generator).value),
    "KL(p || q): draws from p": fit(lambda q, generator: kl(three, q, 300, generator).value),
}


# %%
def ellipse(q, spreads=2.0):
    """The curve two standard deviations from the mean, (2, 100)."""
    turn = torch.linspace(0, 2 * math.pi, 100).double()
    circle = torch.stack([turn.cos(), turn.sin()])
    return q.means.T + spreads * torch.linalg.cholesky(q.covs[0]) @ circle


# %% mystnb={"image": {"alt": "Two rows over the same three bumps. Above, KL(q || p): the ellipse turns, shrinks and ends on the heaviest bump. Below, KL(p || q): the ellipse grows until it holds all three."}}
shown = (0, 15, 40, 100, 299)
_, axes = plt.subplots(2, 5, figsize=(11, 4.8), layout="constrained", sharex=True, sharey=True)
for row, (name, path), colour in zip(axes, paths.items(), (BLUE, ORANGE)):
    for ax, step in zip(row, shown):
        draw_density(ax, three, size=5)
        ax.plot(*ellipse(path[step]), color=colour, linewidth=2)
        ax.set_title(f"step {step}", fontsize=9)
    row[0].set_ylabel(name.split(":")[0], fontsize=10)
plt.show()


# %%
def fitting():
    figure, axes = plt.subplots(1, 2, figsize=(6.4, 3.5), layout="constrained", sharey=True)
    lines = []
    for ax, name, colour in zip(axes, paths, (BLUE, ORANGE)):
        draw_density(ax, three, size=5)
        lines.append(ax.plot([], [], color=colour, linewidth=2)[0])
        ax.set_title(name, fontsize=10)
    for step in [*range(0, 60, 5), *range(60, 300, 24)]:
        for line, path in zip(lines, paths.values()):
            line.set_data(*ellipse(path[step]))
        yield figure


animation(fitting(), seconds=0.15)

# %% tags=["nbval-check-output"]
seeking, covering = (path[-1] for path in paths.values())
true_mean, true_cov = three.moments()
print(
    "KL(q || p) sits on one bump, the heaviest:",
    bool((seeking.means[0] - three.means[0]).norm() < 0.2),
)
print(
    "KL(p || q) has the mixture's mean:        ", bool((covering.means[0] - true_mean).norm() < 0.2)
)
print(
    "KL(p || q) has the mixture's covariance:  ", bool((covering.covs[0] - true_cov).norm() < 0.6)
)

# %% [markdown]
# **Explain.** In $\mathrm{KL}(q \,\|\, p)$ the draws come from $q$: it pays wherever $q$ is and $p$ is not, so $q$ hides inside one bump. It is **mode-seeking**. In $\mathrm{KL}(p \,\|\, q)$ the draws come from the data: $q$ pays for every bump that it misses, so it covers them all, and the empty middle as well. It is **mass-covering**, and for a Gaussian the best one has exactly the mean and covariance of $p$.
#
# The second one needs only draws of $p$, not its density. Drop the part without $q$, and $-\mathbb E_{p}[\log q(x)]$ is left: *maximum likelihood*. This is why likelihood models tend to blur and to cover, while a GAN ([02](02_gan_recap.ipynb)), which behaves more like the first, tends to be sharp and to forget.
#
# **Change.** Start the mean at $(1.5, -1)$ instead of 0. Which fit ends elsewhere, and which does not care?
#
# ## 7. The ELBO: a bound for what we cannot compute
#
# Back to causes. We want a large $\log p(x)$, but the integral over $z$ is out of reach. Take *any* guess $q(z)$ of the cause. Then
#
# $$\log p(x) = \underbrace{\mathbb E_{q} \left[ \log p(x \mid z) \right] - \mathrm{KL}(q(z) \,\|\, p(z))}_{\text{ELBO}} + \underbrace{\mathrm{KL}(q(z) \,\|\, p(z \mid x))}_{\text{gap} \;\ge\; 0}.$$
#
# The ELBO is a lower bound that needs no integral over all causes, and the gap is how wrong the guess is. To see it with our own eyes we need a model where everything is known: a line in the plane with noise around it,
#
# $$z \sim \mathcal N(0, 1), \qquad x = w z + s\, \varepsilon, \qquad w \in \mathbb R^2.$$
#
# Gaussian in, Gaussian out: evidence $p(x) = \mathcal N(0,\; w w^\top + s^2 I)$, and the posterior is a Gaussian of variance $v = 1 / (1 + \lVert w \rVert^2 / s^2)$ and mean $v\, w^\top x / s^2$.

# %%
w, s = torch.tensor([1.5, 0.8]).double(), 0.6
evidence = GaussianMixture.gaussian(
    torch.zeros(2).double(), torch.outer(w, w) + s**2 * torch.eye(2).double()
)
x = torch.tensor([1.2, 1.4]).double()
log_p = evidence.log_prob(x[None])[0]


# %%
def true_posterior(x):
    """Mean and variance of p(z | x)."""
    v = 1 / (1 + w @ w / s**2)
    return v * (w @ x) / s**2, v


# %%
def kl_1d(m, v, m2, v2):
    """KL(N(m, v) || N(m2, v2))."""
    return 0.5 * (v / v2 + (m - m2) ** 2 / v2 - 1 + (v2 / v).log())


def elbo(x, m, v):
    """The ELBO of x for the guess q(z) = N(m, v): fit minus price."""
    miss = ((x - w * m) ** 2).sum() + (w @ w) * v
    fit = -miss / (2 * s**2) - math.log(2 * math.pi * s**2)
    return fit - kl_1d(m, v, torch.tensor(0.0), torch.tensor(1.0))


# %% [markdown]
# The term $\lVert w \rVert^2 v$ in `miss` is there because $z$ is not just $m$: it scatters around it, and $x - w z$ scatters with it.
#
# **Predict.** We guess at random, five times. Is ELBO + gap always the same number?

# %% tags=["nbval-check-output"]
best_m, best_v = true_posterior(x)
for m, v in ((0.0, 1.0), (2.0, 0.1), (-1.0, 0.5), (0.8, 0.01), (float(best_m), float(best_v))):
    m, v = torch.tensor(m).double(), torch.tensor(v).double()
    bound, gap = elbo(x, m, v), kl_1d(m, v, best_m, best_v)
    print(f"ELBO {bound:8.3f} + gap {gap:7.3f} = {bound + gap:.3f}   log p(x) = {log_p:.3f}")

# %% [markdown]
# The last guess was the posterior itself: gap 0. So *raising the ELBO over $q$ finds the posterior*, without ever having computed it. Let gradient ascent do it, from a bad guess:

# %%
m, log_v = torch.tensor(-1.5).double().requires_grad_(), torch.tensor(0.5).double().requires_grad_()

# %%
optimiser, track = torch.optim.Adam([m, log_v], lr=0.1), []
for _ in range(150):
    loss = -elbo(x, m, log_v.exp())
    track.append((m.item(), log_v.exp().item(), -loss.item()))
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()

# %%
_, (left, right) = plt.subplots(1, 2, figsize=(10, 3), layout="constrained")
left.plot([t[2] for t in track], color=BLUE, label="ELBO")
left.axhline(log_p, color="0.4", linestyle="--", label="log p(x)")
left.fill_between(
    range(150), [t[2] for t in track], float(log_p), color="0.88", label="gap = KL(q || posterior)"
)
left.set(xlabel="step", ylim=(-30, 0))
line = torch.linspace(-3, 3, 300).double()
right.fill_between(line, gaussian(line, best_m, best_v), color="0.85", label="posterior p(z | x)")
for step, style in ((0, ":"), (15, "-."), (30, "--"), (149, "-")):
    right.plot(line, gaussian(line, *track[step][:2]), style, color=BLUE, label=f"q, step {step}")
right.set(xlabel="z", ylabel="density")
left.legend()
right.legend(fontsize=8)
plt.show()

# %% tags=["nbval-check-output"]
print("q found the posterior's mean:    ", abs(track[-1][0] - float(best_m)) < 0.01)
print("q found the posterior's variance:", abs(track[-1][1] - float(best_v)) < 0.01)
print("and the bound became tight:      ", abs(track[-1][2] - float(log_p)) < 0.01)

# %% [markdown]
# **Explain.** The ELBO has two parts: *fit* (does the guessed cause bring $x$ back?) minus *price* (how far did we have to move away from the prior?). A VAE ([03](03_vae.ipynb)) lets one network guess $m$ and $v$ from $x$, and another one play the part of $w$. The formula stays.
#
# ## 8. The first latent space of digits
#
# How many numbers does a digit need? The model above, $x = w z + \text{noise}$, with many $w$'s, is the idea behind **principal components** (PCA): the directions in which pictures vary most. Subtract the mean picture, and let the singular value decomposition find them.


# %%
def naive_pca(x, dims):
    """Mean, directions and standard deviations of pictures x (n, pixels)."""
    mean = x.mean(0)
    _, singular, directions = torch.linalg.svd(x - mean, full_matrices=False)
    return mean, directions[:dims], singular[:dims] / (len(x) - 1) ** 0.5


# %% tags=["nbval-check-output"]
few = digits[:500].double()
mean, directions, stds = naive_pca(few.flatten(1), 10)
again = mean + (few.flatten(1) - mean) @ directions.T @ directions
theirs = pca.PCA.fit(few, 10)
pictures = theirs.decode(theirs.encode(few)).flatten(1)
print("equal to ldmlib's PCA, by its pictures:", agree(again, pictures, 1e-6))
print("equal standard deviations:             ", agree(stds, theirs.stds, 1e-6))

# %% [markdown]
# `encode` divides by the standard deviations, so that each latent number has variance 1. `decode` multiplies them back in. Now with all 20,000 digits and up to 256 directions:

# %%
space = pca.PCA.fit(digits, 256)
first = space.components[:20] / space.components[:20].abs().amax((1, 2, 3), keepdim=True)

# %%
plotting.show(
    first,
    columns=10,
    title="the first 20 directions (grey is 0)",
)
plt.show()

# %% [markdown]
# **Predict.** How many directions do you need before you can read the digits again: 2, 8, 32, 128?

# %%
some = torch.stack([test_digits[test_labels == k][0] for k in range(10)])
rows = {"the digit": some}
for k in (2, 8, 32, 128):
    small = space.first(k)
    rows[f"{k} numbers"] = small.decode(small.encode(some)).clamp(-1, 1)
plotting.show_rows(rows)
plt.show()

# %% [markdown]
# The share of the variance that is lost tells the same in one curve. For the pictures that the directions were fitted on it is a law: what is lost is the variance along all directions that were left out,
#
# $$\frac{\sum \lVert x - \hat x \rVert^2}{\sum \lVert x - \bar x \rVert^2} = 1 - \frac{\sum_{j \le k} \text{std}_j^2}{\sum_j \text{std}_j^2}.$$

# %%
counts = (1, 2, 4, 8, 16, 32, 64, 128, 256)


def lost(space, x):
    """Share of the variance of pictures x that encoding and decoding loses."""
    return ((space.decode(space.encode(x)) - x) ** 2).sum() / ((x - space.mean) ** 2).sum()


fresh = [float(lost(space.first(k), test_digits)) for k in counts]

# %%
_, ax = plt.subplots(figsize=(6, 3), layout="constrained")
ax.semilogx(range(1, 257), 1 - space.explained(), color=BLUE, label="law, digits it was fitted on")
ax.semilogx(counts, fresh, "o", color=ORANGE, label="measured, fresh digits")
ax.set(
    xlabel="latent numbers",
    ylabel="share of variance lost",
    ylim=(0, 1),
    xticks=counts,
    xticklabels=counts,
)
ax.legend()
ax.grid(alpha=0.3)
plt.show()

# %% tags=["nbval-check-output"]
print(
    "the law holds to 1e-3:",
    all(
        abs(float(lost(space.first(k), digits)) - float(1 - space.explained()[k - 1])) < 1e-3
        for k in (2, 32)
    ),
)
enough = int((space.explained() < 0.9).sum()) + 1
print(f"90 % of the variance of 1024 pixels needs between 50 and 100 numbers: {50 < enough < 100}")

# %% [markdown]
# **Explain.** Of 1024 pixels, a tenth as many numbers are enough for nearly everything: digits are *low-dimensional*. That is the whole reason for **latent** diffusion. Do the hard work where the numbers are few and all of them matter.
#
# ### A walk
#
# **Question for the sliders.** Start at a real digit and drag the first four numbers. Does each have a meaning of its own (slant, thickness, roundness)? How far from the centre do you still see a digit?

# %%
small = space.first(32)
z = small.encode(digits[:1500])
latent_walk(small, z, labels[:1500], start=z[int((labels == 3).nonzero()[0])])

# %% [markdown]
# Without a kernel: each row changes one number of the same digit, from $-3$ to 3.

# %% mystnb={"image": {"alt": "Four rows of seven pictures of a 3. In each row one number goes from -3 to 3: the 3 becomes an 8 or a 0, thicker, slanted, or a 9 with ghosts around it."}}
start = z[int((labels == 3).nonzero()[0])]
rows = {}
for j in range(4):
    walk_z = start.repeat(7, 1)
    walk_z[:, j] = torch.linspace(-3, 3, 7)
    rows[f"number {j + 1}"] = small.decode(walk_z).clamp(-1, 1)
plotting.show_rows(rows, scale=0.75)
plt.show()

# %% [markdown]
# **Explain.** No number has a single meaning. Each mixes several: the first one moves ink from the middle to a ring, and on its way makes the 3 an 8 or a 0. Beyond 3 or so, ghosts of other digits appear, because a sum cannot erase without painting elsewhere.
#
# And what lies between two digits? **Predict.** Halfway from a 0 to a 1 in this latent space: a shape that is half bent?

# %%
ends = small.encode(torch.stack([some[0], some[1]]))
steps = torch.linspace(0, 1, 7)[:, None]
between = small.decode((1 - steps) * ends[0] + steps * ends[1])
plotting.show(between.clamp(-1, 1), title="from 0 to 1", scale=0.8)
plt.show()

# %% tags=["nbval-check-output"]
crossfade = small.decode(ends).mean(0)
print("halfway is only both pictures on top of each other:", agree(between[3], crossfade, 1e-4))

# %% [markdown]
# **What happened.** A linear decoder knows only sums. Between two digits there is no third one, just a double exposure. [03](03_vae.ipynb) bends the space.
#
# ### Why random points are not digits
#
# Each latent number has mean 0 and variance 1. So draw $z \sim \mathcal N(0, I)$, decode, and have a generative model? **Predict** what the pictures look like.

# %%
gauss_z = torch.randn(1000, 32, generator=seeded(9))
gauss = small.decode(gauss_z).clamp(-1, 1)
plotting.show_rows(
    {
        "real digits,\n32 numbers": small.decode(small.encode(test_digits[:12])).clamp(-1, 1),
        "random z": gauss[:12],
    }
)
plt.show()

# %% [markdown]
# Let a judge speak: the course's digit classifier, which is sure (above 0.9) of nearly every real digit.


# %%
def sure(pictures):
    """Share of pictures that the classifier is sure of."""
    _, probabilities = extract(bundled_classifier(), pictures)
    return float((probabilities.max(1).values > 0.9).double().mean())


# %%
recoded = small.decode(small.encode(test_digits)).clamp(-1, 1)
scores = {
    "real": sure(test_digits),
    "real, through 32 numbers": sure(recoded),
    "random z": sure(gauss),
}
for name, share_sure in scores.items():
    print(f"{name:25} {share_sure:.2f}")

# %% tags=["nbval-check-output"]
print("sure of more than 85 in 100 recoded digits:", scores["real, through 32 numbers"] > 0.85)
print("sure of fewer than half of the random ones: ", scores["random z"] < 0.5)

# %% [markdown]
# So 32 numbers are enough, and still the random ones fail. The reason is in the map:

# %% mystnb={"image": {"alt": "Three maps of the first two latent numbers: real digits in clumps, each class in its colour; one round cloud of N(0, I); three blurred clumps where there is a Gaussian for each digit."}}
_, axes = plt.subplots(1, 3, figsize=(10, 3.4), layout="constrained", sharex=True, sharey=True)
axes[0].scatter(*plane.points[:1000].T, s=2, c=plane.labels[:1000], cmap="tab10")
axes[1].plot(*gauss_z[:, :2].T, ".", markersize=2, color="0.4")
draw_density(axes[2], plane.mixture)
for ax, name in zip(axes, ("real digits", "N(0, I)", "a Gaussian for each digit")):
    ax.set(xlim=(-3, 3.5), ylim=(-3, 3), aspect="equal")
    ax.set_title(name, fontsize=10)
plt.show()

# %% [markdown]
# **Explain.** Mean 0 and variance 1 do not make a Gaussian. The digits lie in clumps with empty land between, and a cloud that knows only mean and covariance puts most of its draws there: the mass-covering fit of section 6, in 32 dimensions. What is missing is *the shape of the distribution in the latent space*. Learning that shape is the second stage of a latent diffusion model.
#
# ## 9. The smallest latent diffusion model
#
# We have an encoder and a decoder (PCA). We need a sampler for the shape of the latents, and Langevin gets the shares wrong. The idea of diffusion: **blur the distribution with noise until it is a plain Gaussian, then walk back.** For a mixture, all of this is exact. With $x_t = \alpha x_0 + \sigma \varepsilon$,
#
# $$p_t(x) = \sum_k w_k\, \mathcal N\left(x;\; \alpha m_k,\; \alpha^2 C_k + \sigma^2 I\right).$$

# %% mystnb={"image": {"alt": "The three bumps and their arrows from t = 0 to t = 1: the bumps grow together, until at t = 1 there is one round bump and all arrows point to its centre."}}
from ldmlib.diffusion.schedule import Schedule

schedule = Schedule("flow")  # alpha = 1 - t, sigma = t
_, axes = plt.subplots(1, 5, figsize=(11, 2.5), layout="constrained", sharex=True, sharey=True)
for ax, t in zip(axes, (0.0, 0.25, 0.5, 0.75, 1.0)):
    draw_density(ax, three.noised(1 - t, t))
    draw_score(ax, three.noised(1 - t, t), 9)
    ax.set_title(f"t = {t}", fontsize=10)
plt.show()

# %% [markdown]
# At $t = 1$ there is one round bump, and every point knows the way: no valleys. The score at noise level $t$ is as good as the best guess of the clean point. This is **Tweedie's formula**:
#
# $$\mathbb E[x_0 \mid x_t] = \frac{x_t + \sigma^2\, \nabla \log p_t(x_t)}{\alpha}.$$


# %%
def best_guess(mixture, x_t, t):
    """E[x0 | x_t] for the flow schedule, by Tweedie's formula."""
    alpha, sigma = 1 - t, t
    return (x_t + sigma**2 * mixture.noised(alpha, sigma).score(x_t)) / alpha


# %% tags=["nbval-check-output"]
x_t = three.noised(0.6, 0.4).sample(500, seeded(10))
theirs = three.denoise(x_t, 0.6, 0.4)
print("equal to ldmlib's best denoiser:", agree(best_guess(three, x_t, 0.4), theirs))

# %% [markdown]
# The guess of the clean point also gives a guess of the noise, $\hat\varepsilon = (x_t - \alpha \hat x_0) / \sigma$. Put both together at a slightly lower noise level, and repeat. That is the sampler DDIM:
#
# $$x_s = \alpha_s\, \hat x_0 + \sigma_s\, \hat\varepsilon.$$


# %%
def naive_ddim(mixture, x, steps):
    """From noise at t = 1 to a sample at t = 0; returns every stage."""
    stages, times = [x], torch.linspace(1, 0, steps + 1).double()
    for t, s in zip(times[:-1], times[1:]):
        guess = mixture.denoise(x, float(1 - t), float(t))
        noise = (x - (1 - t) * guess) / t
        x = (1 - s) * guess + s * noise
        stages.append(x)
    return stages


# %%
noise = torch.randn(1000, 2, generator=seeded(11)).double()
stages = naive_ddim(three, noise, 40)

# %% mystnb={"image": {"alt": "One round cloud of points at t = 1 splits, from t = 0.5 on, into three clouds that fill the three bumps at t = 0."}}
_, axes = plt.subplots(1, 5, figsize=(11, 2.6), layout="constrained", sharex=True, sharey=True)
for ax, i in zip(axes, (0, 10, 20, 30, 40)):
    draw_density(ax, three.noised(i / 40, 1 - i / 40))
    ax.plot(*stages[i][:500].T, ".", markersize=2, color=BLUE)
    ax.set_title(f"t = {1 - i / 40:.2f}", fontsize=10)
plt.show()

# %% [markdown]
# **Predict.** Are the shares right this time?

# %%
from ldmlib.diffusion.guidance import predictor
from ldmlib.diffusion.process import Diffusion
from ldmlib.diffusion.samplers import sample
from ldmlib.diffusion.spacing import time_grid
from ldmlib.probability.exact_denoisers import ExactDenoiser

# %% tags=["nbval-check-output"]
predict = predictor(Diffusion("flow", "x0"), ExactDenoiser(three, schedule))
theirs = sample(predict, noise, time_grid(40), schedule, sampler="ddim")
print("equal to ldmlib's ddim:          ", agree(stages[-1], theirs, 1e-6))
print("DDIM: within 0.05 of the weights:", agree(shares(stages[-1]), three.weights, 0.05))

# %% [markdown]
# **What happened.** The same scores, asked at many noise levels, give the right places *and* the right numbers. The choice between bumps is made early, when the noise is strong and the valleys are shallow. `ldmlib`'s samplers run on this exact denoiser and on the networks of [06](06_training_a_latent_diffusion_model.ipynb) alike: they only ever see the guess of $x_0$.
#
# Now put everything together. Encoder and decoder: PCA with 32 numbers. Latent distribution: a Gaussian for each digit, measured on real ones. Sampler: DDIM.

# %%
digits_32 = pca.digits_in_pca(dims=32)
predict = predictor(Diffusion("flow", "x0"), ExactDenoiser(digits_32.mixture, schedule))
noise = torch.randn(1000, 32, generator=seeded(12)).double()
latents = sample(predict, noise, time_grid(30), schedule, sampler="ddim")
ours = digits_32.pca.decode(latents).clamp(-1, 1)

# %%
which = digits_32.mixture.responsibilities(latents).argmax(1)
columns = torch.cat([ours[which == k][:4] for k in range(10)])
plotting.show(
    columns.reshape(10, 4, 1, 32, 32).transpose(0, 1).flatten(0, 1),
    columns=10,
    title="digits from noise, without any network",
)
plt.show()

# %%
scores["DDIM on ten Gaussians"] = sure(ours)
for name, share_sure in scores.items():
    print(f"{name:25} {share_sure:.2f}")

# %% tags=["nbval-check-output"]
gained = (scores["DDIM on ten Gaussians"] - scores["random z"]) / (
    scores["real, through 32 numbers"] - scores["random z"]
)
print("more than half of the way from random z to real digits:", gained > 1 / 2)

# %% [markdown]
# **Explain.** This is a latent diffusion model: encode, diffuse in the latent space, decode. It makes rough digits, and we know why they are rough: a linear decoder blurs, and a class of digits is no Gaussian. In the rest of the course both are replaced by networks, one at a time, and nothing else changes:
#
# ```mermaid
# flowchart LR
#     N["noise z at t = 1"] --> S["sampler: DDIM"]
#     S --> Z["latent z"]
#     Z --> D["decoder"]
#     D --> X["picture"]
#     G["best guess of z<br/>here: ten Gaussians<br/>05: a UNet"] --> S
#     A["here: PCA<br/>03: an autoencoder"] --> D
# ```
#
# **Change.** Take 8 or 64 dimensions instead of 32. Which of the two kinds of roughness changes?
#
# ## 10. What could go wrong
#
# **The step is too long.** Langevin's rule is exact only for tiny steps. On a Gaussian of variance $v$ a step of size $h$ settles at the variance
#
# $$\frac{v}{1 - h / (2 v)},$$
#
# and from $h = 2 v$ on it settles nowhere. The *narrowest* direction decides, and one does not see it coming:

# %%
thin = GaussianMixture.gaussian(torch.zeros(2).double(), torch.tensor([1.0, 0.01]).double().diag())


# %%
def thin_variance(h):
    """Variance along the thin direction after 400 Langevin steps of size h."""
    start = torch.zeros(4000, 2).double()
    return langevin(thin.score, start, h, 400, seeded(13))[:, 1].var()


# %%
for h in (0.002, 0.01, 0.019, 0.021):
    print(f"h = {h}: variance along the thin direction {thin_variance(h):.3g}, should be 0.01")

# %% tags=["nbval-check-output"]
for h in (0.002, 0.01):
    ratio = thin_variance(h) / (0.01 / (1 - h / 0.02))
    print(f"h = {h}: within a tenth of v / (1 - h / 2v):", agree(ratio, 1, 0.1))
print("h = 0.021: exploded:", bool(thin_variance(0.021) > 1000))

# %% [markdown]
# **Symptom:** samples that are a bit too wide, which looks like harmless blur, and a little later numbers without end. **Cure:** keep $h$ well below the smallest variance. Where that is too slow, noise helps again: at a high noise level the narrowest direction is as wide as the noise.
#
# ## Exercises
#
# Each check says what is wrong, in words. Run it as often as you like.
#
# ### Exercise 1: the score, from memory
#
# The score of a mixture of Gaussians in one dimension, at points `x` of shape (n,). `means`, `stds` and `weights` have shape (k,). Mind: standard deviations this time.


# %% tags=["exercise"]
def my_score(x, means, stds, weights):
    return ...  # (n,): the slope of log p at each x


# %% tags=["check", "nbval-check-output"]
check.score(my_score)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Each component pulls with $(m_k - x) / \text{std}_k^2$. Check the sign: to the left of the mean, the density rises.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# The pulls are weighted by $p(k \mid x)$, not by $p(k)$. `torch.distributions.Normal(means, stds).log_prob(x[:, None])` has shape (n, k).
#
# </details>
#
# <details><summary>Solution</summary>
#
# Bayes' rule for the weights, then the sum of the pulls. The next cell checks it.
#
# </details>


# %% tags=["solution"]
def score_solution(x, means, stds, weights):
    logs = weights.log() + torch.distributions.Normal(means, stds).log_prob(x[:, None])
    return (logs.softmax(1) * (means - x[:, None]) / stds**2).sum(1)


check.score(score_solution)

# %% [markdown]
# ### Exercise 2: an average and its error
#
# `values` are $n$ independent draws, shape (n,). Return three numbers: their mean, the variance of *one* draw (divide by $n - 1$), and the standard error of the mean.


# %% tags=["exercise"]
def my_estimate(values):
    return ...  # (mean, variance of one draw, standard error of the mean)


# %% tags=["check", "nbval-check-output"]
check.estimate(my_estimate)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# The variance of an average of $n$ independent draws is the variance of one, divided by $n$.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# An error has the unit of the values; a variance has their square. So take a root, once, and of everything.
#
# </details>
#
# <details><summary>Solution</summary>
#
# `values.mean()`, `values.var()`, `(values.var() / n).sqrt()`. The next cell checks it.
#
# </details>


# %% tags=["solution"]
def estimate_solution(values):
    return values.mean(), values.var(), (values.var() / len(values)).sqrt()


check.estimate(estimate_solution)

# %% [markdown]
# ### Exercise 3: a posterior on a grid
#
# `z` is an even grid, shape (m,). `prior` is the density $p(z)$ on it, `likelihood` is $p(x \mid z)$ for the observed $x$. Return the posterior *density* on the grid.


# %% tags=["exercise"]
def my_posterior(z, prior, likelihood):
    return ...  # (m,): p(z | x)


# %% tags=["check", "nbval-check-output"]
check.posterior(my_posterior)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Prior times likelihood has the right shape, but the wrong area.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# The area below a curve on a grid is its sum times the distance between two grid points.
#
# </details>
#
# <details><summary>Solution</summary>
#
# Divide prior times likelihood by its area, which is the evidence $p(x)$. The next cell checks it.
#
# </details>


# %% tags=["solution"]
def posterior_solution(z, prior, likelihood):
    joint = prior * likelihood
    return joint / (joint.sum() * (z[1] - z[0]))


check.posterior(posterior_solution)

# %% [markdown]
# ### Exercise 4: an ELBO
#
# The model: $z \sim \mathcal N(0, 1)$, $x = z + s\, \varepsilon$. Return the ELBO of the number $x$ for the guess $q(z) = \mathcal N(m, v)$. Here `v` is a variance, and all arguments are plain numbers.


# %% tags=["exercise"]
def my_elbo(x, m, v, s):
    return ...  # E_q[log p(x | z)] - KL(q(z) || N(0, 1))


# %% tags=["check", "nbval-check-output"]
check.elbo(my_elbo)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# $\mathbb E_q[(x - z)^2] = (x - m)^2 + v$: the guess is off by a distance, and it scatters.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# $\mathrm{KL}(\mathcal N(m, v) \,\|\, \mathcal N(0, 1)) = \tfrac12 (m^2 + v - 1 - \log v)$. Do not forget the constant of $\log p(x \mid z)$, $-\tfrac12 \log(2 \pi s^2)$.
#
# </details>
#
# <details><summary>Solution</summary>
#
# Fit minus price. The next cell checks it.
#
# </details>


# %% tags=["solution"]
def elbo_solution(x, m, v, s):
    fit = -((x - m) ** 2 + v) / (2 * s**2) - 0.5 * math.log(2 * math.pi * s**2)
    return fit - 0.5 * (m**2 + v - 1 - math.log(v))


check.elbo(elbo_solution)

# %% [markdown]
# ### Design your own
#
# Invent a mixture of three bumps in one dimension on which the walk of section 4 visits the bumps in the wrong shares, however long it walks in the time that you give it. Draw its score with `my_score`, and say before you walk where the walker will get stuck. Then change one number of the walk, and cure it.

# %% [markdown] tags=["teacher", "remove-cell"]
# **For the teacher.** Exercises, minutes to allow, and what to listen for.
#
# | exercise | minutes | expected | typical wrong answer | what the check says |
# |---|---|---|---|---|
# | 1: the score | 10 | posterior weights times $(m_k - x) / \text{std}_k^2$, summed | division by std instead of its square | "divide by the variance, std^2, not by the standard deviation." |
# | 2: an average and its error | 8 | mean, variance with $n - 1$, root of variance over $n$ | the standard deviation as variance | "your variance is the standard deviation: did you forget to square?" |
# | 3: a posterior on a grid | 8 | prior times likelihood, divided by its area | divided by its sum | "that sums to 1, but a density has area 1: the sum times the distance of grid points." |
# | 4: an ELBO | 12 | fit minus KL | the scatter of $z$ is left out | "z scatters around m: E[(x - z)^2] = (x - m)^2 + v." |
#
# Misconception to listen for: *the score is the slope of the density*. Exercise 1 names it; ask where the two are equal in sign and how they differ in the valley.

# %% [markdown]
# ## Recap
#
# 1. A density is probability per width. Its score, the slope of its logarithm, is enough to draw samples.
# 2. Bayes' rule turns likelihood into belief. The mean of that belief is the best denoiser, and it may lie where nothing is.
# 3. $p(x) = \int p(x \mid z)\, p(z)\, dz$ makes complicated densities from simple causes. Averages estimate it, with an error of $1/\sqrt n$.
# 4. KL one way seeks a mode, the other way covers the mass. The ELBO is $\log p(x)$ minus a KL: raising it finds the posterior.
# 5. Digits need few numbers, but not any numbers: a latent space needs a model of what is in it. Diffusion is that model.
#
# ## Quiz
#
# Choose an answer: each of them, right or wrong, gets a reason.

# %% tags=["quiz"]
from ldmlib.widgets import quiz

quiz("01_probability_and_latent_spaces")

# %% [markdown]
# ## Where to go next
#
# [02 GAN recap](02_gan_recap.ipynb): another way to learn a distribution, without any density. [03 VAE](03_vae.ipynb): the ELBO becomes code, and the latent space bends. [04 forward diffusion](04_forward_diffusion.ipynb): the noise of section 9, exactly.
#
# ## References
#
# - Song, Ermon: Generative modeling by estimating gradients of the data distribution (arXiv 1907.05600). Langevin sampling, and why it needs many noise levels.
# - Song et al.: Score-based generative modeling through stochastic differential equations (arXiv 2011.13456).
# - Song, Meng, Ermon: Denoising diffusion implicit models (arXiv 2010.02502). The sampler of section 9.
# - Kingma, Welling: Auto-encoding variational Bayes (arXiv 1312.6114). The ELBO, and what follows from it.
# - Bartholomew, Knott, Moustaki: Latent variable models and factor analysis. The linear model of section 7, and many more.

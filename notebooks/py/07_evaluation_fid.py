# %% [markdown]
# # 07 · Evaluation: is it any good, and how would you know?
#
# [Open in Colab](https://colab.research.google.com/github/ldm-course/ldm-course/blob/main/notebooks/07_evaluation_fid.ipynb)
#
# You will learn to give a set of generated pictures an honest score, and to know what the score
# cannot see.
#
# ```mermaid
# graph LR
#     R[real pictures] --> S["same resize,<br>same 8-bit rounding"]
#     G[generated pictures] --> S
#     S --> N[feature network]
#     N --> F["features:<br>128 numbers a picture"]
#     N --> P["class probabilities:<br>10 numbers a picture"]
#     F --> A["FID, KID:<br>are the two clouds alike?"]
#     F --> B["precision, recall:<br>does each cloud cover the other?"]
#     F --> C["nearest neighbours:<br>is it a copy?"]
#     P --> D["Inception Score:<br>sure and varied?"]
# ```

# %% [markdown]
# > **You will be able to** derive the Fréchet distance and compute FID, KID, Inception Score,
# > precision, recall and a memorisation check; quote a score with its n and its floor; name a cheat
# > that fools each score; read a scoreboard of several models.
# >
# > **Needs** [03](03_vae.ipynb) (autoencoder and latents) and
# > [06](06_training_a_latent_diffusion_model.ipynb) (the model that we judge).
# >
# > **Takes** about 2 minutes and 2 GB of memory on 2 CPU cores; the first run also looks
# > at all 60,000 training digits once and keeps what it saw on disk.

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

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F

from ldmlib import LatentDiffusion, plotting
from ldmlib.check import evaluation as check
from ldmlib.data import mnist
from ldmlib.evaluation import metrics
from ldmlib.gan.model import Gan
from ldmlib.images import from_uint8, resize
from ldmlib.latent.recipes import mnist_vae
from ldmlib.latent.stages import train_autoencoder
from ldmlib.networks.layers import count_parameters
from ldmlib.probability.mixtures import ring

torch.manual_seed(7)
train, test = mnist("train"), mnist("test")

# %% [markdown]
# ## 1. Four generators walk in
#
# You cannot score a model by looking at ten nice pictures: somebody chose those ten. So here are
# four "generators" that need no training. One is as good as a generator can be. Three cheat, each in
# its own way. They will test every score of this notebook.
#
# The honest one hands out real digits from the test set, which no model has seen.

# %%
N = 2000
honest = test.random_subset(N, seed=0).as_tensors()[0]

# %% [markdown]
# The first cheat **blurs**: real digits, a little out of focus. That is what an autoencoder does that
# was trained on squared error alone.


# %%
def blur(x, width=0.8):
    """Smooth pictures (n, 1, H, W) with a Gaussian of `width` pixels."""
    bell = torch.exp(-(torch.arange(-4.0, 5.0) ** 2) / (2 * width**2))
    kernel = torch.outer(bell, bell)
    return F.conv2d(x + 1, (kernel / kernel.sum())[None, None], padding=4) - 1


# %%
blurred = blur(honest)

# %% [markdown]
# The second one **collapses**: it knows ten digits, one of each class, and draws them again and again.
# They are safe ones, each in the middle of its class. GANs do this when training goes wrong.


# %%
def safest(digit):
    """The test picture of a class that is nearest to the class's mean picture."""
    x = from_uint8(test.images[test.labels == digit])
    return x[((x - x.mean(0)) ** 2).sum((1, 2, 3)).argmin()]


# %%
collapsed = torch.stack([safest(digit) for digit in range(10)]).repeat(N // 10, 1, 1, 1)

# %% [markdown]
# The third one **copies**: it stored the training set and hands it out again.

# %%
copied = train.random_subset(N, seed=1).as_tensors()[0]
sets = {"honest": honest, "blurred": blurred, "collapsed": collapsed, "copied": copied}
plotting.show_rows({name: x[20:34] for name, x in sets.items()})
plt.show()
# %% [markdown]
# **Predict.** Which of the four would you catch by eye, from one row each? Which one never, however
# many rows you saw? Keep your answer until section 9.
#
# ## 2. How far is it from one bell to another?
#
# A score compares two *distributions*. Begin with the smallest case: two bells on a line.
# Think of the first bell as sand, and carry the sand until it has the shape of the second bell. How
# far does a grain travel? The cheapest plan keeps the order: the grain at the 10 % mark goes to the
# 10 % mark of the other bell, the middle one to the middle.

# %%
bell1 = torch.distributions.Normal(0.0, 1.0)
bell2 = torch.distributions.Normal(3.0, 0.5)
x, q = torch.linspace(-4, 6, 400), torch.linspace(0.05, 0.95, 13)
fig, ax = plt.subplots(figsize=(7, 3.4))
ax.plot(x, bell1.log_prob(x).exp(), color=plotting.COLOURS[0], label="N(0, 1)")
ax.plot(x, bell2.log_prob(x).exp(), "--", color=plotting.COLOURS[1], label="N(3, 0.5²)")
for start, end in zip(bell1.icdf(q).tolist(), bell2.icdf(q).tolist()):
    ax.plot(start, -0.08, ".", color=plotting.COLOURS[0])
    arrow = dict(arrowstyle="->", color="grey", lw=0.8)
    ax.annotate("", (end, -0.45), (start, -0.08), arrowprops=arrow)
ax.set(ylim=(-0.5, 0.85), yticks=[0, 0.4, 0.8], xlabel="x", ylabel="density")
ax.legend()
plt.show()
# %% [markdown]
# A grain at $m_1 + s_1 u$, where $u$ is a standard normal number, ends at $m_2 + s_2 u$. Its squared
# way, averaged over $u$ (remember that $u$ has mean 0 and variance 1), is
#
# $$d^2 = \mathbb{E}\big[(m_1 + s_1 u - m_2 - s_2 u)^2\big] = (m_1 - m_2)^2 + (s_1 - s_2)^2 .$$
#
# This is the squared **Fréchet distance** of two bells (also called 2-Wasserstein). No formula is
# needed to measure it: draw from both, sort both, and pair them.

# %%
a, b = bell1.sample((100_000,)), bell2.sample((100_000,))
in_order = ((a.sort().values - b.sort().values) ** 2).mean()
at_random = ((a - b) ** 2).mean()
print(f"paired in order {in_order:.2f}, paired at random {at_random:.2f}")

# %% tags=["nbval-check-output"]
formula = (0.0 - 3.0) ** 2 + (1.0 - 0.5) ** 2
print("formula:", formula)
print("pairing in order agrees within 2 %:", bool(abs(in_order / formula - 1) < 0.02))
print("pairing at random costs more:", bool(at_random > in_order))

# %% [markdown]
# Both parts count: the way between the centres, and the change of width. Two bells are at distance 0
# only if both are equal.
#
# **Change.** Give both bells the same mean, and then the same width.
#
# ## 3. In two dimensions: clouds with a direction
#
# In more dimensions a Gaussian has a mean $m$ and a covariance matrix $C$. The same thought gives
#
# $$d^2 = |m_1 - m_2|^2 + \operatorname{tr}\!\Big(C_1 + C_2 - 2\,\big(C_1^{1/2} C_2\, C_1^{1/2}\big)^{1/2}\Big).$$
#
# Compare it with one dimension: $s_1^2 + s_2^2 - 2 s_1 s_2$ is $(s_1 - s_2)^2$. The trace is the same
# expression for matrices. The square root of a symmetric matrix is easy: take it of the eigenvalues.


# %%
def root(c):
    """The symmetric square root of a symmetric matrix without negative eigenvalues."""
    values, vectors = torch.linalg.eigh(c)
    return vectors @ values.clamp(min=0).sqrt().diag() @ vectors.T


def frechet(m1, c1, m2, c2):
    cross = root(root(c1) @ c2 @ root(c1))
    return ((m1 - m2) ** 2).sum() + (c1 + c2 - 2 * cross).trace()


# %% [markdown]
# The best plan for the grains is now a matrix: stretch and turn the first cloud until it fits the
# second. Let us carry some grains and look.

# %%
m1, c1 = torch.tensor([0.0, 0.0]).double(), torch.tensor([[1.0, 0.7], [0.7, 1.0]]).double()
m2, c2 = torch.tensor([4.0, 1.0]).double(), torch.tensor([[0.6, -0.5], [-0.5, 1.2]]).double()
r, r_inverse = root(c1), torch.linalg.inv(root(c1))
plan = r_inverse @ root(r @ c2 @ r) @ r_inverse

# %%
x = m1 + torch.randn(20_000, 2).double() @ r
y = m2 + (x - m1) @ plan

# %%
fig, ax = plt.subplots(figsize=(6.5, 3.4))
for cloud, colour, marker in ((x, plotting.COLOURS[0], "o"), (y, plotting.COLOURS[1], "^")):
    ax.scatter(*cloud[:600].T, s=6, alpha=0.35, color=colour, marker=marker)
for start, end in zip(x[:25].tolist(), y[:25].tolist()):
    ax.annotate("", end, start, arrowprops=dict(arrowstyle="->", color="grey", lw=0.6))
ax.set(aspect="equal", title="25 of the grains, and where the best plan carries them")
plt.show()
# %% tags=["nbval-check-output"]
travelled, ours = ((x - y) ** 2).sum(1).mean(), frechet(m1, c1, m2, c2)
library = metrics.gaussian_frechet(m1, c1, m2, c2)
print("the moved cloud has covariance c2:", bool((y.T.cov() - c2).abs().max() < 0.05))
print("the squared way is the formula's, within 2 %:", bool(abs(travelled / ours - 1) < 0.02))
print("our function is ldmlib's, within 1e-9:", bool(abs(ours - library) < 1e-9))

# %% [markdown]
# **Change.** Make `c2` equal to `c1` and shift by (3, 4). What must the distance be?
#
# ## 4. What the feature network sees
#
# Pictures are not Gaussians, and pixels are a bad measure: move a digit by one pixel and many
# pixels change, though nobody would mind. So we do not compare pixels. A classifier looks at each
# picture, and we listen to its last stage of filters: how strongly does each answer, on average over the
# picture? The famous FID uses a network called Inception, trained on photographs. It has little to
# say on digits; ours was trained on MNIST.
#
# One more step: the features are **whitened**. Shifted, turned and scaled so that over the real
# training digits they have mean 0 and covariance I. Otherwise the few directions that tell a 3 from an
# 8 would drown all the others, and the score would hardly see *how* a digit is written.
#
# `mnist_evaluator` holds that network, and the features of all real digits.

# %% tags=["nbval-check-output"]
from ldmlib.evaluation.evaluator import mnist_evaluator

evaluator = mnist_evaluator()
print("training digits, features of each:", *evaluator.train.shape)
print("test digits, features of each:", *evaluator.held_out.shape)
off = evaluator.train.T.cov() - torch.eye(evaluator.train.shape[1])
print(
    "white to within 0.01:",
    bool(evaluator.train.mean(0).abs().max() < 0.01 and off.abs().max() < 0.01),
)

# %% [markdown]
# Every picture takes the same way: the same resize (if any), rounded to 8 bits like a saved picture,
# then the network. `evaluator.features` does it for generated pictures, the real ones
# went through it before. It also returns what the classifier thinks: ten probabilities.

# %%
features, probabilities = evaluator.features(honest)
print(features.shape, probabilities.shape)
print("first digit:", [round(p, 2) for p in probabilities[0].tolist()])

# %% [markdown]
# **Predict.** 128 numbers a picture are too many to draw. Look at the cloud from the side from which the
# ten classes' means lie farthest apart: what will the digits look like?

# %%
means = torch.stack([evaluator.train[train.labels == digit].mean(0) for digit in range(10)])
_, _, directions = torch.linalg.svd(means - means.mean(0))


# %%
def plane(features):
    return (features @ directions[:2].T).T


# %%
labels = test.random_subset(N, seed=0).labels
fig, ax = plt.subplots(figsize=(6, 4.2))
points = ax.scatter(*plane(features), c=labels, cmap="tab10", s=5, vmin=-0.5, vmax=9.5)
ax.set(title="features of real digits, seen from one side", xticks=[], yticks=[])
fig.colorbar(points, ticks=range(10), label="digit")
plt.show()

# %% [markdown]
# Classes form clouds of their own, and the rest overlaps only because we see two of 128 directions.
# The whole is no Gaussian. FID does not mind: it
# only compares mean and covariance. That is a choice, and a blind spot: clouds of other shapes with
# the same mean and covariance are equal for it.
#
# ## 5. FID: the Fréchet distance of two clouds of features
#
# Fit a Gaussian to the real features, another to the generated ones, and measure how far they are
# apart. That is all.


# %%
def naive_fid(a, b):
    return frechet(a.mean(0), a.T.cov(), b.mean(0), b.T.cov())


# %% tags=["nbval-check-output"]
difference = abs(naive_fid(features, evaluator.train) - metrics.fid(features, evaluator.train))
print("naive FID and ldmlib's differ by less than 1e-6:", bool(difference < 1e-6))

# %% [markdown]
# Now the four generators. Low is good.

# %%
seen = {name: evaluator.features(x) for name, x in sets.items()}
fids = {name: metrics.fid(f, evaluator.train) for name, (f, _) in seen.items()}
for name, value in fids.items():
    print(f"{name:10} FID {value:7.2f}")

# %% tags=["nbval-check-output"]
print(
    "blur and collapse are at least 5 times farther than honest digits:",
    min(fids["blurred"], fids["collapsed"]) > 5 * fids["honest"],
)
print("the copy scores better than honest digits:", fids["copied"] < fids["honest"])

# %% mystnb={"image": {"alt": "Four clouds of blue points over the grey cloud of real digits: honest, blurred and copied ones lie where the real ones do; the collapsed set is a few points."}}
fig, panels = plt.subplots(1, 4, figsize=(11, 2.9), sharex=True, sharey=True)
for ax, (name, (f, _)) in zip(panels, seen.items()):
    ax.scatter(*plane(evaluator.held_out[:2000]), s=3, color="lightgrey")
    ax.scatter(*plane(f), s=3, color=plotting.COLOURS[0])
    ax.set(title=name, xticks=[], yticks=[])
plt.show()

# %% [markdown]
# FID sees the collapse from far away: ten points have another spread than a cloud. It sees the
# blur. The copy it even likes *better* than honest digits, which were written by other people.
# We come back to that in section 8.
#
# But look at the honest row again: these *are* real digits, and their FID is not 0. Why?
#
# ## 6. The floor: FID depends on n
#
# **Predict.** We split the training digits into two halves and compare n digits of one half with the
# other half. Both are the same distribution. What should FID be, and how will it change with n?

# %%
shuffled = evaluator.train[torch.randperm(len(evaluator.train))]
pool, reference = shuffled.chunk(2)
ref_mean, ref_cov = metrics.moments(reference)
sizes, draws = (200, 500, 1000, 2000, 5000, 10_000), {}
for n in sizes:
    picks = [pool[torch.randperm(len(pool))[:n]] for _ in range(12)]
    scores = [metrics.gaussian_frechet(*metrics.moments(p), ref_mean, ref_cov) for p in picks]
    draws[n] = torch.tensor(scores)
    print(
        f"n = {n:6,}: mean {draws[n].mean():.3f}, from {draws[n].min():.3f} to {draws[n].max():.3f}"
    )

# %%
means = torch.stack([draws[n].mean() for n in sizes])
bars = torch.stack(
    [
        torch.stack([draws[n].mean() - draws[n].min(), draws[n].max() - draws[n].mean()])
        for n in sizes
    ]
)
fig, ax = plt.subplots(figsize=(6, 3.2))
ax.errorbar(sizes, means, bars.T, fmt="o", capsize=3, label="real against real, 12 draws")
ax.plot(
    sizes, means[2] * 1000 / torch.tensor(sizes), "--", color="grey", label="proportional to 1 / n"
)
ax.set(xscale="log", yscale="log", xlabel="n pictures", ylabel="FID")
ax.legend()
plt.show()
# %% [markdown]
# It falls like 1 / n and never reaches 0. (The last point lies above the line, as the other half
# is finite, too.) A mean of n points misses the true mean, a
# covariance of n points misses the true covariance, and a squared distance adds up every miss. So a
# model "improves" when you draw more pictures. Three rules follow:
#
# - Say n with every FID.
# - Say the **floor**: what n real pictures score that nobody trained on.
# - Below as many pictures as features, do not compute it at all; the covariance has no full rank.
#
# `metrics.real_floor` takes the test digits at the same n, and the mean of a few random draws.

# %% tags=["nbval-check-output"]
floors = {
    n: metrics.real_floor(evaluator.train, evaluator.held_out, n) for n in (500, 1000, 2000, 10_000)
}
print(
    "the floor at 500 is more than 5 times the floor at 10,000:", floors[500] > 5 * floors[10_000]
)
try:
    metrics.fid(features[:100], evaluator.train)
except ValueError as error:
    print("100 pictures:", error)

# %%
print({n: round(value, 3) for n, value in floors.items()})

# %% [markdown]
# One more number belongs to a score: how much it would change with other samples. The **bootstrap**
# draws the n pictures again from themselves, with repetition, and looks at the spread.

# %%
interval = metrics.bootstrap(metrics.fid, seen["blurred"][0], evaluator.train, repeats=20)
print(f"blurred: FID {interval.value:.2f}, 95 % interval {interval.low:.2f} to {interval.high:.2f}")

# %% [markdown]
# ## 7. Three more scores
#
# **KID** compares the clouds without any Gaussian. A kernel $k(x, y) = (x \cdot y / d + 1)^3$ says how
# alike two feature vectors are. Real and generated pictures are equal in law if pairs within each set
# are as alike as pairs across:
#
# $$\text{KID} = \operatorname*{mean}_{i \ne j} k(x_i, x_j) + \operatorname*{mean}_{i \ne j} k(y_i, y_j)
# - 2 \operatorname*{mean}_{i, j} k(x_i, y_j).$$
#
# The pairs $i = i$ are left out. That makes it **unbiased**: for equal sets it is 0 on average at
# every n, so it is below 0 half of the time.


# %%
def naive_kid(x, y):
    d, n, total = x.shape[1], len(x), 0.0
    for i in range(n):
        for j in range(n):
            across = -2 * (x[i] @ y[j] / d + 1) ** 3 / n**2
            within = (x[i] @ x[j] / d + 1) ** 3 + (y[i] @ y[j] / d + 1) ** 3
            total += across + (within / (n * (n - 1)) if i != j else 0)
    return total


# %% tags=["nbval-check-output"]
x, y = pool[:40], reference[:40]
difference = abs(naive_kid(x, y) - metrics.mmd2(x, y))
print("naive KID and ldmlib's differ by less than 1e-9:", bool(difference < 1e-9))

# %%
pairs = list(zip(pool[:10_000].split(250), reference.split(250)))
kids = torch.tensor([metrics.mmd2(a, b) for a, b in pairs])
fid_draws = torch.tensor([metrics.fid(a, b) for a, b in pairs])
fig, panels = plt.subplots(1, 2, figsize=(8, 2.6))
for ax, name, values in zip(panels, ("KID x 1000", "FID"), (1000 * kids, fid_draws)):
    ax.hist(values, 15, color=plotting.COLOURS[0])
    ax.axvline(0, color=plotting.COLOURS[1], ls="--")
    ax.set(title=f"{name}, real against real, n = 250", ylabel="draws")
plt.show()

# %% tags=["nbval-check-output"]
print(
    "some KIDs are negative:",
    bool((kids < 0).any()),
    "- some FIDs are:",
    bool((fid_draws < 0).any()),
)
print(
    "the mean KID is within 3 standard errors of 0:",
    bool(kids.mean().abs() < 3 * kids.std() / len(kids) ** 0.5),
)

# %% [markdown]
# **Inception Score** asks the classifier only. Is it sure about each picture, so that $p(y \mid x)$ is
# peaked? Does it see all classes, so that the average $p(y)$ is flat? Both together:
#
# $$\text{IS} = \exp\Big(\operatorname*{mean}_x \text{KL}\big(p(y \mid x)\,\|\,p(y)\big)\Big),$$
#
# from 1 to the number of classes. It never looks at a real picture. You will write it in exercise 3.

# %% tags=["nbval-check-output"]
one_hot = torch.eye(10).repeat(30, 1)
print("sure and varied:", round(metrics.inception_score(one_hot, splits=1), 2))
print("always the same:", round(metrics.inception_score(one_hot[[0] * 300], splits=1), 2))
print("never sure:", round(metrics.inception_score(torch.full((300, 10), 0.1), splits=1), 2))

# %% [markdown]
# **Precision and recall** split quality into two questions. Around each real point draw a disc that
# reaches to its third neighbour; the discs together are the "real manifold". *Precision* is the share
# of generated points inside: are they good? *Recall* exchanges the roles, and is the share of real points inside
# the discs of the generated ones: is everything there?


# %%
def inside(points, manifold, k=3):
    """For each point: does it lie in a disc around some manifold point? (n,) of booleans."""
    distances = torch.cdist(manifold, manifold)
    radius = distances.sort(1).values[:, k]  # column 0 is the point itself
    return (torch.cdist(points, manifold) <= radius).any(1)


# %%
real = ring(std=0.12).sample(300)
fake = real[real[:, 0] > 0.2][:100] + 0.02 * torch.randn(100, 2)  # knows one side only
fake = torch.cat([fake, 0.15 * torch.randn(10, 2)])  # and makes some nonsense in the middle

# %%
fig, panels = plt.subplots(1, 2, figsize=(8, 4), sharex=True, sharey=True)
for ax, points, manifold, title in zip(panels, (fake, real), (real, fake), ("precision", "recall")):
    radius = torch.cdist(manifold, manifold).sort(1).values[:, 3]
    for centre_, r in zip(manifold.tolist(), radius.tolist()):
        ax.add_patch(plt.Circle(centre_, r, color="lightgrey", lw=0))
    hit = inside(points, manifold)
    ax.scatter(*points[hit].T, s=9, color=plotting.COLOURS[2], label="inside")
    ax.scatter(*points[~hit].T, s=14, marker="x", color=plotting.COLOURS[1], label="outside")
    ax.set(aspect="equal", title=f"{title}: {hit.float().mean():.2f}", xticks=[], yticks=[])
fig.legend(*ax.get_legend_handles_labels(), loc="lower center", ncols=2)
plt.show()

# %% tags=["nbval-check-output"]
ours = (inside(fake, real).float().mean(), inside(real, fake).float().mean())
library = metrics.precision_recall(real, fake)
print("same as ldmlib's:", [bool(abs(a - b) < 1e-6) for a, b in zip(ours, library)])
print("precision above 0.8:", library[0] > 0.8, "- recall below 0.7:", library[1] < 0.7)

# %% [markdown]
# Grey discs are the manifold, and the dots are what is asked about. The lopsided generator makes mostly good points (left),
# but misses one side of the ring (right). One number would have hidden which of the two is wrong.
#
# ## 8. Did it just learn the training set by heart?
#
# None of the scores so far asks that. So look for the nearest training picture of each generated one,
# and compare with the same distance for held-out *real* pictures. The ratio is near 1
# for an honest model, and near 0 for a copy.


# %%
def median_distance(f, n=500):
    """How far are n feature vectors from their nearest training picture, in the median?"""
    return metrics.nearest_distance(f[torch.randperm(len(f))[:n]], evaluator.train).median()


# %%
real_distance = median_distance(evaluator.held_out)
for name, (f, _) in seen.items():
    print(f"{name:10} {median_distance(f) / real_distance:.2f}")

# %% [markdown]
# A number can be wrong in its own ways, so look too. Here is the nearest training digit below each
# honest digit, in the eyes of the feature network.

# %%
nearest = torch.cdist(features[:12], evaluator.train).argmin(1)
plotting.show_rows(
    {"test digit": honest[:12], "nearest in training": from_uint8(train.images[nearest])}
)
plt.show()
# %% [markdown]
# ## 9. Which score notices what
#
# **Predict.** For each cheat, which score is fooled? Write down a small table: three cheats, six
# scores.

# %%
some_real = evaluator.train[torch.randperm(len(evaluator.train))[:N]]


def all_scores(f, p):
    precision, recall = metrics.precision_recall(some_real[: len(f)], f)
    return {
        "FID": metrics.fid(f, evaluator.train),
        "KID x 1000": 1000 * metrics.kid(f, evaluator.train, repeats=5),
        "IS": metrics.inception_score(p),
        "precision": precision,
        "recall": recall,
        "closeness": float(median_distance(f) / real_distance),
    }


# %%
table = {name: all_scores(f, p) for name, (f, p) in seen.items()}
print(
    f"n = {N:,}, FID floor {floors[N]:.2f}\n"
    + " " * 10
    + "".join(f"{k:>12}" for k in table["honest"])
)
for name, row in table.items():
    print(f"{name:10}" + "".join(f"{value:12.2f}" for value in row.values()))

# %% [markdown]
# Say that a score *notices* a cheat when it is clearly worse than for honest digits: twice
# the FID, KID above 0.02, a fifth less IS, precision or recall, half the distance to the training
# set.


# %%
def notices(row, real=table["honest"]):
    """Which scores are clearly worse than those of real digits."""
    found = {k: row[k] < 0.8 * real[k] for k in ("IS", "precision", "recall")}
    found |= {"FID": row["FID"] > 2 * real["FID"], "KID x 1000": row["KID x 1000"] > 20}
    return found | {"closeness": row["closeness"] < 0.5 * real["closeness"]}


# %% tags=["nbval-check-output"]
for name in ("blurred", "collapsed", "copied"):
    found = notices(table[name])
    words = {True: "noticed", False: "FOOLED"}
    print(f"{name:10}", ", ".join(f"{k.split()[0]} {words[found[k]]}" for k in table[name]))

# %% [markdown]
# No score notices all three, and every cheat fools at least two of them:
#
# | | what it did | fools | is caught by |
# |---|---|---|---|
# | blur | every picture a bit worse | Inception Score (still sure, still all classes), precision | FID, KID, recall |
# | collapse | ten pictures only | Inception Score, precision | FID, KID, recall |
# | copy | the training set again | everything that compares distributions | nearest neighbours only |
#
# Therefore: one score to rank (FID or KID with n and floor), precision and recall to say *what* is
# wrong, the neighbours to be sure, and your eyes on random samples.

# %% [markdown]
# ### Spoil them yourself
#
# The explorer takes 200 held-out digits and spoils them as you say. The dashed lines are what 200
# real digits score on average: 200 is little, but more than the 128 features. FID compares with all
# training digits, the other three with 200 of them.
#
# **Question for the sliders.** Move one slider at a time, and look at the pictures as well. Which
# is seen first by the scores: a faint blur, a faint noise, a little less light? Halve the number of
# `kinds` again and again: which score falls first, and which one never?

# %%
from ldmlib.widgets import fid_explorer

few = test.random_subset(200, seed=3).as_tensors()[0]
fid_explorer(evaluator, few)

# %% [markdown]
# For readers without a kernel, each slider by itself:

# %%
from ldmlib.widgets.scores import Scorer, spoil

scorer = Scorer(evaluator, len(few))
knobs = {
    "blur": [0.0, 0.25, 0.5, 0.75, 1.0, 1.5],
    "noise": [0.0, 0.05, 0.1, 0.15, 0.2, 0.3],
    "light": [1.0, 0.9, 0.8, 0.7, 0.6, 0.5],
    "kinds": [200, 100, 50, 25, 12, 6],
}


def scores_at(**how):
    return scorer(evaluator.features(spoil(few, **how))[0])


curves = {knob: [scores_at(**{knob: v}) for v in values] for knob, values in knobs.items()}

# %% mystnb={"image": {"alt": "Eight diagrams, a column for each way to spoil pictures (blur, noise, light, fewer kinds). Above, FID and KID rise; below, blur and noise lower precision and recall, fewer kinds lower recall alone."}}
fig, panels = plt.subplots(2, 4, figsize=(10, 4), sharey="row", sharex="col")
for (knob, rows), (above, below) in zip(curves.items(), panels.T):
    for ax, two in ((above, ("FID", "KID x 1000")), (below, ("precision", "recall"))):
        for name, style, colour in zip(two, ("o-", "s--"), plotting.COLOURS):
            ax.plot(knobs[knob], [row[name] for row in rows], style, color=colour, ms=4, label=name)
            ax.axhline(scorer.floor[name], color=colour, ls=":", lw=1)
    above.set_yscale("symlog", linthresh=10)
    below.set(xlabel=knob, ylim=(0, 1), xlim=(knobs[knob][0], knobs[knob][-1]))
for ax in panels[:, 0]:
    ax.legend(fontsize=8)
plt.show()

# %%
spoiled = {"untouched": {}, "noise 0.1": {"noise": 0.1}, "light 0.8": {"light": 0.8}}
plotting.show_rows({name: spoil(few[:12], **how) for name, how in spoiled.items()})
plt.show()

# %% tags=["nbval-check-output"]
clean, noisy, darker = (scores_at(**how) for how in spoiled.values())
some_kinds = scores_at(kinds=50)
print("noise 0.1 raises FID by more than half:", noisy["FID"] > 1.5 * clean["FID"])
print("light 0.8 raises it less:", darker["FID"] < noisy["FID"])
print("50 kinds, precision falls:", some_kinds["precision"] < clean["precision"])
print("50 kinds, recall stays above 0.1:", some_kinds["recall"] > 0.1)

# %% [markdown]
# **Explain.** A score sees with the eyes of its network, not with yours. A fifth less light is plain to
# see and hardly counts; a little noise, which you nearly overlook, throws the network off. So
# a high FID does not say that pictures look bad, and a low one does not say that they look good.
#
# With fewer kinds recall falls first, and precision never: whatever is drawn is a real digit. Untouched
# digits lie a little beside the dashed lines, as one draw of 200 lies beside the average of several.
#
# **Change.** Make `few` 128 digits or fewer. What does the explorer say, and why is it right to refuse?

# %% [markdown]
# ## 10. A trap in the test set
#
# A floor must come from pictures drawn **at random**. MNIST's test file is not in random order: its
# two halves were written by different groups of people.
#
# **Predict.** Compare the first 5,000 test digits, the last 5,000, and a random 5,000. Which floor is
# lowest?

# %%
halves = {
    "first 5,000": torch.arange(5000),
    "last 5,000": torch.arange(5000, 10_000),
    "random 5,000": torch.randperm(10_000)[:5000],
}
right = evaluator.features(test.as_tensors()[0])[1].argmax(1) == test.labels
half_fid = {}
for name, which in halves.items():
    half_fid[name] = metrics.fid(evaluator.held_out[which], evaluator.train)
    errors = 1 - right[which].float().mean()
    print(f"{name:13} FID {half_fid[name]:.2f}, classifier errs on {errors:.2%}")

# %% tags=["nbval-check-output"]
print(
    "each half is farther than a random half:",
    half_fid["random 5,000"] < min(half_fid["first 5,000"], half_fid["last 5,000"]),
)

# %% [markdown]
# Each half is farther from the training set than a random half of the same size, since it has one
# group of writers only. So a careless choice moves the "floor", and every ratio with it. Nor
# are both halves equally hard: look at the classifier's errors. The first half is often called
# the easier one; does this classifier agree? Do not choose a half. Draw at random.
#
# ## 11. The scoreboard
#
# Now real models, of all four families: a VAE, GANs, diffusion on pixels, latent diffusion. The bundled
# ones were trained by the course's own code: the latent diffusion model by that of notebook
# [06](06_training_a_latent_diffusion_model.ipynb), only longer.

# %%
model = LatentDiffusion.from_pretrained("mnist")
print("parameters:", f"{count_parameters(model):,}", "- latent:", model.latent_shape)
print("model card:", model.config.facts)

# %% [markdown]
# It needs company. First a baseline that is no network at all: fit **one Gaussian to the pixels**
# with principal component analysis (PCA), and draw from it.

# %%
pixels = from_uint8(train.images[:10_000]).flatten(1)
values, vectors = torch.linalg.eigh(pixels.T.cov())
scales, components = values.clamp(min=0).sqrt().flip(0), vectors.flip(1)  # widest first


# %%
def pca_gaussian(n, k=1024):
    z = torch.randn(n, k, generator=torch.Generator().manual_seed(0)) * scales[:k]
    return (pixels.mean(0) + z @ components[:, :k].T).clamp(-1, 1).view(n, 1, 32, 32)


# %% [markdown]
# Second, the LDM's own **decoder without its denoiser**: draw the latent from $\mathcal{N}(0, I)$, with
# the right mean and scale for every channel, and decode. That is what notebook [03](03_vae.ipynb) did.
#
# Third, a better guess for the latents: one **Gaussian with the full covariance** of the latents of
# real digits. It knows which latents go together, as far as a Gaussian can.

# %%
latents = model.encode(from_uint8(train.images[:10_000])).cpu().flatten(1)
latent_mean, latent_root = latents.mean(0), root(latents.T.cov())


def normal_latents(n):
    z = torch.randn(n, latents.shape[1], generator=torch.Generator().manual_seed(0))
    return z.view(n, *model.latent_shape)


def gaussian_latents(n):
    return (latent_mean + normal_latents(n).flatten(1) @ latent_root).view(n, *model.latent_shape)


# %% [markdown]
# Fourth, a proper **VAE**. The first stage of an LDM has a KL term so light that its latents were never
# meant to be drawn from $\mathcal{N}(0, I)$. So train one here with much more KL, and a latent of a quarter
# of the numbers.

# %%
vae_recipe = mnist_vae()
vae_run = train_autoencoder(train.as_tensors()[0], vae_recipe)
vae, vae_seconds = vae_run.ema.eval(), vae_run.history[-1]["seconds"]


def vae_draw(n):
    z = torch.randn(n, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return vae.decode(z).clamp(-1, 1)


# %% [markdown]
# Then the two **GANs** of notebook [02](02_gan_recap.ipynb), on pixels and on this model's latents, and
# **diffusion on the pixels**: the same code as the LDM, with no first stage.

# %%
gan, latent_gan = Gan.from_pretrained("mnist_gan"), Gan.from_pretrained("mnist_latent_gan")
pixel_diffusion = LatentDiffusion.from_pretrained("mnist_pixels")

# %% [markdown]
# **Predict.** Four rows share one decoder: it gets latents from $\mathcal{N}(0, I)$, from one Gaussian, from
# a GAN and from a diffusion model. How much does that choice matter? And which family will win on pixels?
#
# A row is one line. Add your own model in the same way: a name, a function that draws n pictures,
# its number of parameters, the seconds that its training took. Models draw 1,000 pictures each, to keep the
# wait short, and the real digits' row has the same n.

# %%
M = 1000  # pictures for each row of the scoreboard
decoder = count_parameters(model.autoencoder.decoder)


def parameters_of(model):
    """What drawing needs: the network that makes latents, and the decoder if there is one."""
    maker = getattr(model, "denoiser", None) or model.generator
    decoder = model.autoencoder.decoder  # None on pixels
    return count_parameters(maker) + (count_parameters(decoder) if decoder else 0)


def seconds_of(model):
    return model.config.facts["seconds"]


# %%
models = {
    "PCA Gaussian": (pca_gaussian, pixels.shape[1] + 1024**2, 0),
    "decoder, N(0, I)": (lambda n: model.decode(normal_latents(n)), decoder, 0),
    "decoder, Gaussian": (
        lambda n: model.decode(gaussian_latents(n)),
        decoder + latent_root.numel(),
        0,
    ),
    "VAE": (vae_draw, count_parameters(vae.decoder), vae_seconds),
    "GAN": (gan.sample, parameters_of(gan), seconds_of(gan)),
    "latent GAN": (latent_gan.sample, parameters_of(latent_gan), seconds_of(latent_gan)),
    "pixel diffusion": (
        lambda n: pixel_diffusion.sample(n, seed=1, batch_size=50),
        parameters_of(pixel_diffusion),
        seconds_of(pixel_diffusion),
    ),
    "latent diffusion": (
        lambda n: model.sample(n, seed=1),
        parameters_of(model),
        seconds_of(model),
    ),
}


# %%
def judge(name, draw, parameters, training):
    """One row of the scoreboard: quality, seconds, parameters; and some pictures to look at."""
    start = time.perf_counter()
    pictures = draw(M).cpu()
    row = {"name": name, "seconds": time.perf_counter() - start, "parameters": parameters}
    row |= {"minutes": training / 60, "pictures": pictures}
    return row | all_scores(*evaluator.features(pictures))


board = [judge(name, *entry) for name, entry in models.items()]

# %%
print(
    f"n = {M:,}; FID floor {floors[M]:.2f}; sec: for 1,000 pictures, here; minutes: of training\n"
)
print(
    f"{'model':18}{'FID':>8}{'/ floor':>9}{'KIDx1000':>10}{'precis.':>9}{'recall':>8}{'close':>7}{'sec':>7}{'params':>11}{'minutes':>9}"
)
real_row = {
    "name": "real test digits",
    "seconds": 0.0,
    "minutes": 0.0,
    "parameters": 0,
    **all_scores(*(part[:M] for part in seen["honest"])),
}
for row in [*board, real_row]:
    print(
        f"{row['name']:18}{row['FID']:8.2f}{row['FID'] / floors[M]:9.1f}{row['KID x 1000']:10.1f}"
        f"{row['precision']:9.2f}{row['recall']:8.2f}{row['closeness']:7.2f}"
        f"{row['seconds'] * 1000 / M:7.2f}{row['parameters']:11,}{row['minutes']:9.1f}"
    )

# %% mystnb={"image": {"alt": "A row of digits for each model: scribbles from Gaussians, soft digits from the VAE, sharp ones with flaws from the GANs, clean ones from the two diffusion models, and real ones."}}
plotting.show_rows({row["name"]: row["pictures"][:14] for row in board} | {"real": honest[:14]})
plt.show()
# %% tags=["nbval-check-output"]
by_name = {row["name"]: row["FID"] for row in board}
best = min(by_name, key=by_name.get)
print("best by FID:", best)
print(
    "a Gaussian for the latents beats N(0, I):",
    by_name["decoder, Gaussian"] < by_name["decoder, N(0, I)"],
)
print(
    "diffusion divides the Gaussian's FID by more than 3:",
    by_name[best] < by_name["decoder, Gaussian"] / 3,
)
print("the VAE beats the Gaussian:", by_name["VAE"] < by_name["decoder, Gaussian"])
print("the GAN beats the VAE:", by_name["GAN"] < by_name["VAE"])
speed = {row["name"]: row["seconds"] for row in board}
print("diffusion on pixels draws slower:", speed["pixel diffusion"] > 2 * speed["latent diffusion"])

# %% [markdown]
# Four rows share one decoder (both Gaussians, latent GAN, latent diffusion), so between them **the law of the
# latents is the whole difference**.
# An autoencoder with a light KL term never learned to fill $\mathcal{N}(0, I)$: most of that space means
# nothing to the decoder. A Gaussian with the right covariance gets strokes, not digits. The latent GAN
# gets digits, and the diffusion model gets nearly all of them right.
#
# The VAE's digits are whole but soft: its loss is a squared error, and what the small latent cannot keep is
# averaged. The GAN's are sharp; look at its recall for what it never draws. Both draw in one pass. Diffusion
# runs its network many times for each picture, on pixels several times the work of latents, and
# that is the first reason for *latent* diffusion. The minutes are not equal: compare rows by what they
# cost, too. `make bench` gives pixel and latent diffusion the same seconds.
#
# The full account of the best model, as `ldm evaluate` prints it:

# %%
print(evaluator.report(board[-1]["pictures"], model.draw_labels(M, seed=1), repeats=10))

# %% [markdown]
# ## 12. What does quality cost?
#
# **Sampling.** Each step runs the denoiser; fewer steps are faster. How many are enough?

# %%
n, costs, first_digits = 500, [], {}
for steps in (1, 2, 4, 8):
    start = time.perf_counter()
    pictures = model.sample(n, steps=steps, seed=2)
    costs.append((steps, time.perf_counter() - start, evaluator.fid(pictures)))
    first_digits[f"steps: {steps}"] = pictures[:12]
    print(f"steps {steps}: {costs[-1][1]:5.1f} s for {n} pictures, FID {costs[-1][2]:6.2f}")
print(f"floor at this n: {floors[n]:.2f}")

# %% mystnb={"image": {"alt": "The same twelve digits drawn in 1, 2, 4 and 8 steps: soft in one step, nearly alike from two on."}}
plotting.show_rows(first_digits)
plt.show()

# %%
fig, ax = plt.subplots(figsize=(5.5, 3))
ax.plot([c[1] for c in costs], [c[2] for c in costs], "o-", color=plotting.COLOURS[0])
for steps, seconds, score in costs:
    ax.annotate(str(steps), (seconds, score), (6, 6), textcoords="offset points", fontsize=9)
ax.axhline(floors[n], color="grey", ls="--", label="floor: real digits")
ax.set(xlabel=f"seconds for {n} pictures", ylabel="FID", title="number of steps at each point")
ax.margins(0.12)
ax.set_ylim(bottom=0)
ax.legend()
plt.show()
# %% [markdown]
# One step gives soft, greyish digits. The next ones buy nearly everything, and soon the curve is flat; it may even
# creep up again. What is left then is no error of the solver: it is what the networks do not know, and
# more steps only follow their mistakes more faithfully.
#
# **Latent size.** How many numbers should a latent have? PCA answers in seconds, for it is an
# autoencoder in closed form. Keep k numbers; measure how well test digits come back
# (reconstruction), and how good new digits are that are drawn from a Gaussian on these k numbers.
#
# **Predict.** Reconstruction must get better with k. Will the new digits too?

# %%
sweep = []
for k in (4, 16, 64, 256):
    z = (honest.flatten(1) - pixels.mean(0)) @ components[:, :k]
    back = (pixels.mean(0) + z @ components[:, :k].T).clamp(-1, 1).view_as(honest)
    sweep.append((k, evaluator.fid(back), evaluator.fid(pca_gaussian(N, k))))
    print(f"k = {k:3}: reconstruction FID {sweep[-1][1]:7.2f}, new digits FID {sweep[-1][2]:7.2f}")

# %%
fig, ax = plt.subplots(figsize=(5.5, 3))
k, returned, drawn = zip(*sweep)
ax.plot(k, returned, "o-", color=plotting.COLOURS[0], label="reconstructed test digits")
ax.plot(k, drawn, "s--", color=plotting.COLOURS[1], label="new digits from a Gaussian")
ax.axhline(floors[N], color="grey", ls=":", label="floor: real digits")
ax.set(xscale="log", yscale="log", xlabel="numbers kept, k", ylabel="FID")
ax.legend(fontsize=8)
plt.show()
# %% tags=["nbval-check-output"]
better = all(a[1] > b[1] for a, b in zip(sweep, sweep[1:]))
print("reconstruction gets better with every k:", better)
print("its best is below 10 times the floor:", sweep[-1][1] < 10 * floors[N])
print("new digits are best at the largest k:", min(sweep, key=lambda s: s[2])[0] == 256)
print("their best is above 20 times the floor:", min(s[2] for s in sweep) > 20 * floors[N])

# %% [markdown]
# Two different limits. Few numbers blur, and no model of the latents can mend what the
# first stage lost. Many numbers lose nothing, but then the *law* of these numbers is hard, and the
# simple Gaussian fails. An LDM's latents must be small enough to be learnt and large enough to keep the
# strokes: reconstruct first, and score that, before you train a denoiser.

# %%
back = model.decode(model.encode(honest[:M])).cpu()
print(f"first stage of the bundled model, {model.latent_shape} latents:")
print(
    f"reconstruction FID {evaluator.fid(back):.2f}; generation {by_name['latent diffusion']:.2f}; floor {floors[M]:.2f} (n = {M:,})"
)

# %% [markdown]
# The generation score stands on top of the reconstruction score. If the first number
# is close to the second, train a better autoencoder. If it is far below, train the denoiser
# longer. The cost of the training that was done stands in the model card printed above.
#
# ## What could go wrong
#
# **The two sets took different ways to the network.** Here the *same* real test digits are scored again
# after small accidents that happen when pictures are saved, loaded and resized.
#
# **Predict.** Which accident costs most?

# %%
accidents = {
    "same way": honest,
    "values in [0, 1]": (honest + 1) / 2,
    "stretched 28 to 32": resize(honest[:, :, 2:30, 2:30], 32),
    "through 16 pixels": resize(resize(honest, 16), 32),
    "black on white": -honest,
}
for name, x in accidents.items():
    print(f"{name:19} FID {evaluator.fid(x):8.2f}   (floor {floors[N]:.2f})")

# %% mystnb={"image": {"alt": "The same ten digits after five treatments: as they were, grey background, stretched, blurred by passing through 16 pixels, and black on white."}}
plotting.show_rows({name: x[:10] for name, x in accidents.items()})
plt.show()

# %% [markdown]
# **Symptom:** a model with lovely pictures and an absurd score, or a score that jumped when only the saving
# changed. **Cure:** one function for both sets, as in `Evaluator.features`; and send real pictures
# through the whole pipeline first: they must score the floor.
#
# ## Exercises
#
# Each check says what is wrong, in words. Run it as often as you like.
#
# ### Exercise 1: two bells
#
# Write the squared Fréchet distance of two one-dimensional Gaussians, given their means and standard
# deviations.


# %% tags=["exercise"]
def frechet_1d(mean1, std1, mean2, std2):
    return ...


# %% tags=["check", "nbval-check-output"]
check.frechet_1d(frechet_1d)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# It has two terms: one for the means, one for the standard deviations.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Let a grain travel from $m_1 + s_1 u$ to $m_2 + s_2 u$; square and average.
#
# </details>
#
# <details><summary>Solution</summary>
#
# The difference of the two places is $(m_1 - m_2) + (s_1 - s_2)u$. Squared and averaged, the mixed
# term vanishes, because $u$ has mean 0. The next cell runs it.
#
# </details>


# %% tags=["solution", "nbval-check-output"]
def frechet_1d_solution(mean1, std1, mean2, std2):
    return (mean1 - mean2) ** 2 + (std1 - std2) ** 2


check.frechet_1d(frechet_1d_solution)

# %% [markdown]
# ### Exercise 2: your own floor
#
# Write a function that returns the floor: the FID of `n` real held-out samples against the whole
# reference, as the mean of five draws. Use `metrics.fid`.


# %% tags=["exercise"]
def my_floor(reference, held_out, n):
    return ...


# %% tags=["check", "nbval-check-output"]
check.floor(my_floor)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Which of the two sets did no model train on?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `torch.randperm(len(held_out))[:n]` are n places at random.
#
# </details>
#
# <details><summary>Solution</summary>
#
# Draw n held-out samples at random, score them against the reference, and repeat. The next cell runs
# it.
#
# </details>


# %% tags=["solution", "nbval-check-output"]
def my_floor_solution(reference, held_out, n):
    orders = [torch.randperm(len(held_out))[:n] for _ in range(5)]
    return sum(metrics.fid(held_out[order], reference) for order in orders) / 5


check.floor(my_floor_solution)

# %% [markdown]
# ### Exercise 3: Inception Score
#
# Write it for logits of shape (n, classes), in one part, without splits.


# %% tags=["exercise"]
def my_inception_score(logits):
    return ...


# %% tags=["check", "nbval-check-output"]
check.inception(my_inception_score)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Probabilities first; the marginal $p(y)$ is their mean over pictures.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# KL is $\sum_y p(y \mid x) \log\big(p(y \mid x) / p(y)\big)$; mean over pictures; then exp.
#
# </details>
#
# <details><summary>Solution</summary>
#
# Softmax over the classes, mean over the pictures for the marginal, KL for each picture, mean, exp.
# The next cell runs it.
#
# </details>


# %% tags=["solution", "nbval-check-output"]
def my_inception_score_solution(logits):
    p = logits.softmax(1)
    kl = (p * (p / p.mean(0)).log()).sum(1)
    return kl.mean().exp()


check.inception(my_inception_score_solution)

# %% [markdown]
# ### Exercise 4: design your own cheat
#
# Section 1 had three. Invent a fourth: change the honest pictures so that anybody sees the cheat in a
# row of ten, while FID stays as close to the floor as you can keep it. There is no check: `evaluator.fid`
# is your judge, and you are the other one.


# %% tags=["exercise"]
def my_cheat(x):
    return ...  # pictures (n, 1, 32, 32) in [-1, 1], made from the honest ones


# %% [markdown]
# <details><summary>Hint 1</summary>
#
# FID compares mean and covariance of features. What does it not look at?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# It never compares one picture of the set with another: do all of them have to differ?
#
# </details>
#
# <details><summary>Solution</summary>
#
# One of many: keep half of the honest pictures, and hand each of them out twice. The next cell scores
# it.
#
# </details>


# %% mystnb={"image": {"alt": "Ten digits of the cheat: five different ones, each of them twice."}} tags=["solution"]
def cheat_solution(x, copies=2):
    return x[: len(x) // copies].repeat_interleave(copies, 0)


cheated = cheat_solution(honest)
plotting.show(cheated[:10], scale=0.8)
plt.show()
print(f"FID {evaluator.fid(cheated):.2f}, honest pictures {evaluator.fid(honest):.2f} (n = {N:,})")

# %% [markdown] tags=["teacher", "remove-cell"]
# **For the teacher.** Exercises, minutes to allow, and what to listen for.
#
# | exercise | minutes | expected | typical wrong answer | what the check says |
# |---|---|---|---|---|
# | 1: two bells | 5 | $(m_1 - m_2)^2 + (s_1 - s_2)^2$ | the cross term is missing | "the cross term is missing: s1^2 + s2^2 - 2 s1 s2, not s1^2 + s2^2 alone. Two equal Gaussians must be at distance 0." |
# | 2: your own floor | 10 | mean FID of five random draws of held-out samples | the first n instead of n at random | "you take the first n instead of n at random. Files are seldom in random order (these are sorted): use torch.randperm." |
# | 3: Inception Score | 10 | exp of the mean KL of $p(y \,\vert\, x)$ from $p(y)$ | softmax over the pictures | "the softmax runs over the pictures: each row must sum to 1, so use softmax(1)." |
# | 4: design your own cheat | 15 | open: a row of ten and two numbers | a cheat that FID sees at once | no check |
#
# Misconception to listen for: *a lower FID means better pictures*. Ask for n and for the floor each time somebody quotes a score.

# %% [markdown]
# ## Recap
#
# 1. FID is the cost of carrying one cloud of features onto another, both taken for Gaussians.
# 2. It falls with n for equal sets; say n and the floor with every score, or it means nothing.
# 3. KID is unbiased; IS never looks at real pictures; precision asks "good?", recall asks "all?".
# 4. A blur, a collapse and a copy each fool some score; only the nearest neighbours see the copy.
# 5. The same decoder is poor with $\mathcal{N}(0, I)$ and good with diffusion: the law of the latents decides.
#
# ## Quiz
#
# Choose an answer: each of them, right or wrong, gets a reason.

# %% tags=["quiz"]
from ldmlib.widgets import quiz

quiz("07_evaluation_fid")

# %% [markdown]
# ## Where to go next
#
# Back to [06](06_training_a_latent_diffusion_model.ipynb): train your own model, put it into
# `models` with one line, and see where it lands. Or to [03](03_vae.ipynb), to improve the first stage.
#
# ## References
#
# - Heusel et al. 2017, *GANs trained by a two time-scale update rule* (FID), arXiv 1706.08500
# - Bińkowski et al. 2018, *Demystifying MMD GANs* (KID), arXiv 1801.01401
# - Salimans et al. 2016, *Improved techniques for training GANs* (IS), arXiv 1606.03498
# - Kynkäänniemi et al. 2019, *Improved precision and recall metric*, arXiv 1904.06991
# - Chong and Forsyth 2020, *Effectively unbiased FID and Inception Score*, arXiv 1911.07023
# - Parmar et al. 2022, *On aliased resizing and surprising subtleties in GAN evaluation*, arXiv 2104.11222
# - Meehan et al. 2020, *A non-parametric test to detect data-copying*, arXiv 2004.05675
# - Rombach et al. 2022, *High-resolution image synthesis with latent diffusion models*, arXiv 2112.10752

# %% [markdown]
# # 09 · Flow matching and distillation: straight ways, and a student who walks them
#
# [Open in Colab](https://colab.research.google.com/github/ldm-course/ldm-course/blob/main/notebooks/09_flow_matching_and_distillation.ipynb)
#
# [08](08_faster_sampling.ipynb) asked the same network better and came down to a handful of questions. At the end of this notebook a network that you trained yourself, in minutes, draws digits with four questions, two, or a single one.
#
# Below: what the bundled model makes of one noise with 1, 2, 4 and 50 questions. One question gives a blur. We shall find out why, and then train the blur away.
#
# > **You will be able to** write flow matching in three lines; say why paths that cross make curves that bend; straighten them by pairing each noise with the right picture, in two ways; read EDM's preconditioning as a change of coordinates; distil a student for 1, 2 or 4 steps, and measure what was gained and what was lost.
# >
# > **Needs** [04](04_forward_diffusion.ipynb) (noise levels), [05](05_unet.ipynb) (targets) and [08](08_faster_sampling.ipynb) (samplers).
# >
# > **Takes** the minutes that the table in the README gives, and about 2 GB of memory, on 2 CPU cores.

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
from torch import nn

from ldmlib import LatentDiffusion, plotting
from ldmlib.data import mnist
from ldmlib.diffusion.guidance import predictor
from ldmlib.diffusion.process import Diffusion
from ldmlib.diffusion.samplers import euler, sample
from ldmlib.diffusion.schedule import Schedule
from ldmlib.diffusion.spacing import time_grid
from ldmlib.evaluation import metrics
from ldmlib.evaluation.evaluator import mnist_evaluator
from ldmlib.latent import distillation
from ldmlib.networks.unet import time_embedding
from ldmlib.probability.exact_denoisers import ExactDenoiser
from ldmlib.probability.mixtures import GaussianMixture, ring
from ldmlib.rng import randn_like, seeded
from ldmlib.runtime import has_bfloat16
from ldmlib.training.config import TrainConfig
from ldmlib.training.run import resumable, train

teacher = LatentDiffusion.from_pretrained("mnist")
if has_bfloat16(teacher.device):
    teacher.precision = "bfloat16"  # rounds, and takes half of the time
flow = Schedule("flow")

# %% mystnb={"image": {"alt": "Ten digits in four rows, for 1, 2, 4 and 50 steps of the teacher from the same noises: grey and smeared in the first row, sharp in the last."}}
ten = torch.arange(10)
rows = {}
for steps, sampler in ((1, "euler"), (2, "euler"), (4, "euler"), (50, "dpmpp_2m")):
    rows[f"{steps} step{'s' * (steps > 1)}"] = teacher.sample(
        10, ten, steps, seed=3, sampler=sampler
    )
plotting.show_rows(rows, scale=0.7)
plt.show()

# %% [markdown]
# ## 1. Straight lines that cross
#
# Take a picture $x_0$ and a noise $\epsilon$, and walk from one to the other in a straight line. After the share $t$ of the way you are at
#
# $$x_t = (1 - t)\, x_0 + t\, \epsilon, \qquad \frac{d x_t}{d t} = \epsilon - x_0 .$$
#
# **Flow matching** (Lipman et al. 2022) asks the network for this velocity, given only $x_t$ and $t$. That is all. You know it already: it is the schedule `flow` with the target `flow`, and the bundled model was trained with it.


# %%
def naive_flow_loss(network, x0, eps, t):
    """Squared error of the velocity, one number for each picture."""
    t_ = t.view(-1, *[1] * (x0.ndim - 1))
    x_t = (1 - t_) * x0 + t_ * eps
    return ((network(x_t, t) - (eps - x0)) ** 2).flatten(1).mean(1)


# %% tags=["nbval-check-output"]
z, z_noise = (torch.randn(8, 4, 8, 8, generator=seeded(1, i)) for i in (0, 1))
t = torch.linspace(0.1, 1, 8)
library = Diffusion("flow", "flow").loss(teacher.denoise, z, t=t.double(), eps=z_noise)
gap = (naive_flow_loss(teacher.denoise, z, z_noise, t) - library).abs().max()
print("equal to ldmlib's Diffusion.loss:", bool(gap < 1e-2))

# %% [markdown]
# The lines are straight. So one step should do: ask for the velocity at the noise, walk all the way. It does not, as the first row above shows. Let us see the lines, in one dimension: noise at the left, three bumps of data at the right.

# %%
line = GaussianMixture.isotropic(torch.tensor([[-1.2], [0.2], [1.3]]).double(), 0.12)
ask_line = predictor(Diffusion("flow", "x0"), ExactDenoiser(line, flow))
pairs_x0 = line.sample(200_000, seeded(2))
pairs_eps = torch.randn(200_000, 1, generator=seeded(3)).double()


def velocity(x, t):
    """The exact dx/dt for the three bumps."""
    x0, eps = ask_line(x, torch.tensor(t).double())
    return eps - x0


# %% mystnb={"image": {"alt": "Left: straight lines from noise to three bumps, crossing everywhere. Right: the curves of the exact velocity; they never cross, run almost level at first, and bend into the bumps late. Arrows show the velocity."}}
instants = time_grid(60)
begin = torch.linspace(-2.2, 2.2, 23).double()[:, None]
curves = torch.stack([begin, *[s.x for s in euler(ask_line, begin, instants, flow)]])[..., 0]
_, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained", sharey=True)
for x0, eps in zip(pairs_x0[:60, 0], pairs_eps[:60, 0]):
    axes[0].plot([1, 0], [eps, x0], color="0.6", linewidth=0.7)
axes[1].plot(instants, curves, color=plotting.COLOURS[0], linewidth=0.9)
times, places = torch.linspace(0.95, 0.05, 14).double(), torch.linspace(-2, 2, 13).double()
slopes = torch.stack([velocity(places[:, None], float(t))[:, 0] for t in times], 1)
axes[1].quiver(
    *torch.meshgrid(times, places, indexing="xy"), -torch.ones_like(slopes), -slopes,
    angles="xy", color=plotting.COLOURS[1], width=0.003,
)  # fmt: skip
for ax, title in zip(axes, ("the lines that we train on", "the exact velocity, and its curves")):
    ax.set(xlim=(1.02, -0.02), ylim=(-2.5, 2.5), xlabel="t", title=title)
axes[0].set_ylabel("x")
plt.show()

# %% [markdown]
# **Predict.** Where two lines cross, the network sees the same $x$ and the same $t$ and is told two different velocities. What will it answer?
#
# The squared error is smallest at the mean: of all lines through this place at this time, the mean velocity.
#
# $$u(x, t) = \mathbb E\left[ \epsilon - x_0 \mid x_t = x \right]$$
#
# For a mixture this is a formula (orange arrows). Check it against the lines themselves: gather those that pass near a place, and take the mean.

# %% tags=["nbval-check-output"]
for x, t in ((0.3, 0.6), (-0.8, 0.4), (0.0, 0.9)):
    near = ((1 - t) * pairs_x0 + t * pairs_eps - x).abs() < 0.02
    mean = float((pairs_eps - pairs_x0)[near].mean())
    exactly = float(velocity(torch.tensor([[x]]).double(), t))
    print(
        f"x = {x:4}, t = {t}: mean of the lines is the formula to 0.1:", abs(mean - exactly) < 0.1
    )

# %% [markdown]
# **Explain.** A network that does its work perfectly follows the curves at the right, not the lines at the left. At $t = 1$ all lines to all bumps begin at the same place, so the mean velocity there points to the *mean of the data*. Walk all the way in that direction and you have the mean: the blur. Lines may cross; the curves of a velocity never do. Where lines cross, curves bend.
#
# **Change.** Make the bumps wider, `0.12` to `0.5`. Do the curves get straighter?
#
# ## 2. The same network, another target
#
# In the plane, with five bumps and the little network of [05](05_unet.ipynb). First the only function that this part needs: a network is trained on *pairs* of an end and a beginning. Who is paired with whom is what the rest of this notebook is about.


# %%
class PointNet(nn.Module):
    """A velocity for points in the plane."""

    def __init__(self, width=64):
        super().__init__()
        sizes = [2 + 32, width, width, width]
        parts = [nn.Sequential(nn.Linear(a, b), nn.SiLU()) for a, b in zip(sizes, sizes[1:])]
        self.layers = nn.Sequential(*parts, nn.Linear(width, 2))

    def forward(self, x, t, cond=None):
        return self.layers(torch.cat([x, time_embedding(t, 32)], dim=1))


# %%
def fit_points(objective, data, network=None, steps=800):
    """Train a new network, or go on with a copy of one."""
    torch.manual_seed(0)
    rate = 1e-2 if network is None else 3e-3
    network = PointNet() if network is None else deepcopy(network)
    config = TrainConfig(steps=steps, batch_size=512, lr=rate, ema=0, precision="float32")
    return train(network, objective, (data, None), config, progress=False).model.eval()


# %%
def on_pairs(network, pairs, y, generator, step):
    """Flow matching on the pairs (n, 2, 2): an end, and the noise that belongs to it."""
    t = torch.rand(len(pairs), generator=generator)
    return naive_flow_loss(network, pairs[:, 0], pairs[:, 1], t).mean()


# %%
bumps = ring(5, std=0.1)
ask_bumps = predictor(Diffusion("flow", "x0"), ExactDenoiser(bumps, flow))
points = bumps.sample(20_000, seeded(4)).float()
noises = torch.randn(20_000, 2, generator=seeded(5))
by_chance = fit_points(on_pairs, torch.stack([points, noises], 1))

# %% [markdown]
# The truth is a formula, so draw it beside what was learned. Grey: exact velocity. Orange: the network's. (Arrows point the way that we walk, towards the data.)

# %% mystnb={"image": {"alt": "Arrows of the exact velocity in grey and of the learned one in orange, at three times: at t = 0.9 all point to the middle, at 0.2 to the nearest of five bumps. Where there are points, the two agree."}}
grid = torch.cartesian_prod(torch.linspace(-1.6, 1.6, 9), torch.linspace(-1.6, 1.6, 9))
_, axes = plt.subplots(1, 3, figsize=(10, 3.4), layout="constrained", sharey=True)
off = {}
for ax, t in zip(axes, (0.9, 0.5, 0.2)):
    x0, eps = ask_bumps(grid.double(), torch.tensor(t).double())
    with torch.no_grad():
        learned = by_chance(grid, torch.full((len(grid),), t))
    x_t = (1 - t) * points[:2000] + t * noises[:2000]
    ax.plot(*x_t.T, ".", color="0.88", markersize=2, zorder=0)
    ax.quiver(*grid.T, *-(eps - x0).T, color="0.6", scale=25, width=0.012)
    ax.quiver(*grid.T, *-learned.T, color=plotting.COLOURS[1], scale=25, width=0.004)
    ax.set(title=f"t = {t}", xlim=(-2, 2), ylim=(-2, 2), aspect="equal", xticks=[], yticks=[])
plt.show()


# %%
@torch.no_grad()
def off_truth(network, t):
    """Error of the velocity where the noised data are, relative to its size."""
    x_t = (1 - t) * points[:2000] + t * noises[-2000:]
    x0, eps = ask_bumps(x_t.double(), torch.tensor(t).double())
    error = network(x_t, torch.full((2000,), t)) - (eps - x0)
    return float(error.norm() / (eps - x0).norm())


# %% tags=["nbval-check-output"]
for t in (0.9, 0.5, 0.2):
    print(f"t = {t}: the network misses the exact velocity by less than 20 %:",
          off_truth(by_chance, t) < 0.2)  # fmt: skip

# %% [markdown]
# Now walk: $n$ steps of Euler, each along the velocity at its beginning. How good is the crowd that arrives? `distance` is the energy distance to fresh true points: 0 only if both crowds have the same law.


# %%
@torch.no_grad()
def walk(network, x, n):
    """All stages from t = 1 to 0, the start included: (n + 1, points, 2)."""
    stages = [x]
    for t in time_grid(n)[:-1]:
        x = x - network(x, t.float().expand(len(x))) / n
        stages.append(x)
    return torch.stack(stages)


# %%
fresh, truth = torch.randn(2000, 2, generator=seeded(6)), bumps.sample(2000, seeded(7)).float()


def distance(x):
    within = torch.cdist(x, x).mean() + torch.cdist(truth, truth).mean()
    return float(2 * torch.cdist(x, truth).mean() - within)


# %%
def show_walks(networks):
    """A row for each network; a column for each number of steps."""
    figure, axes = plt.subplots(
        len(networks), 4, figsize=(8, 2.15 * len(networks)), squeeze=False, layout="constrained"
    )
    for row, (name, network) in zip(axes, networks.items()):
        for ax, n in zip(row, (1, 2, 4, 50)):
            x = walk(network, fresh, n)[-1]
            ax.plot(*x.T, ".", markersize=1.5, color=plotting.COLOURS[0])
            ax.set(xlim=(-1.6, 1.6), ylim=(-1.6, 1.6), aspect="equal", xticks=[], yticks=[])
            ax.set_title(f"{n} step{'s' * (n > 1)}: {distance(x):.3f}", fontsize=9)
        row[0].set_ylabel(name)
    plt.show()


# %% mystnb={"image": {"alt": "Where the points arrive: after one step in a small heap in the middle, after two in a disc, after four on a pentagon, after fifty in five bumps."}}
show_walks({"by chance": by_chance})

# %% [markdown]
# One step: all points are in the middle, at the mean. Fifty steps: five bumps.
#
# Is that the fault of the flow target? The same network, steps and data with the targets of [05](05_unet.ipynb), noise ($\epsilon$) and $v$, on the cosine schedule:

# %%
others = {"flow, flow": by_chance}
for target in ("eps", "v"):
    process = Diffusion("cosine", target, time_sampling="uniform")

    def by_target(network, x0, y, generator, step, process=process):
        return process.loss(network, x0, generator=generator).mean()

    others[f"cosine, {target}"] = fit_points(by_target, points)

# %%
table = {}
for name, network in others.items():
    process = Diffusion(*name.split(", "))
    for n in (1, 2, 4, 8, 50):
        times = time_grid(n) * (0.999 if process.parametrisation == "eps" else 1)
        ask = predictor(process, network)
        table[name, n] = distance(sample(ask, fresh, times, process.curves, sampler="euler"))
print("steps          " + "".join(f"{n:8}" for n in (1, 2, 4, 8, 50)))
for name in others:
    print(f"{name:15}" + "".join(f"{table[name, n]:8.3f}" for n in (1, 2, 4, 8, 50)))

# %% tags=["nbval-check-output"]
worst = [max(others, key=lambda name: table[name, n]) for n in (1, 2, 4, 8, 50)]
print("worst at 1, 2, 4, 8 and 50 steps:", "; ".join(worst))
near = max(table["cosine, v", n] / table["flow, flow", n] for n in (1, 2))
print("v is within 20 % of flow at 1 and 2 steps:", near < 1.2)

# %% [markdown]
# **Explain.** With the target $v$ on the cosine schedule the table is nearly the same. So the blur of one step is no fault of the target: every network that has learned its mean well walks the same curves, in other coordinates (section 5). The noise target is another matter. Near $t = 1$ the picture is read off as $(x_t - \sigma_t \hat\epsilon) / \alpha_t$, with an $\alpha_t$ near 0: each little error of the network becomes a large one, and with few steps nothing mends it.
#
# ## 3. Reflow: pair each noise with its own end
#
# The curves bend because the pairs were made by chance. But now we have curves! Each leads from a noise to an end, and no two of them cross. So make *new pairs*: each noise with the end of its own curve, and train on the straight lines between them. That is **reflow** (Liu et al. 2022).
#
# **Predict.** In one dimension, can the new lines cross?

# %% mystnb={"image": {"alt": "Three panels: lines of pairs by chance, which cross; the curves that follow, which do not; and straight lines from each noise to the end of its own curve, which do not cross either."}}
starts = torch.randn(60, 1, generator=seeded(8)).double()
ends = sample(ask_line, starts, time_grid(60), flow, sampler="heun")
_, axes = plt.subplots(1, 3, figsize=(11, 3.2), layout="constrained", sharey=True)
strangers = pairs_x0[:60, 0]
kept = torch.stack([starts, *[s.x for s in euler(ask_line, starts, instants, flow)]])[..., 0]
axes[0].plot([1, 0], torch.stack([starts[:, 0], strangers]), color="0.6", linewidth=0.7)
axes[1].plot(instants, kept, color=plotting.COLOURS[0], linewidth=0.7)
axes[2].plot([1, 0], torch.cat([starts, ends], 1).T, color=plotting.COLOURS[2], linewidth=0.7)
names = ("pairs by chance", "the curves that follow", "pairs after one reflow")
for ax, title in zip(axes, names):
    ax.set(xlim=(1.02, -0.02), ylim=(-2.5, 2.5), xlabel="t", title=title)
axes[0].set_ylabel("x")
plt.show()


# %%
def crossings(first, last):
    """How many of all pairs of lines cross between t = 1 and t = 0."""
    a, b = first[:, None] - first, last[:, None] - last
    return int(((a * b) < 0).sum()) // 2


# %% tags=["nbval-check-output"]
print("crossings of 60 lines, pairs by chance: more than 500:",
      crossings(starts[:, 0], strangers) > 500)  # fmt: skip
print("crossings after one reflow:", crossings(starts[:, 0], ends[:, 0]))

# %% [markdown]
# On a line, curves that do not cross keep their order, and so do the new pairs: no crossings, nothing to average, *one step is exact*. In the plane, lines can miss each other by going round, so there some crossings may remain. How straight a walk is can be measured. It is the mean squared difference between its velocity and the one it would have if it were straight:
#
# $$S = \int_0^1 \mathbb E\, \lVert (x_1 - x_0) - u(x_t, t) \rVert^2\, dt$$
#
# where $x_t$ is the walk itself, from $x_1$ to $x_0$. $S = 0$: every number of steps gives the same end.


# %%
def straightness(stages):
    """S of a walk in equal steps, stages (n + 1, points, d) from t = 1 to 0."""
    n = len(stages) - 1
    pieces = (stages[:-1] - stages[1:]) * n
    whole = stages[0] - stages[-1]
    return float(((pieces - whole) ** 2).sum(-1).mean())


# %% mystnb={"image": {"alt": "Two rows of clouds after 1, 2, 4 and 50 steps. By chance: a heap in the middle, a disc, a pentagon, five bumps. After reflow: five corners of a thin pentagon already after one step, five bumps from two steps on."}}
reflow_ends = sample(ask_bumps, noises.double(), time_grid(25), flow, sampler="heun").float()
reflowed = fit_points(on_pairs, torch.stack([reflow_ends, noises], 1))
show_walks({"by chance": by_chance, "reflow": reflowed})

# %% tags=["nbval-check-output"]
S = {name: straightness(walk(net, fresh, 50)) for name, net in
     {"by chance": by_chance, "reflow": reflowed}.items()}  # fmt: skip
same = distillation.straightness(walk(reflowed, fresh, 50), time_grid(50))
print("equal to ldmlib's straightness:", abs(same - S["reflow"]) < 1e-5)
print("reflow is straighter, by a factor above 50:", S["by chance"] > 50 * S["reflow"])
one, fifty = (distance(walk(reflowed, fresh, n)[-1]) for n in (1, 50))
print("one step of it is nearly as good as fifty: ", one - fifty < 0.01)

# %% [markdown]
# **Explain.** The network, the loss and the number of steps are those of section 2. Only the pairs are others.
#
# The price: the ends come from a solver (25 steps of Heun, here with the exact velocity; with a network its mistakes come along), and somebody had to train the first network. Reflow teaches no new data. It teaches the same map without the curves.
#
# **Change.** Make the ends with 2 steps of Heun instead of 25. How good can the student become?
#
# ## 4. Who is paired with whom
#
# Can lines be untangled *without* a first network? Look at one batch: 64 points, 64 noises. We are free to pair them as we like, as long as every noise and every point gets its turn. Pair them so that the lines are short: short lines cross less. That is **minibatch coupling** (Pooladian et al. 2023; Tong et al. 2023).
#
# The shortest pairing of a batch is an old problem (optimal transport). A soft answer takes five lines: a table of how well each two fit, its rows and columns scaled in turn until all sum to 1. (Cuturi 2013.)


# %%
def sinkhorn(x0, eps, blur=0.02, rounds=30):
    """A table (m, m): how much of noise j goes to point i; rows and columns sum to 1."""
    cost = torch.cdist(x0, eps) ** 2
    table = -cost / (blur * cost.mean())
    for _ in range(rounds):
        table = table - table.logsumexp(-1, keepdim=True)
        table = table - table.logsumexp(-2, keepdim=True)
    return table.exp()


# %% mystnb={"image": {"alt": "Sixty-four points of data and as many noises, joined by lines: long ones across the middle when paired by chance, short ones to the nearest bump when coupled."}}
batch = points[:64], noises[:64]
likeliest = sinkhorn(*batch).argmax(1)
_, axes = plt.subplots(1, 2, figsize=(7, 3.4), layout="constrained", sharey=True)
for ax, order, title in zip(axes, (torch.arange(64), likeliest), ("by chance", "coupled")):
    for x, e in zip(batch[0], batch[1][order]):
        ax.plot(*torch.stack([x, e]).T, color="0.7", linewidth=0.8)
    ax.plot(*batch[1].T, "o", color=plotting.COLOURS[0], markersize=4, label="noise")
    ax.plot(*batch[0].T, "s", color=plotting.COLOURS[1], markersize=4, label="data")
    ax.set(title=title, aspect="equal", xticks=[], yticks=[])
axes[0].legend(fontsize=8)
plt.show()

# %% tags=["nbval-check-output"]
library = distillation.sinkhorn(*batch)
print("equal to ldmlib's sinkhorn:", bool((library - sinkhorn(*batch)).abs().max() < 1e-5))
print("columns sum to 1:", bool((library.sum(0) - 1).abs().max() < 1e-4))

# %% [markdown]
# **Predict.** With batches of 8, or of 64: which gives the straighter walk? And what would a batch of all 20,000 be?

# %% mystnb={"image": {"alt": "Two rows of clouds after 1, 2, 4 and 50 steps. Coupled in batches of 8: a disc after one step. In batches of 64: nearly five bumps after one step."}}
networks = {"by chance": by_chance}
for m in (8, 64):
    coupled = distillation.couple(points, noises, m, generator=seeded(9))
    networks[f"coupled, {m}"] = fit_points(on_pairs, torch.stack([points, coupled], 1))
networks["reflow"] = reflowed
show_walks({name: networks[name] for name in ("coupled, 8", "coupled, 64")})

# %%
S = {name: straightness(walk(network, fresh, 50)) for name, network in networks.items()}
print(f"{'':12}{'S':>8}   distance after 1, 2, 4, 50 steps")
for name, network in networks.items():
    after = [distance(walk(network, fresh, n)[-1]) for n in (1, 2, 4, 50)]
    print(f"{name:12}{S[name]:8.4f}" + "".join(f"{d:9.4f}" for d in after))

# %% tags=["nbval-check-output"]
falls = S["by chance"] > S["coupled, 8"] > S["coupled, 64"] > S["reflow"]
print("straighter with larger batches, and straightest after reflow:", falls)

# %% [markdown]
# **Explain.** A larger batch knows more of the whole, and its short pairing is nearer to the shortest of all. In the plane 64 points are many. A latent of a digit has 256 numbers: how much shorter do the lines get there?

# %%
pictures, labels = mnist("train").as_tensors()
latents = teacher.encode(pictures[:1024])
their_noise = torch.randn(latents.shape, generator=seeded(10))
by_chance_length = ((their_noise - latents) ** 2).flatten(1).sum(1).mean()
for m in (64, 512):
    chosen = distillation.couple(latents, their_noise, m, generator=seeded(11))
    shorter = ((chosen - latents) ** 2).flatten(1).sum(1).mean() / by_chance_length
    print(f"digits, batches of {m:3}: squared length {shorter:.2f} of that by chance")
chosen = distillation.couple(points, noises, 64, generator=seeded(9))
shorter = ((chosen - points) ** 2).sum() / ((noises - points) ** 2).sum()
print(f"plane,  batches of  64: squared length {shorter:.2f} of that by chance")

# %% [markdown]
# Little. In 256 dimensions all noises are about equally far from everything: there is little to choose. So coupling is a gift for small problems, and for the digits we take reflow's way: let a teacher say which noise belongs to which digit.
#
# ## 5. One family
#
# You will meet **EDM** (Karras et al. 2022) in many papers and codes. It seems another kind of model: noise is *added*, $x = x_0 + \sigma \epsilon$, nothing is faded out, and the network $F$ is wrapped:
#
# $$D(x; \sigma) = c_\text{skip}\, x + c_\text{out}\, F(c_\text{in}\, x), \qquad c_\text{skip} = \frac{\sigma_d^2}{\sigma^2 + \sigma_d^2}, \quad c_\text{out} = \frac{\sigma\, \sigma_d}{\sqrt{\sigma^2 + \sigma_d^2}}, \quad c_\text{in} = \frac{1}{\sqrt{\sigma^2 + \sigma_d^2}}$$
#
# $D$ is the guess of the clean picture, $\sigma_d$ the data's standard deviation. The three $c$ follow from two wishes: what goes into $F$ has variance 1 at every noise level, and so has what $F$ must answer.


# %%
def edm(sigma, data=1.0):
    """c_skip, c_out, c_in."""
    total = (sigma**2 + data**2) ** 0.5
    return data**2 / total**2, sigma * data / total, 1 / total


def flow_as_edm(sigma):
    """The flow in the same clothes: x_t / (1 - t) = x_0 + sigma eps with sigma = t / (1 - t)."""
    return 1 / (1 + sigma), -sigma / (1 + sigma), 1 / (1 + sigma)


# %% [markdown]
# **Predict.** For the digits' latents, scaled to variance 1 ($\sigma_d = 1$): which of the two keeps its promise at every $\sigma$?

# %%
levels = torch.logspace(-2, 2, 41)
variances = {"EDM": [], "flow": []}
for sigma in levels:
    x = latents[:500] + sigma * their_noise[:500]
    for name, family in (("EDM", edm), ("flow", flow_as_edm)):
        skip, out, into = family(sigma)
        target = (latents[:500] - skip * x) / out
        variances[name].append((float((into * x).var()), float(target.var())))

# %%
_, axes = plt.subplots(1, 2, figsize=(9, 3), layout="constrained", sharex=True)
for i, (name, pairs) in enumerate(variances.items()):
    for j, ax in enumerate(axes):
        values = [pair[j] for pair in pairs]
        ax.plot(levels, values, plotting.STYLES[i], color=plotting.COLOURS[i], label=name)
for ax, title in zip(axes, ("variance of the input", "variance of the target")):
    ax.set(xscale="log", ylim=(0, 2.4), xlabel="sigma", title=title)
    ax.grid(alpha=0.3)
axes[0].legend()
plt.show()

# %% tags=["nbval-check-output"]
worst = max(abs(v - 1) for pair in variances["EDM"] for v in pair)
print("EDM: input and target have variance 1, to 5 %, at all levels:", worst < 0.05)
print("flow: the target's variance is 2, to 5 %, at all levels:",
      max(abs(v - 2) for _, v in variances["flow"]) < 0.1)  # fmt: skip

# %% [markdown]
# The flow's target has the same variance everywhere too, 2 instead of 1; its input shrinks to one half in the middle. Both are tame: that is what a network needs.
#
# Are they *different models*, then? Take the network's answer $F$ at random, and read off the picture: once by the formula of EDM, once by the library's targets `v` and `flow`.

# %% tags=["nbval-check-output"]
x0, eps, answer = (torch.randn(6, 4, generator=seeded(12, i)).double() for i in range(3))
t = torch.tensor([0.01, 0.1, 0.3, 0.5, 0.8, 0.95]).double()
for schedule, target, family, sign in (("cosine", "v", edm, -1), ("flow", "flow", flow_as_edm, 1)):
    process = Diffusion(schedule, target)
    alpha, sigma = process.coefficients(t, x0)
    x_t = alpha * x0 + sigma * eps
    ours = process.predict(lambda x, t, cond: answer, x_t, t).x0
    skip, out, _ = family(sigma / alpha)
    theirs = skip * (x_t / alpha) + out * sign * answer
    print(f"{target:4} is the family's with its c's:", bool((ours - theirs).abs().max() < 1e-9))

# %% [markdown]
# **Explain.** EDM with $\sigma_d = 1$ *is* the target $v$, up to its sign; the flow is the same formula with other $c$. Divide $x_t$ by $\alpha_t$, call $\sigma_t / \alpha_t$ the noise level, and every model of this course becomes one of Karras's. What really differs is how the levels are *drawn* in training, how the loss is *weighted*, and at which levels a sampler asks. A network trained as one can be sampled as another: the curves are the same, in other coordinates.
#
# **Change.** Give `edm` the argument `data=0.5`, as EDM does for pictures. What happens to the variances, and why?
#
# ## 6. Three ways to teach a student
#
# A **student** is a network that learns not from data but from another network, the **teacher**, to do the same in fewer steps. Three ways, each in a few lines, on the five bumps; all start as a copy of the teacher of section 2 and get the same number of training steps.
#
# *Pairs* (reflow, as above): the teacher walks 20,000 noises to their ends, once; the student learns the straight lines.

# %%
STEPS = 800
teacher_ends = walk(by_chance, noises, 16)[-1]
students = {"pairs": fit_points(on_pairs, torch.stack([teacher_ends, noises], 1), by_chance, STEPS)}

# %% [markdown]
# *Progressive* (Salimans and Ho 2022): one step of the student shall do what two steps of the teacher do. Then the student becomes the teacher, and so on: 16 steps, 8, 4, 2, 1.


# %%
def two_steps_in_one(teacher, n):
    """The objective of a round: one of n steps against two of 2n."""

    def objective(network, x0, y, generator, step):
        t = torch.randint(1, n + 1, (len(x0),), generator=generator) / n
        x = (1 - t[:, None]) * x0 + t[:, None] * randn_like(x0, generator)
        with torch.no_grad():
            middle = x - teacher(x, t) / (2 * n)
            end = middle - teacher(middle, t - 1 / (2 * n)) / (2 * n)
        return ((network(x, t) - (x - end) * n) ** 2).mean()

    return objective


# %%
student = by_chance
for n in (8, 4, 2, 1):
    student = fit_points(two_steps_in_one(student, n), points, student, STEPS // 4)
students["progressive"] = student

# %% [markdown]
# *Consistency* (Song et al. 2023): all places on a curve shall name the same end. One step of the teacher leads from $x_t$ to $x_s$ on the same curve; the student's answer at $x_t$ is pulled to its own answer at $x_s$.


# %%
def same_end(teacher, n=16):
    """The objective: the ends named at two neighbours on a curve of n steps are equal."""

    def objective(network, x0, y, generator, step):
        t = torch.randint(1, n + 1, (len(x0), 1), generator=generator) / n
        x = (1 - t) * x0 + t * randn_like(x0, generator)
        with torch.no_grad():
            s, nearer = t - 1 / n, x - teacher(x, t[:, 0]) / n
            end = nearer - s * network(nearer, s[:, 0])
        return (((x - t * network(x, t[:, 0]) - end) / t) ** 2).mean()

    return objective


# %%
students["consistency"] = fit_points(same_end(by_chance), points, by_chance, STEPS)

# %%
print("distance after     1 step  2 steps  4 steps 16 steps")
for name, network in {"the teacher": by_chance, **students}.items():
    after = [distance(walk(network, fresh, n)[-1]) for n in (1, 2, 4, 16)]
    print(f"{name:15}" + "".join(f"{d:9.4f}" for d in after))

# %% tags=["nbval-check-output"]
for name, network in students.items():
    gains = distance(walk(by_chance, fresh, 1)[-1]) / distance(walk(network, fresh, 1)[-1])
    print(f"{name:12} one step, better than the teacher's by a factor above 20:", gains > 20)


# %% tags=["nbval-check-output"]
def worsens(network):
    """True where 16 steps of Euler end farther from the truth than one."""
    return distance(walk(network, fresh, 16)[-1]) > distance(walk(network, fresh, 1)[-1])


worse = [name for name, network in students.items() if worsens(network)]
print("worse with 16 steps of Euler than with one:", ", ".join(worse))

# %% [markdown]
# **Explain.** In one step all three leave the teacher far behind, and are about as good as each other. With more steps they part. The pairs teach a *flow*: its velocity is right at every time, so 2, 4 and 16 steps are better than one. The progressive student was last trained for one step only, and has forgotten what its elder brothers of 2, 4 and 8 steps knew: they would have to be kept, one for each number of steps. The consistent student names the end from everywhere, but that is not a velocity. It takes several steps in another way: jump to the end, add fresh noise, jump again.
#
# They differ in cost as well. In each training step the progressive student asks its teacher twice, the consistent one asks the teacher once and itself once more. The student of pairs asks nobody: all of the teacher's work is done once, before. For minutes on a CPU, and for 1, 2 and 4 steps with one network, we choose pairs. Their weakness: the teacher's work must be stored, and with few pairs the student learns them by heart.
#
# ## 7. A student for digits
#
# The way of pairs, with the bundled model as teacher. First the pairs: 2048 noises, and what the teacher makes of them with its own guidance and seven questions each (four steps of Heun). This is the teacher's whole contribution.

# %% mystnb={"image": {"alt": "Twenty digits that the teacher drew for the pairs: clean and varied."}}
start = time.perf_counter()
pairs = distillation.teacher_pairs(teacher, 2048, steps=4, seed=1)
pairs_took = time.perf_counter() - start
print(f"{len(pairs.x0):,} pairs in {pairs_took:.0f} s")
plotting.show(teacher.decode(pairs.x0[:20]))
plt.show()

# %% [markdown]
# The student begins with the teacher's weights and trains on the straight lines between the pairs. Two choices fit the loss to its use:
#
# - *Times.* A student of 1, 2 or 4 steps is only ever asked at $t = 1, \frac34, \frac12, \frac14$. Nothing else is trained, and half of each batch is at $t = 1$, where the longest step begins.
# - *Guidance* is baked in: the ends are guided, so the student asks once where the teacher asked twice.

# %%
loss = distillation.PairLoss()
drawn = loss.draw_times(10_000, seeded(13))
print({t: round(float((drawn == t).double().mean()), 2) for t in loss.times})

# %%
config = TrainConfig(steps=200, batch_size=64, lr=1e-3, ema=0.98)
student, state = distillation.distil(
    teacher, pairs, config, loss, **resumable("09-student", config, loss, len(pairs.x0))
)
training_took = state.history[-1]["seconds"]
print(f"{config.steps} steps in {training_took / 60:.1f} minutes, in {state.precision}")

# %% mystnb={"image": {"alt": "The loss of the student over 200 steps, on a logarithmic axis: steep at first, then slowly down to about a sixth of where it began."}}
plotting.loss_curve(state.history, log=True)
plt.show()

# %% [markdown]
# **Predict.** Same noise for all: how will the student's digit in one step compare with the teacher's in one step, and with the teacher's in its own setting (five steps of Heun, nine questions)?

# %% mystnb={"image": {"alt": "Ten digits from the same noises: the teacher in one step is grey and smeared; the student in 1, 2 and 4 steps is sharp and looks like the last row, the teacher in five steps of Heun."}}
rows = {}
for name, model, steps, sampler in (
    ("teacher, 1", teacher, 1, "euler"),
    ("student, 1", student, 1, "euler"),
    ("student, 2", student, 2, "euler"),
    ("student, 4", student, 4, "euler"),
    ("teacher, Heun", teacher, 5, "heun"),
):
    rows[name] = model.sample(10, ten, steps, seed=3, sampler=sampler)
plotting.show_rows(rows, scale=0.7)
plt.show()

# %% [markdown]
# Now in numbers, as in [07](07_evaluation_fid.ipynb) and [08](08_faster_sampling.ipynb): the same 1000 noises and labels for all, FID at this $n$ and its floor, the share of digits in which the classifier sees the label that was asked for, and the time. `moved` is how far the digit is from the one that the teacher draws in its own setting from the same noise, in units of the distance between two different digits.

# %%
N = 1000
evaluator = mnist_evaluator()
floor, asked = evaluator.floor(N), teacher.draw_labels(N, seed=2)
real_mean, real_cov = metrics.moments(evaluator.train)


def fid(features):
    return metrics.gaussian_frechet(*metrics.moments(features), real_mean, real_cov)


# %%
def score(model, steps, sampler):
    start = time.perf_counter()
    pictures = model.sample(N, asked, steps, seed=2, sampler=sampler)
    seconds = time.perf_counter() - start
    features, probabilities = evaluator.features(pictures)
    agrees = metrics.label_agreement(probabilities, asked)
    return {"features": features, "fid": fid(features), "agrees": agrees, "seconds": seconds}


# %%
results = {("teacher, Heun", 5): score(teacher, 5, "heun")}
for name, model in (("teacher", teacher), ("student", student)):
    for steps in (4, 2, 1):
        results[name, steps] = score(model, steps, "euler")

# %%
target = results["teacher, Heun", 5]
apart = (target["features"] - target["features"].roll(1, 0)).norm(dim=1).median()
print(f"n = {N:,}, floor {floor:.2f}\n")
print(f"{'':13}{'steps':>6}{'FID':>8}{'ratio':>7}{'label seen':>12}{'moved':>7}{'s for 100':>11}")
for (name, steps), row in results.items():
    moved = float((row["features"] - target["features"]).norm(dim=1).median() / apart)
    print(
        f"{name:13}{steps:6}{row['fid']:8.2f}{row['fid'] / target['fid']:7.2f}"
        f"{row['agrees']:12.1%}{moved:7.2f}{row['seconds'] * 100 / N:11.2f}"
    )

# %% [markdown]
# Both scores of a ratio come from the same noises and labels. So resample the digits, the same ones on both sides, to know how sure it is:


# %%
def ratio_to_target(row, repeats=100):
    """FID over that of the teacher's own setting, with a 95 % interval (as in notebook 08)."""
    generator, gaps = seeded(14), []
    for _ in range(repeats):
        some = torch.randint(N, (N,), generator=generator)
        gaps.append(fid(row["features"][some]) - fid(target["features"][some]))
    around = torch.tensor(gaps) - sum(gaps) / repeats
    low, high = around.quantile(torch.tensor([0.025, 0.975])).tolist()
    gap = row["fid"] - target["fid"]
    return [1 + (gap + off) / target["fid"] for off in (0, low, high)]


# %%
for steps in (4, 2, 1):
    value, low, high = ratio_to_target(results["student", steps])
    print(
        f"student, {steps} step{'s' * (steps > 1)}: ratio {value:.2f}, 95 % interval {low:.2f} to {high:.2f}"
    )

# %% tags=["nbval-check-output"]
print("student, 4 steps: within 1.3 times the teacher's own FID: ",
      results["student", 4]["fid"] < 1.3 * target["fid"])  # fmt: skip
print("student, 1 step: the label is seen in 9 of 10 or more:    ",
      results["student", 1]["agrees"] >= 0.9)  # fmt: skip
print("student, 1 step: FID below a fifth of the teacher's in 1:  ",
      results["student", 1]["fid"] < results["teacher", 1]["fid"] / 5)  # fmt: skip

# %% [markdown]
# **Explain.** One step of the student is sharp where one step of the teacher is a blur, and most of its digits are recognisably those that the teacher draws in nine questions (`moved`). Four steps come closer still.
#
# Look at `label seen` for the teacher's single step: the blur does as well as anything! The mean of many sevens looks very much like a seven. A score that a blur can win says "recognisable" and no more. FID is the one to tell a crowd of means from a crowd of digits.
#
# What was lost? Some digits in a hundred miss their label, more than of the teacher's. Between two noises that lead to different digits the teacher's map turns sharply; the student, after so short a training, turns gently, and draws a little of both. And a freedom is gone: steps, guidance and the open class ($-1$) are no longer yours to choose.
#
# When does it pay? Pairs and training take time, too. Compared with the teacher's own setting (five steps of Heun):

# %%
saved = (results["teacher, Heun", 5]["seconds"] - results["student", 1]["seconds"]) / N
needed = (pairs_took + training_took) / saved
print(f"the student, in one step, has earned its time after {needed:,.0f} digits")

# %% [markdown]
# **Change.** Train on half of the pairs, `distillation.Pairs(pairs.noise[:1024], pairs.x0[:1024], pairs.labels[:1024])`. Which suffers more, one step or four?
#
# ## What could go wrong
#
# **The pairs come apart.** Noises and ends are stored in two files, or shuffled one by one by a data loader, and meet as strangers. Nothing raises an error: shapes fit, the loss falls, training ends. In the plane:

# %% mystnb={"image": {"alt": "Two rows of clouds after 1, 2, 4 and 50 steps. Pairs kept together: five bumps almost at once. Come apart: a heap in the middle after one step, five bumps only after fifty."}}
strangers = fit_points(on_pairs, torch.stack([reflow_ends.roll(1, 0), noises], 1))
show_walks({"kept together": reflowed, "come apart": strangers})

# %% [markdown]
# **Predict.** What has the second network learned, then? And what would its loss have told you, if you had looked?
#
# It is flow matching by chance again: right with fifty steps, a blur with one. **Symptom:** many steps fine, one step a mean, and a loss that stays where a mean leaves it. **Cure:** one tensor for both, and a look at the loss before anything is drawn.


# %%
@torch.no_grad()
def loss_at_start(network, ends):
    """The loss at t = 1 over the variance of the ends: 1 is what a mean leaves."""
    loss = naive_flow_loss(network, ends, noises, torch.ones(len(ends))).mean()
    return float(loss / ends.var(0).mean())


# %% tags=["nbval-check-output"]
together = loss_at_start(reflowed, reflow_ends)
lost = loss_at_start(strangers, reflow_ends.roll(1, 0))
print("kept together: less than a tenth of what a mean leaves:", together < 0.1)
print("come apart: as much as a mean leaves, to 10 %:         ", abs(lost - 1) < 0.1)

# %% [markdown] tags=["teacher", "remove-cell"]
# **For the teacher.** Exercises, minutes to allow, and what to listen for.
#
# | exercise | minutes | expected | typical wrong answer | what the check says |
# |---|---|---|---|---|
# | 1: a pair of flow matching | 5 | $(1-t)x_0 + t\epsilon$ and $\epsilon - x_0$ | the velocity turned round | "the velocity points from the noise to the picture, but t grows towards the noise: turn it round." |
# | 2: two steps in one | 8 | $(x - \text{end}) / h$ | the second look at the old time | "the second look is at the old time: after the first step it is t - h / 2." |
# | 3: the noise target as EDM | 8 | $1,\; -\sigma,\; 1/\sqrt{1 + \sigma^2}$ | the sign of $c_\text{out}$ | "c_out has the wrong sign: the noise is taken away, x - sigma eps." |
#
# Misconception to listen for: *flow matching has straight paths, so one step is enough*. The lines of the training are straight; the curves of the trained network are not. A second one: *a distilled student knows less*. It knows the same map, as far as it was shown it; what it has lost is the freedom to choose steps and guidance later.

# %% [markdown]
# ## Exercises
#
# Each check says what is wrong, in words. Run it as often as you like.

# %%
from ldmlib.check import few_steps as check

# %% [markdown]
# ### Exercise 1: a pair of flow matching
#
# From a picture, a noise and a time: where on the line are we, and which velocity shall the network learn?


# %% tags=["exercise"]
def flow_pair(x0, eps, t):
    return ...  # x_t, velocity


# %% tags=["check", "nbval-check-output"]
check.flow_pair(flow_pair)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# At $t = 0$ you are at the picture, at $t = 1$ at the noise. The velocity is the derivative of $x_t$ with respect to $t$.
#
# </details>
#
# <details><summary>Solution</summary>
#
# $x_t = (1 - t) x_0 + t \epsilon$; its derivative is $\epsilon - x_0$. The next cell checks it.
#
# </details>


# %% tags=["solution", "nbval-check-output"]
def flow_pair_solution(x0, eps, t):
    return (1 - t) * x0 + t * eps, eps - x0


check.flow_pair(flow_pair_solution)

# %% [markdown]
# ### Exercise 2: two steps in one
#
# `u(x, t)` is the teacher's velocity. The teacher walks from $t$ to $t - h$ in two steps of Euler, each $h / 2$ long. Which velocity must the student answer at $(x, t)$ to get there in one?


# %% tags=["exercise"]
def two_in_one(u, x, t, h):
    return ...  # one velocity, for a step of h


# %% tags=["check", "nbval-check-output"]
check.two_in_one(two_in_one)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Time falls, so a step of Euler is `x - h / 2 * u(x, t)`. The second one begins where the first one ends, and later.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# One step of the student ends at `x - h * answer`. Set that equal to the teacher's end.
#
# </details>
#
# <details><summary>Solution</summary>
#
# The way from `x` to the end, divided by `h`: the mean of the two velocities. The next cell checks it.
#
# </details>


# %% tags=["solution", "nbval-check-output"]
def two_in_one_solution(u, x, t, h):
    middle = x - h / 2 * u(x, t)
    end = middle - h / 2 * u(middle, t - h / 2)
    return (x - end) / h


check.two_in_one(two_in_one_solution)

# %% [markdown]
# ### Exercise 3: the noise target, in EDM's clothes
#
# A network that answers with the noise, $F = \hat\epsilon$, belongs to the family of section 5 as well. With $x = x_0 + \sigma \epsilon$ and data of variance 1: which $c_\text{skip}$, $c_\text{out}$ and $c_\text{in}$ make $D(x; \sigma)$ the picture, with an input of variance 1?


# %% tags=["exercise"]
def noise_family(sigma):
    return ...  # c_skip, c_out, c_in


# %% tags=["check", "nbval-check-output"]
check.noise_family(noise_family)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Solve $x = x_0 + \sigma \epsilon$ for $x_0$, and read off what stands before $x$ and before $\epsilon$.
#
# </details>
#
# <details><summary>Solution</summary>
#
# $x_0 = 1 \cdot x - \sigma\, \epsilon$, and $x$ has variance $1 + \sigma^2$. The next cell checks it.
#
# </details>


# %% tags=["solution", "nbval-check-output"]
def noise_family_solution(sigma):
    return 1.0, -sigma, 1 / (1 + sigma**2) ** 0.5


check.noise_family(noise_family_solution)

# %% [markdown]
# ## Recap
#
# 1. Flow matching learns the velocity $\epsilon - x_0$ of straight lines. Where lines cross, the network answers with their mean, and the curves bend.
# 2. At $t = 1$ all lines cross: one step ends at the mean of the data. That is the blur.
# 3. Other pairs, straighter curves: coupled in a batch (good in few dimensions), or each noise with the end of its own curve (reflow).
# 4. EDM, $v$ and flow are one family in different coordinates; they differ in how levels are drawn, weighted and asked.
# 5. A student learns the teacher's map from pairs, from two steps in one, or from its own consistency. It is fast, and it has the teacher's guidance baked in.
#
# ## Quiz
#
# Choose an answer: each of them, right or wrong, gets a reason.

# %% tags=["quiz"]
from ldmlib.widgets import quiz

quiz("09_flow_matching_and_distillation")

# %% [markdown]
# ## Where to go next
#
# The digits had ten labels. The next notebook, 10, gives the model words instead. If one step interests you more: *mean flow* (Geng et al. 2025) learns the mean velocity of a step directly, from data, without a teacher; *distribution matching* (Yin et al. 2023) lets the student's samples be judged as a crowd, not pair by pair. Both need more than the minutes of this notebook.
#
# ## References
#
# - Y. Lipman et al. *Flow Matching for Generative Modeling*. 2022. arXiv 2210.02747. (Equation 23 is the loss of section 1.)
# - X. Liu, C. Gong, Q. Liu. *Flow Straight and Fast: Learning to Generate and Transfer Data with Rectified Flow*. 2022. arXiv 2209.03003. (Reflow and straightness.)
# - A. Tong et al. *Improving and Generalizing Flow-Based Generative Models with Minibatch Optimal Transport*. 2023. arXiv 2302.00482.
# - A.-A. Pooladian et al. *Multisample Flow Matching: Straightening Flows with Minibatch Couplings*. 2023. arXiv 2304.14772.
# - M. Cuturi. *Sinkhorn Distances: Lightspeed Computation of Optimal Transport*. 2013. arXiv 1306.0895.
# - T. Karras, M. Aittala, T. Aila, S. Laine. *Elucidating the Design Space of Diffusion-Based Generative Models*. 2022. arXiv 2206.00364. (Preconditioning: table 1 and appendix B.6.)
# - T. Salimans, J. Ho. *Progressive Distillation for Fast Sampling of Diffusion Models*. 2022. arXiv 2202.00512.
# - Y. Song, P. Dhariwal, M. Chen, I. Sutskever. *Consistency Models*. 2023. arXiv 2303.01469.
# - Z. Geng et al. *Mean Flows for One-step Generative Modeling*. 2025. arXiv 2505.13447.
# - T. Yin et al. *One-step Diffusion with Distribution Matching Distillation*. 2023. arXiv 2311.18828.

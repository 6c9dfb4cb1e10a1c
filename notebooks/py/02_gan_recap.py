# %% [markdown]
# # 02 · GAN recap: a forger, a judge, and eleven bugs
#
# [Open in Colab](https://colab.research.google.com/github/ldm-course/ldm-course/blob/main/notebooks/02_gan_recap.ipynb)
#
# You will train two networks against each other until one of them draws digits, find out by experiment why this game so often fails, and see which piece of it lives on inside a latent diffusion model.
#
# This is what you will have made:
#
# ```mermaid
# flowchart LR
#     Z["noise z<br/>64 numbers"] --> G["generator<br/>(the forger)"]
#     G --> F["forged digit"]
#     X["real digit"] --> D["discriminator<br/>(the judge)"]
#     F --> D
#     D --> P["logit:<br/>high = real"]
#     P -. "tell them apart" .-> D
#     P -. "be taken for real" .-> G
# ```
#
# > **You will be able to** say what the best possible judge answers, and check a network against it; write one round of the game without hurting the other player; recognise eleven classic GAN bugs by their symptoms; measure mode collapse; say what a GAN and a latent diffusion model share, and what they do not.
# >
# > **Needs** [01](01_probability_and_latent_spaces.ipynb): densities, mixtures, KL.
# >
# > **Takes** about 3 minutes and 1.4 GB of memory on 2 CPU cores (measured with one core, while the other was busy; less with both).

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
import copy, time  # noqa: E401

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from ldmlib import data, plotting
from ldmlib.check import gan as check
from ldmlib.evaluation.evaluator import mnist_evaluator
from ldmlib.gan.model import Discriminator, Gan, Generator, PlayersConfig
from ldmlib.gan.theory import covered_modes, optimal_discriminator
from ldmlib.gan.train import build, pixel_recipe, train_gan
from ldmlib.latent.model import LatentDiffusion
from ldmlib.networks.batches import in_batches
from ldmlib.networks.classifier import bundled_classifier
from ldmlib.networks.discriminator import PatchDiscriminator
from ldmlib.networks.layers import Upsample, count_parameters
from ldmlib.probability.mixtures import GaussianMixture, ring
from ldmlib.rng import seeded
from ldmlib.runtime import has_bfloat16
from ldmlib.training.adversarial import discriminator_loss, discriminator_step, generator_loss
from ldmlib.training.adversarial import r1_penalty, train_step
from ldmlib.training.run import resumable

torch.manual_seed(0)
plt.rcParams["figure.dpi"] = 80

# %%
x, _ = data.mnist("train").random_subset(20_000, seed=0).as_tensors()
print("digits:", tuple(x.shape), "from", float(x.min()), "to", float(x.max()))

# %% [markdown]
# ## 1. The game
#
# A **generator** $G$ turns noise $z$ into a picture. A **discriminator** $D$ looks at a picture and says how likely it is real, a number between 0 and 1. They play for the same quantity (Goodfellow et al., 2014):
#
# $$\min_G \max_D \; V = \mathbb E_{x \sim p} \left[ \log D(x) \right] + \mathbb E_{x \sim q} \left[ \log (1 - D(x)) \right].$$
#
# Here $p$ is the distribution of real pictures and $q$ that of forged ones. No likelihood, no reconstruction: the only teacher of $G$ is its opponent.
#
# **Predict.** Suppose the judge knew both densities exactly. At a place $x$ where real pictures are three times as dense as forged ones, what should it answer?
#
# The judge wins most if it maximises $p \log D + q \log (1 - D)$ at every place by itself. Set the slope in $D$ to 0, and you get
#
# $$D^*(x) = \frac{p(x)}{p(x) + q(x)}.$$
#
# So 3/4. Let us see it in one dimension, with a mixture as the truth and a single bump as the forgery.

# %%
p = GaussianMixture.isotropic(torch.tensor([[-1.5], [1.5]]), 0.6)
q = GaussianMixture.isotropic(torch.tensor([[0.7]]), 1.0)
grid = torch.linspace(-5, 5, 2001)[:, None]


def best_judge(x):
    """D*(x), straight from the formula."""
    real, forged = p.log_prob(x).exp(), q.log_prob(x).exp()
    return real / (real + forged)


# %% [markdown]
# And beside it a judge that knows nothing: a small network that sees samples and minimises the cross-entropy of its answers, with label 1 for real and 0 for forged.

# %%
torch.manual_seed(0)
judge = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))
optimizer, draws = torch.optim.Adam(judge.parameters(), lr=1e-2), seeded(1)
for step in range(600):
    for group in optimizer.param_groups:
        group["lr"] = 1e-2 * (1 - step / 600)
    real, forged = judge(p.sample(512, draws)), judge(q.sample(512, draws))
    loss = discriminator_loss(real, forged, "non_saturating")
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

# %%
with torch.no_grad():
    learned = judge(grid)[:, 0].sigmoid()
_, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
ax.fill_between(grid[:, 0], p.log_prob(grid).exp(), color="0.85", label="p, real")
ax.plot(grid, q.log_prob(grid).exp(), ":", color="0.3", label="q, forged")
ax.plot(grid, best_judge(grid), "-", color=plotting.COLOURS[0], label="best judge p / (p + q)")
ax.plot(grid, learned, "--", color=plotting.COLOURS[1], label="learned judge")
ax.set(xlabel="x", xlim=(-4, 4), ylim=(0, 1.05))
ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
plt.show()

# %% tags=["nbval-check-output"]
difference = optimal_discriminator(p, q, grid) - best_judge(grid)
print("ours equals ldmlib's, below 1e-5:", bool(difference.abs().max() < 1e-5))
seen = p.log_prob(grid).exp() + q.log_prob(grid).exp() > 0.05  # where there are samples
error = (learned - best_judge(grid))[seen].abs().mean()
print("learned judge off by less than 0.05 on average:", bool(error < 0.05))

# %% [markdown]
# **What happened.** The network never saw a density. From samples alone it learned their *ratio*: the odds $D / (1 - D)$ are $p / q$, and its logit is $\log p - \log q$. Where there were no samples, at the edges, it makes something up.
#
# What is the game worth when the judge is at its best? Put $D^*$ into $V$:
#
# $$V(D^*) = 2\, \mathrm{JSD}(p, q) - \log 4, \qquad \mathrm{JSD} = \tfrac12 \mathrm{KL}\left(p \,\|\, m\right) + \tfrac12 \mathrm{KL}\left(q \,\|\, m\right), \quad m = \tfrac{p + q}{2}.$$
#
# The Jensen-Shannon divergence is 0 only where $q = p$. So the perfect forger plays against a judge that can only toss a coin, and $V = -\log 4$.

# %%
real, forged = p.log_prob(grid).exp(), q.log_prob(grid).exp()
mean, width = (real + forged) / 2, float(grid[1] - grid[0])
jsd = 0.5 * (real * (real / mean).log() + forged * (forged / mean).log()).sum() * width
value = (real * best_judge(grid).log() + forged * (1 - best_judge(grid)).log()).sum() * width
print(
    f"JSD = {jsd:.3f} nats, V(D*) = {value:.3f}, fooled judge: {-torch.log(torch.tensor(4.0)):.3f}"
)

# %% tags=["nbval-check-output"]
print("V(D*) = 2 JSD - log 4:", bool(abs(value - (2 * jsd - torch.log(torch.tensor(4.0)))) < 1e-4))
halved = torch.log(torch.tensor(2.0)) - jsd  # our loss is -V / 2
print(
    "the learned judge's loss is within 0.03 of log 2 - JSD:",
    bool(abs(loss.detach() - halved) < 0.03),
)

# %% [markdown]
# ### The generator's gradient
#
# **Predict.** At the start the forgeries are bad and the judge is sure: its logit $\ell$ is far below 0. Which loss pulls the forger harder, $\log(1 - D)$, as the game says, or $-\log D$?
#
# With $D = \sigma(\ell)$ the slopes in the logit are short:
#
# $$\frac{d}{d\ell} \log (1 - D) = -D, \qquad \frac{d}{d\ell} \left( -\log D \right) = -(1 - D).$$

# %%
kinds = {"saturating": "log(1 - D), saturating", "non_saturating": "-log D, non-saturating"}
logits = torch.linspace(-8, 8, 161)
slopes = {}
for kind in kinds:
    leaf = logits.clone().requires_grad_()
    (len(leaf) * generator_loss(leaf, kind)).backward()  # the loss is a mean: undo it
    slopes[kind] = leaf.grad

# %%
_, ax = plt.subplots(figsize=(6, 2.8), layout="constrained")
for i, (kind, name) in enumerate(kinds.items()):
    ax.plot(logits, slopes[kind].abs(), plotting.STYLES[i], color=plotting.COLOURS[i], label=name)
ax.axvspan(-8, -2, color="0.92", label="a judge that sees through G")
ax.set(xlabel="logit of a forged picture", ylabel="|slope|")
ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
plt.show()

# %% tags=["nbval-check-output"]
D = logits.sigmoid()
print("slope of log(1 - D) is -D:", torch.allclose(slopes["saturating"], -D, atol=1e-6))
print("slope of -log D is -(1 - D):", torch.allclose(slopes["non_saturating"], D - 1, atol=1e-6))
sure = (logits + 6).abs().argmin()
print("at logit -6:", *(f"{kind} {float(slopes[kind][sure]):.4f}" for kind in kinds))

# %% [markdown]
# **What happened.** The loss of the textbook game *saturates*: the worse the forgery, the weaker its gradient. So in practice $G$ minimises $-\log D$. Both losses agree on the direction, and on where the game ends.
#
# **Change.** Move `q` far away, to 6. What does the best judge look like, and what is the slope of $\log(1 - D^*)$ where the forgeries are?
#
# ## 2. A patient with eleven bugs
#
# This course grew from an article that explains latent diffusion models. Its listing is in truth a GAN, and it cannot work as written; so is its pseudo-code. That is a gift: between them they hold eleven bugs, nearly all that people write in their first GAN. We build such a patient, smaller than a page, and examine it. For each bug: the symptom, the cause, the cure.
#
# The patient is one linear layer on each side. (Its pictures have 784 pixels, ours are padded to 1,024.)

# %%
PIXELS, NOISE, BATCH = 1024, 100, 64


class PatientG(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(NOISE, PIXELS)

    def forward(self, z):
        return torch.sigmoid(self.layer(z))


# %%
class PatientD(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(PIXELS, 1)

    def forward(self, x):
        return self.layer(x)


# %% [markdown]
# Some instruments: batches of flat digits and of noise, and a way to see an error without stopping.


# %%
def batches(steps, seed=0):
    """Pairs (flat real digits, noise), a fresh pair for each step."""
    draws = seeded(2, seed)
    for _ in range(steps):
        chosen = torch.randint(len(x), (BATCH,), generator=draws)
        yield x[chosen].flatten(1), torch.randn(BATCH, NOISE, generator=draws)


def complaint(function):
    """What an error says, in its first sentence."""
    try:
        function()
    except Exception as error:
        return f"{type(error).__name__}: {str(error).split('. ')[0]}"


# %%
@torch.no_grad()
def accuracy(D, real, fake):
    """Shares of real and of forged pictures that a judge names rightly: it says real above 0."""
    return float((D(real) > 0).float().mean()), float((D(fake) < 0).float().mean())


def pair(G, D, lr=1e-3, betas=(0.5, 0.99)):
    """An optimiser for each player."""
    return [torch.optim.Adam(net.parameters(), lr=lr, betas=betas) for net in (G, D)]


# %%
torch.manual_seed(0)
G, D = PatientG(), PatientD()
flat, z = next(batches(1))

# %% [markdown]
# ### Bug 1: `(n, 1)` against `(n,)`
#
# The judge's answers have shape `(64, 1)`, the targets `(64,)`.

# %% tags=["nbval-check-output"]
print(complaint(lambda: nn.BCELoss()(D(flat), torch.ones(BATCH))))

# %% [markdown]
# **Symptom.** An error, if you are lucky. Much code writes its own loss or accuracy, and then nothing complains: the two shapes are stretched into a table, each answer against each target. Here a judge that is right every time is marked so:

# %% tags=["nbval-check-output"]
labels = (torch.arange(BATCH) % 2).float()
answers = labels[:, None]  # a perfect judge, shape (64, 1)
print(
    "compared:",
    tuple((answers == labels).shape),
    "right:",
    float((answers == labels).float().mean()),
)
print(
    "flattened:",
    tuple((answers[:, 0] == labels).shape),
    "right:",
    float((answers[:, 0] == labels).float().mean()),
)

# %% [markdown]
# **Cause.** Broadcasting. **Cure.** Give the judge one number a picture: `[:, 0]`.


# %%
class FlatD(PatientD):
    def forward(self, x):
        return super().forward(x)[:, 0]


torch.manual_seed(0)
D = FlatD()

# %% [markdown]
# ### Bug 2: a loss for probabilities, fed with logits
#
# `BCELoss` wants numbers between 0 and 1. A linear layer gives any number.

# %% tags=["nbval-check-output"]
print(complaint(lambda: nn.BCELoss()(D(flat), torch.ones(BATCH))))
with_sigmoid = nn.BCELoss()(D(flat).sigmoid(), torch.ones(BATCH))
with_logits = F.binary_cross_entropy_with_logits(D(flat), torch.ones(BATCH))
print("cure: sigmoid inside the loss, same value:", torch.allclose(with_sigmoid, with_logits))

# %% [markdown]
# **Cause.** The sigmoid is missing. **Cure.** `binary_cross_entropy_with_logits`, which does the sigmoid itself. Not a sigmoid in the network *and* this loss: then it is done twice, and no answer can be surer than $\sigma(1) \approx 0.73$ (exercise 2).
#
# ### Bug 3: digits in [-1, 1], forgeries in [0, 1]
#
# The data are scaled to $[-1, 1]$, but the forger ends in a sigmoid. It cannot paint black.
#
# **Predict.** How good is a judge that looks at a single number, the darkest pixel?


# %%
def darkest_pixel(pictures):
    """A judge in one line: real if something in the picture is nearly black."""
    return -0.5 - pictures.min(1).values


class TanhG(PatientG):
    def forward(self, z):
        return torch.tanh(self.layer(z))


# %% tags=["nbval-check-output"]
for forger in (PatientG(), TanhG()):
    real_right, fake_right = accuracy(darkest_pixel, flat, forger(z))
    print(f"{type(forger).__name__:8} real: {real_right:.0%} right, fakes: {fake_right:.0%} right")

# %% [markdown]
# **Symptom.** The judge wins every time, however long the forger trains. **Cause.** Different ranges. **Cure.** A tanh, and a check at the door: `ldmlib` refuses pictures outside $[-1, 1]$.
#
# ### Bug 4: the judge never sees a forgery
#
# The patient's judge is trained on real digits only, with label 1.
#
# **Predict.** We show it the cheapest forgery there is: a digit with its pixels shuffled. How does it mark that after 100 steps?

# %%
order = torch.randperm(PIXELS, generator=seeded(3))


def shuffled(real, z):
    """Forgeries without a forger."""
    return real[:, order]


# %%
def train_judge(forge=None, steps=100):
    """Train on real digits, and on forgeries `forge(real, z)` where there are any."""
    torch.manual_seed(1)
    D = FlatD()
    optimizer = torch.optim.Adam(D.parameters(), lr=1e-3)
    for real, z in batches(steps):
        loss = F.softplus(-D(real)).mean()  # cross-entropy with label 1
        if forge is not None:
            loss = loss + F.softplus(D(forge(real, z).detach())).mean()  # and with label 0
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return D


# %% tags=["nbval-check-output"]
trusting, sane = train_judge(), train_judge(shuffled)
for name, D in (("real only", trusting), ("with forgeries", sane)):
    real_right, fake_right = accuracy(D, flat, shuffled(flat, z))
    print(
        f"{name:15} right on real: over 90 % {real_right > 0.9}, on forgeries: {fake_right > 0.9}"
    )
loss = F.softplus(-trusting(flat)).mean()
print("the loss of the first on real digits is below 0.01:", bool(loss < 0.01))

# %% [markdown]
# **Symptom.** A judge's loss that sinks to 0 within seconds. **Cause.** "Always say real" is a perfect answer to real pictures only. **Cure.** Both kinds in every step.
#
# ### Bug 5: a forger that wants to be caught
#
# The patient trains its generator with the label 0, "fake". We let it train against a sane judge, the patient's way and the right way.


# %%
def train_forger(label, steps=60):
    """The forger's loss at the end, and the share of its pictures that the judge catches."""
    torch.manual_seed(2)
    G = TanhG()
    optimizer = torch.optim.Adam(G.parameters(), lr=1e-2)
    for _, z in batches(steps):
        loss = F.binary_cross_entropy_with_logits(sane(G(z)), torch.full((BATCH,), label))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item(), accuracy(sane, flat, G(z))[1]


# %%
G = TanhG()
sane = train_judge(lambda real, z: G(z))
outcomes = {label: train_forger(label) for label in (0.0, 1.0)}
for label, (loss, caught) in outcomes.items():
    print(f"label {label:.0f}: the forger's loss {loss:.3f}, caught {caught:.0%}")

# %% tags=["nbval-check-output"]
print("label 0: caught", f"{outcomes[0.0][1]:.0%};", "label 1: caught", f"{outcomes[1.0][1]:.0%}")

# %% [markdown]
# **Symptom.** The forger's loss goes to 0 while the judge catches everything, so the judge's own loss does as well. A game in which everybody is happy is not a game. **Cause.** The label. **Cure.** The forger wants to be called real: label 1. (Here the judge stood still, so it is fooled within a second. In the game it learns as well.)
#
# ### Bug 6: gradients that are never cleared
#
# The patient clears the judge's gradients but not the forger's.
#
# **Predict.** `backward()` *adds* to `.grad`. Both players learn, the judge as it should. What does the length of the forger's gradient look like over 600 rounds?


# %%
def a_game(clear, rounds=600):
    """The forger's losses and the lengths of its gradient, (rounds, 2)."""
    torch.manual_seed(3)
    G, D, seen = TanhG(), FlatD(), []
    mine, his = (torch.optim.SGD(net.parameters(), lr=1e-2) for net in (G, D))
    for real, z in batches(rounds):
        if clear:
            mine.zero_grad()
        fake = G(z)
        loss = F.softplus(-D(fake)).mean()
        loss.backward()
        mine.step()
        his.zero_grad()
        (F.softplus(-D(real)).mean() + F.softplus(D(fake.detach())).mean()).backward()
        his.step()
        seen.append((loss.item(), float(G.layer.weight.grad.norm())))
    return torch.tensor(seen)


# %%
games = {"never cleared": a_game(False), "cleared": a_game(True)}
_, axes = plt.subplots(1, 2, figsize=(9, 2.5), layout="constrained")
for ax, column, name in zip(axes, (1, 0), ("length of the gradient", "forger's loss")):
    for i, (kind, seen) in enumerate(games.items()):
        ax.plot(seen[:, column], plotting.STYLES[i], color=plotting.COLOURS[i], label=kind)
    ax.set(xlabel="round", ylabel=name)
axes[0].legend()
plt.show()

# %% tags=["nbval-check-output"]
(loss, length), (sane_loss, sane_length) = (seen[-50:].mean(0) for seen in games.values())
print("never cleared: over 10 times the gradient at the end:", bool(length > 10 * sane_length))
print("never cleared: over twice the loss at the end:", bool(loss > 2 * sane_loss))

# %% [markdown]
# **Symptom.** Steps that only grow, and a loss that climbs and climbs. **Cause.** Every step repeats all earlier ones, also those that the judge has answered long ago. **Cure.** `optimizer.zero_grad()` before `backward()`.
#
# ### Bug 7: one linear layer is not enough
#
# Six bugs are mended. The patient now runs, and this is one honest round of the game: the forger's turn, then the judge's.


# %%
def round_of(G, D, optimizers, real, z):
    """One turn each, on the same fakes; no turn leaves a trace in the other network."""
    fake = G(z)
    loss = F.softplus(-D(fake)).mean()
    optimizers[0].zero_grad()
    loss.backward()
    optimizers[0].step()
    judged = (F.softplus(-D(real)).mean() + F.softplus(D(fake.detach())).mean()) / 2
    optimizers[1].zero_grad()  # also throws away what the forger's turn left in D
    judged.backward()
    optimizers[1].step()


def play(G, D, steps, lr=1e-3):
    """Many rounds, with steps that shrink to nothing: late jitter would be painted as static."""
    optimizers = pair(G, D, lr)
    for step, (real, z) in enumerate(batches(steps, seed=1)):
        for optimizer in optimizers:
            optimizer.param_groups[0]["lr"] = lr * (1 - step / steps)
        round_of(G, D, optimizers, real, z)
    return G


# %%
def deep(*sizes, slope=0.2):
    """Linear layers with LeakyReLU between them; slope 0 makes it a ReLU."""
    pairs = [(nn.Linear(a, b), nn.LeakyReLU(slope)) for a, b in zip(sizes, sizes[1:])]
    return [layer for both in pairs for layer in both][:-1]


def deep_players():
    forger = nn.Sequential(*deep(NOISE, 256, 512, PIXELS), nn.Tanh())
    return forger, nn.Sequential(*deep(PIXELS, 256, 128, 1), nn.Flatten(0))


# %% [markdown]
# **Predict.** What can a *linear* judge know about a digit? And what can a linear forger paint?

# %%
torch.manual_seed(4)
linear = play(TanhG(), FlatD(), 300)
mended, mended_judge = deep_players()
play(mended, mended_judge, 1500, lr=1e-3)
show_z = torch.randn(500, NOISE, generator=seeded(5))
with torch.no_grad():
    painted = {"linear": linear(show_z), "three layers": mended(show_z)}

# %% mystnb={"image": {"alt": "Three rows of fourteen pictures: real digits; even static of the linear forger; strokes of digits under some static of the forger with three layers."}}
rows = {name: flat_set.view(-1, 1, 32, 32)[:14] for name, flat_set in painted.items()}
plotting.show_rows({"real": x[:14], **rows})
plt.show()

# %% [markdown]
# How far is each row from real digits, in one number? [07](07_evaluation_fid.ipynb) explains the FID: the distance between the features of two sets of pictures, which depends on how many there are. Lower is better, and real test digits show how low it can get.

# %%
evaluator = mnist_evaluator()
real_500 = data.mnist("test").random_subset(500, seed=0).as_tensors()[0]
sets = {name: flat_set.view(-1, 1, 32, 32) for name, flat_set in painted.items()}
scores = {name: evaluator.fid(pictures) for name, pictures in {"real": real_500, **sets}.items()}
print("FID, n = 500:", ", ".join(f"{name} {score:.0f}" for name, score in scores.items()))

# %% tags=["nbval-check-output"]
print("three layers have less than half the FID:", scores["three layers"] < scores["linear"] / 2)

# %% [markdown]
# **Symptom.** Static. **Cause.** A linear judge compares weighted sums of pixels, so it knows brightness and nothing about strokes; a linear forger can only add up patterns. **Cure.** Layers with something non-linear between them. With three layers the strokes appear, under some static: each pixel is still painted by itself. Pictures have neighbours, so section 3 gives both players convolutions.
#
# ### Bug 8: a function that does not exist

# %% tags=["nbval-check-output"]
print(complaint(lambda: imshow_grid(painted["linear"])))  # noqa: F821

# %% [markdown]
# **Symptom.** After all the training, a `NameError`, and the pictures are gone with the kernel. **Cure.** Draw a picture *before* the long training: `plotting.show`, as above.
#
# ### Bug 9: one noise for all training
#
# Now the pseudo-code. It draws $z$ once, before the loop. Two dimensions show best what that does. The truth is a ring of eight bumps; the round is the library's, with a term that section 4 explains.
#
# **Predict.** What does such a forger make of a *fresh* $z$?

# %%
eight = ring()


def play_with(fresh_noise, rounds=800):
    """The game on the ring; returns the forger and the first noise it saw."""
    torch.manual_seed(1)
    G = nn.Sequential(*deep(16, 64, 64, 2, slope=0.0))
    D = nn.Sequential(*deep(2, 64, 64, 1, slope=0.0), nn.Flatten(0))
    optimizers, draws = pair(G, D, lr=2e-3), seeded(10)
    once = torch.randn(BATCH, 16, generator=draws)
    for _ in range(rounds):
        z = torch.randn(BATCH, 16, generator=draws) if fresh_noise else once
        train_step(G, D, optimizers, eight.sample(BATCH, draws).float(), z, r1=0.1)
    return G, once


# %%
(G_once, known_z), (G_fresh, _) = play_with(False), play_with(True)
fresh_z = torch.randn(1000, 16, generator=seeded(11))
with torch.no_grad():
    drawn = {"one noise: known z": G_once(known_z), "one noise: fresh z": G_once(fresh_z)}
    drawn["fresh noise: fresh z"] = G_fresh(fresh_z)
near = {name: covered_modes(eight, points)[1] for name, points in drawn.items()}

# %%
_, axes = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained", sharex=True, sharey=True)
for ax, (name, points) in zip(axes, drawn.items()):
    ax.plot(*eight.means.T, "o", ms=22, color="0.88", mec="0.6")
    ax.plot(*points.T, ".", ms=3, color=plotting.COLOURS[0])
    ax.set(xlim=(-1.6, 1.6), ylim=(-1.6, 1.6), aspect="equal", xticks=[], yticks=[])
    ax.set_title(f"{name}, {near[name]:.0%} on a bump", fontsize=9)
plt.show()

# %% tags=["nbval-check-output"]
known, strange, cured = near.values()
print("trained on one noise, known z are over twice as good as fresh z:", known > 2 * strange)
print("fresh noise in every round makes fresh z over twice as good:", cured > 2 * strange)

# %% [markdown]
# **Symptom.** The training looks well, and all is lost on the first fresh $z$: points between the bumps, or mush between the digits. **Cause.** The forger has practised 64 answers, and was never asked about any other $z$. **Cure.** Fresh noise in every step.
#
# ### Bug 10: the judge's loss leaks into the forger
#
# The fakes are not detached, so the judge's `backward()` runs on into the forger.
#
# **Predict.** The judge wants to lower its own loss. Which way would it push the forger?


# %%
def leak(detach):
    """The forger's gradient from the judge's loss, and from its own."""
    fake = mended(z)
    judged = F.softplus(mended_judge(fake.detach() if detach else fake)).mean()
    own = F.softplus(-mended_judge(fake)).mean()
    weights = [p for p in mended.parameters() if p.ndim > 1]
    slopes = [
        torch.autograd.grad(loss, weights, allow_unused=True, retain_graph=True)
        for loss in (judged, own)
    ]
    return [
        torch.cat([torch.zeros(1) if s is None else s.flatten() for s in side]) for side in slopes
    ]


# %% tags=["nbval-check-output"]
judged, own = leak(detach=False)
print("not detached, a gradient arrives:", bool(judged.norm() > 0))
print("it points against the forger's own:", bool(F.cosine_similarity(judged, own, 0) < -0.3))
print("detached, a gradient arrives:", bool(leak(detach=True)[0].norm() > 0))

# %% [markdown]
# **Symptom.** Training that is slower than it should be, and forgeries that get worse as soon as bug 6 is there as well: the judge teaches the forger to be caught. **Cause.** A missing `.detach()`. **Cure.** `D(fake.detach())` in the judge's turn.
#
# ### Bug 11: twice through the same graph
#
# In the pseudo-code, both losses are computed first. Then the forger goes `backward()` and steps, and then the judge.


# %%
def pseudo_round(retain_graph):
    G, D = deep_players()
    optimizers, fake = pair(G, D), G(z)
    forger_loss = F.softplus(-D(fake)).mean()
    judge_loss = F.softplus(-D(flat)).mean() + F.softplus(D(fake)).mean()
    forger_loss.backward(retain_graph=retain_graph)
    optimizers[0].step()
    judge_loss.backward()


# %%
print(complaint(lambda: pseudo_round(retain_graph=False))[:110])
print(complaint(lambda: pseudo_round(retain_graph=True))[:110])

# %% tags=["nbval-check-output"]
print("second time:", "second time" in complaint(lambda: pseudo_round(False)))
print("with retain_graph:", "inplace" in complaint(lambda: pseudo_round(True)))
players = deep_players()
print("our round complains:", complaint(lambda: round_of(*players, pair(*players), flat, z)))

# %% [markdown]
# **Symptom.** An error; and the cure that the error itself suggests, `retain_graph=True`, brings the next one, because the forger's weights have moved since. **Cause.** The judge's loss hangs on the forger's graph. **Cure.** The same `.detach()`: the judge's loss then has a graph of its own.
#
# All eleven are mended. Before the patient goes home, here is our `round_of` held against the library's `train_step`: one round of each from the same weights.

# %% tags=["nbval-check-output"]
torch.manual_seed(7)
ours = deep_players()
theirs = copy.deepcopy(ours)
round_of(*ours, pair(*ours), flat, z)
train_step(*theirs, pair(*theirs), flat, z, "non_saturating")
weights = [
    torch.cat([p.flatten() for net in both for p in net.parameters()]) for both in (ours, theirs)
]
print("same weights after one round:", torch.allclose(*weights, atol=1e-6))

# %% [markdown]
# ## 3. The patient recovers: a convolutional GAN, trained here
#
# The eleven cures, and two networks that know that pixels have neighbours: both players get convolutions. The plan is DCGAN's: the forger paints a small map and doubles it, the judge halves the picture until one number is left.

# %%
shape = PlayersConfig()
forger, convolutional_judge = Generator(shape), Discriminator(shape)
shown, maps = (nn.Linear, nn.Unflatten, Upsample, nn.PixelShuffle), torch.randn(1, shape.noise)
for layer in forger:
    maps = layer(maps)
    if isinstance(layer, shown):
        print(f"{type(layer).__name__:13}", *maps.shape[1:])

# %%
print(
    f"generator {count_parameters(forger):,} parameters, discriminator {count_parameters(convolutional_judge):,}"
)
print("judged:", tuple(convolutional_judge(forger(torch.randn(5, shape.noise))).shape))

# %% [markdown]
# Convolutions run at 16 x 16 at most, because 2 x 2 pixels are folded into channels at the picture's end of both networks. And the judge is kept in check: it pays for being steep around real pictures. This is the R1 penalty; section 4 shows what it does.
#
# One setting matters more than all others. Adam usually remembers the direction of earlier steps. In a game the opponent keeps turning that direction around, so both players forget it at once: `betas=(0, 0.99)`.
#
# **Predict.** Training takes a minute or two. How often will the judge see through the forgeries at the end: always, half the time, never?

# %%
recipe = pixel_recipe()
own = build(recipe)
state = train_gan(own, x, recipe, progress=False, **resumable("02_gan", recipe))
print(
    f"{recipe.training.steps} rounds of batch {recipe.training.batch_size}: {state.history[-1]['seconds']:.0f} s"
)

# %%
plotting.show(own.sample(40), columns=20, scale=0.5)
_, axes = plt.subplots(1, 2, figsize=(9, 2.4), layout="constrained")
plotting.loss_curve(state.history, ax=axes[0])
plotting.loss_curve(state.history, "caught", ax=axes[1])
axes[0].set(ylabel="generator's loss")
axes[1].set(ylabel="share of forgeries caught", ylim=(0, 1.05))
plt.show()

# %% [markdown]
# **What happened.** The mended patient draws digits, and nobody showed it how. But look at the curves. The loss rises, falls and then stands still, and the judge catches most forgeries to the end. Neither curve shows how good the digits are: the opponent learns as well, and a GAN's loss only says who is ahead. So we need a score from outside.
#
# The FID depends on the number of pictures $n$, so the score of *real* held-out digits at the same $n$ stands beside it as the **floor**. And are they digits at all? We ask the bundled classifier how many it is sure of.

# %%
N = 2000
floor, pictures = evaluator.floor(N), own.sample(N)
fid = evaluator.fid(pictures)


def sure(pictures):
    """Share of pictures (n, 1, 32, 32) to which the classifier gives one digit over 90 %."""
    probabilities = in_batches(bundled_classifier(), pictures).softmax(1)
    return float((probabilities.max(1).values > 0.9).float().mean())


print(f"n = {N}: FID {fid:.1f}, floor {floor:.1f}")
shares = {"real": real_500, "forged": pictures, "the linear patient's static": sets["linear"]}
print("sure of:", ", ".join(f"{name} {sure(set_):.0%}" for name, set_ in shares.items()))

# %% tags=["nbval-check-output"]
drawn = in_batches(bundled_classifier(), pictures).argmax(1).bincount(minlength=10) / N
print("FID below 30 times the floor:", fid < 30 * floor)
print("every digit is drawn, at least 2 % of each:", bool(drawn.min() > 0.02))
print(
    "sample 7 is the same in any batch:",
    torch.allclose(own.sample(1, start=7), pictures[7:8], atol=1e-4),
)

# %% [markdown]
# Mind the last share: a classifier that only knows digits is sure of static as well. A single score answers only the question it was made for, and the FID is the one that tells static from digits.
#
# **Change.** Set `betas=(0.9, 0.99)` in a copy of the recipe (`dataclasses.replace(recipe.training, ...)`). What do the curves show?
#
# ## 4. Mode collapse, measured
#
# The other weakness hides in pictures that all look good. The forger is paid for pictures that pass, and for nothing else. Nobody asks whether it can draw *every* digit.
#
# On digits that is hard to see, so we go back to the ring: a truth with exactly eight modes. Two numbers say everything: how many modes get at least one point in a hundred, and what share of the points is **good**, within four standard deviations of a mode.


# %%
def modes_and_good(points):
    """Modes drawn, and the share of good points: the naive way."""
    distance = torch.cdist(points.double(), eight.means)
    good, nearest = distance.min(1).values < 4 * 0.05, distance.argmin(1)
    counts = [int((good & (nearest == k)).sum()) for k in range(8)]
    return sum(count >= 0.01 * len(points) for count in counts), float(good.double().mean())


# %% tags=["nbval-check-output"]
points = eight.sample(1000, seeded(8))
points[points[:, 0] > 0.5] *= 0  # spoil some
ours, theirs = modes_and_good(points), covered_modes(eight, points)
print("same modes:", ours[0] == theirs[0], "same share:", abs(ours[1] - theirs[1]) < 1e-9)


# %% [markdown]
# The first player is the plain game. The second adds one term to the judge's loss, the **R1 penalty** (Mescheder et al., 2018): the squared slope of the logit at the *real* points,
#
# $$\tfrac{\gamma}{2}\, \mathbb E_{x \sim p} \left\lVert \nabla_x \ell(x) \right\rVert^2 .$$


# %%
def steepness(judge, points):
    """Mean squared slope of a judge's logit at points (n, d)."""
    points = points.clone().requires_grad_()
    (slope,) = torch.autograd.grad(judge(points).sum(), points)
    return (slope**2).sum(1).mean()


# %% tags=["nbval-check-output"]
points, plain_judge = torch.randn(64, 2, generator=seeded(13)), nn.Linear(2, 1)
length = (plain_judge.weight**2).sum()  # the slope of a linear judge is its weight, everywhere
print("linear judge, |w|^2:", torch.allclose(steepness(plain_judge, points), length))
judge_2d = nn.Sequential(*deep(2, 16, 1))
ours, theirs = steepness(judge_2d, points), r1_penalty(judge_2d, points)
print("ours equals ldmlib's:", torch.allclose(ours, theirs))


# %%
def play_on_ring(r1, steps=800):
    """The game in two dimensions; returns what the forger draws, five times on the way."""
    torch.manual_seed(0)
    G, D = (
        nn.Sequential(*deep(2, 64, 64, 2, slope=0.0)),
        nn.Sequential(*deep(2, 64, 64, 1, slope=0.0), nn.Flatten(0)),
    )
    optimizers, draws, seen = pair(G, D, lr=2e-3), seeded(9), []
    for step in range(1, steps + 1):
        real, z = eight.sample(128, draws).float(), torch.randn(128, 2, generator=draws)
        train_step(G, D, optimizers, real, z, r1=r1)
        if step % (steps // 5) == 0:
            with torch.no_grad():
                seen.append(G(torch.randn(1000, 2, generator=seeded(10))))
    return seen


# %% [markdown]
# **Predict.** A judge that must be flat around the data: does it make the forger's life harder or easier?

# %%
films = {"plain": play_on_ring(0.0), "with R1": play_on_ring(0.1)}
_, axes = plt.subplots(2, 5, figsize=(11, 4.6), layout="constrained", sharex=True, sharey=True)
for row, (name, seen) in zip(axes, films.items()):
    for k, (ax, points) in enumerate(zip(row, seen)):
        modes, good = covered_modes(eight, points)
        ax.plot(*eight.means.T, "o", ms=18, color="0.88", mec="0.6")
        ax.plot(*points.T, ".", ms=2, color=plotting.COLOURS[0])
        ax.set(xlim=(-1.6, 1.6), ylim=(-1.6, 1.6), aspect="equal", xticks=[], yticks=[])
        ax.set_title(f"round {160 * (k + 1)}: {modes} modes, {good:.0%} good", fontsize=9)
    row[0].set_ylabel(name)
plt.show()

# %% tags=["nbval-check-output"]
drawn = {name: [covered_modes(eight, points)[0] for points in seen] for name, seen in films.items()}
print("plain: at most 3 of 8 modes on average:", sum(drawn["plain"]) / 5 <= 3)
print("with R1, at least 7 of 8 at the end:", drawn["with R1"][-1] >= 7)

# %% [markdown]
# **What happened.** The plain forger runs from mode to mode: it goes where the judge is gullible, the judge learns, it moves on. With R1 the judge is flat where the data are, so there is nothing left to run after once a point has arrived, and all eight modes fill up.
#
# **Change.** Try `r1=0.001` and `r1=10`. Which end collapses, and which end blurs?
#
# ## 5. A latent GAN
#
# The article calls its model a *latent* diffusion model and trains a GAN. Suppose it meant this: play the game not on pixels but in the latent space of an autoencoder. That model exists, and we can measure it. The forger makes latents of shape 4 x 8 x 8, the judge compares them with the latents of real digits, and the first stage of the bundled latent diffusion model turns them into pictures.
#
# Both bundled GANs were trained by the code of section 3, only for longer. `make weights` repeats it.

# %%
models = {
    "pixel GAN": Gan.from_pretrained("mnist_gan"),
    "latent GAN": Gan.from_pretrained("mnist_latent_gan"),
}
for name, model in models.items():
    minutes, seen = model.config.facts["seconds"] / 60, tuple(model.encode(x[:1]).shape[1:])
    print(f"{name}: the judge saw {seen}, trained {minutes:.0f} minutes on one CPU core")

# %% [markdown]
# **Predict.** Walk from one $z$ to another. Which of the two models passes through fewer things that are not digits?


# %% mystnb={"image": {"alt": "Rows of fourteen digits: draws of the pixel GAN and of the latent GAN, then a walk with each, on which a 7 becomes a 1 and a 9 slowly turns into another digit."}}
@torch.no_grad()
def walk(model, columns=14):
    """Pictures on the way from one z to another, on a circle, where z is at home."""
    a, b = torch.randn(2, model.config.players.noise, generator=seeded(15))
    angle = torch.linspace(0, torch.pi / 2, columns)[:, None]
    z = (a * angle.cos() + b * angle.sin()).to(model.device)
    return model.decode(model.generator(z))


rows = {name: model.sample(14) for name, model in models.items()}
plotting.show_rows({**rows, **{f"{name}: a walk": walk(model) for name, model in models.items()}})
plt.show()

# %% [markdown]
# **What happened.** Both walks go from digit to digit in small steps, and both pass through shapes that you could not name: a straight answer to "which is better?" needs more than one walk.
#
# Now all of them under one score: the GAN trained above, the two bundled ones, and the bundled latent diffusion model, which needs many passes for each picture.

# %%
ldm = LatentDiffusion.from_pretrained("mnist")
ldm.precision = "bfloat16" if has_bfloat16(ldm.device) else "float32"
samplers = {"trained here": own, **models, "LDM": ldm}
table = {}
for name, model in samplers.items():
    start = time.perf_counter()
    pictures = model.sample(N, seed=1)
    table[name] = evaluator.fid(pictures), time.perf_counter() - start, count_parameters(model)

# %%
print(
    f"{'':13}{'FID':>7}{'x floor':>9}{'seconds':>9}{'parameters':>12}   (n = {N}, floor {floor:.1f})"
)
for name, (fid, seconds, parameters) in table.items():
    print(f"{name:13}{fid:7.1f}{fid / floor:9.1f}{seconds:9.1f}{parameters:12,}")

# %% tags=["nbval-check-output"]
fids = {name: row[0] for name, row in table.items()}
print("the LDM has the lowest FID:", min(fids, key=fids.get) == "LDM")
print("the pixel GAN is ahead of the latent GAN:", fids["pixel GAN"] < fids["latent GAN"])
print(
    "both bundled GANs draw at least twice as fast:",
    2 * max(table[m][1] for m in models) < table["LDM"][1],
)

# %% [markdown]
# **What happened.** A GAN draws in one pass and wins every race. The LDM needs several passes of a larger network, and gets closer to the real distribution. Playing in latent space does not turn a GAN into a diffusion model: it is the same game, on a smaller board. It did not even become easier here: with a similar number of rounds, the latent GAN stays behind the pixel GAN. What makes a *latent diffusion* model is the second stage: a network trained to remove noise, with a loss that goes down, and without any opponent.
#
# ## 6. What survives inside an LDM
#
# One piece of the game does live on, in the **first** stage. An autoencoder trained on squared error blurs, since the mean of all guesses costs least. So while the autoencoder learns, a small judge looks at its copies, patch by patch, and says which look like real pictures.
#
# Its loss is usually not the cross-entropy but the *hinge* loss. It stops pushing where the logit $\ell$ is beyond a margin of 1, so that a sure judge does not grow ever surer. With $\hat x$ for a copy:
#
# $$L_D = \tfrac12\, \mathbb E\left[\max(0,\, 1 - \ell(x)) + \max(0,\, 1 + \ell(\hat x))\right], \qquad L_G = -\mathbb E\left[\ell(\hat x)\right].$$
#
# We let such a `PatchDiscriminator` learn for a moment to tell originals from blurred copies, and look at its map of answers.

# %%
torch.manual_seed(0)
patch_judge = PatchDiscriminator(channels=1, width=16)
optimizer, draws = torch.optim.Adam(patch_judge.parameters(), lr=3e-3), seeded(12)
for _ in range(80):
    real = x[torch.randint(len(x), (32,), generator=draws)]
    blurred = F.avg_pool2d(real, 3, stride=1, padding=1)
    discriminator_step(patch_judge, optimizer, real, blurred)

# %%
half = x[:8].clone()
half[..., 16:] = F.avg_pool2d(x[:8], 3, stride=1, padding=1)[..., 16:]
with torch.no_grad():
    answers = patch_judge(half)
maps = F.interpolate(answers.clamp(-1, 1), scale_factor=4)
plotting.show_rows({"right half blurred": half, "the judge's map": maps}, label_width=2)
plt.show()

# %% tags=["nbval-check-output"]
print("one picture,", tuple(answers.shape[1:]), "answers")
inside = answers[..., 1:-1, :]
print("sharp half looks more real:", bool(inside[..., 1:3].mean() > inside[..., 5:7].mean()))

# %% [markdown]
# **What happened.** One judge, 64 answers: light where a patch looks real, dark where it looks forged. It does not ask "is this a digit?" but "is this stroke sharp?". The forger here is the autoencoder's decoder, and it cannot collapse: its other loss terms hold it to the picture it must copy. That is how an LDM uses a GAN without its troubles. [03](03_vae.ipynb) measures what the term is worth.
#
# ## 7. What could go wrong: a judge with a head start
#
# It sounds like a good idea to train the judge first. We let it learn for 200 rounds while the forger stands still, and watch the length of the gradient that the forger *would* get.
#
# **Predict.** Which of the two losses of section 1 still teaches the forger something at the end?


# %%
def would_get(G, D, z, kind):
    """Length of the forger's gradient."""
    loss = generator_loss(D(G(z)), kind)
    slopes = torch.autograd.grad(loss, list(G.parameters()))
    return float(torch.cat([s.flatten() for s in slopes]).norm())


def head_start(bound, rounds=200):
    """Gradient lengths for each loss while only the judge learns; `bound` goes around its layers."""
    torch.manual_seed(5)
    G, D = deep_players()
    D = nn.Sequential(*(bound(layer) if isinstance(layer, nn.Linear) else layer for layer in D))
    optimizer, lengths = pair(G, D)[1], {kind: [] for kind in kinds}
    for real, z in batches(rounds, seed=2):
        for kind in kinds:
            lengths[kind].append(would_get(G, D, z, kind))
        discriminator_step(D, optimizer, real, G(z), "non_saturating")
    return lengths


# %%
plain, calm = head_start(lambda layer: layer), head_start(spectral_norm)
curves = {**{kinds[k]: plain[k] for k in kinds}, "log(1 - D), spectral norm": calm["saturating"]}
_, ax = plt.subplots(figsize=(7, 2.8), layout="constrained")
for i, (name, values) in enumerate(curves.items()):
    ax.plot(values, plotting.STYLES[i], color=plotting.COLOURS[i], label=name)
ax.set(yscale="log", xlabel="rounds of head start", ylabel="forger's gradient")
ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
plt.show()

# %% tags=["nbval-check-output"]
last = {name: values[-1] for name, values in curves.items()}
saturating, healthy, bounded = last.values()
print("saturating: over 100 times weaker than non-saturating:", healthy > 100 * saturating)
print("spectral norm keeps it over 10 times stronger:", bounded > 10 * saturating)

# %% [markdown]
# **Symptom.** The judge is right every time, the forger's loss stands still, the pictures stay noise. **Cause.** A judge that is sure everywhere is flat everywhere: its answer hardly changes when the picture does, and that change is all the forger learns from. **Cure.** Turns of equal length, the non-saturating loss, and a judge that is kept in check. R1 is one way; the third curve shows another, *spectral norm* (Miyato et al., 2018): each layer is divided by its largest singular value, so that none can stretch a difference.
#
# ## Exercises
#
# Each check says what is wrong, in words. Run it as often as you like.
#
# ### Exercise 1: how good is the judge?
#
# The judge gives logits of shape `(n, 1)`. `is_real` is a tensor of bools, `(n,)`. Return the share of pictures that it names rightly.


# %% tags=["exercise"]
def judge_accuracy(logits, is_real):
    """Share of right answers, a number."""
    return ...


# %% tags=["check", "nbval-check-output"]
check.accuracy(judge_accuracy)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# At which *logit* is the judge undecided?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Bug 1: bring both to the shape `(n,)` before you compare them.
#
# </details>
#
# <details><summary>Solution</summary>
#
# A logit of 0 is a probability of one half. The next cell checks it.
#
# </details>


# %% tags=["solution"]
def judge_accuracy_solution(logits, is_real):
    return ((logits[:, 0] > 0) == is_real).double().mean()


check.accuracy(judge_accuracy_solution)

# %% [markdown]
# ### Exercise 2: the judge's loss
#
# From logits of real and of forged pictures, `(n,)` each: the mean cross-entropy of the real ones and that of the forged ones, added and halved.


# %% tags=["exercise"]
def judge_loss(real, fake):
    """Binary cross-entropy with label 1 for real and 0 for fake, halved; a number."""
    return ...


# %% tags=["check", "nbval-check-output"]
check.judge_loss(judge_loss)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `F.binary_cross_entropy_with_logits(logits, targets)` takes logits as they are.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Without targets: $-\log \sigma(\ell)$ is `F.softplus(-l)`, and $-\log(1 - \sigma(\ell))$ is `F.softplus(l)`.
#
# </details>
#
# <details><summary>Solution</summary>
#
# Two softplus terms of opposite sign. The next cell checks it.
#
# </details>


# %% tags=["solution"]
def judge_loss_solution(real, fake):
    return (F.softplus(-real).mean() + F.softplus(fake).mean()) / 2


check.judge_loss(judge_loss_solution)

# %% [markdown]
# ### Exercise 3: the judge's turn
#
# One update of the discriminator, with the loss of exercise 2. The optimiser is the judge's. Nothing may happen to the generator: no new weights, no gradients. Old gradients are lying about.


# %% tags=["exercise"]
def judge_turn(generator, discriminator, optimizer, real, noise):
    """One update of the discriminator; return nothing."""
    return ...


# %% tags=["check", "nbval-check-output"]
check.judge_turn(judge_turn)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Three bugs wait here: 4, 6 and 10.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Fakes, `.detach()`, loss, `zero_grad`, `backward`, `step`.
#
# </details>
#
# <details><summary>Solution</summary>
#
# As in `round_of`, second half. The next cell checks it.
#
# </details>


# %% tags=["solution"]
def judge_turn_solution(generator, discriminator, optimizer, real, noise):
    fake = generator(noise).detach()
    loss = judge_loss_solution(discriminator(real), discriminator(fake))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


check.judge_turn(judge_turn_solution)

# %% [markdown]
# ### Exercise 4: the forger's turn
#
# One update of the generator with the non-saturating loss. The optimiser is the generator's; the judge's weights must not move.


# %% tags=["exercise"]
def forger_turn(generator, discriminator, optimizer, noise):
    """One update of the generator; return nothing."""
    return ...


# %% tags=["check", "nbval-check-output"]
check.generator_turn(forger_turn)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# What does the forger want to be called? That is bug 5.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# This time the gradient *must* flow through the judge into the forger: no `.detach()`.
#
# </details>
#
# <details><summary>Solution</summary>
#
# $-\log \sigma(\ell)$ of the forgeries. The next cell checks it.
#
# </details>


# %% tags=["solution"]
def forger_turn_solution(generator, discriminator, optimizer, noise):
    loss = F.softplus(-discriminator(generator(noise))).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


check.generator_turn(forger_turn_solution)

# %% [markdown]
# ### Design your own
#
# Break the game of section 3 in a way that is *not* among the eleven bugs: change one setting, for one player only. Write down who will win, and what the pictures will look like. Train for the same number of steps, and measure with the tools of section 4.

# %% [markdown] tags=["teacher", "remove-cell"]
# **For the teacher.** Exercises, minutes to allow, and what to listen for.
#
# | exercise | minutes | expected | typical wrong answer | what the check says |
# |---|---|---|---|---|
# | 1: how good is the judge? | 6 | logits flattened, above 0 is 'real' | `(n, 1)` compared with `(n,)` | "shapes (n, 1) and (n,) were compared, and gave an (n, n) table: every picture against every label. Flatten the logits first." |
# | 2: the judge's loss | 8 | two softplus terms, halved | a sigmoid before the loss | "the sigmoid is applied twice: binary_cross_entropy_with_logits (and softplus) takes logits and does it by itself." |
# | 3: the judge's turn | 10 | detach, zero_grad, backward, step | no `.detach()` | "gradients went into the generator: detach the fakes before the judge sees them." |
# | 4: the forger's turn | 8 | the same without detach, towards 'real' | trained towards 'fake' | "the generator is trained towards the label 'fake': it wants to be called real." |
#
# Misconception to listen for: *a falling loss means better pictures*. Neither player's loss says that; section 4 measures it.

# %% [markdown]
# ## Recap
#
# 1. The best judge answers p / (p + q): from samples alone it learns a ratio of densities.
# 2. The forger minimises -log D, since log(1 - D) falls silent while the judge wins.
# 3. A round is two turns: fresh noise, cleared gradients, detached fakes, and logits of shape (n,).
# 4. A GAN's loss says who is ahead, not how good the pictures are; modes can vanish without a sign. Measure both.
# 5. A latent GAN is still a GAN. A latent diffusion model has no adversary in its second stage, only a patch judge in its first.
#
# ## Quiz
#
# Choose an answer: each of them, right or wrong, gets a reason.

# %% tags=["quiz"]
from ldmlib.widgets import quiz

quiz("02_gan_recap")

# %% [markdown]
# ## Where to go next
#
# [03](03_vae.ipynb) builds the autoencoder, and puts the patch judge to work. [07](07_evaluation_fid.ipynb) sets GANs, VAE and diffusion models on one scoreboard.
#
# ## References
#
# - I. Goodfellow et al. *Generative Adversarial Networks*. 2014. arXiv 1406.2661. (The game, the best judge, the non-saturating loss.)
# - A. Radford, L. Metz, S. Chintala. *Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks*. 2015. arXiv 1511.06434.
# - T. Salimans et al. *Improved Techniques for Training GANs*. 2016. arXiv 1606.03498.
# - L. Metz et al. *Unrolled Generative Adversarial Networks*. 2016. arXiv 1611.02163. (The ring of eight.)
# - P. Isola et al. *Image-to-Image Translation with Conditional Adversarial Networks*. 2016. arXiv 1611.07004. (The patch judge.)
# - M. Arjovsky, L. Bottou. *Towards Principled Methods for Training Generative Adversarial Networks*. 2017. arXiv 1701.04862. (The head start.)
# - L. Mescheder, A. Geiger, S. Nowozin. *Which Training Methods for GANs do actually Converge?* 2018. arXiv 1801.04406. (R1.)
# - T. Miyato et al. *Spectral Normalization for Generative Adversarial Networks*. 2018. arXiv 1802.05957.
# - R. Rombach et al. *High-Resolution Image Synthesis with Latent Diffusion Models*. 2021. arXiv 2112.10752.

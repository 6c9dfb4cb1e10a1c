# %% [markdown]
# # 03 · VAE: a latent space you can walk in
#
# [Open in Colab](https://colab.research.google.com/github/ldm-course/ldm-course/blob/main/notebooks/03_vae.ipynb)
#
# You will turn one inequality, the ELBO, into a few lines of code, and end with the first stage of a latent diffusion model: a network that turns pictures into small, well-behaved latents and back.
#
# This is what you will have made:
#
# ```mermaid
# flowchart LR
#     X["picture x<br/>1 x 32 x 32"] --> E["encoder"]
#     E --> M["mean"]
#     E --> S["std"]
#     N["noise eps"] --> Z
#     M --> Z["latent z =<br/>mean + std * eps<br/>4 x 8 x 8"]
#     S --> Z
#     Z --> D["decoder"]
#     D --> Y["picture again"]
#     M -.-> K["KL term:<br/>stay near N(0, 1)"]
#     S -.-> K
#     Y -.-> R["reconstruction,<br/>features, patches:<br/>look like x"]
# ```
#
# > **You will be able to** draw from a Gaussian so that gradients flow through the draw; compute KL divergences and say which way round they go; write the loss of a VAE and trade its two terms; judge the first stage of a latent diffusion model by numbers; scale its latents and undo it.
# >
# > **Needs** [01](01_probability_and_latent_spaces.ipynb): densities, KL, the idea of a latent variable. [02](02_gan_recap.ipynb) explains the discriminator of section 6.
# >
# > **Takes** about 4 minutes and 1.5 GB of memory on 2 CPU cores (measured on a machine busy with other work; less on a quiet one). Nine small networks are trained on the way.

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
import torch.nn.functional as F
from torch import nn
from torch.distributions import Normal, kl_divergence

from ldmlib import data, plotting
from ldmlib.check import vae as check
from ldmlib.evaluation import metrics
from ldmlib.evaluation.features import extract
from ldmlib.images import from_uint8, to_uint8
from ldmlib.latent.recipes import Recipe
from ldmlib.latent.stages import assemble, train_autoencoder
from ldmlib.networks.autoencoder import AutoencoderConfig, DiagonalGaussian
from ldmlib.networks.batches import in_batches
from ldmlib.networks.classifier import bundled_classifier
from ldmlib.rng import seeded
from ldmlib.training.autoencoder_loss import AutoencoderLossConfig, perceptual_distance
from ldmlib.training.config import TrainConfig
from ldmlib.training.run import resumable, train

torch.manual_seed(0)
plt.rcParams["figure.dpi"] = 80

# %% [markdown]
# The data: 20,000 digits to train on, and 2,000 test digits that no network here is trained on.

# %%
train_data = data.mnist("train").random_subset(20_000, seed=0)
x, _ = train_data.as_tensors()
test_x, test_y = data.mnist("test").random_subset(2_000, seed=0).as_tensors()
print(tuple(x.shape), tuple(test_x.shape))

# %% [markdown]
# ## 1. A draw that lets gradients through
#
# A VAE encodes a picture not as a point but as a small cloud: a Gaussian with a mean and a standard deviation for each latent number. The decoder gets one random point of the cloud.
#
# **Predict.** The encoder learns by gradients. How can a gradient flow back through a random draw?
#
# The trick is to throw the dice somewhere else. Draw $\varepsilon \sim \mathcal N(0, I)$, which depends on nothing we train. Then stretch and shift it:
#
# $$z = \text{mean} + \text{std} \cdot \varepsilon.$$

# %%
mean, std = torch.tensor([4.0, 1.0]), torch.tensor([0.3, 0.8])
eps = torch.randn(300, 2, generator=seeded(1))
z = mean + std * eps

# %%
_, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
ax.scatter(*eps.T, s=8, color="0.6", label="eps: the dice, nothing to learn")
ax.scatter(*z.T, s=8, color=plotting.COLOURS[0], label="z = mean + std * eps")
for start, end in zip(eps[:10], z[:10]):
    ax.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": plotting.COLOURS[1]})
ax.set(aspect="equal", ylim=(-3.2, 4.5))
ax.legend(loc="upper left")
plt.show()

# %% [markdown]
# **What happened.** Each arrow is a fixed line: shift and stretch. The randomness sits at its start. So a change of mean or std moves the end of the arrow in a way we can differentiate.
#
# Is the gradient right? For $z \sim \mathcal N(m, s^2)$ the truth is known: $\mathbb E[z^2] = m^2 + s^2$, with slopes $2m$ and $2s$.

# %% tags=["nbval-check-output"]
m, s = torch.tensor(1.5, requires_grad=True), torch.tensor(0.5, requires_grad=True)
z = m + s * torch.randn(100_000, generator=seeded(2))
(z**2).mean().backward()
print(f"slope in m: {m.grad:.1f}, exact {2 * m:.1f}")
print(f"slope in s: {s.grad:.1f}, exact {2 * s:.1f}")

# %% [markdown]
# A plain sampler gives numbers without a way back. `rsample` (r for reparameterised) does what we did.

# %% tags=["nbval-check-output"]
print("sample: can be differentiated:", Normal(m, s).sample().requires_grad)
print("rsample: can be differentiated:", Normal(m, s).rsample().requires_grad)


# %% [markdown]
# A network that puts out a std could put out a negative one. So the encoder puts out $\log \text{std}^2$, called `logvar`, and any number is allowed. Here is our draw beside the library's.


# %% tags=["nbval-check-output"]
def reparameterise(mean, logvar, generator=None):
    eps = torch.randn(mean.shape, generator=generator).to(mean)  # drawn on the CPU, wherever we are
    return mean + torch.exp(logvar / 2) * eps


mean, logvar = torch.randn(2, 5, 4, 8, 8, generator=seeded(3))
difference = reparameterise(mean, logvar, seeded(4)) - DiagonalGaussian(mean, logvar).sample(
    seeded(4)
)
print("largest difference below 1e-6:", bool(difference.abs().max() < 1e-6))

# %% [markdown]
# **Change.** Set `std` to `[0.0, 0.8]` above. What does the cloud become? What would a decoder see?
#
# ## 2. KL: how far is one cloud from another?
#
# The Kullback-Leibler divergence averages the log ratio of two densities, *over the first one*:
#
# $$\mathrm{KL}(q \,\|\, p) = \int q(z)\, \log \frac{q(z)}{p(z)}\, dz.$$
#
# It is never negative, and 0 only where both agree. We first write it naively, as a sum on a fine grid.

# %%
grid = torch.linspace(-15, 15, 6001, dtype=torch.float64)


def kl_on_grid(log_q, log_p):
    """KL(q || p) from the log densities on the grid."""
    return float((log_q.exp() * (log_q - log_p)).sum() * (grid[1] - grid[0]))


# %% [markdown]
# **Predict.** Take a narrow $q$ beside a wide $p$. Is it worse to describe narrow data with the wide Gaussian, or wide data with the narrow one?

# %% tags=["nbval-check-output"]
q, p = Normal(*torch.tensor([0.0, 0.6]).double()), Normal(*torch.tensor([1.0, 1.5]).double())
log_q, log_p = q.log_prob(grid), p.log_prob(grid)
print(f"KL(q || p) = {kl_on_grid(log_q, log_p):.2f}, KL(p || q) = {kl_on_grid(log_p, log_q):.2f}")
print("grid equals formula:", abs(kl_on_grid(log_q, log_p) - float(kl_divergence(q, p))) < 1e-6)

# %%
_, axes = plt.subplots(1, 2, figsize=(9, 2.8), layout="constrained", sharey=True)
pairs = {"KL(q || p): q log(q / p)": (log_q, log_p), "KL(p || q): p log(p / q)": (log_p, log_q)}
for ax, (title, (a, b)) in zip(axes, pairs.items()):
    ax.plot(grid, log_q.exp(), "-", color=plotting.COLOURS[0], label="q, narrow")
    ax.plot(grid, log_p.exp(), "--", color=plotting.COLOURS[1], label="p, wide")
    ax.fill_between(grid, a.exp() * (a - b), color="0.8", label="what is added up")
    ax.set(title=title, xlim=(-4, 6), xlabel="z", ylim=(-0.4, 2))
axes[0].legend()
plt.show()

# %% [markdown]
# **What happened.** Wide data under a narrow model is the worse mistake. The model calls the tails nearly impossible, and each point there costs much.
#
# Now fit a single Gaussian to a density with two bumps, once in each direction, by trying many means and widths.

# %%
bumps = torch.stack([Normal(c, 0.7).log_prob(grid) for c in (-2.5, 2.5)]).logsumexp(0)
bumps = bumps - torch.log(torch.tensor(2.0))
candidates = [
    (c, w) for c in torch.linspace(-3, 3, 25).tolist() for w in (0.5, 0.7, 1, 1.5, 2, 2.6, 3)
]
fits = [Normal(c, w).log_prob(grid) for c, w in candidates]
modes = min(range(len(fits)), key=lambda i: kl_on_grid(fits[i], bumps))
cover = min(range(len(fits)), key=lambda i: kl_on_grid(bumps, fits[i]))

# %%
_, ax = plt.subplots(figsize=(6, 2.8), layout="constrained")
ax.fill_between(grid, bumps.exp(), color="0.85", label="p, two bumps")
ax.plot(grid, fits[modes].exp(), "-", color=plotting.COLOURS[0], label="smallest KL(q || p)")
ax.plot(grid, fits[cover].exp(), "--", color=plotting.COLOURS[1], label="smallest KL(p || q)")
ax.set(xlim=(-7, 7), xlabel="z")
ax.legend()
plt.show()

# %% tags=["nbval-check-output"]
print("KL(q || p) picks one bump:", abs(candidates[modes][0]) > 2)
print("KL(p || q) covers both:", abs(candidates[cover][0]) < 0.5 and candidates[cover][1] > 2)

# %% [markdown]
# **What happened.** KL(q || p) punishes q for being where p is not, so q hides in one bump. KL(p || q) punishes q for missing what p has, so q spreads over both. Maximum likelihood is the second kind, and that is one reason why likelihood models cover much and blur. The VAE's penalty is the first kind, with $p = \mathcal N(0, I)$.
#
# For that p the integral is a short formula. With many latent numbers, their nats add up:
#
# $$\mathrm{KL} = \tfrac12 \sum_j \left( \text{mean}_j^2 + \text{std}_j^2 - 1 - \log \text{std}_j^2 \right).$$


# %% tags=["nbval-check-output"]
def kl_to_prior(mean, logvar):
    """KL(q || N(0, I)) in nats, one number for each picture."""
    terms = mean**2 + logvar.exp() - 1 - logvar
    return 0.5 * terms.flatten(1).sum(1)


difference = kl_to_prior(mean, logvar) - DiagonalGaussian(mean, logvar).kl()
print("largest difference below 1e-4:", bool(difference.abs().max() < 1e-4))
print("KL of N(0, 1) from itself:", float(kl_to_prior(torch.zeros(1, 3), torch.zeros(1, 3))))

# %% [markdown]
# ## 3. The ELBO becomes code
#
# We want a model under which the data are likely: $p(x) = \int p(x \mid z)\, p(z)\, dz$. The integral is out of reach, but for *any* $q(z \mid x)$ there is a lower bound, the ELBO (evidence lower bound):
#
# $$\log p(x) \;\ge\; \underbrace{\mathbb E_{q(z \mid x)} \left[ \log p(x \mid z) \right]}_{\text{fit: does the picture come back?}} \;-\; \underbrace{\mathrm{KL}\left( q(z \mid x) \,\|\, p(z) \right)}_{\text{price: how much does } z \text{ tell?}}$$
#
# **Predict.** When is the bound an equality?
#
# A model where everything is known: $z \sim \mathcal N(0, 1)$ and $x = z + \text{noise}$. Then $p(x) = \mathcal N(0, 2)$, and the true posterior is $\mathcal N(x/2,\, 1/2)$. We give $q$ the right width and move its mean.


# %%
def toy_elbo(x, m, s):
    """ELBO for z ~ N(0, 1), x | z ~ N(z, 1), and q = N(m, s^2)."""
    fit = Normal(m, 1.0).log_prob(torch.tensor(x)) - s**2 / 2
    return fit - kl_divergence(Normal(m, s), Normal(0.0, 1.0))


# %%
point, means = 1.6, torch.linspace(-0.5, 2, 101)
truth = float(Normal(0.0, 2**0.5).log_prob(torch.tensor(point)))
_, ax = plt.subplots(figsize=(6, 2.8), layout="constrained")
for width, style in ((0.5**0.5, "-"), (0.3, "-."), (1.3, ":")):
    ax.plot(
        means, toy_elbo(point, means, torch.tensor(width)), style, label=f"q of std {width:.2f}"
    )
ax.axhline(truth, color="0.4", ls="--", label="log p(x), exact")
ax.set(xlabel="mean of q", ylabel="ELBO", ylim=(truth - 2, truth + 0.2))
ax.legend()
plt.show()

# %% tags=["nbval-check-output"]
best = float(toy_elbo(point, torch.tensor(point / 2), torch.tensor(0.5**0.5)))
print("at the true posterior the bound is log p(x):", abs(best - truth) < 1e-6)

# %% [markdown]
# **What happened.** Every curve stays below the line, and one touches it: where $q$ is the true posterior. So pushing the ELBO up does two things at once. It makes the data likely, and it pulls the encoder towards the posterior.
#
# Now for pictures. Let the decoder be sure of each pixel up to a Gaussian of width $\sigma$. Then $\log p(x \mid z)$ is $-\lVert x - \hat x \rVert^2 / (2 \sigma^2)$ plus a constant. Training minimises $-\text{ELBO}$. We set $\sigma = 1$ and put a knob $\beta$ on the KL:
#
# $$\text{loss} = \underbrace{\tfrac12 \lVert x - \hat x \rVert^2}_{\text{distortion}} + \beta \underbrace{\mathrm{KL}}_{\text{rate}}.$$
#
# Multiply by $1/\beta$, and you see that $\beta$ is nothing but $\sigma^2$: how much error per pixel we forgive.


# %%
def vae_loss(x, x_hat, mean, logvar, beta=1.0):
    """-ELBO without its constant, mean over the batch, and its two parts."""
    distortion = 0.5 * ((x - x_hat) ** 2).flatten(1).sum(1).mean()
    rate = kl_to_prior(mean, logvar).mean()
    return distortion + beta * rate, {"distortion": distortion, "rate": rate}


# %% [markdown]
# Both sums run over *all* numbers of a picture, and only then comes the mean over the batch. Section 9 shows what happens otherwise.
#
# ## 4. Two numbers for a digit: the price of $\beta$
#
# The smallest VAE that is fun to look at: three linear layers on each side, and a latent of two numbers, so that we can draw the whole latent space.


# %%
def layers(*sizes):
    """Linear layers with SiLU between them."""
    pairs = [(nn.Linear(a, b), nn.SiLU()) for a, b in zip(sizes, sizes[1:])]
    return [layer for pair in pairs for layer in pair][:-1]


class SmallVAE(nn.Module):
    def __init__(self, latents=2, width=256):
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), *layers(1024, width, width, 2 * latents))
        out = [nn.Tanh(), nn.Unflatten(1, (1, 32, 32))]
        self.decoder = nn.Sequential(*layers(latents, width, width, 1024), *out)

    def encode(self, x):
        return self.encoder(x).chunk(2, dim=1)

    def forward(self, x, generator=None):
        mean, logvar = self.encode(x)
        return self.decoder(reparameterise(mean, logvar, generator)), mean, logvar


# %%
def train_small(beta, steps=800):
    """Train a SmallVAE; `ldmlib.training.run.train` calls the objective on each batch."""

    def objective(model, x, y, generator, step):
        x_hat, mean, logvar = model(x, generator)
        return vae_loss(x, x_hat, mean, logvar, beta)

    torch.manual_seed(0)
    config = TrainConfig(steps=steps, lr=3e-3, ema=0.0, precision="float32")
    options = {"progress": False, **resumable("03_small_vae", beta, config)}
    return train(SmallVAE(), objective, (x, None), config, **options).model.eval()


# %% [markdown]
# **Predict.** With a larger $\beta$, which of these grow: the error, the KL, the overlap of the digits' clouds?

# %%
betas = (0.1, 1.0, 5.0)
small = {beta: train_small(beta) for beta in betas}


# %%
@torch.no_grad()
def rate_distortion(model):
    """Rate and distortion on the test digits, in nats."""
    x_hat, mean, logvar = model(test_x, seeded(5))
    _, parts = vae_loss(test_x, x_hat, mean, logvar)
    return float(parts["rate"]), float(parts["distortion"])


points = {beta: rate_distortion(model) for beta, model in small.items()}
for beta, (rate, distortion) in points.items():
    print(f"beta {beta:<4} rate {rate:5.2f} nats   distortion {distortion:6.1f}")

# %% tags=["nbval-check-output"]
rates, distortions = zip(*points.values())
print("rate falls with beta:", list(rates) == sorted(rates, reverse=True))
print("distortion grows with beta:", list(distortions) == sorted(distortions))

# %%
_, axes = plt.subplots(1, 4, figsize=(14, 3.4), layout="constrained")
for ax, (beta, model) in zip(axes, small.items()):
    with torch.no_grad():
        mean, _ = model.encode(test_x)
    dots = ax.scatter(*mean.T, c=test_y, s=4, cmap="tab10")
    ax.add_patch(plt.Circle((0, 0), 2, fill=False, ls="--"))
    ax.set(title=f"beta = {beta}: means", xlim=(-7, 7), ylim=(-7, 7), aspect="equal")
axes[3].plot(rates, distortions, "o-", color=plotting.COLOURS[0])
for beta, point in points.items():
    axes[3].annotate(f" beta {beta}", point, va="bottom")
axes[3].set(
    xlabel="rate (nats)", ylabel="distortion", title="the trade", xlim=(0, max(rates) * 1.3)
)
axes[3].margins(y=0.15)
plt.colorbar(dots, ax=axes[2], label="digit", ticks=range(10))
plt.show()

# %% [markdown]
# **What happened.** The dashed circle has radius 2: the prior $\mathcal N(0, I)$ puts most of its mass inside. With a small $\beta$ the encoder spreads out and keeps the clouds sharp: it pays a high rate and gets a low error. With a large $\beta$ all clouds crowd into the circle and overlap. Neither end is "right". Each $\beta$ is a point on one curve.
#
# Do the decoder's dreams look like digits? Draw $z$ from the prior, and decode.

# %% mystnb={"image": {"alt": "Three rows of digits decoded from random points: at beta 0.1 several are no digits, at 1 most can be read but are soft, at 5 they are blurred."}}
prior = torch.randn(14, 2, generator=seeded(6))
with torch.no_grad():
    dreams = {f"beta {beta}: from the prior": model.decoder(prior) for beta, model in small.items()}
plotting.show_rows(dreams, label_width=2.2)
plt.show()

# %% [markdown]
# ## 5. A walk on the map
#
# Two numbers fit on paper, so here is the whole latent space of $\beta = 1$. The grid is even in probability: each picture stands for an equal share of the prior.

# %% mystnb={"image": {"alt": "A 14 by 14 map of decoded digits: 0 at the left, 1 at the right, 6 at the bottom, 5, 3, 9 and 7 along the top; neighbours look alike."}}
vae = small[1.0]
ticks = Normal(0.0, 1.0).icdf(torch.linspace(0.03, 0.97, 14))
places = torch.cartesian_prod(ticks.flip(0), ticks).flip(1)
with torch.no_grad():
    plotting.show(vae.decoder(places), columns=14, scale=0.45)
plt.show()

# %% [markdown]
# **Predict.** Halfway between two digits: what do you see if you mix the *pixels*, and what if you mix the *latents*?

# %%
a, b = test_x[test_y == 7][1], test_x[test_y == 0][0]
share = torch.linspace(0, 1, 10)
pixels = torch.stack([a.lerp(b, float(w)) for w in share])
with torch.no_grad():
    (za, zb), _ = vae.encode(torch.stack([a, b]))
    walk = vae.decoder(torch.stack([za.lerp(zb, float(w)) for w in share]))
plotting.show_rows({"mix of pixels": pixels, "mix of latents": walk})
plt.show()

# %% [markdown]
# **What happened.** Pixels give a double exposure. The walk through the latent space passes through things that could be digits. That works because the KL term left no empty space between the clouds. The two ends are rough copies: two numbers are not many, and a digit may come back as its neighbour.
#
# **Change.** Use `small[0.1]` for the map and the walk. Where do you meet pictures that are no digits?
#
# ## 6. The first stage of a latent diffusion model
#
# Two numbers are far too few for a good copy. A latent diffusion model does not need them to be few: the diffusion model will do the generating. The first stage has a humbler job. It must make the picture *smaller*, without losing what the eye sees. Three things change:
#
# - **Latents are small pictures.** Each side shrinks by $f = 4$, and a convolutional decoder can paint each place from its neighbourhood.
# - **The KL is light.** Its weight is small, just enough to keep the latents tidy.
# - **The loss looks at more than pixels**: features of a small classifier, and a discriminator that judges patches.

# %%
shape = AutoencoderConfig(widths=(16, 32), latent_channels=4)
perceptual = bundled_classifier("mnist_perceptual")


def first_stage(steps=350, **loss):
    """Train an autoencoder, shortly, with the loss terms given."""
    training = TrainConfig(steps=steps, batch_size=64, lr=3e-3, ema=0.0, precision="float32")
    recipe = Recipe(shape, AutoencoderLossConfig(**loss), training)
    options = {"progress": False, **resumable("03_first_stage", recipe)}
    return train_autoencoder(x, recipe, perceptual, **options).model.eval()


# %% tags=["nbval-check-output"]
plain = first_stage(reconstruction="l2", perceptual=0.0)
posterior = plain.encode(test_x[:8])
print("pictures", tuple(test_x[:8].shape), "-> latents", tuple(posterior.mean.shape))
print("numbers per picture:", test_x[0].numel(), "->", posterior.mean[0].numel())

# %% mystnb={"image": {"alt": "The latents of eight digits as 8 by 8 grey maps, a row for each of four channels: in the second the digits can be read, in the others hardly."}}
z = posterior.mean.detach()
z = 2 * (z - z.mean((0, 2, 3), keepdim=True)) / z.std((0, 2, 3), keepdim=True)
plotting.show_latents(z, "a row for each latent channel, contrast stretched", scale=0.8)
plt.show()

# %% [markdown]
# **What happened.** You can still see the digit in its latent. A spatial latent is a thumbnail that the networks agreed on, and the diffusion model will paint such thumbnails.
#
# ### Why not pixels alone?
#
# **Predict.** Damage a digit in two ways: move it by one pixel, or blur it. Which one is the better copy for you? Which one for the squared error of the pixels?

# %%
digits = test_x[:500]
moved = torch.roll(digits, 1, dims=3)
blurred = F.avg_pool2d(digits + 1, 5, stride=1, padding=2) - 1
plotting.show_rows({"original": digits[:10], "moved": moved[:10], "blurred": blurred[:10]})
plt.show()

# %% tags=["nbval-check-output"]
pixel = [float(((y - digits) ** 2).mean()) for y in (moved, blurred)]
feature = [float(perceptual_distance(perceptual, digits, y).mean()) for y in (moved, blurred)]
print("pixels prefer the", "moved" if pixel[0] < pixel[1] else "blurred")
print("features prefer the", "moved" if feature[0] < feature[1] else "blurred")

# %% [markdown]
# **What happened.** The squared error calls the smear the better copy. So a network trained on pixel errors alone answers doubt with blur. The classifier's features look at strokes. The *perceptual* term is their distance, and it prefers what you prefer.
#
# ### With and without each term
#
# The patch discriminator is the piece of a GAN that survives inside a latent diffusion model ([02](02_gan_recap.ipynb)). It looks at overlapping patches of originals and of reconstructions, and learns what gives the copies away. It enters late, when there is something to judge, and its share of the gradient is kept in proportion to that of the other terms.
#
# > These trainings are **short**, some seconds each. They show what each term does early, not what it is worth at the end of a long training.

# %% [markdown]
# **Predict.** The reconstruction term may be the squared error (L2) or the absolute error (L1). Most pixels of a digit picture are black. Which single grey value has the smallest mean *absolute* error on such a pixel?

# %%
stages = {"L2 + KL": plain}
stages["L1 + KL"] = first_stage(perceptual=0.0)

# %%
stages["L1 + KL + features"] = first_stage(perceptual=1.0)

# %%
stages["... + adversary"] = first_stage(adversarial=0.5, adversarial_start=200)

# %% [markdown]
# Four measures, on the test digits. *KL*: how many nats the latents of a picture tell. *Error*: mean absolute difference of the pixels. *Sharpness*: the squared differences of neighbouring pixels, as a share of the originals'. *rFID*: the Fréchet distance between the features of the reconstructions and those of real training digits, seen by a **second** classifier that no training here has used. [07](07_evaluation_fid.ipynb) is about this score. For now: smaller is better, and even real digits do not get 0, but a *floor*.

# %%
judge = bundled_classifier("mnist_features")
reference, _ = extract(judge, x[:8000])


def rfid(pictures):
    """Frechet distance of pictures to 8,000 training digits, after rounding to 8 bits."""
    return metrics.fid(extract(judge, from_uint8(to_uint8(pictures)))[0], reference)


def edges(pictures):
    """Mean squared difference of neighbouring pixels."""
    return (pictures.diff(dim=2) ** 2).mean() + (pictures.diff(dim=3) ** 2).mean()


# %%
def encode(model, pictures):
    """Posterior means, without gradients."""
    return in_batches(lambda part: model.encode(part).mode(), pictures)


def decode(model, latents):
    return in_batches(model.decode, latents).clamp(-1, 1)


copies = {name: decode(model, encode(model, test_x)) for name, model in stages.items()}
floor = rfid(test_x)

# %%
print(f"n = {len(test_x):,}, floor of the rFID {floor:.1f}")
print(f"{'':18}    KL   error    rFID  sharpness")
for name, y in copies.items():
    with torch.no_grad():
        nats = stages[name].encode(test_x).kl().mean()
    error, sharp = (y - test_x).abs().mean(), edges(y) / edges(test_x)
    print(f"{name:18}{nats:6.0f}  {error:.4f}  {rfid(y):6.1f}  {sharp:.2f}")

# %% mystnb={"image": {"alt": "Five rows of twelve digits. L2 gives them back slightly soft; L1 and KL alone gives black squares; L1 with features gives them back, and with the adversary as well."}}
plotting.show_rows({"original": test_x[:12]} | {name: y[:12] for name, y in copies.items()})
plt.show()

# %% tags=["nbval-check-output"]
error = {name: float((y - test_x).abs().mean()) for name, y in copies.items()}
features, adversary = error["L1 + KL + features"], error["... + adversary"]
print("features help L1:", features < error["L1 + KL"])
print(
    "the adversary changes the error by less than a third:", abs(adversary / features - 1) < 1 / 3
)

# %% [markdown]
# **What happened.** Read the table row by row, and distrust what you expected.
#
# - **L1 alone** may not get off the ground in so few steps. The absolute error is smallest at the *median*, and the median of nearly every pixel is black. An all-black picture is a comfortable valley, and the KL term adds: "and say nothing".
# - **L2 alone** does very well here. Digits are thick white strokes on black, and there is little texture to be in doubt about.
# - **Features** pull L1 out of its valley, because an empty picture looks nothing like a digit to a classifier. The latents tell more nats too: beside a heavier loss, the same KL weight is lighter.
# - **The adversary** moves the numbers only a little. It came in late in a short training, and these copies give it little to complain about.
#
# So are the extra terms useless? On textures, hair and grass, where the average of all guesses is a smear, they decide how the copy looks (Rombach et al., Esser et al.). On digits they are cheap insurance. Measure on *your* pictures.
#
# **Change.** Give all four `steps=1500`. Which gaps close?
#
# ## 7. A smooth latent space beats a sharp one
#
# Why keep any KL at all? Without it the copies are as good or better. But the copies are not the goal. The diffusion model will *generate* latents, and it will make small errors. What matters is what the decoder does with a latent that is **nearly** right.
#
# **Predict.** We train once more with a KL weight a hundred times smaller. What happens to the copies? And what happens to the copies if we shake the latents a little?

# %%
spaces = {"KL .001": first_stage(kl=0.001), "KL .1": stages["L1 + KL + features"]}

# %%
latents = {name: encode(model, test_x) for name, model in spaces.items()}


def shaken(z, amount):
    """Latents plus noise, `amount` times each channel's own std."""
    noise = torch.randn(z.shape, generator=seeded(7))
    return z + amount * z.std((0, 2, 3), keepdim=True) * noise


# %%
@torch.no_grad()
def statistics(model, z):
    """KL in nats, the clouds' width over the whole space's, errors clean and shaken."""
    posterior = model.encode(test_x)
    fuzz = posterior.std.mean((0, 2, 3)) / z.std((0, 2, 3))
    errors = [((decode(model, shaken(z, e)) - test_x) ** 2).mean() for e in (0.0, 0.7)]
    return [float(v) for v in (posterior.kl().mean(), fuzz.mean(), *errors)]


facts = {name: statistics(model, latents[name]) for name, model in spaces.items()}
print("           KL (nats)  cloud / space  error clean  error shaken")
for name, (kl, fuzz, clean, bad) in facts.items():
    print(f"{name:10} {kl:8.0f} {fuzz:13.3f} {clean:13.4f} {bad:12.4f}")

# %%
rows = {"original": test_x[:12]}
for name, model in spaces.items():
    rows[f"{name}: clean"] = decode(model, latents[name][:12])
    rows[f"{name}: shaken"] = decode(model, shaken(latents[name], 0.7)[:12])
plotting.show_rows(rows)
plt.show()

# %% tags=["nbval-check-output"]
(
    (kl_sharp, fuzz_sharp, clean_sharp, bad_sharp),
    (kl_smooth, fuzz_smooth, clean_smooth, bad_smooth),
) = facts.values()
print("the smooth space tells fewer nats:", kl_smooth < 0.6 * kl_sharp)
print("its clouds are over 3 times wider:", fuzz_smooth > 3 * fuzz_sharp)
print("clean copies are alike:", abs(clean_smooth / clean_sharp - 1) < 0.3)
print("shaking hurts it less:", bad_smooth - clean_smooth < bad_sharp - clean_sharp)

# %% [markdown]
# **What happened.** Clean copies are nearly the same. But with the tiny weight each picture's cloud is a pinprick in the latent space, and the decoder was never shown anything beside it. With the larger weight the clouds are wide, so the decoder has practised on latents that are off by a good part of the space's own width. It forgives the errors that a denoiser makes.
#
# Do not overdo it: too heavy a KL makes every copy blurred, and no denoiser can mend that. The weight is chosen by the quality of the *generated* pictures, not of the copies.
#
# ## 8. The latent scale
#
# Diffusion adds noise of variance 1. It must meet data of about the same size. If a latent channel had a std of 0.01, the first breath of noise would drown it.
#
# Here is the naive way to measure it, over all training pictures and all positions.

# %%
model = stages["... + adversary"]
z = encode(model, x)
means = [float(z[:, c].mean()) for c in range(z.shape[1])]
stds = [float(z[:, c].std()) for c in range(z.shape[1])]
for c, (mean, std) in enumerate(zip(means, stds)):
    print(f"channel {c}: mean {mean:+.2f}, std {std:.2f}")

# %% [markdown]
# **Predict.** Scaled latents have mean 0 and variance 1 in every channel. Does that make them a standard normal distribution?

# %% tags=["nbval-check-output"]
mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (means, stds))
scaled = (z - mean) / std
print("mean 0:", bool((scaled.mean((0, 2, 3)).abs() < 1e-3).all()))
print("variance 1:", bool((scaled.var((0, 2, 3)) - 1).abs().max() < 1e-3))
back = decode(model, scaled[:200] * std + mean) - decode(model, z[:200])
print("decode(unscale(scale(z))) = decode(z):", bool(back.abs().max() < 1e-4))

# %% [markdown]
# The library keeps both numbers with the model's weights, and its `encode` and `decode` do and undo the scaling. Here its answer is held against ours.

# %% tags=["nbval-check-output"]
ldm = assemble(train_data, model, Recipe(autoencoder=shape))
theirs = ldm.fit_latent_scale(x)
print("same mean:", torch.allclose(ldm.latent_mean, mean, atol=1e-4))
print("same std:", torch.allclose(ldm.latent_std, std, atol=1e-4))
print("same scaled latents:", torch.allclose(theirs, scaled, atol=1e-3))

# %%
_, axes = plt.subplots(1, 5, figsize=(13, 2.4), layout="constrained")
for c, ax in enumerate(axes[:4]):
    ax.hist(scaled[:5000, c].flatten().numpy(), bins=80, range=(-4, 4), density=True, color="0.7")
    ax.plot(grid, Normal(0.0, 1.0).log_prob(grid).exp(), "--", color=plotting.COLOURS[1])
    ax.set(title=f"scaled channel {c}", xlim=(-4, 4), ylim=(0, 1.3))
place = scaled.std(0).mean(0)
picture = axes[4].imshow(place, vmin=0, cmap="viridis")
axes[4].set(title="std at each place", xticks=[], yticks=[])
plt.colorbar(picture, ax=axes[4])
plt.show()

# %% tags=["nbval-check-output"]
print("corners vary less than half as much as the centre:", bool(place[0, 0] < 0.5 * place[4, 4]))

# %% [markdown]
# **What happened.** Mean and variance fit the dashed standard normal, the shape does not. Much of each tall bar is empty border, which looks the same in every digit; the centre does the talking. Nothing here is Gaussian, and it need not be: turning noise into *this* distribution is the diffusion model's job. That is why an LDM can live with a light KL, while a VAE that samples straight from the prior cannot.
#
# One scale for each *channel*, not for each place: a place that hardly varies would be blown up until its noise fills the picture.
#
# ## 9. What could go wrong: a mean where a sum belongs
#
# `F.mse_loss` looks innocent. But it *averages* over the 1,024 pixels, while the KL is a *sum* over the latents.
#
# **Predict.** By what factor has $\beta$ grown in secret?


# %%
def careless(model, x, y, generator, step):
    x_hat, mean, logvar = model(x, generator)
    return F.mse_loss(x_hat, x) + kl_to_prior(mean, logvar).mean()


torch.manual_seed(0)
config = TrainConfig(steps=300, lr=3e-3, ema=0.0, precision="float32")
collapsed = train(SmallVAE(), careless, (x, None), config, progress=False).model

# %%
with torch.no_grad():
    grey, _, _ = collapsed(test_x, seeded(8))
    good, _, _ = vae(test_x, seeded(8))
plotting.show_rows({"original": test_x[:10], "with sums": good[:10], "careless": grey[:10]})
plt.show()

# %% tags=["nbval-check-output"]
rate, _ = rate_distortion(collapsed)
print("rate below 0.1 nats:", rate < 0.1)
print("all pictures alike:", float(grey.std(0).mean()) < 0.1 * float(good.std(0).mean()))

# %% [markdown]
# **Symptom.** The KL falls to nothing within the first steps, and every picture becomes the same grey average. The latents say nothing, and the decoder has stopped listening. This is *posterior collapse*.
#
# **Cause.** The mean divides the error by 1,024, where the ELBO divides it by 2. So $\beta$ grew by a factor of 1,024 / 2. The cheapest answer is to pay no KL at all.
#
# **Cure.** Sum over all numbers of a picture in both terms, and average over the batch last. Then watch the rate while you train: a rate near 0 means that the encoder is silent.
#
# ## Exercises
#
# Each check says what is wrong, in words. Run it as often as you like.
#
# ### Exercise 1: KL of any two Gaussians
#
# Above, $p$ was $\mathcal N(0, I)$. Write the general formula, for independent Gaussians with means and *standard deviations* of shape `(n, d)`. Return one number a row.


# %% tags=["exercise"]
def kl_of_gaussians(mean_q, std_q, mean_p, std_p):
    """KL(q || p) in nats, (n,)."""
    return ...


# %% tags=["check", "nbval-check-output"]
check.kl(kl_of_gaussians)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# In one dimension: $\log \frac{\sigma_p}{\sigma_q} + \frac{\sigma_q^2 + (\mu_q - \mu_p)^2}{2 \sigma_p^2} - \frac12$.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Put in $\mu_p = 0$ and $\sigma_p = 1$: you must get the formula of section 2. Then sum over axis 1.
#
# </details>
#
# <details><summary>Solution</summary>
#
# The formula of hint 1, dimension by dimension, summed over the last axis. The next cell checks it.
#
# </details>


# %% tags=["solution"]
def kl_of_gaussians_solution(mean_q, std_q, mean_p, std_p):
    quadratic = (std_q**2 + (mean_q - mean_p) ** 2) / (2 * std_p**2)
    return (torch.log(std_p / std_q) + quadratic - 0.5).sum(1)


check.kl(kl_of_gaussians_solution)

# %% [markdown]
# ### Exercise 2: the draw, from memory
#
# Without scrolling up: draw $z$ from `mean` and `logvar`, both `(n, d)`. The check looks at thousands of draws, and at the gradients.


# %% tags=["exercise"]
def draw(mean, logvar):
    """One draw for each entry, (n, d)."""
    return ...


# %% tags=["check", "nbval-check-output"]
check.reparameterise(draw)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `logvar` is the log of std². What is std?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Every number of every picture needs its own noise: `torch.randn_like(mean)`.
#
# </details>
#
# <details><summary>Solution</summary>
#
# Half of the log variance is the log of the std. The next cell checks it.
#
# </details>


# %% tags=["solution"]
def draw_solution(mean, logvar):
    return mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)


check.reparameterise(draw_solution)

# %% [markdown]
# ### Exercise 3: the ELBO itself
#
# Not the loss, the bound: for pictures `(n, C, H, W)`, a posterior `(n, d)` and a decoder that is sure up to `sigma`. Leave out the constant. Return one number a picture.


# %% tags=["exercise"]
def elbo(x, x_hat, mean, logvar, sigma):
    """The ELBO without its constant, (n,): higher is better."""
    return ...


# %% tags=["check", "nbval-check-output"]
check.elbo(elbo)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Fit minus price. The fit is the log of a Gaussian density of $x$ around $\hat x$.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# $-\lVert x - \hat x \rVert^2 / (2 \sigma^2)$, summed over a picture's pixels; then subtract `kl_to_prior(mean, logvar)`.
#
# </details>
#
# <details><summary>Solution</summary>
#
# Both signs are minus: a larger error and a larger KL both make the picture less likely. The next cell checks it.
#
# </details>


# %% tags=["solution"]
def elbo_solution(x, x_hat, mean, logvar, sigma):
    fit = -((x - x_hat) ** 2).flatten(1).sum(1) / (2 * sigma**2)
    return fit - kl_to_prior(mean, logvar)


check.elbo(elbo_solution)

# %% [markdown]
# ### Exercise 4: the latent scale, without a loop
#
# Two functions that belong together. The first measures latents `(n, c, h, w)`; both results have the shape `(1, c, 1, 1)`. The second goes back from scaled latents to those that the decoder knows.


# %% tags=["exercise"]
def latent_scale(z):
    """(mean, std) of each channel, both (1, c, 1, 1)."""
    return ...


def unscale(z_scaled, mean, std):
    """The latents that the decoder was trained with."""
    return ...


# %% tags=["check", "nbval-check-output"]
check.latent_scale(latent_scale)
check.unscale(unscale)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Over which of the four axes do you average, and which one stays?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `z.mean((0, 2, 3), keepdim=True)`. To undo "subtract, then divide", go backwards.
#
# </details>
#
# <details><summary>Solution</summary>
#
# All axes but the channel's. Back: multiply first, then add. The next cell checks it.
#
# </details>


# %% tags=["solution"]
def latent_scale_solution(z):
    return z.mean((0, 2, 3), keepdim=True), z.std((0, 2, 3), keepdim=True)


def unscale_solution(z_scaled, mean, std):
    return z_scaled * std + mean


check.latent_scale(latent_scale_solution)
check.unscale(unscale_solution)

# %% [markdown]
# ### Design your own
#
# Design a first stage for a denoiser: choose the number of latent channels and the weight of the KL, at a latent that holds at most a quarter of the picture's numbers. Predict which of your two choices costs more sharpness, and which makes the latents easier to walk in. Then train, and look with the eyes of sections 6 and 7.

# %% [markdown] tags=["teacher", "remove-cell"]
# **For the teacher.** Exercises, minutes to allow, and what to listen for.
#
# | exercise | minutes | expected | typical wrong answer | what the check says |
# |---|---|---|---|---|
# | 1: KL of two Gaussians | 10 | formula of hint 1, summed over the last axis | standard deviations used as variances | "the arguments are standard deviations, and you use them as variances: square them first." |
# | 2: the draw | 6 | `mean + exp(logvar / 2) * randn_like(mean)` | `exp(logvar)` as width | "you multiply by the variance: the std is exp(logvar / 2), not exp(logvar)." |
# | 3: the ELBO itself | 10 | fit minus KL, summed over pixels | squares averaged over the pixels | "the squares are averaged over the pixels: sum them. With the mean the KL term wins and the latents go silent." |
# | 4: the latent scale | 8 | axes 0, 2 and 3; back: multiply, then add | one number over all channels | "that is one number over all channels: a quiet channel would stay quiet. Leave axis 1 out of the average." |
#
# Misconception to listen for: *the KL is there to make pictures better*. It makes them worse and the latents smoother; section 7 shows what that buys.

# %% [markdown]
# ## Recap
#
# 1. Draw as mean + std · noise, and gradients pass through the draw.
# 2. KL is not symmetric: one way round it picks a bump, the other way round it covers all.
# 3. The ELBO is fit minus KL, a bound on log p(x). The VAE's loss is its negative, and $\beta$ trades error for order.
# 4. An LDM's first stage has spatial latents, a light KL, and a loss that also looks at features and patches. It copies; it does not generate.
# 5. Latents that forgive small errors beat latents that copy best. Scale each channel to variance 1, and undo it before decoding.
#
# ## Quiz
#
# Choose an answer: each of them, right or wrong, gets a reason.

# %% tags=["quiz"]
from ldmlib.widgets import quiz

quiz("03_vae")

# %% [markdown]
# ## Where to go next
#
# [04](04_forward_diffusion.ipynb) puts noise on digits and latents. [06](06_training_a_latent_diffusion_model.ipynb) trains this first stage for longer, and the diffusion model on top of it.
#
# ## References
#
# - D. Kingma, M. Welling. *Auto-Encoding Variational Bayes*. 2013. arXiv 1312.6114. (Reparameterisation, the KL formula in appendix B.)
# - D. Rezende, S. Mohamed, D. Wierstra. *Stochastic Backpropagation and Approximate Inference in Deep Generative Models*. 2014. arXiv 1401.4082.
# - I. Higgins et al. *beta-VAE: Learning Basic Visual Concepts with a Constrained Variational Framework*. ICLR 2017.
# - A. Alemi et al. *Fixing a Broken ELBO*. 2017. arXiv 1711.00464. (Rate and distortion.)
# - R. Zhang et al. *The Unreasonable Effectiveness of Deep Features as a Perceptual Metric*. 2018. arXiv 1801.03924.
# - P. Esser, R. Rombach, B. Ommer. *Taming Transformers for High-Resolution Image Synthesis*. 2020. arXiv 2012.09841. (The adaptive weight of the adversary.)
# - R. Rombach et al. *High-Resolution Image Synthesis with Latent Diffusion Models*. 2021. arXiv 2112.10752.

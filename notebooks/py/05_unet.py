# %% [markdown]
# # 05 · The UNet: a network that knows how noisy its input is
#
# [Open in Colab](https://colab.research.google.com/github/ldm-course/ldm-course/blob/main/notebooks/05_unet.ipynb)
#
# You will build the denoiser of every diffusion model from four small parts, train it, and hold it beside the best denoiser that can exist.
#
# This is what you will have made:
#
# ```mermaid
# flowchart LR
#     X["noisy picture x_t<br/>1 x 16 x 16"] --> D1["16 channels<br/>16 x 16"]
#     D1 -->|halve| D2["32 channels<br/>8 x 8"]
#     D2 -->|halve| D3["64 channels<br/>4 x 4"]
#     D3 --> M["middle:<br/>attention"]
#     M --> U3["64 channels<br/>4 x 4"]
#     U3 -->|double| U2["32 channels<br/>8 x 8"]
#     U2 -->|double| U1["16 channels<br/>16 x 16"]
#     U1 --> Y["output<br/>1 x 16 x 16"]
#     D1 -. skip .-> U1
#     D2 -. skip .-> U2
#     D3 -. skip .-> U3
#     T["time t"] --> E["waves, small MLP"]
#     E -->|"scale and shift<br/>in every block"| M
# ```
#
# > **You will be able to** turn a time into a vector; build a UNet and read its shapes; say what its skip connections, its attention and its zero-initialised last layer are for; choose between the targets $\epsilon$, $x_0$, $v$ and flow, and know what each is bad at.
# >
# > **You need** [04](04_forward_diffusion.ipynb): noising $x_t = \alpha_t x_0 + \sigma_t \epsilon$, schedules, the letters.
# >
# > **It takes** about two minutes on 2 CPU cores and 1.1 GB of memory; five small UNets are trained on the way.

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
import torch.nn.functional as F
from torch import nn

from ldmlib import data, images, plotting
from ldmlib.check import unet as check
from ldmlib.diffusion.guidance import predictor
from ldmlib.diffusion.process import Diffusion
from ldmlib.diffusion.samplers import initial_noise, sample
from ldmlib.diffusion.spacing import time_grid
from ldmlib.networks import layers, unet
from ldmlib.probability.exact_denoisers import ExactDenoiser, IdealDenoiser
from ldmlib.probability.mixtures import moons
from ldmlib.rng import seeded
from ldmlib.training.config import TrainConfig
from ldmlib.training.run import train

torch.manual_seed(0)
plt.rcParams["figure.dpi"] = 80

# %% [markdown]
# ## 1. The job
#
# **Predict.** A denoiser sees a noisy picture and must say which clean picture is behind it. Should it do the same thing to a slightly noisy digit and to pure noise?
#
# We take digits of 16 x 16 pixels, so that everything trains in seconds. We scale them to mean 0 and variance 1, as a latent diffusion model does with its latents.


# %%
def small_digits(split, n):
    x, _ = data.mnist(split).random_subset(n, seed=0).as_tensors()
    return images.resize(x, 16)


# %%
digits, fresh = small_digits("train", 6000), small_digits("test", 128)
mean, std = digits.mean(), digits.std()
digits, fresh = (digits - mean) / std, (fresh - mean) / std


# %% tags=["nbval-check-output"]
print("for training:", tuple(digits.shape), " kept apart:", tuple(fresh.shape))
print(f"mean {abs(digits.mean()):.2f}, variance {digits.var():.2f}")


# %%
def to_picture(z):
    """Back to the range [-1, 1], for the eye."""
    return z * std + mean


# %% [markdown]
# Noise, as in notebook 04: one jump to any level.

# %%
diffusion = Diffusion("cosine", "v", time_sampling="uniform")
times = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9])
noise = torch.randn(fresh.shape, generator=seeded(1))


# %%
def noised(x, t):
    """Every picture of x at the same noise level t."""
    return diffusion.add_noise(x, noise[: len(x)], torch.full((len(x),), float(t)))


# %% mystnb={"image": {"alt": "Ten small digits in five rows with more and more noise: all can be read at t = 0.1, none at 0.9."}}
plotting.show_rows({f"t = {t:.1f}": to_picture(noised(fresh[:10], t)) for t in times})
plt.show()

# %% [markdown]
# **What happened.** In the first row the right answer is *change almost nothing*. In the last row it is *imagine a digit*. One network must do both, and everything between. So it must know how noisy its input is: we tell it $t$.
#
# **Change.** Replace `"cosine"` by `"linear"` and look at the last rows again.

# %% [markdown]
# ## 2. Time as a vector
#
# A network works badly with one bare number. We give it a *vector* that changes with $t$: sines and cosines of many frequencies, like the hands of many clocks. A fast hand tells near times apart, a slow hand tells far ones apart.
#
# $$\text{emb}(t) = \big(\sin(1000\,t\,\omega_0), \ldots, \sin(1000\,t\,\omega_{d/2-1}),\; \cos(1000\,t\,\omega_0), \ldots\big), \qquad \omega_i = 10000^{-i/(d/2)}$$
#
# The factor 1000 is there because the papers counted time in steps from 0 to 1000, and chose the frequencies for that. Here is the formula, one number at a time:


# %%
def naive_embedding(t, dim, scale=1000.0):
    """One time -> a list of dim numbers."""
    frequencies = [10_000 ** (-i / (dim // 2)) for i in range(dim // 2)]
    sines = [math.sin(scale * t * w) for w in frequencies]
    cosines = [math.cos(scale * t * w) for w in frequencies]
    return sines + cosines


# %%
def embed_all(times, dim, scale=1000.0):
    return torch.tensor([naive_embedding(float(t), dim, scale) for t in times])


# %% [markdown]
# **Predict.** What will the picture look like if we forget the factor 1000?

# %%
axis = torch.linspace(0, 1, 200)
figure, panels = plt.subplots(1, 2, figsize=(9, 2.8), layout="constrained", sharey=True)
for panel, scale, title in zip(panels, (1000.0, 1.0), ("1000 t (right)", "t alone (wrong)")):
    waves = embed_all(axis, 32, scale)
    shown = panel.imshow(
        waves.T, aspect="auto", extent=(0, 1, 31.5, -0.5), cmap="RdBu", vmin=-1, vmax=1
    )
    panel.set(xlabel="t", title=title)
panels[0].set(ylabel="number in the vector\n(sines above, cosines below)")
figure.colorbar(shown, ax=panels)
plt.show()


# %%
def likeness(scale):
    """Cosine similarity of the vectors of .1 and .9: 1 means alike."""
    a, b = embed_all([0.1, 0.9], 32, scale)
    return float(F.cosine_similarity(a, b, dim=0))


# %% tags=["nbval-check-output"]
print(f"likeness of t = .1 and t = .9, scaled by 1000: {likeness(1000.0):.2f}")
print(f"likeness of t = .1 and t = .9, not scaled    : {likeness(1.0):.2f}")

# %% [markdown]
# **What happened.** Without the factor, most hands hardly move while $t$ goes from 0 to 1: a little noise and a lot of noise get nearly the same vector. Nothing crashes. The network is only half blind to the noise level, and the samples are a bit bad for ever.
#
# The library does the same in one line for a whole batch:

# %% tags=["nbval-check-output"]
difference = (embed_all(axis, 32) - unet.time_embedding(axis, 32)).abs().max()
print("embedding equals ldmlib's, largest difference below 1e-3:", bool(difference < 1e-3))

# %% [markdown]
# **Change.** Set `dim` to 8 in the picture. Which times become hard to tell apart?

# %% [markdown]
# ## 3. The block
#
# The UNet's brick is a *residual block*: two convolutions, and the input added at the end. Between the two, time enters: it sets a **scale and shift** for each channel,
#
# $$h \leftarrow h \cdot (1 + \text{scale}) + \text{shift}.$$
#
# Why $1 + \text{scale}$? At the start scale is near 0, and the block should begin by changing little. The last convolution even starts at exactly 0: a new block is the identity.

# %%
TIME = 128  # numbers that carry the time into each block


def group_norm(channels):
    """Mean 0, variance 1 for groups of 4 channels or more; independent of the batch."""
    return layers.group_norm(channels)


# %%
def start_at_zero(layer):
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


# %%
class Block(nn.Module):
    def __init__(self, c_in, c_out):
        super().__init__()
        self.norm1, self.conv1 = group_norm(c_in), nn.Conv2d(c_in, c_out, 3, padding=1)
        self.condition = nn.Linear(TIME, 2 * c_out)
        self.norm2 = group_norm(c_out)
        self.conv2 = start_at_zero(nn.Conv2d(c_out, c_out, 3, padding=1))
        self.shortcut = nn.Identity() if c_in == c_out else nn.Conv2d(c_in, c_out, 1)

    def forward(self, x, time):
        h = self.norm2(self.conv1(F.silu(self.norm1(x))))
        scale, shift = self.condition(time)[:, :, None, None].chunk(2, dim=1)
        h = h * (1 + scale) + shift
        return self.shortcut(x) + self.conv2(F.silu(h))


# %% [markdown]
# **Predict.** A new block of 16 to 16 channels gets five pictures and five times. What is the difference between its output and its input?

# %% tags=["nbval-check-output"]
block = Block(16, 16)
x, time = torch.randn(5, 16, 16, 16), torch.randn(5, TIME)
print("shape of the output:", tuple(block(x, time).shape))
print("a new block changes nothing:", torch.equal(block(x, time), x))

# %% [markdown]
# To compare with the library's block we give both the same weights, and not the zeros that they start with.

# %% tags=["nbval-check-output"]
mine, theirs = Block(16, 32), layers.ResBlock(16, 32, embedding=TIME)
nn.init.normal_(mine.conv2.weight, std=0.1)
theirs.load_state_dict(mine.state_dict())
difference = (mine(x, time) - theirs(x, time)).abs().max()
print("block equals ldmlib's, largest difference below 1e-5:", bool(difference < 1e-5))

# %% [markdown]
# ## 4. Attention
#
# A convolution of 3 x 3 sees its neighbours only. **Attention** lets every place ask every other place. Each place sends a question $q$, a label $k$ and a content $v$ (this $v$ has nothing to do with the target $v$ further down):
#
# $$\text{weights} = \text{softmax}\!\left(\frac{q\,k^\top}{\sqrt{d}}\right), \qquad \text{answer} = \text{weights} \cdot v .$$
#
# With $P$ places the weights are a $P \times P$ table, so we do this only at the lowest resolution: 4 x 4 places make a table of 16 x 16, while 16 x 16 places would make one of 256 x 256.


# %%
class Attention(nn.Module):
    def __init__(self, channels, heads=4):
        super().__init__()
        self.heads, self.norm = heads, group_norm(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = start_at_zero(nn.Conv2d(channels, channels, 1))

    def forward(self, x):
        n, c, height, width = x.shape
        per_head = self.qkv(self.norm(x)).reshape(n, 3, self.heads, c // self.heads, height * width)
        q, k, v = per_head.unbind(1)  # each (n, heads, c / heads, places)
        self.weights = (q.mT @ k / math.sqrt(c // self.heads)).softmax(-1)  # kept to be drawn later
        answer = v @ self.weights.mT
        return x + self.out(answer.reshape(n, c, height, width))


# %% tags=["nbval-check-output"]
mine, theirs = Attention(64), layers.Attention(64, heads=4)
nn.init.normal_(mine.out.weight, std=0.1)
theirs.load_state_dict(mine.state_dict())
x = torch.randn(5, 64, 4, 4)
difference = (mine(x) - theirs(x)).abs().max()
print("table of weights:", tuple(mine.weights.shape), "= pictures, heads, asking, asked")
print("attention equals ldmlib's, largest difference below 1e-5:", bool(difference < 1e-5))

# %% [markdown]
# ## 5. The way down, the middle, the way up
#
# Now we stack. On the way **down** the picture shrinks and gets more channels: from *where exactly* to *what*. On the way **up** it grows again. Each stage of the way down is kept, and laid beside the same size on the way up: the **skip connections**.


# %%
class Double(nn.Module):
    """Twice as high and wide: four numbers for each new channel become 2 x 2 pixels."""

    def __init__(self, c_in, c_out):
        super().__init__()
        self.conv = nn.Conv2d(c_in, 4 * c_out, 3, padding=1)

    def forward(self, x):
        return F.pixel_shuffle(self.conv(x), 2)


# %%
def halve(channels):
    return nn.Conv2d(channels, channels, 3, stride=2, padding=1)


# %%
A, B, C = 16, 32, 64  # channels at 16 x 16, at 8 x 8 and at 4 x 4


def way_down():
    return nn.ModuleList([Block(A, A), halve(A), Block(A, B), halve(B), Block(B, C)])


# %%
def middle():
    return nn.ModuleList([Block(C, C), Attention(C), Block(C, C)])


# %% [markdown]
# Let us walk down by hand, and print every shape. Every line is kept in the list `skips`.


# %%
def go(layer, h, time):
    """Only blocks want to know the time."""
    return layer(h, time) if isinstance(layer, Block) else layer(h)


# %% tags=["nbval-check-output"]
h = nn.Conv2d(1, A, 3, padding=1)(fresh[:5])
time = torch.randn(5, TIME)
skips = [h]
for layer in way_down():
    h = go(layer, h, time)
    skips.append(h)
    print(f"{type(layer).__name__:7s} -> {tuple(h.shape)}")

# %% tags=["nbval-check-output"]
for layer in middle():
    h = go(layer, h, time)
    print(f"{type(layer).__name__:9s} -> {tuple(h.shape)}")
print("kept on the way down:", [tuple(s.shape[1:]) for s in skips])

# %% [markdown]
# **Predict.** The way up takes the kept stages from the *end* of the list, one for each block. How many channels go into its first block?


# %%
def way_up():
    return nn.ModuleList([
        Block(C + C, C), Block(C + B, C), Double(C, B),
        Block(B + B, B), Block(B + A, B), Double(B, A),
        Block(A + A, A), Block(A + A, A),
    ])  # fmt: skip


# %% tags=["nbval-check-output"]
for layer in way_up():
    if isinstance(layer, Block):
        h = torch.cat([h, skips.pop()], dim=1)
    came = h.shape[1]
    h = go(layer, h, time)
    print(f"{came:3d} channels -> {type(layer).__name__:6s} -> {tuple(h.shape)}")
print("kept stages left over:", len(skips))

# %% [markdown]
# **What happened.** 64 channels come from the middle and 64 from the last kept stage: 128. At the end we are back at 16 x 16, and no skip is left over.
#
# That is all. The whole UNet is these parts in a row. The switch `skips=False` will serve an experiment later: it lays zeros beside, instead of the kept stages, so that the number of weights stays the same.


# %%
class SmallUNet(nn.Module):
    def __init__(self, skips=True):
        super().__init__()
        self.skips = skips
        self.time = nn.Sequential(nn.Linear(A, TIME), nn.SiLU(), nn.Linear(TIME, TIME))
        self.stem = nn.Conv2d(1, A, 3, padding=1)
        self.down, self.up, self.middle = way_down(), way_up(), middle()
        self.norm, self.head = group_norm(A), start_at_zero(nn.Conv2d(A, 1, 3, padding=1))

    def forward(self, x, t, cond=None):
        time = F.silu(self.time(unet.time_embedding(t, A)))
        h = self.stem(x)
        kept = [h]
        for layer in self.down:
            h = go(layer, h, time)
            kept.append(h)
        for layer in self.middle:
            h = go(layer, h, time)
        for layer in self.up:
            if isinstance(layer, Block):
                h = torch.cat([h, kept.pop() * self.skips], dim=1)
            h = go(layer, h, time)
        return self.head(F.silu(self.norm(h)))


# %% [markdown]
# `ldmlib.networks.unet.UNet` builds the same thing for any number of levels. With our three widths it must *be* the same thing. We give it our weights, in order, and compare.

# %%
mine = SmallUNet()
theirs = unet.UNet(unet.UNetConfig(in_channels=1, channels=(A, B, C), blocks=1, heads=4))
for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
    nn.init.normal_(a, std=0.1)  # no zeros: every part must count
    b.data.copy_(a.data)


# %% tags=["nbval-check-output"]
x, t = torch.randn(5, 1, 16, 16), torch.rand(5)
a, b = mine(x, t), theirs(x, t)
difference = (a - b).norm() / b.norm()
print(f"weights: {layers.count_parameters(mine):,} and {layers.count_parameters(theirs):,}")
print("UNet equals ldmlib's, relative difference below 1e-4:", bool(difference < 1e-4))

# %% [markdown]
# **Change.** Build `unet.UNet` with `channels=(32, 64)`. It has one halving less. Does it have more weights or fewer?

# %% [markdown]
# ## 6. The first loss is known before training
#
# The last layer starts at zero, so a new network answers 0 to everything. Its first loss is then the mean square of its target: for targets with mean 0, their **variance**. That is a free test of a whole training pipeline.
#
# A network may be trained to output one of four targets. Each of them gives $x_0$ by a line of algebra, since $x_t = \alpha x_0 + \sigma \epsilon$ is known:
#
# | target | what the network outputs | how $\hat x_0$ is read off |
# |---|---|---|
# | `eps` | $\epsilon$ | $(x_t - \sigma\,\hat\epsilon)\,/\,\alpha$ |
# | `x0` | $x_0$ | the output itself |
# | `v` | $\alpha\,\epsilon - \sigma\,x_0$ | $\alpha\,x_t - \sigma\,\hat v$ |
# | `flow` | $\epsilon - x_0$ | $(x_t - \sigma\,\hat u)\,/\,(\alpha + \sigma)$ |
#
# **Predict.** Pictures and noise have variance 1, and $\alpha^2 + \sigma^2 = 1$. Which four numbers will come out?

# %%
TARGETS = {
    name: Diffusion("cosine", name, time_sampling="uniform") for name in ("eps", "x0", "v", "flow")
}


# %% tags=["nbval-check-output"]
with torch.no_grad():
    for name, process in TARGETS.items():
        loss = process.loss(SmallUNet(), digits[:500], generator=seeded(2)).mean()
        print(f"{name:5s} first loss {loss:.1f}")

# %% [markdown]
# **What happened.** Noise has variance 1, our pictures too, $v$ is a rotation of the two ($\alpha^2 + \sigma^2 = 1$), and the flow target is a difference of two independent things: $1 + 1 = 2$. If your first loss is another number, then the data are not scaled, the target is not what you think, or the last layer does not start at 0.

# %% [markdown]
# ## 7. Training it
#
# We start with $v$. A few steps are enough to see everything that we want to see.


# %%
def train_unet(network, target, steps=200):
    """A short training; returns the network and its history."""

    def objective(model, x, y, generator, step):
        return TARGETS[target].loss(model, x, generator=generator).mean()

    config = TrainConfig(
        steps=steps, batch_size=32, lr=3e-3, ema=0, precision="float32", log_every=10
    )
    state = train(network, objective, (digits, None), config, progress=False)
    return network.eval(), state.history


# %% mystnb={"image": {"alt": "A curve of the training loss against 200 steps: from 0.9 steeply to 0.35, then slowly to 0.3."}}
torch.manual_seed(0)
net, history = train_unet(SmallUNet(), "v")
plotting.loss_curve(history)
plt.show()

# %% [markdown]
# Now it denoises digits that it never saw. The network sees the row `noisy` and the time, and nothing else.


# %%
@torch.no_grad()
def clean(network, x_t, t, target="v"):
    """What the network takes for the clean picture."""
    return TARGETS[target].predict(network, x_t, torch.tensor(float(t))).x0


# %%
rows = {}
for t in (0.3, 0.5, 0.7):
    rows[f"noisy, t = {t}"] = to_picture(noised(fresh[:10], t))
    rows[f"denoised, t = {t}"] = to_picture(clean(net, noised(fresh[:10], t), t))
plotting.show_rows({**rows, "the truth": to_picture(fresh[:10])}, label_width=2.0)
plt.show()

# %% [markdown]
# **What happened.** At little noise the digit comes back. At much noise the answer is blurred: the loss asks for the *mean* of all digits that could be behind the noise, $E[x_0 \mid x_t]$, and a mean of several digits is a blur.
#
# ### Does it really use the time?
#
# **Predict.** We lie to the network: the picture has the noise of one time, and we tell it another. Where will the error be smallest?


# %%
def error(x0_hat, x0):
    """Root of the mean square, for pictures of variance 1."""
    return float(((x0_hat - x0) ** 2).mean().sqrt())


# %%
@torch.no_grad()
def error_when_told(true, told):
    x_t = noised(fresh[:64], true)
    output = net(x_t, torch.full((64,), float(told)))
    alpha, sigma = diffusion.curves.alpha_sigma(true)
    return error(alpha * x_t - sigma * output, fresh[:64])


# %%
grid = torch.linspace(0.1, 0.9, 7)
lies = torch.tensor([[error_when_told(true, told) for told in grid] for true in grid])

# %%
figure, panel = plt.subplots(figsize=(4.2, 3.4), layout="constrained")
shown = panel.imshow(
    lies / lies.amin(1, keepdim=True), origin="lower", cmap="viridis_r", vmin=1, vmax=3
)
labels = [f"{t:.2f}" for t in grid]
panel.set(xlabel="time that the network is told", ylabel="true time of the picture")
panel.set_xticks(range(7), labels)
panel.set_yticks(range(7), labels)
figure.colorbar(shown, label="error, in multiples of the row's best")
plt.show()

# %% tags=["nbval-check-output"]
best = lies.argmin(1)
near = (best - torch.arange(7)).abs() <= 1
print("the truth, or the time next to it, is best in every row:", bool(near.all()))

# %% [markdown]
# **What happened.** Each row is best at or next to the diagonal: told less noise than there is, the network leaves noise in; told more, it rubs the digit out. It knows how noisy its input is because we tell it, and it believes us.

# %% [markdown]
# ## 8. Skip connections, removed and missed
#
# Now the same network with zeros in place of the kept stages. Everything must squeeze through 4 x 4. Both networks here output the picture itself (target `x0`), so that nothing but the network brings the strokes to the end.
#
# **Predict.** What will be lost: the kind of digit, or its exact strokes? And where will it hurt most: in a nearly clean picture or in a noisy one?

# %%
torch.manual_seed(0)
net_x0, history_with = train_unet(SmallUNet(), "x0")
torch.manual_seed(0)
net_without, history_without = train_unet(SmallUNet(skips=False), "x0")
plotting.loss_curve({"with skips": history_with, "without": history_without})
plt.show()

# %%
x_t = noised(fresh[:10], 0.1)
plotting.show_rows({
    "noisy, t = 0.1": to_picture(x_t),
    "with skips": to_picture(clean(net_x0, x_t, 0.1, "x0")),
    "without": to_picture(clean(net_without, x_t, 0.1, "x0")),
    "the truth": to_picture(fresh[:10]),
})  # fmt: skip
plt.show()


# %%
def harm(t):
    """How many times larger the error is without skips."""
    x_t = noised(fresh, t)
    with_skips, without = clean(net_x0, x_t, t, "x0"), clean(net_without, x_t, t, "x0")
    return error(without, fresh) / error(with_skips, fresh)


# %% tags=["nbval-check-output"]
print("t = .1: the error is more than 1.5 times as large without skips:", harm(0.1) > 1.5)
print("t = .8: the error is more than 1.5 times as large without skips:", harm(0.8) > 1.5)

# %% [markdown]
# **What happened.** The input is almost clean, and yet the network without skips answers with a washed-out copy of the right digit. *What* it is goes through the bottom; *where exactly* its edges are goes over the skips. At little noise everything is in the *where*, so there the harm is greatest. At much noise nobody knows where the edges are, and the skips have little to bring.
#
# **Change.** Train both with the target `"v"`. Without skips the noise now *stays in* the picture. Why? (Look at how $\hat x_0$ is read off from $v$: the formula itself carries $x_t$ past the network.)

# %% [markdown]
# ## 9. What attention looks at
#
# At the lowest resolution the picture is 4 x 4 places, each standing for 4 x 4 pixels. The table of weights says, for a place that asks, whom it asks. We draw it for one place (orange square) and each of the four heads.


# %%
def draw_attention(panels, digit, t, place):
    x_t = noised(fresh[digit : digit + 1], t)
    clean(net, x_t, t)  # fills the table
    table = net.middle[1].weights[0, :, place].reshape(-1, 4, 4)  # heads, 4, 4
    panels[0].imshow(to_picture(x_t)[0, 0], cmap="gray", vmin=-1, vmax=1)
    for panel, weights in zip(panels[1:], table):
        panel.imshow(
            weights.detach(), cmap="magma", vmin=0, vmax=0.4, extent=(-0.5, 15.5, 15.5, -0.5)
        )
    for panel in panels:
        corner = (4 * (place % 4) - 0.5, 4 * (place // 4) - 0.5)
        panel.add_patch(plt.Rectangle(corner, 4, 4, fill=False, edgecolor="#E69F00", linewidth=2.5))
        panel.set_axis_off()


# %% mystnb={"image": {"alt": "Three rows: a noisy digit with a square around one place, and four maps of where that place looks, one for each head. Some heads have one bright spot on a far stroke, others look everywhere alike."}}
figure, panels = plt.subplots(3, 5, figsize=(7, 4.4), layout="constrained")
for row, (digit, t, place) in zip(panels, [(0, 0.3, 5), (1, 0.3, 9), (1, 0.6, 9)]):
    draw_attention(row, digit, t, place)
for panel, title in zip(panels[0], ("input", "head 1", "head 2", "head 3", "head 4")):
    panel.set_title(title, fontsize=10)
plt.show()

# %% [markdown]
# Bright places are asked much. The heads do ask in different places.
#
# **Predict.** Is it worth anything? We switch attention off in the trained network and look at the error.


# %%
def error_without_attention(t):
    out = net.middle[1].out
    weight, bias = out.weight.data.clone(), out.bias.data.clone()
    start_at_zero(out)
    result = error(clean(net, noised(fresh, t), t), fresh)
    out.weight.data, out.bias.data = weight, bias
    return result


# %%
for t in (0.3, 0.5, 0.7):
    with_it, without = error(clean(net, noised(fresh, t), t), fresh), error_without_attention(t)
    print(f"t = {t}: error {with_it:.3f} with attention, {without:.3f} when it is switched off")

# %% [markdown]
# **What happened.** Next to nothing is lost. On a map of 4 x 4 places the convolutions around it, each reaching one place further, already see the whole digit, and after so short a training the network does not lean on attention. So a handsome picture of attention proves nothing: *switch the part off and measure*. Attention earns its place on larger maps and in longer trainings (Dhariwal and Nichol measured it, arXiv 2105.05233), and it is how text can enter the network, word by word.
#
# **Change.** Draw another place, for example 15, the lower right corner.

# %% [markdown]
# ## 10. Beside the best denoiser that can exist
#
# ### In two dimensions, where the truth is a formula
#
# For a mixture of Gaussians the best denoiser $E[x_0 \mid x_t]$ is known exactly (`ldmlib.probability.mixtures` has the formula). Points in the plane need no convolutions: our network is a small MLP that gets the point and the embedded time.


# %%
class PointNet(nn.Module):
    def __init__(self, width=64):
        super().__init__()
        sizes = [2 + 32, width, width, width]
        parts = [nn.Sequential(nn.Linear(a, b), nn.SiLU()) for a, b in zip(sizes, sizes[1:])]
        self.layers = nn.Sequential(*parts, start_at_zero(nn.Linear(width, 2)))

    def forward(self, x, t, cond=None):
        return self.layers(torch.cat([x, unet.time_embedding(t, 32)], dim=1))


# %%
mixture = moons()
points = mixture.sample(20_000, generator=seeded(3)).float()


def objective(model, x, y, generator, step):
    return diffusion.loss(model, x, generator=generator).mean()


# %%
torch.manual_seed(0)
config = TrainConfig(steps=2000, batch_size=512, lr=1e-2, ema=0, precision="float32")
trained = train(PointNet(), objective, (points, None), config, progress=False)
point_net = trained.model.eval()

# %% [markdown]
# **Predict.** Noisy points are scattered everywhere. Where do the best denoiser's answers lie: on the two moons, or beside them?

# %%
truth = mixture.sample(1000, generator=seeded(4)).float()
jitter = torch.randn(truth.shape, generator=seeded(5))
exact_process, exact = Diffusion("cosine", "x0"), ExactDenoiser(mixture, diffusion.curves)


# %%
@torch.no_grad()
def both_answers(t):
    """The noisy points, the exact answer, the network's answer."""
    x_t = diffusion.add_noise(truth, jitter, torch.full((1000,), t))
    best = exact_process.predict(exact, x_t.double(), torch.tensor(t)).x0
    return x_t, best, diffusion.predict(point_net, x_t, torch.tensor(t)).x0


# %%
figure, panels = plt.subplots(
    2, 3, figsize=(9, 5.2), layout="constrained", sharex=True, sharey=True
)
for column, t in zip(panels.T, (0.1, 0.4, 0.7)):
    x_t, best, learned = both_answers(t)
    for panel, answer, name in zip(column, (best, learned), ("exact", "trained")):
        panel.scatter(*x_t[:400].T, s=4, color="0.75", label="noisy points")
        panel.scatter(*answer[:400].T, s=6, color="#D55E00", label="answer")
        panel.set_title(f"{name}, t = {t}", fontsize=10)
        panel.set(xlim=(-2.2, 2.2), ylim=(-1.8, 1.8), aspect="equal")
panels[0, 0].legend(loc="upper right", fontsize=8)
plt.show()

# %% tags=["nbval-check-output"]
for t in (0.1, 0.4, 0.7):
    _, best, learned = both_answers(t)
    ratio = error(learned, truth) / error(best, truth)
    print(f"t = {t}: error of the network within 10 % of the smallest possible: {ratio < 1.1}")

# %% [markdown]
# **What happened.** At little noise the answers lie on the moons or, where both are equally likely, between them. At much noise they leave them and gather in the middle, for the exact denoiser too: a mean of points on a curve lies beside the curve. So the blur of section 7 is no fault of the network. It is the right answer to the question that we ask.
#
# ### A finite set of digits
#
# For a finite set there is a best denoiser too: the mean of its pictures, each weighted by how well it explains $x_t$. `IdealDenoiser` computes it. It needs no training, and it knows the training set by heart.
#
# **Predict.** Ideal denoiser against our small network: who wins on digits from the training set? Who wins on fresh digits?

# %%
ideal = IdealDenoiser(digits, diffusion.curves)
levels = torch.tensor([0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.97])


# %%
def errors(network, target, x):
    """The error at each noise level."""
    return [error(clean(network, noised(x, t), t, target), x) for t in levels]


# %%
seen = digits[:128]
curves = {
    "ideal, seen digits": errors(ideal, "x0", seen), "network, seen digits": errors(net, "v", seen),
    "ideal, fresh digits": errors(ideal, "x0", fresh), "network, fresh digits": errors(net, "v", fresh),
}  # fmt: skip

# %%
figure, panel = plt.subplots(figsize=(6, 3.4), layout="constrained")
for (name, curve), style, colour in zip(
    curves.items(), ("--", "-", "--", "-"), ("#0072B2", "#56B4E9", "#D55E00", "#E69F00")
):
    panel.plot(levels, curve, style, color=colour, label=name)
panel.set(xlabel="t", ylabel="error of the clean picture")
panel.grid(alpha=0.3)
panel.legend(fontsize=9)
plt.show()

# %%
x_t = noised(fresh[:10], 0.4)
plotting.show_rows({
    "noisy, t = 0.4": to_picture(x_t),
    "ideal denoiser": to_picture(clean(ideal, x_t, 0.4, "x0")),
    "trained network": to_picture(clean(net, x_t, 0.4)),
    "the truth": to_picture(fresh[:10]),
})  # fmt: skip
plt.show()


# %%
def wins(x, t=0.35):
    """True where the network's error is smaller than the ideal denoiser's."""
    x_t = noised(x, t)
    return error(clean(net, x_t, t), x) < error(clean(ideal, x_t, t, "x0"), x)


# %% tags=["nbval-check-output"]
print("t = .35, the network is better on seen digits: ", wins(seen))
print("t = .35, the network is better on fresh digits:", wins(fresh))

# %% [markdown]
# **What happened.** On digits of its own set the ideal denoiser cannot be beaten. On fresh ones it answers with the nearest digit that it knows: sharp, and not what was there. The network has not seen them either, but it has learned strokes, not pictures. A sampler driven by the ideal denoiser can only repeat the training set; a network makes new digits *because it is not ideal*. At much noise the two come together: there the answer is a mean of very many digits, and it matters little which ones. (How to tell a new digit from a copy is a question for [07](07_evaluation_fid.ipynb).)
#
# **Change.** Give `IdealDenoiser` only `digits[:200]`. How does its curve for fresh digits move?

# %% [markdown]
# ## 11. Four targets, one network
#
# **Predict.** The same network, steps and pictures, only the target differs. All four say something about $x_0$. Where, at little or at much noise, will each be good?

# %%
nets = {"v": net, "x0": net_x0}
for name in ("eps", "flow"):
    torch.manual_seed(0)
    nets[name], _ = train_unet(SmallUNet(), name)

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
for i, (name, network) in enumerate(nets.items()):
    x0_error = torch.tensor(errors(network, name, fresh))
    alpha, sigma = diffusion.curves.alpha_sigma(levels)
    for panel, curve in ((left, x0_error), (right, x0_error * alpha / sigma)):
        panel.plot(levels, curve, plotting.STYLES[i], color=plotting.COLOURS[i], label=name, lw=2)
left.set(xlabel="t", title="error of the picture, $\\hat x_0$", yscale="log")
right.set(xlabel="t", title="error of the noise, $\\hat\\epsilon$", yscale="log")
for panel in (left, right):
    panel.grid(alpha=0.3)
left.legend()
plt.show()

# %% [markdown]
# The two panels are one truth seen from two sides: since $x_t$ is given, an error of $\hat x_0$ is an error of $\hat\epsilon$ times $\sigma/\alpha$.


# %%
def error_at(name, t):
    """Error of the picture, for the network with this target."""
    return error(clean(nets[name], noised(fresh, t), t, name), fresh)


print("error of the picture   t = .02   t = .35   t = .97")
for name in nets:
    print(f"{name:20s}" + "".join(f"{error_at(name, t):10.3f}" for t in (0.02, 0.35, 0.97)))

# %% tags=["nbval-check-output"]
print("worst at little noise:", max(nets, key=lambda name: error_at(name, 0.02)))
print("worst at much noise  :", max(nets, key=lambda name: error_at(name, 0.97)))

# %% [markdown]
# **What happened.**
#
# | target | good at | bad at |
# |---|---|---|
# | `eps` | little noise: $\hat x_0 = (x_t - \sigma\hat\epsilon)/\alpha$ starts from $x_t$, and the network's mistake counts only $\sigma/\alpha$ times | much noise: that same factor is huge, and infinite where $\alpha = 0$ |
# | `x0` | much noise: never divides | little noise: it must *redraw* a picture that is already there; as noise, its mistake counts $\alpha/\sigma$ times |
# | `v` | both ends: it behaves like `eps` where there is little noise and like `x0` where there is much | asks for another thing at every level, so the network needs the time |
# | `flow` | both ends too, for any schedule; a straight path from noise to picture, few sampling steps | its error is weighed a little differently; with this schedule its target is twice as large |
#
# That is why [06](06_training_a_latent_diffusion_model.ipynb) trains with the flow target, why Stable Diffusion 2 uses $v$, and why the first papers, with schedules that never reach pure noise, could use $\epsilon$.
#
# **Change.** Train for 600 steps. Which of the gaps are a matter of time, and which stay?

# %% [markdown]
# ## 12. Something to look at: new digits
#
# A denoiser that knows the noise level is all that a sampler needs. We start from pure noise and let Heun's method from the library walk down; [06](06_training_a_latent_diffusion_model.ipynb) does this properly, in latent space.

# %%
curve = diffusion.curves
start = initial_noise(torch.empty(40, 1, 16, 16), curve, seeded(7))
predict = predictor(diffusion, net)


# %% mystnb={"image": {"alt": "Forty small pictures drawn by the trained network: strokes like those of digits, and some digits that can be read."}}
samples = sample(predict, start, time_grid(12), curve, sampler="heun")
plotting.show(to_picture(samples), columns=20)
plt.show()

# %% [markdown]
# **What happened.** Strokes that bend like those of digits; a few real digits; many that are none. The network has seen some thousand digits for some seconds. What it takes to get clear ones is the subject of [06](06_training_a_latent_diffusion_model.ipynb).

# %% [markdown]
# ## 13. What could go wrong: a step number in place of a time
#
# Many papers and programs count time in whole steps, 0 to 999. Ours runs from 0 to 1. **The mistake:** to hand the network a step number.


# %%
@torch.no_grad()
def told(number, x_t):
    """The picture that the network answers with, told this number as the time."""
    return net_x0(x_t, torch.full((len(x_t),), float(number)))


rows = {}
for t in (0.3, 0.7):
    x_t = noised(fresh[:10], t)
    rows[f"told the time {t}"] = to_picture(told(t, x_t))
    rows[f"told the step {1000 * t - 1:.0f}"] = to_picture(told(1000 * t - 1, x_t))
plotting.show_rows(rows, label_width=2.0)
plt.show()

# %%
for t in (0.1, 0.3, 0.5, 0.7, 0.9):
    x_t = noised(fresh, t)
    right, wrong = error(told(t, x_t), fresh), error(told(1000 * t - 1, x_t), fresh)
    print(f"t = {t}: error {right:.2f} with the time, {wrong:.2f} with the step number")

# %% [markdown]
# **Symptom.** Nothing crashes: any number can be turned into sines. The network believes in some noise level or other, so the answers are blurred at some levels and nearly right at others, in no order. In samples it looks as if the model were badly trained.
#
# **Cure.** Let the library ask: `Diffusion.predict` goes through the schedule, and the schedule refuses times outside [0, 1]. Step $i$ of $T$ steps is the time $(i + 1)/T$.

# %% tags=["nbval-check-output"]
try:
    diffusion.predict(net, noised(fresh[:10], 0.5), torch.tensor(499.0))
except ValueError as complaint:
    print(complaint)

# %% [markdown]
# ## Exercises
#
# Each check says what is wrong, in words. Run it as often as you like.
#
# ### Exercise 1: the time embedding, without a loop
#
# Write `my_embedding(t, dim)` for a whole batch: `t` of shape `(n,)`, the result of shape `(n, dim)`, sines first.


# %% tags=["exercise"]
def my_embedding(t, dim):
    return ...  # your lines here


# %% tags=["check", "nbval-check-output"]
check.embedding(my_embedding)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `torch.arange(dim // 2)` gives all $i$ at once; from it follow all frequencies in one line.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `t[:, None] * frequency` has a row for each time and a column for each frequency. Do not forget the 1000.
#
# </details>
#
# <details><summary>Solution</summary>
#
# The angles are one outer product; then sines and cosines are laid side by side with `torch.cat`. It stands in the next cell.
#
# </details>


# %% tags=["solution", "nbval-check-output"]
def embedding_solution(t, dim):
    frequency = 10_000.0 ** (-torch.arange(dim // 2) / (dim // 2))
    angle = 1000 * t[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], dim=1)


check.embedding(embedding_solution)
# %% [markdown]
# ### Exercise 2: read a UNet
#
# `UNetConfig(in_channels=4, channels=(32, 64, 128), blocks=2)` gets latents of 4 x 64 x 64. Every layer on the way down leaves a skip, and so does the stem. The way up has `blocks + 1` blocks a level. Without running it, fill in:
#
# - `skips`: how many stages are kept on the way down;
# - `middle`: the shape in the middle, `(channels, height, width)`;
# - `last_block`: how many channels go *into* the very last block of the way up.

# %% tags=["exercise"]
my_shapes = {"skips": ..., "middle": ..., "last_block": ...}


# %% tags=["check", "nbval-check-output"]
check.shapes(my_shapes)
# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Draw the way down as in section 5, now with two blocks a level. How many halvings lie between three levels?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# What comes from below, and what lies beside it? The skip that was kept first is taken last.
#
# </details>
#
# <details><summary>Solution</summary>
#
# One skip from the stem, two blocks on each of three levels, two halvings: $1 + 6 + 2 = 9$. Two halvings take 64 to 16, with 128 channels. The last block gets 32 channels from the block before it and 32 from the stem: 64.
#
# </details>

# %% tags=["solution", "nbval-check-output"]
shapes_solution = {"skips": 1 + 3 * 2 + 2, "middle": (128, 64 // 4, 64 // 4), "last_block": 32 + 32}
check.shapes(shapes_solution)

# %% [markdown]
# ### Exercise 3: scale and shift
#
# Write `my_film(h, scale, shift)` from memory: `h` has the shape `(n, c, H, W)`, `scale` and `shift` have `(n, c)`. With `scale = 0` and `shift = 0` nothing may change.


# %% tags=["exercise"]
def my_film(h, scale, shift):
    return ...  # your lines here


# %% tags=["check", "nbval-check-output"]
check.film(my_film)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# One number belongs to a whole picture of $H \times W$: give `scale` two more axes of length 1, at the end.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# What must the factor be when `scale` is 0?
#
# </details>
#
# <details><summary>Solution</summary>
#
# `[:, :, None, None]` adds the two axes; the factor is `1 + scale`. PyTorch lines up axes from the *right*: without the two axes, `(n, c)` would meet `(H, W)`, and when the sizes happen to fit, nothing complains.
#
# </details>


# %% tags=["solution", "nbval-check-output"]
def film_solution(h, scale, shift):
    return h * (1 + scale[:, :, None, None]) + shift[:, :, None, None]


check.film(film_solution)

# %% [markdown]
# ### Exercise 4: the picture from $v$
#
# Given $v = \alpha\,\epsilon - \sigma\,x_0$ and $x_t = \alpha\,x_0 + \sigma\,\epsilon$ with $\alpha^2 + \sigma^2 = 1$, write `my_x0(v, x_t, alpha, sigma)`. Derive it; do not look it up in section 6.


# %% tags=["exercise"]
def my_x0(v, x_t, alpha, sigma):
    return ...  # your lines here


# %% tags=["check", "nbval-check-output"]
check.x0_from_v(my_x0)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# $(x_t, v)$ is $(x_0, \epsilon)$ turned by an angle. Turn it back.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Which two multiples of $x_t$ and $v$ make $\epsilon$ vanish when you add them?
#
# </details>
#
# <details><summary>Solution</summary>
#
# $\alpha x_t - \sigma v = \alpha^2 x_0 + \alpha\sigma\epsilon - \sigma\alpha\epsilon + \sigma^2 x_0 = x_0$.
#
# </details>


# %% tags=["solution", "nbval-check-output"]
def x0_solution(v, x_t, alpha, sigma):
    return alpha * x_t - sigma * v


check.x0_from_v(x0_solution)

# %% [markdown]
# ### Design your own
#
# Design a UNet for latents of 4 x 32 x 32 with at most a million parameters: choose `channels`, `blocks` and `heads` of a `UNetConfig`, and count with `count_parameters`. Predict first which of the three is the most expensive, and where its parameters sit.

# %% [markdown] tags=["teacher", "remove-cell"]
# **For the teacher.** Exercises, minutes to allow, and what to listen for.
#
# | exercise | minutes | expected | typical wrong answer | what the check says |
# |---|---|---|---|---|
# | 1: the time embedding | 8 | sines and cosines of `1000 t` times the frequencies | t not scaled | "t is not scaled: multiply it by 1000 first, or .1 and .9 look almost alike." |
# | 2: read a UNet | 10 | 9 skips, (128, 16, 16), 64 | the halvings are not counted | "`skips`: the two layers that halve the picture leave a skip too." |
# | 3: scale and shift | 5 | `h * (1 + scale) + shift` with two more axes | the axes are missing | "wrong axis: without [:, :, None, None] PyTorch lines (n, c) up with height and width, and says nothing when the sizes happen to fit." |
# | 4: the picture from $v$ | 8 | $\alpha x_t - \sigma v$ | plus instead of minus | "a sign: v points from the picture to the noise, so its share is taken away (minus)." |
#
# Misconception to listen for: *the network outputs the picture*. Ask which of the four targets of section 11 it was trained on, and how the others follow from it.

# %% [markdown]
# ## Recap
#
# 1. A denoiser must know the noise level; a vector of waves of $1000\,t$ tells it, through a scale and a shift in every block.
# 2. A UNet goes down to *what* and up to *where*; skip connections carry the where, and without them pictures blur.
# 3. Attention lets distant places talk; it is cheap only where the picture is small.
# 4. The last layer starts at 0, so the first loss is the target's variance: a free test.
# 5. $\epsilon$ is bad at much noise, $x_0$ at little noise, $v$ and flow hold at both ends; even the best denoiser blurs, because it answers with a mean.
#
# ## Quiz
#
# Choose an answer: each of them, right or wrong, gets a reason.

# %% tags=["quiz"]
from ldmlib.widgets import quiz

quiz("05_unet")

# %% [markdown]
# ## Where to go next
#
# - [06](06_training_a_latent_diffusion_model.ipynb) puts this network into the latent space of an autoencoder and trains the whole thing.
# - [04](04_forward_diffusion.ipynb) has the schedules, if $\alpha$ and $\sigma$ still feel foreign.
# - The library's own file: `ldmlib/networks/unet.py`. You can now read every line of it.
#
# ## References
#
# - Ronneberger, Fischer, Brox: U-Net, 2015, arXiv 1505.04597.
# - Vaswani et al.: Attention Is All You Need, 2017, arXiv 1706.03762 (sines and cosines, attention).
# - Perez et al.: FiLM, 2017, arXiv 1709.07871 (scale and shift). Wu, He: Group Normalization, 2018, arXiv 1803.08494.
# - Ho, Jain, Abbeel: DDPM, 2020, arXiv 2006.11239 (the denoising UNet, the target $\epsilon$).
# - Dhariwal, Nichol: Diffusion Models Beat GANs, 2021, arXiv 2105.05233 (scale and shift, attention at low resolutions).
# - Salimans, Ho: Progressive Distillation, 2022, arXiv 2202.00512 (the target $v$).
# - Lipman et al.: Flow Matching, 2022, arXiv 2210.02747. Karras et al.: EDM, 2022, arXiv 2206.00364 (the ideal denoiser).

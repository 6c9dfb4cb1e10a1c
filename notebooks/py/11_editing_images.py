# %% [markdown]
# # 11 · Editing images: keep some, draw the rest
#
# [Open in Colab](https://colab.research.google.com/github/ldm-course/ldm-course/blob/main/notebooks/11_editing_images.ipynb)
#
# So far a picture began as noise. Now it begins as a picture: one to be changed, one with a hole, one that is damaged, one that is too small. At the end of this notebook you have done all four, with the models that you know, and you know for each of them what it is better than, by which number.
#
# > **You will be able to** redraw a picture with as much freedom as you like; carry an emoji from one artist's style to another's and score it against the real counterpart; walk from a picture back to its noise; fill holes in two ways; enlarge pictures, and say why the best PSNR is not the best picture.
# >
# > **Needs** [06](06_training_a_latent_diffusion_model.ipynb) (the model), [07](07_evaluation_fid.ipynb) (scores and floors), [08](08_faster_sampling.ipynb) (the ODE) and, for style, [10](10_text_to_image.ipynb).
# >
# > **Takes** the minutes that the table in the README gives, on 2 CPU cores. Two models were trained for this notebook; their weights come with the course, with a [model card](https://github.com/ldm-course/ldm-course/blob/main/ldmlib/assets/weights/mnist_enlarges/MODEL_CARD.md) each.

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
from itertools import pairwise

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import nn

from ldmlib import LatentDiffusion, plotting
from ldmlib.applications.editing import conditioning
from ldmlib.applications.editing.edits import INVERTIBLE, from_noise, image_to_image, inpaint
from ldmlib.applications.editing.edits import invert, round_trip_error, slerp, super_resolve
from ldmlib.applications.text_to_image import matching
from ldmlib.data import mnist
from ldmlib.data.emoji_set import STYLES, captioned_emoji, with_style
from ldmlib.diffusion.repaint import places
from ldmlib.diffusion.samplers import sample
from ldmlib.diffusion.spacing import cut
from ldmlib.evaluation import metrics
from ldmlib.evaluation.evaluator import mnist_evaluator, restoration_scores
from ldmlib.evaluation.features import extract
from ldmlib.images import resize
from ldmlib.rng import per_sample_generators, randn_like, seeded
from ldmlib.training.config import TrainConfig
from ldmlib.training.run import train

# %%
model = LatentDiffusion.from_pretrained("mnist")
enlarger = LatentDiffusion.from_pretrained("mnist_enlarges")
filler = LatentDiffusion.from_pretrained("mnist_fills_holes")
test, all_labels = mnist("test").as_tensors()
x, labels = test[:250], all_labels[:250]
evaluator = mnist_evaluator()

# %% mystnb={"image": {"alt": "Four rows of eight digits: with a grey hole in the middle, the same filled with strokes, as eight by eight blocks, the same enlarged to sharp digits."}}
hole = conditioning.centre_mask(32)
small = resize(x, 8)
rows = {
    "a hole": torch.where(hole, 0.0, x[:8]),
    "filled": inpaint(filler, x[:8], hole),
    "8 x 8": F.interpolate(small[:8], scale_factor=4),
    "enlarged": super_resolve(enlarger, small[:8]),
}
plotting.show_rows(rows, scale=0.8)
plt.show()


# %% [markdown]
# Every edit below gets a row in a table with three columns: PSNR asks whether the pixels are those of the original, FID whether the pictures look like real ones, and "label read" whether the classifier still sees the digit. They will not agree, and that is the point.


# %%
def show_table(title, results, columns=("PSNR", "FID", "label read")):
    """Results by name, one row each."""
    print(title + " " * (34 - len(title)) + "".join(f"{column:>12}" for column in columns))
    for name, scores in results.items():
        print(f"{name!s:34}" + "".join(f"{scores[column]:12.3g}" for column in columns))


def scores(restored, original=x, truth=labels):
    return restoration_scores(evaluator, restored, original, truth)


# %% [markdown]
# ## 1. Image to image
#
# A model that removes noise can be handed *any* noisy picture. Take a clean one, add noise up to some time $t = s$, the **strength**, and let the model remove it again (SDEdit). Little noise hides only detail, so only detail is drawn anew. Much noise hides everything.
#
# $$x_s = \alpha_s\, x_0 + \sigma_s\, \epsilon, \qquad \text{then the sampler's steps from } s \text{ to } 0$$
#
# **Predict.** At which strength does a 3, asked to be an 8, become one? When is nothing of the 3 left?


# %%
def naive_image_to_image(model, x, strength, label, steps=10):
    """Noise up to the time `strength`, then the rest of the grid."""
    z = model.encode(x)
    noise = randn_like(z, per_sample_generators(0, len(x)))
    times = cut(torch.linspace(1, 0, steps + 1, dtype=torch.float64), strength)
    noisy = (1 - strength) * z + strength * noise  # this model's schedule is flow
    predict = model.predictor(model.condition(len(x), label), guidance=2.0)
    return model.decode(sample(predict, noisy, times, model.diffusion.curves, None, "heun"))


# %% tags=["nbval-check-output"]
threes = test[all_labels == 3][:10]
how = dict(labels=8, steps=10, guidance=2.0, seed=0)
mine = naive_image_to_image(model, threes, 0.6, 8)
theirs = image_to_image(model, threes, 0.6, **how)
print("equal to ldmlib's:", torch.allclose(mine, theirs, atol=1e-4))

# %% mystnb={"image": {"alt": "Rows of ten threes for growing strength: at 0.3 still threes, at 0.5 some are closing, at 0.7 eights of the same slant, at 1 eights of any shape."}}
rows = {"a 3": threes}
for strength in (0.3, 0.5, 0.6, 0.7, 0.8, 1.0):
    rows[f"strength {strength}"] = image_to_image(model, threes, strength, **how)
plotting.show_rows(rows, scale=0.8)
plt.show()

# %% [markdown]
# The same for 250 digits of the test set, each asked to become the next one (9 becomes 0). Two baselines stand around the edits: strength 0, where the picture only passes through the first stage, and strength 1, where it is forgotten.

# %%
wanted = (labels + 1) % 10
changed = {}
for strength in (0.0, 0.3, 0.5, 0.7, 0.85, 1.0):
    edited = image_to_image(model, x, strength, labels=wanted, guidance=2.0)
    changed[strength] = {**scores(edited), "new label": scores(edited, x, wanted)["label read"]}
floor = evaluator.floor(len(x))
show_table("strength", changed, ("PSNR", "new label", "FID"))
print(f"n = {len(x)}, FID of real digits at this n: {floor:.1f}")

# %% tags=["nbval-check-output"]
kept = [changed[s]["PSNR"] for s in (0.0, 0.3, 0.5, 0.7, 1.0)]
obeyed = [changed[s]["new label"] for s in (0.0, 0.3, 0.5, 0.7, 1.0)]
print("the more strength, the less is kept:        ", kept == sorted(kept, reverse=True))
print("the more strength, the more the label rules:", obeyed == sorted(obeyed))

# %% [markdown]
# **Explain.** Strength is a dial between two wishes, and no value of it grants both: where the label is obeyed, most of the pixels are lost. Look at FID in between: it is worst where half of the digits have changed. There stand pictures that are neither the old digit nor the new one, because the picture's shape and the label pull in two directions. At both ends all is well made. FID does not know what was asked; it only sees that something is odd.
#
# **Change.** Ask for the digit's own label instead of the next one. What does strength do now?
#
# ## 2. Style transfer, scored against the truth
#
# Style transfer is usually judged by eye, as nobody has the true result. We do: most emoji exist in three artists' styles. Take the flat twemoji picture, ask for the same thing in noto style, and compare with what noto's artists really drew.

# %%
emoji = LatentDiffusion.from_pretrained("emoji")
judge = matching.bundled_matcher()


def in_all_styles(data, most=60):
    """Captions with a picture in each style, and these pictures, {style: (n, 3, 32, 32)}."""
    captions = sorted(set(data.captions))
    where = [[data.where(caption=c, style=s) for s in STYLES] for c in captions]
    some = [i for i, numbers in enumerate(where) if all(numbers)]
    some = some[:: max(1, len(some) // most)][:most]
    pictures = [data.pictures.subset([where[i][k][0] for i in some]) for k in range(3)]
    return [captions[i] for i in some], {
        s: p.as_tensors()[0] for s, p in zip(STYLES, pictures, strict=True)
    }


# %% [markdown]
# Three questions to each result. Is it near its true counterpart, in pixels? Is the true counterpart the *nearest* of all true noto pictures, in the features of the matcher of [10](10_text_to_image.ipynb)? And which style does the matcher take it for?


# %%
@torch.no_grad()
def style_share(pictures, captions, style="noto"):
    """Share of pictures that fit their caption in this style better than in the other two."""
    look = F.normalize(judge.pictures(pictures), dim=1)
    prompts = [judge.settings.tokenizer([with_style(c, s) for c in captions]) for s in STYLES]
    fits = torch.stack([(look * F.normalize(judge.words(p), dim=1)).sum(1) for p in prompts], 1)
    return float((fits.argmax(1) == STYLES.index(style)).double().mean())


def against_truth(pictures, true, captions):
    seen, real = (extract(judge, p)[0] for p in (pictures, true))
    nearest = torch.cdist(seen, real).argmin(1)
    return {
        "PSNR": metrics.psnr(pictures, true),
        "counterpart": float((nearest == torch.arange(len(true))).double().mean()),
        "noto": style_share(pictures, captions),
    }


# %%
transfer, shown = {}, {}
for name in ("train", "test"):
    captions, pictures = in_all_styles(captioned_emoji(name))
    prompts = [with_style(c, "noto") for c in captions]
    results = {"left as it is": pictures["twemoji"], "the true noto": pictures["noto"]}
    for strength in (0.3, 0.5, 0.7, 0.9, 1.0):
        results[f"strength {strength}"] = image_to_image(
            emoji, pictures["twemoji"], strength, prompt=prompts
        )
    shown[name] = results
    transfer[name] = {k: against_truth(v, pictures["noto"], captions) for k, v in results.items()}
    words = {"train": "seen captions", "test": "held-out captions"}[name]
    show_table(f"{words}, n = {len(captions)}", transfer[name], ("PSNR", "counterpart", "noto"))

# %% mystnb={"image": {"alt": "Emoji in rows: flat twemoji, edited at strength 0.3, 0.5 and 0.7, and the true noto pictures. Of held-out captions the shapes dissolve from strength 0.7 on."}}
for name in ("train", "test"):
    keys = ("left as it is", "strength 0.3", "strength 0.5", "strength 0.7", "the true noto")
    plotting.show_rows({k: shown[name][k][1:60:6] for k in keys}, scale=0.8)
    plt.show()

# %% tags=["nbval-check-output"]
seen, new = transfer["train"], transfer["test"]
print(
    "seen: words alone beat the picture left as it is:    ",
    seen["strength 1.0"]["PSNR"] > seen["left as it is"]["PSNR"],
)
print(
    "held out: words alone are worse than leaving it:     ",
    new["strength 1.0"]["PSNR"] < new["left as it is"]["PSNR"],
)
print(
    "held out: a careful edit is better than either:      ",
    new["strength 0.3"]["PSNR"] > new["left as it is"]["PSNR"],
)

# %% [markdown]
# **Explain.** For captions that the model was trained on, more strength is better, give or take a picture in sixty: it *knows* noto's picture and only has to be freed from the other one. That is memory, not style transfer. For held-out captions the words alone lead nowhere, and the best edit is a careful one, which keeps the shape of the picture and changes its surface. Only the second table says what the model can do with *your* picture. A paper that shows the first one only has shown you nothing.
#
# ## 3. Back to the noise
#
# Sampling with the ODE is a walk along a curve, and curves can be walked backwards: from the picture at $t = 0$ up to the noise at $t = 1$ that would have become it (DDIM inversion). Forwards again, and we should be back. In exact arithmetic with infinitely many steps we are.
#
# **Predict.** With 10 steps of Euler there and 10 back, how far off? And with Heun, which asks the network twice a step?

# %%
few = x[:10]
for sampler in INVERTIBLE:
    errors = [
        float(
            round_trip_error(
                model, few, steps=n, sampler=sampler, labels=labels[:10], guidance=1.0
            ).mean()
        )
        for n in (5, 10, 20, 40)
    ]
    print(f"{sampler:6} RMS after 5, 10, 20, 40 steps:", *(f"{error:.4f}" for error in errors))


# %% [markdown]
# What is the noise of a picture good for? It holds what the label does not say: slant, thickness, swing. Invert each digit *with* its label, then draw from that noise with another label. Measured: does the new digit keep the old one's slant and its amount of ink? The baseline is a digit drawn from noise that has nothing to do with it.


# %%
def slant(x):
    """How much each picture's ink leans, from its second moments: (n, 1, H, W) -> (n,)."""
    ink = (x[:, 0] + 1).double() / 2 + 1e-9
    ink = ink / ink.sum((1, 2), keepdim=True)
    place = torch.arange(x.shape[-1], dtype=torch.float64)
    row, column = ink.sum(2) @ place, ink.sum(1) @ place
    down, right = place - row[:, None], place - column[:, None]
    both = torch.einsum("nij,ni,nj->n", ink, down, right)
    return -both / torch.einsum("nij,ni->n", ink, down**2)


def correlation(a, b):
    return float(torch.corrcoef(torch.stack([a, b]))[0, 1])


# %%
noise = invert(model, x, labels=labels, steps=10, sampler="heun", guidance=1.0)
from_own = from_noise(model, noise, labels=wanted, steps=10, sampler="heun", guidance=1.5)
from_any = model.sample(len(x), wanted, seed=3)
half_way = image_to_image(model, x, 0.8, labels=wanted)
hands = {}
for name, y in (
    ("drawn from its own noise", from_own),
    ("strength 0.8", half_way),
    ("drawn from any noise", from_any),
):
    hands[name] = {
        "slant": correlation(slant(x), slant(y)),
        "ink": correlation(x.mean((1, 2, 3)), y.mean((1, 2, 3))),
        "new label": scores(y, x, wanted)["label read"],
    }
show_table("correlation with the original", hands, ("slant", "ink", "new label"))

# %% mystnb={"image": {"alt": "Three rows of ten digits: originals, the next digit drawn from the original's own noise with like slant and thickness, and from any noise."}}
plotting.show_rows(
    {"original": x[:10], "from its noise": from_own[:10], "from any noise": from_any[:10]},
    scale=0.8,
)
plt.show()

# %% tags=["nbval-check-output"]
own, other = hands["drawn from its own noise"], hands["drawn from any noise"]
print("its own noise keeps the slant:", own["slant"] > other["slant"] + 0.2)
print("its own noise keeps the ink:  ", own["ink"] > other["ink"] + 0.2)

# %% [markdown]
# **Explain.** A part of the handwriting goes along with the noise: label and noise share the work. Nobody asked for this. It is what training found useful. It is a part only, as the correlations say: a thin 7 may still become a plump 8.
#
# ## 4. Holes
#
# The middle of a digit is missing. Three ways to fill it:
#
# - **Smoothly**, from the edge inwards, with no model at all. The baseline.
# - **RePaint**: lead the model that we have. After each step, put the known part back in, with the noise of that time; and take each step several times, so that what is drawn can come to fit what is known.
# - **A model trained for it**: its network is shown the picture with the hole and a mask, beside the noise.
#
# Whatever fills the hole, a known pixel must not change by one bit. It sounds trivial, and it is the most frequent bug: an autoencoder changes every pixel, so the known ones must be put back at the end.

# %%
ways = {
    "smooth": conditioning.patched(x, hole),
    "RePaint, each step once": inpaint(model, x, hole, repeats=1, seed=1),
    "RePaint, each step 4 times": inpaint(model, x, hole, repeats=4, seed=1),
    "trained model": inpaint(filler, x, hole, seed=1),
}
filled = {name: scores(y) for name, y in ways.items()}
show_table(f"n = {len(x)}, floor {floor:.1f}", filled)
asked = sum(later > earlier for earlier, later in pairwise(places(20, jump=1, repeats=4)))
print(f"questions to the network: RePaint {asked}, trained model {2 * filler.config.steps - 1}")

# %% mystnb={"image": {"alt": "Six rows of ten digits: the digit with a grey hole, filled smoothly with a blur, by RePaint once with broken strokes, by RePaint four times with joined strokes, by the trained model, and the truth."}}
plotting.show_rows(
    {"hole": torch.where(hole, 0.0, x[:10]), **{k: v[:10] for k, v in ways.items()}, "truth": x[:10]},
    scale=0.8, label_width=2.2,
)  # fmt: skip
plt.show()

# %% tags=["nbval-check-output"]
outside = ~hole.expand_as(x)
print("known pixels bit-equal:", all(torch.equal(y[outside], x[outside]) for y in ways.values()))
read = {name: row["label read"] for name, row in filled.items()}
print(
    "repeating helps RePaint:   ",
    read["RePaint, each step 4 times"] > read["RePaint, each step once"],
)
print("a trained model beats both:", read["trained model"] > read["RePaint, each step 4 times"])

# %% [markdown]
# **Explain.** RePaint needs no training, and pays with questions to the network: many more than the trained model. It sees the known part only through noise, and so fits it less well; taking steps again helps. The trained model is shown the known part plainly. The smooth filling is as near in pixels as RePaint's, and is no digit: PSNR alone would not tell.
#
# And no model can know: half of the rows' digits show little more than two ends of strokes. A 0 with its middle hidden may as well have been an 8.
#
# One hole has many fillings. The same digit, eight seeds:

# %% mystnb={"image": {"alt": "Three rows of eight digits with the upper half kept: the 7 and the 1 end alike each time, the 5 ends in open and closed bows."}}
wide = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
wide[..., 14:, :] = True
rows = {
    f"{labels[i]}, lower half": inpaint(filler, x[i : i + 1].expand(8, -1, -1, -1), wide, seed=5)
    for i in (0, 2, 8)
}
plotting.show_rows(rows, scale=0.8)
plt.show()

# %% [markdown]
# ## 5. Damaged digits
#
# Noise and blur, and the model of section 1: let it redraw what it does not believe. No label is given, since a damaged digit does not come with its name. Each damage gets the classical remedy as its baseline.


# %%
def blurred(x, width):
    """Convolved with a Gaussian, edges black."""
    place = torch.arange(-8, 9, dtype=x.dtype)
    kernel = torch.exp(-0.5 * (place / width) ** 2)
    kernel = kernel / kernel.sum()
    y = F.conv2d(F.pad(x + 1, (8, 8, 8, 8)), kernel.view(1, 1, 1, -1))
    return F.conv2d(y, kernel.view(1, 1, -1, 1)) - 1


def sharpened(y, width, noise=0.01):
    """Wiener's filter: divide by the blur where it left anything (the blur is known here)."""
    size = y.shape[-1] + 16
    spot = -torch.ones(1, 1, size, size)
    spot[..., size // 2, size // 2] = 1
    kernel = torch.fft.rfft2(torch.fft.ifftshift((blurred(spot, width) + 1) / 2))
    picture = torch.fft.rfft2(F.pad(y + 1, (8, 8, 8, 8)))
    restored = torch.fft.irfft2(
        picture * kernel.conj() / (kernel.abs() ** 2 + noise), s=(size, size)
    )
    return (restored[..., 8:-8, 8:-8] - 1).clamp(-1, 1)


# %%
noisy = (x + 0.8 * torch.randn(x.shape, generator=seeded(11))).clamp(-1, 1)
soft = blurred(x, 2.0)
cures = {}
for name, damaged, remedy, mended in (
    ("noise", noisy, "smoothed", blurred(noisy, 1.0)),
    ("blur", soft, "Wiener", sharpened(soft, 2.0)),
):
    cures |= {f"{name}: damaged": damaged, f"{name}: {remedy}": mended}
    for strength in (0.3, 0.5, 0.7):
        cures[f"{name}: strength {strength}"] = image_to_image(
            model, damaged, strength, labels=-1, seed=2
        )
    cures[f"{name}: shrunk, enlarged"] = super_resolve(enlarger, resize(damaged, 8), seed=2)
show_table(f"n = {len(x)}, floor {floor:.1f}", {name: scores(y) for name, y in cures.items()})

# %% mystnb={"image": {"alt": "Digits in rows, noisy, smoothed, redrawn at strength 0.5, shrunk and enlarged; then blurred, sharpened by Wiener's filter, redrawn, shrunk and enlarged."}}
keys = [k for k in cures if not k.endswith(("0.3", "0.7"))]
plotting.show_rows({k: cures[k][:10] for k in keys}, scale=0.8, label_width=2.2)
plt.show()

# %% [markdown]
# **Explain.** The model makes digits of whatever it gets, and with much freedom makes the *wrong* ones: along the rows of blur FID falls, and the label is lost with it. Against noise a little redrawing helps more than smoothing: noise is what this model knows, though it knows it in the latents. Against blur it helps little, and Wiener's filter, which was told what the blur is, wins by far. The enlarger is no remedy either: it was trained on clean small pictures, and takes what is left of noise and blur for strokes.
#
# Two lessons. Use what you know about the damage: as a filter, as training pairs (next section), or inside the sampler (Chung et al., arXiv 2209.14687). And never judge a restoration by how good it looks.
#
# ## 6. From 8 to 32 pixels
#
# Our super-resolution model is shown the small picture beside the noise. Two baselines: bicubic interpolation, and a plain regression network, trained right here on the same task with the mean square error. The regression network works at 8 x 8 and unfolds sixteen channels into 4 x 4 pixels.


# %%
class Regression(nn.Module):
    def __init__(self, width=96):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1), nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1), nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1), nn.SiLU(),
            nn.Conv2d(width, 16, 3, padding=1), nn.PixelShuffle(4),
        )  # fmt: skip

    def forward(self, small):
        return resize(small, 32) + self.layers(small)


# %%
def square_error(network, pair, y, generator, step):
    """Pairs of large and small pictures, side by side in one tensor."""
    large, little = pair[:, :1024].view(-1, 1, 32, 32), pair[:, 1024:].view(-1, 1, 8, 8)
    return F.mse_loss(network(little), large)


torch.manual_seed(0)
large = mnist().as_tensors()[0]
pairs = torch.cat([large.flatten(1), resize(large, 8).flatten(1)], 1)
config = TrainConfig(steps=2000, batch_size=32, lr=5e-3, ema=0.99)
regression = train(Regression(), square_error, (pairs, None), config).ema.eval()

# %%
with torch.no_grad():
    ways = {"bicubic": resize(small, 32), "regression": regression(small).clamp(-1, 1)}
samples = torch.stack([super_resolve(enlarger, small, seed=i) for i in range(8)])
ways |= {"latent diffusion": samples[0], "mean of 8 of its samples": samples.mean(0)}


def grey(y):
    """Share of pixels that are neither black nor white: how soft the strokes are, in per cent."""
    return 100 * float((y.abs() < 0.6).double().mean())


larger = {name: {**scores(y), "grey %": grey(y)} for name, y in ways.items()}
show_table(f"n = {len(x)}, floor {floor:.1f}", larger, ("PSNR", "FID", "label read", "grey %"))
print(f"grey in the originals: {grey(x):.1f} %")

# %% mystnb={"image": {"alt": "Six rows of ten digits: 8 by 8 blocks, bicubic, regression with soft strokes, latent diffusion with sharp strokes, the mean of eight samples, soft again, and the truth."}}
plotting.show_rows(
    {"8 x 8": F.interpolate(small[:10], scale_factor=4), **{k: v[:10] for k, v in ways.items()}, "truth": x[:10]},
    scale=0.8, label_width=2.2,
)  # fmt: skip
plt.show()

# %% [markdown]
# **Explain.** Regression wins over a sample in PSNR and loses in FID. Neither is broken. The network with the smallest square error answers with the *mean* of all digits that fit, and a mean of sharp strokes is soft: count the grey pixels. A sample is one of those digits: as sharp as the originals, and not the one you had. How much must that cost? If a sample $\tilde x$ is drawn from the true $p(x \mid y)$, it lies around the mean just as the truth does, and independently of it:
#
# $$E\,|x - \tilde x|^2 = 2\, E\,|x - E[x \mid y]|^2, \qquad E\,|x - \bar x_k|^2 = \left(1 + \tfrac1k\right) E\,|x - E[x \mid y]|^2$$
#
# for the mean $\bar x_k$ of $k$ samples. So a *perfect* sampler lies 3 dB below the best regression, and a mean of samples climbs back up. Does ours?

# %%
errors = {k: float((samples[:k].mean(0) - x).square().mean()) for k in (1, 2, 4, 8)}
for k, error in errors.items():
    law = (1 + 1 / k) / (1 + 1 / 8)
    print(f"mean of {k}: error {error / errors[8]:.2f} times that of 8, by the law {law:.2f}")

# %% tags=["nbval-check-output"]
one, mean, plain = (
    larger[k] for k in ("latent diffusion", "mean of 8 of its samples", "regression")
)
print(
    "a sample has less PSNR than regression, and a better FID:",
    one["PSNR"] < plain["PSNR"],
    one["FID"] < plain["FID"],
)
print(
    "a sample is as sharp as the originals, regression is not:",
    abs(one["grey %"] / grey(x) - 1) < 0.15,
    plain["grey %"] > 1.25 * grey(x),
)
print(
    "the mean of 8 samples has more PSNR and is softer:       ",
    mean["PSNR"] > one["PSNR"],
    mean["grey %"] > one["grey %"],
)
print(
    "a mean of 8 gains, but less than the law says:           ",
    1.2 < errors[1] / errors[8] < 2 / (9 / 8),
)

# %% [markdown]
# **Explain.** The mean of eight samples is the best of all in PSNR, better than our regression network, which had seconds to learn. And it gains less than the law says, as our model is no perfect sampler: a part of its error is no chance. The first stage's loss and the network's own mistakes are the same in all eight samples, and no mean takes them away.
#
# **Which should you use?** To read a number plate: neither, for both invent. To measure: regression. To look at: a sample, with the note that its details are drawn, not found.
#
# ## 7. Between two pictures
#
# Two noises, and a way from one to the other. The straight way leads through the inside: half-way between two noises lies one with half the variance, and no noise looks like that. **Spherical interpolation** keeps the length:
#
# $$\mathrm{slerp}(a, b; s) = \frac{\sin((1 - s)\,\theta)}{\sin\theta}\, a + \frac{\sin(s\,\theta)}{\sin\theta}\, b, \qquad \theta = \angle(a, b)$$

# %%
a, b = (torch.randn(len(x), *model.latent_shape, generator=seeded(12, i)) for i in range(2))
middle = {"straight": (a + b) / 2, "on the sphere": slerp(a, b, 0.5), "an end": a}
how = dict(labels=labels, steps=5, sampler="heun", guidance=1.0)
between = {}
for name, z in middle.items():
    y = from_noise(model, z, **how)
    between[name] = {
        "std": float(z.std()),
        "FID": evaluator.fid(y),
        "ink": float((y + 1).mean() / 2),
    }
show_table("half-way", between, ("std", "FID", "ink"))
print(f"ink of real digits: {float((x + 1).mean() / 2):.3f}")

# %% mystnb={"image": {"alt": "Two rows of nine digits from one 5 to another, hardly different: wide at the left, narrow and slanted at the right."}}
one, two = a[:1].expand(9, -1, -1, -1), b[:1].expand(9, -1, -1, -1)
shares = torch.linspace(0, 1, 9)
how["labels"] = 5
rows = {
    "straight": from_noise(model, torch.lerp(one, two, shares.view(-1, 1, 1, 1)), **how),
    "on the sphere": from_noise(model, slerp(one, two, shares), **how),
}
plotting.show_rows(rows, scale=0.8)
plt.show()

# %% tags=["nbval-check-output"]
print(
    "the sphere is better half-way:", between["on the sphere"]["FID"] < between["straight"]["FID"]
)
print(
    "and as good as an end:        ",
    between["on the sphere"]["FID"] < 1.25 * between["an end"]["FID"],
)

# %% [markdown]
# **Explain.** One pair does not show it: both rows look well. The crowd does: half-way along the straight line FID is worse, on the sphere it is that of any noise. Look at a few pictures to find mistakes, and at many numbers to find differences.

# %% [markdown]
# ## 8. What could go wrong
#
# **Noise of one time, steps from another.** The commonest bug of image-to-image: the noise is added for time $s$, and the sampler begins at the next time of its grid, or the other way round. No error is raised.


# %%
def mismatched(x, added, begins, label=-1):
    """Noise of time `added`; a sampler that believes it is at time `begins`."""
    z = model.encode(x)
    noisy = (1 - added) * z + added * randn_like(z, per_sample_generators(0, len(x)))
    times = cut(torch.linspace(1, 0, 11, dtype=torch.float64), begins)
    predict = model.predictor(model.condition(len(x), label), guidance=1.0)
    return model.decode(sample(predict, noisy, times, model.diffusion.curves, None, "heun"))


# %% mystnb={"image": {"alt": "Rows of ten digits: the pictures, redrawn at matching times, then with strokes more and more torn as the sampler begins lower, and nearly unharmed where it begins higher."}}
cases = {
    "noise 0.7, begins at 0.7": (0.7, 0.7),
    "noise 0.7, begins at 0.5": (0.7, 0.5),
    "noise 0.7, begins at 0.3": (0.7, 0.3),
    "noise 0.5, begins at 0.8": (0.5, 0.8),
}
wrong = {name: mismatched(x, *times) for name, times in cases.items()}
rows = {"picture": x[:10], **{k: v[:10] for k, v in wrong.items()}}
plotting.show_rows(rows, scale=0.8, label_width=2.2)
plt.show()
show_table(
    "added, and believed", {name: scores(y) for name, y in wrong.items()}, ("FID", "label read")
)

# %% [markdown]
# **Symptom**: with more noise than the sampler believes in, torn strokes and specks, and labels are lost; FID grows by more than half for a small mismatch. The other way round you see nearly nothing, which is worse: strokes are only a little too plain, and strength does not do what it says. **Cause**: the network takes the rest of the noise for strokes, or strokes for noise. **Cure**: one list of times; noise is added at its first entry, and the first step starts there. `ldmlib.diffusion.spacing.cut` makes that list.
#
# ## Exercises
#
# Each check says what is wrong, in words. Run it as often as you like.

# %%
from ldmlib.check import editing as check

# %% [markdown]
# ### Exercise 1: decibels
#
# `a` and `b` are pictures in [-1, 1]. Return the PSNR in dB: ten times the logarithm to base 10 of the squared peak over the mean square error.


# %% tags=["exercise"]
def my_psnr(a, b):
    return ...  # a number


# %% tags=["check", "nbval-check-output"]
check.psnr(my_psnr)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# The peak is the largest possible difference of two pixels. Which values do ours have?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# From -1 to 1 it is 2, and its square 4.
#
# </details>
#
# <details><summary>Solution</summary>
#
# Square, mean, divide, logarithm. The next cell checks it.
#
# </details>


# %% tags=["solution", "nbval-check-output"]
def my_psnr_solution(a, b):
    return 10 * torch.log10(4 / (a - b).square().mean())


check.psnr(my_psnr_solution)

# %% [markdown]
# ### Exercise 2: the times of an edit
#
# `times` falls from 1 to 0. Return the times that an edit of a given strength walks: first `strength` itself, then all times below it.


# %% tags=["exercise"]
def my_times(times, strength):
    return ...  # a tensor that falls from strength to 0


# %% tags=["check", "nbval-check-output"]
check.times_of_edit(my_times)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Which entry of the grid may stay if the strength is an entry of the grid itself? It must not be there twice.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `times[times < strength]`, with a little room for rounding: 0.6 of the grid is not quite the 0.6 that you type.
#
# </details>
#
# <details><summary>Solution</summary>
#
# Put the strength first and the smaller times behind it. The next cell checks it.
#
# </details>


# %% tags=["solution", "nbval-check-output"]
def my_times_solution(times, strength):
    return torch.cat([times.new_tensor([strength]), times[times < strength - 1e-9]])


check.times_of_edit(my_times_solution)

# %% [markdown]
# ### Exercise 3: not one bit
#
# `x` is a picture, `drawn` what came out of the decoder, `mask` is True where to draw. Return the picture whose known pixels are those of `x`, bit for bit, whatever the decoder did there.


# %% tags=["exercise"]
def my_paste(x, drawn, mask):
    return ...  # a picture


# %% tags=["check", "nbval-check-output"]
check.paste(my_paste)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# $m \cdot \text{drawn} + (1 - m) \cdot x$ is nearly right. What is 0 times NaN?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Do not calculate, choose: `torch.where`.
#
# </details>
#
# <details><summary>Solution</summary>
#
# `torch.where` takes the mask, what stands where it is True, and what stands elsewhere. The next cell checks it.
#
# </details>


# %% tags=["solution", "nbval-check-output"]
def my_paste_solution(x, drawn, mask):
    return torch.where(mask, drawn, x)


check.paste(my_paste_solution)

# %% [markdown]
# ### Exercise 4: design your own
#
# Draw a digit with a paint program, or photograph one, and edit it: `ldm edit` in a terminal, or `ldmlib.data.own_pictures.from_folder` here. Before each edit write down which strength you expect to be right, and why. There is no check.

# %% [markdown] tags=["teacher", "remove-cell"]
# **For the teacher.**
#
# | exercise | minutes | what it trains | usual mistakes | check names them |
# |---|---|---|---|---|
# | 1: decibels | 5 | ranges, and a score that everybody quotes | peak 1; natural logarithm; 20 with the mean square | yes |
# | 2: times | 10 | one list of times for noise and steps | the next entry instead of the strength; the wrong end | yes |
# | 3: not one bit | 5 | choosing instead of mixing | mask turned round; products with NaN | yes |
# | 4: design your own | 20 | what a model does with pictures that it was not made for | reporting the best of many | no check |

# %% [markdown]
# ## Recap
#
# 1. Image to image: noise up to the strength, then the rest of the steps. What is kept and what is asked for pull against each other.
# 2. The ODE walks both ways; the noise of a picture holds what its label does not say.
# 3. Holes: lead the model that you have, or train one that is shown the hole. Known pixels are chosen, not computed.
# 4. The mean of all answers has the best PSNR, one of the answers the best FID: a perfect sample costs 3 dB.
# 5. Edits of things that the model was trained on show its memory. Score the held-out ones.
#
# ## Quiz
#
# Choose an answer: each of them, right or wrong, gets a reason.

# %% tags=["quiz"]
from ldmlib.widgets import quiz

quiz("11_editing_images")

# %% [markdown]
# ## Where to go next
#
# From a terminal: `ldm edit mnist digit.png --labels 8 --strength 0.6 --out eight.png`; `ldm edit --help` shows masks and enlarging. Editors for everyday use add three things to this notebook: prompts that say what to change instead of what to draw (InstructPix2Pix), attention maps that keep the rest in place (Prompt-to-Prompt), and networks that hold poses or edges (ControlNet).
#
# ## References
#
# - C. Meng et al. *SDEdit: Guided Image Synthesis and Editing with Stochastic Differential Equations*. 2021. arXiv 2108.01073. (Image to image: section 3.)
# - J. Song, C. Meng, S. Ermon. *Denoising Diffusion Implicit Models*. 2020. arXiv 2010.02502. (Inversion: section 4.3.)
# - A. Lugmayr et al. *RePaint: Inpainting using Denoising Diffusion Probabilistic Models*. 2022. arXiv 2201.09865. (Algorithm 1.)
# - R. Rombach et al. *High-Resolution Image Synthesis with Latent Diffusion Models*. 2022. arXiv 2112.10752. (Sections 4.4 and 4.5.)
# - C. Saharia et al. *Image Super-Resolution via Iterative Refinement*. 2021. arXiv 2104.07636.
# - Y. Blau, T. Michaeli. *The Perception-Distortion Tradeoff*. 2017. arXiv 1711.06077. (A perfect sample costs 3 dB at most.)
# - K. Shoemake. *Animating Rotation with Quaternion Curves*. 1985. doi 10.1145/325334.325242. (Slerp.)
# - W. Shi et al. *Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural Network*. 2016. arXiv 1609.05158.
# - T. Brooks, A. Holynski, A. Efros. *InstructPix2Pix*. 2022. arXiv 2211.09800. A. Hertz et al. *Prompt-to-Prompt*. 2022. arXiv 2208.01626. L. Zhang, A. Rao, M. Agrawala. *ControlNet*. 2023. arXiv 2302.05543.

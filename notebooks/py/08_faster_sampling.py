# %% [markdown]
# # 08 · Faster sampling: the same digits for fewer questions
#
# [Open in Colab](https://colab.research.google.com/github/ldm-course/ldm-course/blob/main/notebooks/08_faster_sampling.ipynb)
#
# A diffusion model draws by asking its network again and again. DDPM asks a thousand times. At the end of this notebook the same network, not trained any further, draws as well with a handful of questions, and you know why.
#
# The first picture below shows what this is about: each column is one noise, each row a way of asking and a number of questions.
#
# > **You will be able to** write DDIM, Heun and DPM-Solver++(2M) from memory, each in a few lines; say which equation all of them solve, and measure the order of each; choose the times at which to ask, and tell what a bad choice does at the first and at the last step; read a figure of quality against network evaluations; show that guidance overshoots.
# >
# > **Needs** [04](04_forward_diffusion.ipynb) (noise levels), [06](06_training_a_latent_diffusion_model.ipynb) (the model) and [07](07_evaluation_fid.ipynb) (FID and its floor).
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

import matplotlib.pyplot as plt
import torch

from ldmlib import LatentDiffusion, plotting
from ldmlib.data import mnist
from ldmlib.diffusion.guidance import predictor
from ldmlib.diffusion.process import Diffusion
from ldmlib.diffusion.samplers import SAMPLERS, ddim, probability_flow
from ldmlib.diffusion.samplers import SampleState, sample
from ldmlib.diffusion.schedule import Schedule
from ldmlib.diffusion.spacing import SPACINGS
from ldmlib.diffusion.spacing import spaced_times, time_grid
from ldmlib.evaluation import metrics
from ldmlib.evaluation.evaluator import mnist_evaluator
from ldmlib.probability.exact_denoisers import ExactDenoiser
from ldmlib.probability.mixtures import GaussianMixture, ring
from ldmlib.rng import seeded

model = LatentDiffusion.from_pretrained("mnist")
flow = Schedule("flow")

# %%
ten = torch.arange(10)
rows = {}
for sampler, all_steps in (("ddim", (1, 2, 4)), ("dpmpp_2m", (4, 8)), ("ddim", (50,))):
    for steps in all_steps:
        pictures = model.sample(10, ten, steps, guidance=1.0, seed=3, sampler=sampler)
        rows[f"{sampler}, {steps}"] = pictures
plotting.show_rows(rows, scale=0.7)
plt.show()

# %% [markdown]
# ## 1. A thousand questions
#
# One question to the network is one **evaluation**: all of the time goes there. So count evaluations, not seconds, and seconds follow.
#
# As in [01](01_probability_and_latent_spaces.ipynb), we first work where the answers are exact: five bumps in the plane, whose best denoiser is a formula. What goes wrong here is the sampler's fault and nobody else's.

# %%
bumps = ring(5, std=0.25)
exact = ExactDenoiser(bumps, flow)
predict = predictor(Diffusion("flow", "x0"), exact)  # predict(x, t) -> x0, eps
noise = torch.randn(1000, 2, generator=seeded(1)).double()


# %% [markdown]
# DDPM steps from $t$ to $s < t$ by drawing from the posterior of [04](04_forward_diffusion.ipynb#the-step-back-if-we-knew-the-picture), with the guess $\hat x_0$ in the place of the unknown $x_0$. Each step draws fresh noise.
#
# **Predict.** With 1000 steps the points end in the bumps. With 5 steps, will they lie too far out, too far in, or in the right place but blurred?


# %%
def naive_ddpm(x, steps, generator):
    """Draw from q(x_s | x_t, x0_hat), again and again."""
    process, times = Diffusion("flow", "x0"), time_grid(steps)
    for t, s in zip(times[:-1], times[1:]):
        x0, _ = predict(x, t)
        if s == 0:
            return x0
        posterior = process.posterior(x0, x, s, t)
        x = posterior.mean + posterior.std * torch.randn(x.shape, generator=generator).double()


truth = bumps.sample(20_000, seeded(2))


def reach(x):
    """Mean distance from the middle, over what it should be."""
    return float(x.norm(dim=1).mean() / truth.norm(dim=1).mean())


# %%
drawn = {n: naive_ddpm(noise, n, seeded(3)) for n in (5, 20, 100, 1000)}
_, axes = plt.subplots(1, 5, figsize=(11, 2.5), layout="constrained", sharex=True, sharey=True)
clouds = {f"{n} steps": x for n, x in drawn.items()} | {"true draws": truth[:1000]}
for ax, (name, x) in zip(axes, clouds.items()):
    ax.plot(*x.T, ".", markersize=2, color=plotting.COLOURS[0])
    ax.set(title=f"{name}\nreach {reach(x):.2f}", aspect="equal", xticks=[], yticks=[])
plt.show()

# %% tags=["nbval-check-output"]
print("5 steps: too far in by more than a tenth:", reach(drawn[5]) < 0.9)
print("20 steps: by less than a tenth:          ", 0.9 < reach(drawn[20]) < 1)
print("1000 steps: right to 5 %:                ", abs(reach(drawn[1000]) - 1) < 0.05)
library = sample(predict, noise, time_grid(20), flow, seeded(3), "ddpm")
print("equal to ldmlib's ddpm:                  ", bool((drawn[20] - library).abs().max() < 1e-3))

# %% [markdown]
# **Explain.** The guess $\hat x_0$ is a mean of all the points that could have become $x_t$, and a mean lies nearer to the middle than the points do. After a small step there is a new guess, a little better. After a large one it is too late: the way was walked towards a mean.
#
# **Change.** Start from the same noise with another seed for the fresh noise. Does a point end in the same bump?
#
# How long would a thousand steps take for the digits of this course?

# %%
start = time.perf_counter()
for _ in model.film(100, steps=4, guidance=1.0, sampler="ddpm"):
    pass
one = (time.perf_counter() - start) / 4
print(f"one evaluation for 100 digits: {one:.3f} s; a thousand of them: {1000 * one:.0f} s")

# %% [markdown]
# ## 2. DDIM: keep the noise that you found
#
# The network answers two questions at once: with $\hat x_0$ it also says which noise is in $x_t$, namely $\hat\epsilon = (x_t - \alpha_t \hat x_0) / \sigma_t$. Why throw that noise away and draw another? Mix the *same* picture and the *same* noise anew, as the lower level asks:
#
# $$x_s = \alpha_s\, \hat x_0 + \sigma_s\, \hat\epsilon .$$
#
# Nothing is drawn any more after the first noise. The way from noise to picture is fixed.
#
# **Predict.** How many steps will this need to come as near to the truth as DDPM with 20?


# %%
def naive_ddim(x, times):
    """The same picture and the same noise, mixed anew at each level."""
    states = []
    for t, s in zip(times[:-1], times[1:]):
        x0, eps = predict(x, t)
        x = flow.alpha(s) * x0 + flow.sigma(s) * eps
        states.append(x)
    return states


# %%
for n in (5, 10, 20):
    print(f"DDIM, {n:2} steps: reach {reach(naive_ddim(noise, time_grid(n))[-1]):.3f}")
for n in (5, 20, 100):
    print(f"DDPM, {n:3} steps: reach {reach(drawn[n]):.3f}")


# %% tags=["nbval-check-output"]
def agree(naive, name, times):
    """Step by step, a function of this notebook against a sampler of the library."""
    theirs = [state.x for state in SAMPLERS[name](predict, noise, times, flow)]
    gap = max(float((a - b).abs().max()) for a, b in zip(naive(noise, times), theirs, strict=True))
    print(f"equal to ldmlib's {name} at every step:", gap < 1e-9)


agree(naive_ddim, "ddim", time_grid(8))

# %% [markdown]
# So the crowd as a whole hardly gains: DDIM, too, walks towards means. The gain is elsewhere. DDIM and DDPM are two ends of one family. Take a share $\eta$ of DDPM's fresh noise and keep the rest of the old one: $\eta = 0$ is DDIM, $\eta = 1$ is DDPM. In the library it is `ddim(..., eta=0.5)`.
#
# The same noise now gives the same picture, *whatever the number of steps*. That is new: DDPM has no such thing. Look down a column.

# %%
rows = {}
for sampler in ("ddim", "ddpm"):
    for steps in (6, 24):
        rows[f"{sampler}, {steps} steps"] = model.sample(
            10, ten, steps, guidance=1.0, seed=5, sampler=sampler
        )
plotting.show_rows(rows, scale=0.7)
plt.show()

# %% tags=["nbval-check-output"]
few, many, other_few, other_many = rows.values()
moved, moved_ddpm = (few - many).abs().mean(), (other_few - other_many).abs().mean()
print("6 and 24 steps differ more with DDPM, by a factor above 2:", bool(moved_ddpm > 2 * moved))

# %% [markdown]
# **Change.** Draw with `sampler=partial(ddim, eta=0.5)` (`from functools import partial`): a function will do where a name does.
#
# ## 3. The equation behind it
#
# Make the steps smaller and smaller, and a curve appears. Along it, $x$ changes as picture and noise are faded out and in:
#
# $$\frac{dx}{dt} = \alpha'(t)\, \hat x_0(x, t) + \sigma'(t)\, \hat\epsilon(x, t) .$$
#
# This is the **probability-flow ODE**: an ordinary differential equation, one velocity for each place and time. Its curves never cross. A crowd that starts as noise and follows them has exactly the law of $x_t$ at every $t$, so at $t = 0$ it has the law of the data. For the flow schedule $\alpha' = -1$ and $\sigma' = 1$: the velocity is $\hat\epsilon - \hat x_0$.
#
# Curves are best seen in one dimension, with time to the right: noise at the left, three bumps at the right, and the density of $x_t$ in grey. Thick, with dots: what DDIM makes of three of the curves in 4 steps.

# %%
line = GaussianMixture.isotropic(torch.tensor([[-1.2], [0.2], [1.3]]).double(), 0.12)
ask_line = predictor(Diffusion("flow", "x0"), ExactDenoiser(line, flow))
begin = torch.linspace(-2, 2, 21).double()[:, None]


def path(sampler, x, steps):
    """All stages of a sampler, the start included: (steps + 1, n)."""
    states = SAMPLERS[sampler](ask_line, x, time_grid(steps), flow)
    return torch.stack([x, *[state.x for state in states]])[..., 0]


# %%
places, instants = torch.linspace(-2.4, 2.4, 201).double(), torch.linspace(1, 0.005, 200)
shade = [
    line.noised(float(flow.alpha(t)), float(flow.sigma(t))).log_prob(places[:, None]).exp()
    for t in instants
]
shade = torch.stack([p / p.max() for p in shade], 1)
fig, ax = plt.subplots(figsize=(7.5, 4), layout="constrained")
box = {"extent": (1, 0, -2.4, 2.4), "aspect": "auto", "origin": "lower"}
ax.imshow(shade, cmap="Greys", vmax=1.6, **box)
ax.plot(time_grid(100), path("heun", begin, 100), color=plotting.COLOURS[0], linewidth=0.8)
corners = path("ddim", begin[[6, 12, 15]], 4)
ax.plot(time_grid(4), corners, "o-", color=plotting.COLOURS[1], markersize=5, linewidth=2)
ax.set(xlabel="t", ylabel="x", title="thin: the ODE's curves; thick: DDIM in 4 steps")
plt.show()

# %% [markdown]
# **Predict.** The straight pieces leave the curve where it bends. If we take twice as many pieces, by how much does the error at the end shrink?


# %%
def velocity(x, t):
    """dx/dt for the flow schedule."""
    x0, eps = predict(x, t)
    return eps - x0


# %% tags=["nbval-check-output"]
x, t, h = noise, torch.tensor(0.6).double(), 1e-4
theirs = probability_flow(predict, x, t, flow)
gap = (velocity(x, t) - theirs).abs().max()
print("our velocity is ldmlib's probability_flow:", bool(gap < 1e-9))
*_, tiny = ddim(predict, x, torch.stack([t, t - h]), flow)
difference = (tiny.x - (x - h * velocity(x, t))).abs().max()
print("a step of DDIM is a step of Euler along it:", bool(difference < 1e-9))

# %%
reference = sample(predict, noise, time_grid(200), flow, sampler="heun")


def error(x):
    """How far from where the curves end, on average."""
    return float((x - reference).norm(dim=1).mean())


for n in (8, 16, 32, 64):
    print(f"DDIM, {n:2} steps: error {error(naive_ddim(noise, time_grid(n))[-1]):.4f}")

# %% [markdown]
# **Explain.** Twice the steps, half the error: DDIM is **of first order**. It takes the direction at the beginning of each step and never looks whether the curve bends. To gain a digit of accuracy, it needs ten times the steps. There are better ways to follow a curve, and they are much older than diffusion models.
#
# ## 4. Heun: look twice
#
# Take Euler's step, look again where it ends, go back, and walk in the mean of both directions:
#
# $$x_s = x_t + \frac{s - t}{2} \left( u(x_t, t) + u(\tilde x_s, s) \right) .$$
#
# Each step costs two evaluations, except the last: at $t = 0$ there is no noise left to ask about. So $n$ steps cost $2n - 1$.
#
# **Predict.** The error will shrink by more than a half. By how much? And is it worth twice the price?


# %%
def naive_heun(x, times):
    """Euler's step, a second look at its end, the mean of both slopes."""
    states = []
    for t, s in zip(times[:-1], times[1:]):
        first = velocity(x, t)
        end = x + (s - t) * first
        x = end if s == 0 else x + (s - t) * (first + velocity(end, s)) / 2
        states.append(x)
    return states


# %% tags=["nbval-check-output"]
agree(naive_heun, "heun", time_grid(8))

# %%
for n in (8, 16, 32, 64):
    x = naive_heun(noise, time_grid(n))[-1]
    print(f"Heun, {n:2} steps, {2 * n - 1:3} evaluations: error {error(x):.4f}")

# %% [markdown]
# **Explain.** Twice the steps, a quarter of the error: **second order**. The mean of the two slopes knows how the curve bends.
#
# ## 5. DPM-Solver++(2M): remember the last look
#
# Heun pays for its second look. But the sampler has looked before: one step ago. Two looks at $\hat x_0$ tell where it is heading. So go on as DDIM does, but do not aim at the present guess; aim where the guess will be *in the middle of the step*:
#
# $$\text{aim} = \hat x_0 + \frac{h}{2 h'} \left( \hat x_0 - \hat x_0' \right), \qquad x_s = k\, x_t + (\alpha_s - k\, \alpha_t)\, \text{aim}, \qquad k = \frac{\sigma_s}{\sigma_t} .$$
#
# $\hat x_0'$ is the guess of the step before. With the aim at $\hat x_0$, the second formula is DDIM's step (solve it for $\hat\epsilon$ and see). $h$ and $h'$ are the lengths of this step and of the last one, measured in $\log(\alpha / \sigma)$: in that measure the guess moves most evenly.
#
# **Predict.** What should the first step do, which has no step before it? And the last one, where $\log(\alpha/\sigma)$ becomes infinite?


# %%
def naive_dpmpp(x, times):
    """DDIM, aimed at the middle of the step by a line through two looks."""
    states, last_x0, last_h = [], None, None
    for t, s in zip(times[:-1], times[1:]):
        x0, _ = predict(x, t)
        h = (flow.log_snr(s) - flow.log_snr(t)) / 2  # log(alpha / sigma), there minus here
        aim = x0
        if last_x0 is not None and s > 0:
            aim = x0 + h / (2 * last_h) * (x0 - last_x0)
        k = flow.sigma(s) / flow.sigma(t)
        x = k * x + (flow.alpha(s) - k * flow.alpha(t)) * aim
        last_x0, last_h = x0, h
        states.append(x)
    return states


# %% tags=["nbval-check-output"]
agree(naive_dpmpp, "dpmpp_2m", time_grid(8))

# %% [markdown]
# The first and the last step are DDIM's. Now the three of them, by what they cost.

# %%
costs = {"ddim": (4, 8, 16, 32, 64), "heun": (3, 5, 9, 17, 33), "dpmpp_2m": (4, 8, 16, 32, 64)}
fig, ax = plt.subplots(figsize=(5.5, 3.4), layout="constrained")
measured = {}
for i, (name, all_steps) in enumerate(costs.items()):
    for steps in all_steps:
        *_, state = SAMPLERS[name](predict, noise, time_grid(steps), flow)
        measured[name, steps] = state.evaluations, error(state.x)
    points = [measured[name, steps] for steps in all_steps]
    ax.plot(
        *zip(*points), plotting.STYLES[i], marker="osD"[i], color=plotting.COLOURS[i], label=name
    )
ax.set(xscale="log", yscale="log", xlabel="evaluations", ylabel="distance from the curve's end")
ax.set_xticks([4, 8, 16, 32, 64], [4, 8, 16, 32, 64])
ax.minorticks_off()
ax.grid(alpha=0.3)
ax.legend()
plt.show()


# %% tags=["nbval-check-output"]
def ratio(name, few, many):
    return measured[name, few][1] / measured[name, many][1]


first_order = abs(ratio("ddim", 16, 64) / 4 - 1) < 0.15
print("DDIM, 16 to 64 steps: error divided by 4, to 15 %:  ", first_order)
print("Heun, 9 to 33 steps: divided by more than 10:       ", ratio("heun", 9, 33) > 10)
print("DPM-Solver++(2M), 16 to 64: divided by more than 7: ", ratio("dpmpp_2m", 16, 64) > 7)

# %% [markdown]
# **Explain.** Both second-order ways end far below DDIM. Over the whole way, from pure noise to none, $\log(\alpha/\sigma)$ runs from minus to plus infinity, and DPM-Solver++ loses a little of its order at the two ends; between them it has all of it (a test of the library measures this). It asks once a step, so at the left of the figure, where every question counts, it is ahead of Heun.
#
# **Change.** Take `ring(5, std=0.1)`: sharper bumps, sharper bends. Who suffers most?
#
# ## 6. When to ask: the spacing of the steps
#
# Nothing says that the times must have equal distances. Four customs are in use. For $T = 1000$ steps of training and $n$ questions:
#
# | spacing | times | first question | last question |
# |---|---|---|---|
# | trailing | $1,\; 1 - \frac1n,\; \ldots,\; \frac1n$ | $t = 1$ | $t = \frac1n$ |
# | linspace | equal distances from $1$ to $\frac1T$ | $t = 1$ | $t = \frac1T$ |
# | leading | $\frac{n-1}{n}, \ldots, \frac1n, 0$, each plus $\frac1T$ | $t = 1 - \frac1n + \frac1T$ | $t = \frac1T$ |
# | Karras | equal distances in $(\sigma/\alpha)^{1/7}$ | $t = 1$ | $\sigma/\alpha = 0.002$ |
#
# After the last question comes $t = 0$. Karras's levels $r = \sigma / \alpha$, with $\rho = 7$, are
#
# $$r_i = \left( r_{\max}^{1/\rho} + \frac{i}{n - 1} \left( r_{\min}^{1/\rho} - r_{\max}^{1/\rho} \right) \right)^{\rho}, \qquad i = 0, \ldots, n - 1 .$$

# %%
fig, ax = plt.subplots(figsize=(7, 2), layout="constrained")
for row, name in enumerate(SPACINGS):
    times = spaced_times(name, 6, flow)
    ax.plot(times, torch.full_like(times, -row), "-", color="0.8", zorder=0)
    ax.plot(times[:-1], torch.full_like(times[:-1], -row), "o", color=plotting.COLOURS[row])
    ax.plot(times[-1:], [-row], "|", color="black", markersize=12)
ax.set_yticks([0, -1, -2, -3], SPACINGS)
ax.set(xlim=(1.03, -0.03), ylim=(-3.6, 0.6), xlabel="t (noise at the left, picture at the right)")
plt.show()

# %% [markdown]
# **Predict.** The noise that we start from belongs to $t = 1$. `leading` tells the network that it is at a later, cleaner time. What will the network take for picture that is none? And `linspace`: how much does its last step, from $t = 1/T$ to $0$, contribute?

# %%
print("error, and reach, at 7 evaluations")
print(f"{'':10}{'ddim':>14}{'heun':>14}{'dpmpp_2m':>14}")
table = {}
for name in SPACINGS:
    line_of_text = f"{name:10}"
    for sampler, steps in (("ddim", 7), ("heun", 4), ("dpmpp_2m", 7)):
        x = sample(predict, noise, spaced_times(name, steps, flow), flow, sampler=sampler)
        table[name, sampler] = error(x)
        line_of_text += f"{table[name, sampler]:8.3f}, {reach(x):.2f}"
    print(line_of_text)

# %% tags=["nbval-check-output"]
for sampler in ("ddim", "heun", "dpmpp_2m"):
    best = min(SPACINGS, key=lambda name: table[name, sampler])
    print(f"{sampler}: best spacing at 7 evaluations: {best}")

# %% [markdown]
# **Explain.** Two rules come out of this table, and one of them is a famous bug.
#
# *The first step.* Look where the noise is: at $t = 1$. `leading`, long the default of libraries, looks too late: it takes some of the noise for data, so everything ends too far out. (DDIM alone is better for it: it stops short anyway, and two errors cancel. That is luck, not a method. In the variance-preserving schedules $x_t$ has nearly the same size at all times, and there the bug stays hidden; it spoils the brightness. Lin et al. found it.)
#
# *The last step.* From $t = 1/T$ to $0$ hardly anything is left to do: that question is wasted, and the step before it must be a giant one. DPM-Solver++ suffers most, for it *extrapolates*: it goes on along a line through its last two looks, and a giant step after a small one goes too far along that line.
#
# Karras's spacing was made for networks and pictures whose difficult part is at low noise, and for 18 questions and more. With few of them, it spends too many on noise that is nearly gone.
#
# **Change.** Give all of them 40 evaluations. Does the order of the rows change?
#
# ## 7. On digits: quality against evaluations
#
# Now the real thing: the bundled model, and FID as in [07](07_evaluation_fid.ipynb). A network is no exact denoiser, so the end of the ODE's curve is not the truth any more: it is what *this network* believes. More steps follow its beliefs more faithfully, its mistakes included.
#
# To compare samplers and nothing else, all of them get the same noise, the same labels, and `guidance=1.0`: then each step is one evaluation, and the law that they aim at is the model's own $p(x \mid c)$. (The bundled model's default is a guidance of 1.75 between $t = 0.3$ and $0.7$; section 8 is about that.)

# %%
N = 600
evaluator = mnist_evaluator()
floor = evaluator.floor(N)
real_mean, real_cov = metrics.moments(evaluator.train)


# %%
def fid(features, _=None):
    return metrics.gaussian_frechet(*metrics.moments(features), real_mean, real_cov)


def run(sampler, steps, spacing="trailing", n=N):
    """Draw n digits; what they cost, their features, and their FID with its interval."""
    start = time.perf_counter()
    how = {"sampler": sampler, "spacing": spacing}
    pictures = model.sample(n, steps=steps, guidance=1.0, seed=1, batch_size=200, **how)
    seconds = time.perf_counter() - start
    features, _ = evaluator.features(pictures)
    interval = metrics.bootstrap(fid, features, evaluator.train, repeats=30)
    evaluations = 2 * steps - 1 if sampler == "heun" else steps
    return {
        "sampler": sampler, "spacing": spacing, "evaluations": evaluations, "seconds": seconds,
        "features": features, "fid": interval, "pictures": pictures[:12],
    }  # fmt: skip


# %% [markdown]
# **Predict.** Write down, before you run the next cell: after how many evaluations will DDIM be within 10 % of the best score? Heun? DPM-Solver++? And DDPM?

# %%
plan = {
    "ddpm": (8, 24),
    "ddim": (1, 2, 4, 8, 16),
    "heun": (2, 3, 4, 8),
    "dpmpp_2m": (2, 4, 6, 8, 50),
}
results = {}
for sampler, all_steps in plan.items():
    for steps in all_steps:
        row = run(sampler, steps)
        results[sampler, row["evaluations"]] = row

# %%
fig, ax = plt.subplots(figsize=(7.5, 4.2), layout="constrained")
for i, name in enumerate(plan):
    rows = [row for row in results.values() if row["sampler"] == name]
    x, y = [row["evaluations"] for row in rows], [row["fid"].value for row in rows]
    below = [row["fid"].value - row["fid"].low for row in rows]
    above = [row["fid"].high - row["fid"].value for row in rows]
    style = {"fmt": "osD^"[i] + plotting.STYLES[i], "color": plotting.COLOURS[i], "capsize": 3}
    ax.errorbar(x, y, [below, above], label=name, **style)
ax.axhline(floor, color="grey", linestyle=":", label="floor: real digits")
ax.set(xscale="log", yscale="log", xlabel="network evaluations", ylabel=f"FID, n = {N:,}")
ticks = [1, 2, 4, 8, 16, 24, 50]
ax.set_xticks(ticks, ticks)
ax.set_yticks([5, 10, 20, 50, 100], [5, 10, 20, 50, 100])
ax.minorticks_off()
ax.grid(alpha=0.3)
ax.legend()
plt.show()

# %% [markdown]
# The same as a table, with the time that it took here. `moved` asks another question than FID: how far is each digit from the one that 50 evaluations draw from the same noise, compared with the distance between two different digits? DDPM has no such end.

# %%
target = results["dpmpp_2m", 50]
apart = (target["features"] - target["features"].roll(1, 0)).norm(dim=1).median()
print(f"n = {N:,}, floor {floor:.2f}\n")
print(
    f"{'sampler':10}{'evaluations':>12}{'FID':>8}{'95 % interval':>17}{'moved':>8}{'s for 100':>11}"
)
for row in results.values():
    moved = float((row["features"] - target["features"]).norm(dim=1).median() / apart)
    low, high = row["fid"].low, row["fid"].high
    interval = f"{low:.2f} to {high:.2f}"
    print(
        f"{row['sampler']:10}{row['evaluations']:12}{row['fid'].value:8.2f}{interval:>17}"
        f"{'-' if row['sampler'] == 'ddpm' else f'{moved:.2f}':>8}{row['seconds'] * 100 / N:11.2f}"
    )

# %% [markdown]
# Who is within 10 % of the score at 50 evaluations, and with how few? Both scores come from the same noise and labels, so their *difference* is known better than each of them: resample the digits, the same ones on both sides.


# %%
def ratio_to_target(row, repeats=100):
    """FID over the FID at 50 evaluations, with a 95 % interval."""
    generator, gaps = seeded(9), []
    for _ in range(repeats):
        some = torch.randint(N, (N,), generator=generator)
        gaps.append(fid(row["features"][some]) - fid(target["features"][some]))
    around = torch.tensor(gaps) - sum(gaps) / repeats
    low, high = around.quantile(torch.tensor([0.025, 0.975])).tolist()
    gap = row["fid"].value - target["fid"].value
    return [1 + (gap + off) / target["fid"].value for off in (0, low, high)]


few = [row for row in results.values() if row["evaluations"] <= 8]
best = min(few, key=lambda row: row["fid"].value)
value, low, high = ratio_to_target(best)
print(f"best in 8 evaluations or fewer: {best['sampler']} with {best['evaluations']}")
print(f"FID {best['fid'].value:.2f} against {target['fid'].value:.2f} at 50 evaluations")
print(f"ratio {value:.3f}, 95 % interval {low:.3f} to {high:.3f}")

# %% tags=["nbval-check-output"]
within = [row for row in few if row["fid"].value < 1.1 * target["fid"].value]
names = sorted({row["sampler"] for row in within})
print("within 10 % of 50 evaluations, in 8 or fewer:", ", ".join(names) or "none")
print("DDPM is not, and needs more than 8:", "ddpm" not in names)

# %% mystnb={"image": {"alt": "The same twelve digits for DDIM with 1 and 4, DPM-Solver++ with 4, Heun with 7 and DPM-Solver++ with 50 evaluations: soft in the first row, hardly different in the others."}}
plotting.show_rows(
    {
        f"{row['sampler']}: {row['evaluations']}": row["pictures"]
        for row in (results["ddim", 1], results["ddim", 4], results["dpmpp_2m", 4], best, target)
    },
    scale=0.65,
)
plt.show()

# %% [markdown]
# **Explain.** A handful of questions does the work of fifty, for every sampler but DDPM. And by FID there is hardly a winner among the others: with eight evaluations plain DDIM is about as good as the clever ones. Two reasons. This network was trained on straight lines (the flow schedule), so its curves bend little, and there is not much for a second order to gain. And what remains between the score and the floor is no error of the solver: it is what the network does not know.
#
# DDPM is the slow one, but do not bury it. With enough evaluations it is no worse than the others, perhaps better: each dose of fresh noise lets later steps mend what earlier ones got wrong, while the ODE carries every error to the end (Karras et al. 2022).
#
# The column `moved` still tells the orders apart: at the same price, Heun and DPM-Solver++ are nearer to the end of the curve than DDIM. That matters where the picture itself is wanted, not just a good one: when you turn one knob and nothing else shall change ([06](06_training_a_latent_diffusion_model.ipynb#guidance)), or when a picture is sent to its noise and back.
#
# **Change.** Give DPM-Solver++ the model's own guidance: leave `guidance=1.0` out of `run`, and compare 4, 8 and 16 steps.
#
# Which spacing? The same question as in section 6, now with the network in the place of the formula:

# %%
spaced = {}
for spacing in ("linspace", "leading", "karras"):
    for sampler, steps in (("heun", 4), ("dpmpp_2m", 8)):
        spaced[spacing, sampler] = run(sampler, steps, spacing, n=400)

# %%
first_400 = {s: results[s, k]["features"][:400] for s, k in (("heun", 7), ("dpmpp_2m", 8))}
print(f"n = 400, floor {evaluator.floor(400):.2f}\n{'':10}{'heun, 7':>14}{'dpmpp_2m, 8':>14}")
scores = {("trailing", s): fid(f) for s, f in first_400.items()}
scores |= {key: row["fid"].value for key, row in spaced.items()}
for spacing in SPACINGS:
    print(f"{spacing:10}{scores[spacing, 'heun']:14.2f}{scores[spacing, 'dpmpp_2m']:14.2f}")

# %%
plotting.show_rows(
    {
        "trailing": results["dpmpp_2m", 8]["pictures"],
        "linspace": spaced["linspace", "dpmpp_2m"]["pictures"],
        "leading": spaced["leading", "dpmpp_2m"]["pictures"],
        "karras": spaced["karras", "dpmpp_2m"]["pictures"],
    },
    scale=0.65,
)
plt.show()

# %% tags=["nbval-check-output"]
for sampler in ("heun", "dpmpp_2m"):
    by_spacing = {name: scores[name, sampler] for name in SPACINGS}
    worst, lowest = max(by_spacing, key=by_spacing.get), min(by_spacing.values())
    print(f"{sampler}: worst {worst};", end=" ")
    print("trailing within 5 % of the best:", by_spacing["trailing"] < 1.05 * lowest)

# %% [markdown]
# **Explain.** The first rule of section 6 holds with a vengeance: `leading` takes pieces of the noise for pieces of a digit. The others lie closer together than on the bumps. Still, a last step with nothing to do, or most questions spent where the noise is weak, is a waste when there are so few.
#
# ## 8. Guidance, and how it overshoots
#
# [06](06_training_a_latent_diffusion_model.ipynb#guidance) introduced guidance: ask with the label and without, and go $w$ times as far in the direction of the difference. At $w = 1$ this is the conditional model. What do we sample with $w > 1$? It is tempting to say: the same class, only surer. Let us look where the truth is known.
#
# Three classes in the plane, each a Gaussian. The exact denoiser of one class is the network's answer with the label; that of all three is its answer without.

# %%
centres = torch.tensor([[1.0, 0.0], [-0.5, 0.8], [-0.5, -0.8]]).double()
classes = [GaussianMixture.isotropic(c[None], 0.6) for c in centres]
everything = ExactDenoiser(GaussianMixture.isotropic(centres, 0.6), flow)


def labelled(x, t, cond):
    """The exact answer for class 0, and without a label (-1)."""
    with_label = cond == 0
    answer = everything(x, t)
    answer[with_label] = ExactDenoiser(classes[0], flow)(x[with_label], t[with_label])
    return answer


def guided(w, steps=20, n=600):
    ask = predictor(Diffusion("flow", "x0"), labelled, torch.zeros(n).long(), w)
    return sample(ask, noise[:n], time_grid(steps), flow, sampler="heun")


# %% [markdown]
# **Predict.** Class 0 sits at $(1, 0)$ with a spread of 0.6. Where will the samples be for $w = 3$: in the same place, and narrower?

# %%
weights = (0, 1, 2, 4, 8)
_, axes = plt.subplots(1, 5, figsize=(11, 2.5), layout="constrained", sharex=True, sharey=True)
overshoot = {}
for ax, w in zip(axes, weights):
    x = guided(w)
    overshoot[w] = float((x.mean(0) - centres[0]).norm()), float(x.std(0).mean() / 0.6)
    ax.plot(*x.T, ".", markersize=2, color=plotting.COLOURS[0])
    ax.plot(*centres[1:].T, "x", color="0.5")
    ax.plot(*centres[0], "+", color=plotting.COLOURS[1], markersize=14, markeredgewidth=2)
    ax.set(title=f"w = {w}\n{overshoot[w][0]:.2f} away", aspect="equal", xticks=[], yticks=[])
plt.show()

# %% tags=["nbval-check-output"]
exact_one = overshoot[1][0] < 0.06 and abs(overshoot[1][1] - 1) < 0.06
print("w = 1: the class itself, mean to 0.06 and spread to 6 %:", exact_one)
grows = overshoot[1][0] < overshoot[2][0] < overshoot[4][0] < overshoot[8][0]
print("from w = 1 on, the distance to the class's true mean grows with w:", grows)
spreads = [overshoot[w][1] for w in (1, 2, 4, 8)]
print("and the spread shrinks:", spreads == sorted(spreads, reverse=True))

# %% [markdown]
# **Explain.** The samples leave the class, away from the other classes (grey crosses), and crowd together. Guidance does not make a draw from $p(x \mid c)$ surer: it draws from another law, whose mean lies farther out. Each step adds a push towards "more of this class, less of the rest", and a push that is right for the direction is too long for the place.
#
# Now on digits. The true mean of a class is that of the real digits, in the features of [07](07_evaluation_fid.ipynb). The mean of 30 digits misses the class's mean by chance alone; how far, follows from their spread, and is taken off.

# %%
each, asked = 30, torch.arange(10).repeat_interleave(30)
train_labels, test_labels = mnist("train").labels, mnist("test").labels
truth_means = torch.stack([evaluator.train[train_labels == c].mean(0) for c in ten])


def off_centre(features):
    """Distance of a class's mean to the true one, without chance; and the spread in a class."""
    by_class = features.reshape(10, each, -1)
    variance = by_class.var(1).sum(1)
    squared = ((by_class.mean(1) - truth_means) ** 2).sum(1) - variance / each
    return float(squared.mean().clamp(min=0).sqrt()), float(variance.mean().sqrt())


shuffled = torch.randperm(len(test_labels), generator=seeded(10))
picks = torch.cat([shuffled[test_labels[shuffled] == c][:each] for c in ten])
real_off, real_spread = off_centre(evaluator.held_out[picks])

# %%
guided_digits, off = {}, {}
for w in (1.0, 2.0, 4.0, 8.0):
    pictures = model.sample(300, asked, steps=4, guidance=w, seed=7, sampler="heun")
    guided_digits[f"w = {w:g}"] = pictures[torch.arange(10) * each]
    off[w] = off_centre(evaluator.features(pictures)[0])
    print(
        f"w = {w:g}: distance {off[w][0]:.2f}, spread {off[w][1] / real_spread:.2f} of the real one"
    )
print(f"real digits of the test set: distance {real_off:.2f}, spread 1.00")

# %% mystnb={"image": {"alt": "The ten digits for guidance 1, 2, 4 and 8: the first row has a doubtful 3, the others are clear, and strokes straighten."}}
plotting.show_rows(guided_digits, scale=0.7)
plt.show()

# %% tags=["nbval-check-output"]
print("the distance grows with w:", off[1][0] < off[2][0] < off[4][0] < off[8][0])
print("at w = 8 it is more than twice that at w = 1:", off[8][0] > 2 * off[1][0])
print("at w = 2 already, digits of a class vary less:", off[2][1] < 0.95 * off[1][1])

# %% [markdown]
# Look down a column: guidance mends the odd digit, and that is what it is loved for. Then little seems to happen. Most digits look right even at $w = 8$, though here and there a stroke gives way. Only the numbers show that these are not the digits that people write any more. Two cures are in use. *Less*: choose $w$ by a score, not by a pretty row. *Not always*: guidance early, when all is noise, costs variety, and late it changes nothing; act in between (Kynkäänniemi et al. 2024). That is why the bundled model guides between $t = 0.3$ and $0.7$ only.
#
# ## What could go wrong
#
# **The sampler computes its previous time instead of reading it.** In many libraries the previous step is $t - T/n$: right for equal distances, and for nothing else.


# %%
def broken_ddim(predict, x, times, schedule, generator=None):
    """DDIM that believes in equal steps."""
    n = len(times) - 1
    for i, t in enumerate(times[:-1]):
        x0, eps = predict(x, t)
        s = (t - 1 / n).clamp(min=0)  # should be times[i + 1]
        x = float(schedule.alpha(s)) * x0 + float(schedule.sigma(s)) * eps
        yield SampleState(x, float(s), x0, i + 1)


# %% [markdown]
# **Predict.** With `trailing` the two are equal. With Karras's spacing, what does the network see that it does not expect?

# %%
rows = {}
for spacing in ("trailing", "karras"):
    for name, sampler in (("right", "ddim"), ("broken", broken_ddim)):
        rows[f"{spacing}, {name}"] = model.sample(
            10, ten, 6, guidance=1.0, seed=3, sampler=sampler, spacing=spacing
        )
plotting.show_rows(rows, scale=0.7)
plt.show()

# %% [markdown]
# The second and the third row are whole; in the last one strokes are thin and have holes. Where the list takes a long step, the broken sampler takes a short one: more noise is left than the network is told, and it takes that noise for a part of the digit.
#
# **Symptom:** fine with one spacing, spoiled with another. **Cure:** take $s$ from the list of times. And a law that finds it at once, without a network: if the data are a single point $c$, the noise is known exactly, and every sampler on every list must stay on the line $\alpha c + \sigma \epsilon$.


# %% tags=["nbval-check-output"]
def single_point(x, t):
    """The exact answer where all data are the point 0.7."""
    x0 = torch.full_like(x, 0.7)
    return x0, (x - flow.alpha(t) * x0) / flow.sigma(t)


times = spaced_times("karras", 16, flow)
on_the_line = [flow.alpha(s) * 0.7 + flow.sigma(s) * noise[:5] for s in times[1:]]
for name, sampler in (("ddim", ddim), ("broken_ddim", broken_ddim)):
    states = [state.x for state in sampler(single_point, noise[:5], times, flow)]
    stays = torch.allclose(torch.stack(states), torch.stack(on_the_line))
    print(f"{name:11} stays on the line: {stays}")

# %% [markdown] tags=["teacher", "remove-cell"]
# **For the teacher.** Exercises, minutes to allow, and what to listen for.
#
# | exercise | minutes | expected | typical wrong answer | what the check says |
# |---|---|---|---|---|
# | 1: a step of DDIM | 6 | $\alpha_s \hat x_0 + \sigma_s (x_t - \alpha_t \hat x_0) / \sigma_t$ | the noise keeps its strength $\sigma_t$ | "the noise keeps the strength that it has at t: at s it is sigma_s." |
# | 2: a step of Heun | 8 | mean of the slopes at both ends | second look at $x$ instead of Euler's end | "the second look is at x, but at time s: look where Euler's step ends." |
# | 3: where to aim | 8 | $\hat x_0 + \frac{h}{2h'}(\hat x_0 - \hat x_0')$ | the line is read at the step's end | "that is the line at the end of the step: the middle is h / 2 away." |
# | 4: Karras's levels | 10 | equal distances of 7th roots, then 0 | the 0 is forgotten | "the last level, 0, is missing: the sampler would leave a little noise." |
#
# Misconception to listen for: *more steps are always better*. They are closer to the end of the network's curve, and that is not the data. A second one: *guidance makes samples more probable*. It makes them more typical of the class than the class itself.

# %% [markdown]
# ## Exercises
#
# Each check says what is wrong, in words. Run it as often as you like.

# %%
from ldmlib.check import fast_sampling as check

# %% [markdown]
# ### Exercise 1: a step of DDIM
#
# You have $x_t$ and the guess $\hat x_0$; the noise $\hat\epsilon$ you must find yourself. Return $x_s$.


# %% tags=["exercise"]
def ddim_step(x_t, x0, alpha_t, sigma_t, alpha_s, sigma_s):
    return ...  # x_s, from the same picture and the same noise


# %% tags=["check", "nbval-check-output"]
check.ddim_step(ddim_step)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# $x_t = \alpha_t \hat x_0 + \sigma_t \hat\epsilon$. Solve it for $\hat\epsilon$.
#
# </details>
#
# <details><summary>Solution</summary>
#
# $\hat\epsilon = (x_t - \alpha_t \hat x_0) / \sigma_t$, then mix it anew. The next cell checks it.
#
# </details>


# %% tags=["solution", "nbval-check-output"]
def ddim_step_solution(x_t, x0, alpha_t, sigma_t, alpha_s, sigma_s):
    eps = (x_t - alpha_t * x0) / sigma_t
    return alpha_s * x0 + sigma_s * eps


check.ddim_step(ddim_step_solution)

# %% [markdown]
# ### Exercise 2: a step of Heun
#
# `u(x, t)` is the slope. Go from $t$ to $s < t$.


# %% tags=["exercise"]
def heun_step(u, x, t, s):
    return ...  # x at time s


# %% tags=["check", "nbval-check-output"]
check.heun_step(heun_step)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# First Euler's step: `end = x + (s - t) * u(x, t)`.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# The second look is at the place `end` and at the time `s`.
#
# </details>
#
# <details><summary>Solution</summary>
#
# The mean of both slopes, applied at the start. The next cell checks it.
#
# </details>


# %% tags=["solution", "nbval-check-output"]
def heun_step_solution(u, x, t, s):
    end = x + (s - t) * u(x, t)
    return x + (s - t) * (u(x, t) + u(end, s)) / 2


check.heun_step(heun_step_solution)

# %% [markdown]
# ### Exercise 3: where to aim
#
# The last step was `last_h` long and began with the guess `last_x0`. This step is `h` long and begins with `x0`. Where is the guess in the *middle* of this step, if it goes on along a straight line?


# %% tags=["exercise"]
def aim(x0, last_x0, h, last_h):
    return ...  # the guess, half of this step ahead


# %% tags=["check", "nbval-check-output"]
check.aim(aim)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# The guess changed by `x0 - last_x0` over a way of `last_h`. How much is that for a way of 1?
#
# </details>
#
# <details><summary>Solution</summary>
#
# Slope times half a step: `x0 + (x0 - last_x0) / last_h * h / 2`. The next cell checks it.
#
# </details>


# %% tags=["solution", "nbval-check-output"]
def aim_solution(x0, last_x0, h, last_h):
    return x0 + (x0 - last_x0) / last_h * h / 2


check.aim(aim_solution)

# %% [markdown]
# ### Exercise 4: Karras's levels
#
# Return `n` noise levels from `largest` down to `smallest`, with equal distances between their 7th roots, and then a 0: a tensor of `n + 1` numbers in float64.


# %% tags=["exercise"]
def karras_levels(n, largest, smallest):
    return ...  # n levels, falling, and then 0


# %% tags=["check", "nbval-check-output"]
check.karras(karras_levels)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `torch.linspace(a, b, n, dtype=torch.float64)` has equal distances. Between which `a` and `b`?
#
# </details>
#
# <details><summary>Solution</summary>
#
# Between the 7th roots; then raise to the 7th power. The next cell checks it.
#
# </details>


# %% tags=["solution", "nbval-check-output"]
def karras_levels_solution(n, largest, smallest):
    roots = torch.linspace(largest ** (1 / 7), smallest ** (1 / 7), n, dtype=torch.float64)
    return torch.cat([roots**7, torch.zeros(1).double()])


check.karras(karras_levels_solution)

# %% [markdown]
# ## Recap
#
# 1. A sampler asks for picture and noise and mixes them anew at a lower level. DDIM keeps the noise that it found; DDPM draws another.
# 2. Without fresh noise, all samplers follow the same curves, those of the probability-flow ODE. The same noise gives the same picture.
# 3. First order: half the error for twice the steps. Second order: a quarter. Heun pays with a second look, DPM-Solver++(2M) with memory.
# 4. The first question belongs to the noise that you start from, the last step must have something to do, and the next time is read from the list.
# 5. Guidance above 1 draws from another law, beyond the class and narrower.
#
# ## Quiz
#
# Choose an answer: each of them, right or wrong, gets a reason.

# %% tags=["quiz"]
from ldmlib.widgets import quiz

quiz("08_faster_sampling")

# %% [markdown]
# ## Where to go next
#
# All of this kept the network as it was. To draw in four steps or one, the network itself must learn to take long steps: that is distillation, in [09](09_flow_matching_and_distillation.ipynb). Or give your own model from [06](06_training_a_latent_diffusion_model.ipynb) a row in section 7, or try your own sampler; `model.sample` takes a function as well as a name. From a terminal: `ldm sample mnist --out digits.png --sampler dpmpp_2m --steps 8`.
#
# ## References
#
# - J. Ho, A. Jain, P. Abbeel. *Denoising Diffusion Probabilistic Models*. 2020. arXiv 2006.11239. (DDPM: algorithm 2.)
# - J. Song, C. Meng, S. Ermon. *Denoising Diffusion Implicit Models*. 2020. arXiv 2010.02502. (DDIM and $\eta$: equations 12 and 16.)
# - Y. Song et al. *Score-Based Generative Modeling through Stochastic Differential Equations*. 2020. arXiv 2011.13456. (The probability-flow ODE: equation 13.)
# - T. Karras, M. Aittala, T. Aila, S. Laine. *Elucidating the Design Space of Diffusion-Based Generative Models*. 2022. arXiv 2206.00364. (Heun: algorithm 1; spacing: equation 5.)
# - C. Lu et al. *DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models*. 2022. arXiv 2211.01095. (2M: algorithm 2.)
# - Y. Lipman et al. *Flow Matching for Generative Modeling*. 2022. arXiv 2210.02747.
# - S. Lin et al. *Common Diffusion Noise Schedules and Sample Steps are Flawed*. 2023. arXiv 2305.08891. (Spacings: table 2.)
# - J. Ho, T. Salimans. *Classifier-Free Diffusion Guidance*. 2022. arXiv 2207.12598.
# - T. Kynkäänniemi et al. *Applying Guidance in a Limited Interval Improves Sample and Distribution Quality in Diffusion Models*. 2024. arXiv 2404.07724.

# %% [markdown]
# # 10 · Text to image: ask in words
#
# [Open in Colab](https://colab.research.google.com/github/ldm-course/ldm-course/blob/main/notebooks/10_text_to_image.ipynb)
#
# So far we asked with a number: draw a 3. At the end of this notebook you type "red apple, noto style", and a latent diffusion model draws one. Nothing about the diffusion changes. New is only how a sentence gets into the network: cross-attention.
#
# > **You will be able to** turn words into tokens with byte-pair encoding; write cross-attention from a blank page; draw which word each part of a picture listens to; guide towards a prompt; and judge a text-to-image model on captions it has never seen.
# >
# > **Needs** [05](05_unet.ipynb) (attention), [06](06_training_a_latent_diffusion_model.ipynb) (the model, guidance) and [07](07_evaluation_fid.ipynb) (scores and floors).
# >
# > **Takes** the minutes that the table in the README gives, on 2 CPU cores. The large training is done: its weights come with the course, with a [model card](https://github.com/ldm-course/ldm-course/blob/main/ldmlib/assets/weights/emoji/MODEL_CARD.md). You train the first steps yourself.

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
from collections import Counter
from dataclasses import replace

import matplotlib.pyplot as plt
import torch

from ldmlib import LatentDiffusion, plotting
from ldmlib.applications.text_to_image import matching, model as t2i
from ldmlib.data.emoji_set import STYLES, captioned_emoji, with_style
from ldmlib.diffusion.samplers import sample
from ldmlib.evaluation import metrics
from ldmlib.evaluation.features import extract
from ldmlib.latent import recipes
from ldmlib.latent.stages import reconstruction_report, train_denoiser
from ldmlib.networks.text import CrossAttention
from ldmlib.networks.tokenizer import Tokenizer, words_of
from ldmlib.training.denoising import DenoisingObjective

model = LatentDiffusion.from_pretrained("emoji")
train, held_out = captioned_emoji("train"), captioned_emoji("test")

# %% mystnb={"image": {"alt": "Three rows, one for each style, of a red apple, a green heart, a grinning face, a cat face, a green book and a blue car, flat in the first row, shaded in the second, round and shiny in the third."}}
prompts = ["red apple", "green heart", "grinning face", "cat face", "green book", "blue car"]
rows = {
    style: model.sample(6, prompt=[with_style(p, style) for p in prompts], seed=1)
    for style in STYLES
}
plotting.show_rows(rows, scale=1.0)
plt.show()

# %% [markdown]
# Three rows, one prompt a column: "red apple", "green heart", "grinning face", "cat face", "green book", "blue car", each with the style's name behind it. The model draws most of these well. It is small, though, and section 7 also shows what it draws badly:

# %%
facts = model.config.facts
numbers = sum(parameter.numel() for parameter in model.parameters())
print(
    f"{numbers / 1e6:.1f} million numbers, trained for {facts['seconds'] / 60:.0f} minutes on {facts['machine']}"
)

# %% [markdown]
# ## 1. Pictures with words
#
# Text-to-image models learn from pairs of picture and caption. Ours are emoji: the same things, drawn by three groups of artists. That is a small set, but a real one, and its licences let it travel with the course.

# %%
some = ["red apple", "owl", "fire engine", "pizza", "guitar", "rainbow", "cactus", "ghost"]
truth = {}
for style in STYLES:
    numbers = [train.where(caption=c, style=style) for c in some]
    chosen = [n[0] for n in numbers if n]
    truth[f"{style}, {len(train.where(style=style)):,}"] = train.pictures.subset(
        chosen
    ).as_tensors()[0]
plotting.show_rows(truth, scale=0.9, label_width=2.0)
plt.show()

# %% [markdown]
# Some captions are held out: the model never saw them in any style. To hold out pictures instead would be a mistake: a model that knows the noto owl and the fluent owl has been told most of what the twemoji owl is.

# %% tags=["nbval-check-output"]
print(f"{len(train):,} pictures of {len(set(train.captions)):,} captions to train on")
print(f"{len(held_out):,} pictures of {len(set(held_out.captions)):,} captions held out")
print("captions in both:", len(set(train.captions) & set(held_out.captions)))
print("held out, for example:", ", ".join(sorted(set(held_out.captions))[30:100:14]))

# %% [markdown]
# ## 2. Words to numbers
#
# A network eats numbers. One number for each word would be simple, but what of a word that never occurred? One for each letter knows every word, but "strawberry" becomes ten of them.
#
# **Byte-pair encoding** lies between. Begin with letters. Find the two neighbours that occur most often, make them one piece, and begin again. The end of a word is marked with a blank.

# %%
words = Counter(word for caption in set(train.captions) for word in words_of(caption))
pieces = {word: [*word[:-1], word[-1] + " "] for word in words}


def most_frequent_pair(pieces):
    """The neighbours that occur most often, and how often."""
    pairs = Counter()
    for word, parts in pieces.items():
        for pair in zip(parts, parts[1:]):
            pairs[pair] += words[word]
    return max(pairs.items(), key=lambda item: (item[1], item[0]))


# %%
def merge(parts, pair):
    """Make every occurrence of the pair one piece."""
    done = []
    for part in parts:
        if done and (done[-1], part) == pair:
            done[-1] += part
        else:
            done.append(part)
    return done


# %% [markdown]
# **Predict.** Which letters of English captions are neighbours most often? Note your guess for the first three merges.

# %% tags=["nbval-check-output"]
learned = []
for _ in range(60):
    pair, count = most_frequent_pair(pieces)
    learned.append(pair)
    pieces = {word: merge(parts, pair) for word, parts in pieces.items()}
    if len(learned) in (1, 2, 3, 10, 30, 60):
        print(f"merge {len(learned):2}: {'|'.join(pair)!r:14} occurred {count} times")

# %% [markdown]
# **Explain.** First come pairs of letters, then endings, then whole words: "flag" and "face" are frequent here, as every country has a flag. What is frequent becomes one token. What is rare stays in pieces, and no word is unknown.
#
# `ldmlib.networks.tokenizer.Tokenizer` is the same with more merges. Is it really the same?

# %% tags=["nbval-check-output"]
library = Tokenizer.learn(sorted(set(train.captions)), merges=60)
print("the same 60 merges:", list(library.merges) == learned)
tokenizer = model.config.tokenizer
for prompt in ("red apple, noto style", "strawberry", "green dragon with a red hat"):
    print(tokenizer.pieces(prompt))

# %% [markdown]
# **Change.** Try a word of your own language. Does it get a piece for every letter?
#
# ## 3. Numbers to vectors
#
# Each token has a vector, learned like everything else. "red apple" and "apple red" should not be the same, so each place has a vector, too, and both are added. Then a small transformer lets the words look at each other: "red" before "apple" is a colour, "red" before "panda" half a name. A start token stands before them all, and its vector sums the sentence up.

# %%
encoder = model.denoiser.text
vectors, counts = encoder(tokenizer(["red apple", "red panda", ""]))
print("vectors:", tuple(vectors.shape), " of which count:", counts.int().tolist())

# %% [markdown]
# Do the vectors mean anything? Nobody told the encoder what a word means. It had to make the denoiser's errors small. Take each training caption's summary, and look for the nearest ones.

# %%
captions = sorted(set(train.captions))
with torch.no_grad():
    summary = encoder(tokenizer(captions))[0][:, 0]
summary = torch.nn.functional.normalize(summary - summary.mean(0), dim=1)
for word in ("red apple", "sun", "guitar", "flag italy"):
    order = (summary @ summary[captions.index(word)]).argsort(descending=True)
    print(f"{word:10} -> {', '.join(captions[i] for i in order[1:5])}")

# %% [markdown]
# ## 4. Cross-attention from a blank page
#
# A picture in the UNet is 64 places, 8 x 8, each with a vector. The prompt is a handful of vectors. How do 64 places read a handful of words, if every place needs something else?
#
# Each place asks a **query** $q$. Each word has a **key** $k$, which says what it is about, and a **value** $v$, which is what it has to say. The better a key fits the query, the more of its value is taken:
#
# $$\mathrm{attention}(Q, K, V) = \mathrm{softmax}\!\left(\frac{Q K^\top}{\sqrt d}\right) V$$
#
# This is the attention of [05](05_unet.ipynb), with one change: there, keys and values came from the picture as well.


# %%
def cross_attention(x, words, W_q, W_k, W_v):
    """x (P, c): places; words (T, d): tokens. What each place takes from the words, (P, c)."""
    q, k, v = x @ W_q.T, words @ W_k.T, words @ W_v.T
    fit = q @ k.T / k.shape[1] ** 0.5
    return fit.softmax(dim=1) @ v


# %% tags=["nbval-check-output"]
layer = CrossAttention(channels=16, heads=1, words=32)
x, w = torch.randn(64, 16), torch.randn(5, 32)
weights = [layer.query.weight, layer.key.weight, layer.value.weight]
mine = cross_attention(x, w, *weights) @ layer.out.weight.T + layer.out.bias
print("equal to ldmlib's layer:", torch.allclose(mine, layer(x[None], w[None])[0], atol=1e-5))

# %% [markdown]
# The UNet's block for text does three things, each with a shortcut around it: places look at each other, places read the words, and each place thinks for itself. It is the block of Stable Diffusion, and it stands wherever the picture is put together: in the middle and on the way up.
#
# ```mermaid
# flowchart LR
#   x["places (64, c)"] --> s["self-attention"] --> c["cross-attention"] --> f["feed-forward"] --> y["places (64, c)"]
#   t["words (T, d)"] --> c
# ```
#
# No prompt at all is a prompt, too: the start token alone. In one training example of ten the words are left out, so that the network learns to draw without being asked. Guidance needs it.
#
# ## 5. A first stage in colour
#
# The autoencoder is the one of [03](03_vae.ipynb) with three colours, f = 4, a perceptual term, and a patch discriminator that enters late. Held-out emoji show what it loses.

# %%
x_held, _ = held_out.pictures.as_tensors()
x_hat = model.decode(model.encode(x_held[::41]))
plotting.show_rows({"held out": x_held[::41], "decoded": x_hat}, scale=0.8)
plt.show()
report = reconstruction_report(model, None, held_out.pictures)
print(f"PSNR on {report['n']} held-out pictures: {report['psnr']:.1f} dB,")
print(f"with {x_held[0].numel() / model.encode(x_held[:1])[0].numel():.0f} times fewer numbers")

# %% [markdown]
# ## 6. Train: the first steps
#
# The objective is the one of [06](06_training_a_latent_diffusion_model.ipynb), letter by letter; `cond` is a row of tokens now. The bundled weights took thousands of steps. Here are the first ones, from the same beginning.

# %%
recipe = recipes.emoji(len(tokenizer))
short = replace(recipe, training=replace(recipe.training, steps=60, log_every=5))
fresh = t2i.assemble_text_model(train, model.autoencoder, recipe, tokenizer)
z = fresh.fit_latent_scale(train.pictures.as_tensors()[0])
picked, tokens = t2i.training_pairs(train, tokenizer)
state = train_denoiser(fresh, z[picked], tokens, short)

# %%
objective = DenoisingObjective(recipe.diffusion, label_dropout=0.0)
few = slice(0, 4000, 20)
with torch.no_grad():
    trained = float(
        objective(model.denoise, z[picked][few], tokens[few], torch.Generator().manual_seed(0), 0)
    )
ax = plotting.loss_curve(state.history)
ax.axhline(trained, color=plotting.COLOURS[1], linestyle="--", label="bundled weights")
ax.legend()
plt.show()

# %% tags=["nbval-check-output"]
losses = [entry["loss"] for entry in state.history]
print("the loss fell by more than a tenth:          ", losses[-1] < 0.9 * losses[0])
print("the bundled weights are better than 60 steps:", trained < losses[-1])

# %% [markdown]
# ## 7. Ask
#
# **Predict.** The prompt "blue apple" never occurred: apples were red or green, and hearts, books and circles were blue. What will be drawn?

# %%
asked = ["red apple", "green apple", "blue apple", "blue heart", "blue car", "owl"]
rows = {p: model.sample(8, prompt=p, seed=2) for p in asked}
plotting.show_rows(rows, scale=0.8)
plt.show()

# %% [markdown]
# **Explain.** A few apples turn blue, and others come out green, or green above and blue below. The model puts colour and thing together anew, but every apple that it knows pulls the other way. Where nothing pulls, as with hearts, the colour is right each time. Things with fine parts, such as the owl, have the right parts in roughly the right places. More captions would help most; models for everyday use saw hundreds of millions.
#
# Without a style in the prompt each noise chooses one. With a style, the same noise is drawn three ways:

# %% mystnb={"image": {"alt": "Three rows of eight green books from the same noises: flat with hard edges in twemoji style, shaded in noto style, with soft light in fluent style."}}
rows = {style: model.sample(8, prompt=with_style("green book", style), seed=3) for style in STYLES}
plotting.show_rows(rows, scale=0.8)
plt.show()

# %% [markdown]
# Now captions that were **held out**, apart from the seen ones. Below each row of drawn pictures are the real ones, which the model never saw.


# %%
def beside_the_truth(data, captions, style="noto"):
    """Drawn pictures above the real ones."""
    drawn = model.sample(len(captions), prompt=[with_style(c, style) for c in captions], seed=4)
    numbers = [data.where(caption=c, style=style)[0] for c in captions]
    return drawn, data.pictures.subset(numbers).as_tensors()[0]


def in_noto(data):
    """Captions that exist in the noto style, every so many of them, ten in all."""
    captions = sorted({data.captions[i] for i in data.where(style="noto")})
    return captions[:: len(captions) // 10][:10]


# %%
rows = {}
for name, data in (("seen", train), ("held out", held_out)):
    rows[f"{name}: drawn"], rows[f"{name}: real"] = beside_the_truth(data, in_noto(data))
plotting.show_rows(rows, scale=0.8, label_width=2.0)
plt.show()
print("seen:    ", ", ".join(in_noto(train)))
print("held out:", ", ".join(in_noto(held_out)))

# %% [markdown]
# ## 8. Guidance towards a prompt
#
# The formula is the one of [06](06_training_a_latent_diffusion_model.ipynb): away from "draw anything", towards the prompt. Text needs more of it than digits do: ten classes are told apart anyway, thousands of sentences are not.
#
# **Predict.** Which row looks best to you, and in which row do eight pictures look least like each other?

# %% mystnb={"image": {"alt": "Rows of eight pictures for guidance 0, 1, 3 and 8: at 0 anything, at 1 red and pink apples of many shapes, at 3 red apples alike, at 8 the same, harsher, with grey in the corners."}}
rows = {f"w = {w:g}": model.sample(8, prompt="red apple", guidance=w, seed=5) for w in (0, 1, 3, 8)}
plotting.show_rows(rows, scale=0.8)
plt.show()

# %% [markdown]
# ## 9. Which word is heard where?
#
# Each place shares its attention out among the words. Those shares can be drawn: a map for each token, bright where it is heard. We look at one moment halfway, where the picture takes shape.

# %%
prompt = "grinning face with big eyes, noto style"
states = list(model.film(1, steps=10, seed=1, prompt=prompt))
halfway = states[4]
asked_tokens = model.condition(1, prompt=prompt)
maps = t2i.attention_maps(model, halfway.x, halfway.t, asked_tokens)[0]
names = ["start", *tokenizer.pieces(prompt)]

# %%
figure, axes = plt.subplots(1, len(names) + 1, figsize=(1.15 * (len(names) + 1), 1.5))
plotting.show(model.decode(states[-1].x), ax=axes[0], title="picture")
for ax, name, one in zip(axes[1:], names, maps):
    ax.imshow(one, cmap="viridis", vmin=0, vmax=float(maps[1:].max()))
    ax.set_axis_off()
    ax.set_title(name, fontsize=9)
plt.show()
print(f"sum over the tokens, at every place: {maps.sum(0).min():.3f} to {maps.sum(0).max():.3f}")

# %% [markdown]
# **Explain.** "face" is heard along the rim, "grinning" at the corners of the mouth, and the comma hardly anywhere. Do not read too much into it: a map shows where a word's value goes in, not what it does there, and pieces of a word share the work.
#
# ## 10. How good is it?
#
# Three questions, three numbers, each beside what real pictures reach.
#
# **Does the picture fit the prompt?** The course brings a *matcher*, two networks that give a picture and its caption nearly the same vector. It learned from the training captions alone and has nothing to do with the model. It gets a picture and 100 captions: is the right one in the first place? Guessing would be right once in a hundred.

# %%
matcher = matching.bundled_matcher()


def once_each(data):
    """A prompt for each caption, in a style that it exists in, and the real picture's number."""
    prompts = data.prompts()
    first = {caption: i for i, caption in reversed(list(enumerate(data.captions)))}
    numbers = sorted(first.values())
    return [prompts[i] for i in numbers], numbers


# %%
drawn, table = {}, {}
for name, data in (("seen", train), ("held out", held_out)):
    prompts, numbers = once_each(data)
    prompts, numbers = prompts[:: len(prompts) // 190], numbers[:: len(numbers) // 190]
    real, _ = data.pictures.subset(numbers).as_tensors()
    drawn[name] = model.sample(len(prompts), prompt=prompts, seed=6)
    table[name] = (
        matching.retrieval(matcher, drawn[name], prompts),
        matching.retrieval(matcher, real, prompts),
    )
    print(f"{name:9} n = {len(prompts)}: drawn {table[name][0]:.1%}, real {table[name][1]:.1%}")

# %% tags=["nbval-check-output"]
print("seen captions, far better than guessing:     ", table["seen"][0] > 0.3)
print("held-out captions, better than guessing:     ", table["held out"][0] > 0.03)
print("held-out captions are harder than seen ones: ", table["held out"][0] < table["seen"][0])

# %% [markdown]
# **Do the pictures look like emoji?** A FID on the matcher's features, with its floor: real held-out pictures at the same n. Read it as in [07](07_evaluation_fid.ipynb); it compares with nothing outside this notebook. Again we ask for seen and for held-out captions.

# %%
real_train = extract(matcher, train.pictures.as_tensors()[0])[0]
real_held = extract(matcher, x_held)[0]
fids = {"real, held out": metrics.bootstrap(metrics.fid, real_held, real_train)}
for name, data in (("seen", train), ("held out", held_out)):
    every = data.prompts()[:: len(data) // len(held_out)][: len(held_out)]
    features = extract(matcher, model.sample(len(every), prompt=every, seed=7))[0]
    fids[f"drawn, {name}"] = metrics.bootstrap(metrics.fid, features, real_train)
for name, fid in fids.items():
    print(f"{name:16} FID {fid.value:4.1f} ({fid.low:.1f} to {fid.high:.1f}), n = {len(every)}")

# %% [markdown]
# **Explain.** The first line is the floor, and a drawn set lies below it. No model is better than real: the floor's pictures show things that are *not* among the training pictures, and the pictures drawn for seen captions show just those that are. Like must be compared with like, so the last line is the one to hold against the first. They hardly differ, although most held-out pictures are not what was asked for: this score sees whether pictures look like emoji, not whether they fit the prompt.
#
# **Did it learn or store?** With so few pictures a model could store them all. Each drawn picture is shown above the training picture that lies nearest to it in the matcher's features. The number is the distance to the training set over that of real held-out pictures: about 1 for a model that does not copy, far below 1 for one that does.

# %%
seen_features = extract(matcher, drawn["seen"])[0]
held_features = extract(matcher, drawn["held out"])[0]
nearest = torch.cdist(held_features[:10], real_train).argmin(1)
plotting.show_rows(
    {"held out: drawn": drawn["held out"][:10],
     "nearest to train on": train.pictures.subset(nearest).as_tensors()[0]},
    scale=0.8, label_width=2.0,
)  # fmt: skip
plt.show()
for name, f in (("seen captions", seen_features), ("held-out captions", held_features)):
    print(f"{name:18} {metrics.memorisation(f, real_held, real_train):.2f}")

# %% [markdown]
# **Explain.** For a seen caption the model is *asked* for a training picture, and a good answer lies near it. For held-out captions there is nothing to repeat. Both numbers belong into the report.
#
# ## 11. What could go wrong
#
# **The words arrive, and nobody listens.** The most frequent bug of text models is silent: the loss falls, pictures look well, and the prompt changes nothing. Here is one such mistake: the padding is read as if it were words.

# %%
prompt_ids = tokenizer(["green heart, noto style"])
wrong_ids = torch.where(prompt_ids < 0, 0, prompt_ids)  # token 0 is the letter a


def draw(ids):
    """Four pictures for given token ids."""
    predict = model.predictor(ids.repeat(4, 1), guidance=3.0)
    start = torch.randn(4, *model.latent_shape, generator=torch.Generator().manual_seed(8))
    times = torch.linspace(1, 0, 11, dtype=torch.float64)
    return model.decode(sample(predict, start, times, model.diffusion.curves, None, "heun"))


plotting.show_rows(
    {"-1: no token": draw(prompt_ids), "0: the letter a": draw(wrong_ids)}, scale=0.9
)
plt.show()
print("what the model reads below:", tokenizer.decode(wrong_ids)[0])

# %% [markdown]
# The hearts survive, as their word is a strong one, but they get dents and dark spots, and the greens drift: the model reads a tail of letters that nobody typed.
#
# **Symptom**: prompts work in training and not when they are typed, or long ones work and short ones do not. **Cause**: padding that is not marked as padding. **Cure**: a mask, and a test that more padding changes nothing.
#
# ## 12. Your turn to ask
#
# Type a prompt and press Enter. Move `step` back to 0 to see the noise that it began with.

# %%
from ldmlib.widgets import prompt_explorer

prompt_explorer(model, "red apple")

# %% [markdown]
# ## Exercises
#
# Each check says what is wrong, in words. Run it as often as you like.

# %%
from ldmlib.check import text as check

# %% [markdown]
# ### Exercise 1: merge
#
# Write the step of byte-pair encoding yourself. `pieces` is a list of strings, `pair` two of them. Return the list in which every occurrence of the pair, from left to right, has become one string.


# %% tags=["exercise"]
def my_merge(pieces, pair):
    return ...  # a list of strings


# %% tags=["check", "nbval-check-output"]
check.merge(my_merge)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Walk through the list with an index. After a merge, where do you go on?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Two behind: of `a a a` the first two become one, and the third stays alone.
#
# </details>
#
# <details><summary>Solution</summary>
#
# Build a new list; when its last piece and the next one are the pair, glue them. The next cell checks it.
#
# </details>


# %% tags=["solution", "nbval-check-output"]
def my_merge_solution(pieces, pair):
    done, i = [], 0
    while i < len(pieces):
        found = tuple(pieces[i : i + 2]) == pair
        done.append("".join(pair) if found else pieces[i])
        i += 2 if found else 1
    return done


check.merge(my_merge_solution)

# %% [markdown]
# ### Exercise 2: attention that ignores padding
#
# One head: `q` is (P, d), `k` and `v` are (T, d), and `counts` (T,) is True where there is a word. Places must take nothing from padding.


# %% tags=["exercise"]
def my_attention(q, k, v, counts):
    return ...  # (P, d)


# %% tags=["check", "nbval-check-output"]
check.attention(my_attention)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# What must a logit be, so that its share after the softmax is exactly 0?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `logits.masked_fill(~counts, float("-inf"))`, before the softmax over the words.
#
# </details>
#
# <details><summary>Solution</summary>
#
# Scale, mask, softmax, mix. The next cell checks it.
#
# </details>


# %% tags=["solution", "nbval-check-output"]
def my_attention_solution(q, k, v, counts):
    logits = q @ k.T / q.shape[1] ** 0.5
    return logits.masked_fill(~counts, float("-inf")).softmax(dim=1) @ v


check.attention(my_attention_solution)

# %% [markdown]
# ### Exercise 3: first places
#
# `fits` is (n, n): row i says how well picture i fits each of n captions, and its own caption is column i. For which share of the pictures does the own caption fit best?


# %% tags=["exercise"]
def my_retrieval(fits):
    return ...  # a number between 0 and 1


# %% tags=["check", "nbval-check-output"]
check.first_places(my_retrieval)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `fits.argmax(dim=1)` is the best caption for each picture. Which one should it be?
#
# </details>
#
# <details><summary>Solution</summary>
#
# Compare with 0, 1, 2, ..., and take the mean. The next cell checks it.
#
# </details>


# %% tags=["solution", "nbval-check-output"]
def my_retrieval_solution(fits):
    return (fits.argmax(dim=1) == torch.arange(len(fits))).double().mean()


check.first_places(my_retrieval_solution)

# %% [markdown]
# ### Exercise 4: design your own
#
# Find a prompt of two words that the model has seen apart and never together, for which at least three of eight pictures show both. Write down your guess before you run it, and what you take from the ones that fail. There is no check: your eyes are the judge.

# %% [markdown] tags=["teacher", "remove-cell"]
# **For the teacher.**
#
# | exercise | minutes | what it trains | usual mistakes | check names them |
# |---|---|---|---|---|
# | 1: merge | 10 | the one step that byte-pair encoding repeats | only the first place; overlapping pairs | yes |
# | 2: attention | 15 | softmax over the right axis, masking | mask after the softmax; 0 instead of minus infinity; no root of d | yes |
# | 3: first places | 5 | retrieval as a score | the wrong axis; a count instead of a share | yes |
# | 4: design your own | 20 | an honest look at composition | reporting the best of many | no check |

# %% [markdown]
# ## Recap
#
# 1. Byte-pair encoding merges frequent neighbours: frequent words are one token, rare ones a few, none is unknown.
# 2. A text encoder gives each token a vector that knows its place and its neighbours; the start token sums up.
# 3. In cross-attention places of the picture ask and words answer. Padding must be silent.
# 4. Leaving the prompt out now and then is all that guidance needs, and text needs more guidance than classes.
# 5. Report seen and held-out captions apart, each beside real pictures, and look for the nearest training picture.
#
# ## Quiz
#
# Choose an answer: each of them, right or wrong, gets a reason.

# %% tags=["quiz"]
from ldmlib.widgets import quiz

quiz("10_text_to_image")

# %% [markdown]
# ## Where to go next
#
# From a terminal: `ldm sample emoji --prompt "red apple" --style noto --out apples.png`. What Stable Diffusion adds to this notebook is size: a text encoder trained on hundreds of millions of captions, 64 x 64 latents, a UNet two hundred times as large. The parts are the same. The next notebook, [11](11_editing_images.ipynb), begins with a picture instead of noise.
#
# ## References
#
# - R. Rombach et al. *High-Resolution Image Synthesis with Latent Diffusion Models*. 2022. arXiv 2112.10752. (Cross-attention: section 3.3.)
# - R. Sennrich, B. Haddow, A. Birch. *Neural Machine Translation of Rare Words with Subword Units*. 2015. arXiv 1508.07909. (Byte-pair encoding: algorithm 1.)
# - A. Vaswani et al. *Attention Is All You Need*. 2017. arXiv 1706.03762. (Attention: equation 1.)
# - A. Radford et al. *Learning Transferable Visual Models From Natural Language Supervision*. 2021. arXiv 2103.00020. (The matcher: section 2.3.)
# - J. Ho, T. Salimans. *Classifier-Free Diffusion Guidance*. 2022. arXiv 2207.12598.
# - N. Shazeer. *GLU Variants Improve Transformer*. 2020. arXiv 2002.05202. (The gated feed-forward layer.)

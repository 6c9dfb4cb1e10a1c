"""Words for the denoiser: a tokenizer that is learned, a text encoder, and cross-attention.

    "red apple" --Tokenizer--> ids (n, L) --TextEncoder--> vectors (n, 1 + L, d), and which count
    picture positions --CrossAttention--> ask the vectors, each its own question

A prompt is a row of token ids, -1 where there is none. So -1 in every place is the empty prompt,
as -1 is the open class: guidance needs nothing new.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ldmlib.networks.layers import group_norm, zero_init

# --------------------------------------------------------------------------- words to numbers


# --------------------------------------------------------------------------- numbers to vectors
class TextEncoder(nn.Module):
    """Token ids (n, L) -> vectors (n, 1 + L, width), and which of them count, bool (n, 1 + L).

    A start token stands before every prompt: the empty one has something to look at, too, and
    its vector sums the prompt up. A small transformer (arXiv 1706.03762), trained together with
    the denoiser.
    """

    def __init__(self, vocabulary: int, length: int, width: int, layers: int = 2) -> None:
        super().__init__()
        self.vocabulary, self.length = vocabulary, length
        self.tokens = nn.Embedding(vocabulary + 1, width)  # the last one is the start token
        self.places = nn.Parameter(0.02 * torch.randn(1 + length, width))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, width // 32, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors and mask; places after the last token of the longest prompt are cut off."""
        used = int((ids >= 0).sum(1).max())
        ids = F.pad(ids[:, :used], (1, 0), value=self.vocabulary)
        counts = ids >= 0
        x = self.tokens(ids % (self.vocabulary + 1)) + self.places[: 1 + used]
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=~counts)
        return self.norm(x), counts


# --------------------------------------------------------------------------- pictures ask words
class CrossAttention(nn.Module):
    """Every position of the picture asks, the words answer (arXiv 1706.03762; 2112.10752, 3.3).

    softmax(Q K^T / sqrt(d)) V with queries from positions x (n, P, c), keys and values from words
    (n, T, d). With ``words=x`` it is self-attention.
    """

    def __init__(self, channels: int, heads: int, words: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(channels, channels, bias=False)
        self.key = nn.Linear(words, channels, bias=False)
        self.value = nn.Linear(words, channels, bias=False)
        self.out = nn.Linear(channels, channels)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (n, heads, positions, c / heads)

    def forward(self, x: Tensor, words: Tensor, counts: Tensor | None = None) -> Tensor:
        y = self.weights(x, words, counts) @ self._split(self.value(words))
        return self.out(y.transpose(1, 2).flatten(2))

    def weights(self, x: Tensor, words: Tensor, counts: Tensor | None = None) -> Tensor:
        """How much each position looks at each word: (n, heads, P, T), rows sum to 1.

        Written out: for so few positions PyTorch's fused kernel is several times slower on a CPU.
        """
        q, k = self._split(self.query(x)), self._split(self.key(words))
        logits = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        if counts is not None:
            logits = logits.masked_fill(~counts[:, None, None, :], float("-inf"))
        return logits.softmax(-1)


class TextBlock(nn.Module):
    """A transformer block inside the UNet: positions look at each other, then at the words.

    (n, c, H, W) -> the same shape. Stable Diffusion's block (arXiv 2112.10752, appendix E.2.1):
    self-attention, cross-attention and a gated feed-forward layer (2002.05202), each with a
    shortcut around it.
    """

    def __init__(self, channels: int, heads: int, words: int, groups: int = 0) -> None:
        super().__init__()
        self.norm = group_norm(channels, groups)
        self.norm.eps = 1e-6  # as in other libraries' blocks
        self.enter = nn.Conv2d(channels, channels, 1)
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(3))
        self.looking = CrossAttention(channels, heads, channels)
        self.reading = CrossAttention(channels, heads, words)
        self.widen = nn.Linear(channels, 8 * channels)
        self.narrow = nn.Linear(4 * channels, channels)
        self.leave = zero_init(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor, words: Tensor, counts: Tensor) -> Tensor:
        h = self.enter(self.norm(x)).flatten(2).transpose(1, 2)  # (n, positions, c)
        at = self.norms[0](h)
        h = h + self.looking(at, at)
        h = h + self.reading(self.norms[1](h), words, counts)
        wide, gate = self.widen(self.norms[2](h)).chunk(2, dim=-1)
        h = h + self.narrow(wide * F.gelu(gate))
        return x + self.leave(h.transpose(1, 2).reshape(x.shape))

"""The transformer encoder of Tremolo's networks in PyTorch, pre-LN, with batch first."""

import torch
import torch.nn.functional as F
from torch import nn

# Debian's 1.13 has none.
FUSED_ATTENTION = hasattr(F, "scaled_dot_product_attention")


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.q, self.v, self.o = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, width)
        self.k = nn.Linear(width, width, bias=False)

    def forward(self, x):
        batch, tokens, width = x.shape

        def by_head(y):
            return y.view(batch, tokens, self.heads, width // self.heads).transpose(1, 2)

        q, k, v = by_head(self.q(x)), by_head(self.k(x)), by_head(self.v(x))
        if FUSED_ATTENTION:
            mixed = F.scaled_dot_product_attention(q, k, v)
        else:
            scores = (q * (width // self.heads) ** -0.5) @ k.transpose(-2, -1)
            mixed = torch.softmax(scores, -1) @ v
        return self.o(mixed.transpose(1, 2).reshape(batch, tokens, width))


class Layer(nn.Module):
    def __init__(self, width, heads, feed_forward):
        super().__init__()
        self.attention = Attention(width, heads)
        self.attention_norm, self.ffn_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.ffn_in, self.ffn_out = nn.Linear(width, feed_forward), nn.Linear(feed_forward, width)

    def forward(self, x):
        x = x + self.attention(self.attention_norm(x))
        return x + self.ffn_out(F.gelu(self.ffn_in(self.ffn_norm(x))))

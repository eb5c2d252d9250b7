"""How many multiply-accumulates training takes, from shapes alone; nothing here imports torch.

T time steps, B sentences, N tokens of each, D width, H heads. A forward pass counts once and a
backward pass twice (Kaplan et al., 2020, arXiv 2001.08361, section 2.1).
"""

from __future__ import annotations

from collections.abc import Iterator

from ..config.settings import ModelSettings

UPDATE = 3  # forward passes that an update is worth


def product_macs(tokens: int, head_dim: int) -> dict[str, int]:
    """Multiply-accumulates of one head of attention at one step, by order of multiplication."""
    return {
        "qk_first": 2 * tokens * tokens * head_dim,
        "kv_first": 2 * tokens * head_dim * head_dim,
    }


def product_shapes(shape: ModelSettings, rows: int, tokens: int) -> Iterator[tuple[int, int, int]]:
    """(m, k, n) of every linear layer of a student on `rows` sentences of `tokens` tokens."""
    width, inner = shape.hidden_size, round(shape.mlp_ratio * shape.hidden_size)
    once, every = rows * tokens, shape.timesteps * rows * tokens
    for block in range(shape.num_hidden_layers):
        # What is the same at every step is multiplied once, by the first three layers.
        same = shape.encoder in ("heaviside", "current") and shape.residual == "add"
        first = once if block == 0 and same else every
        yield from [(first, width, width)] * 3
        yield (every, width, width)
        yield (every, width, inner)
        yield (every, inner, width)


def training_macs(shape: ModelSettings, rows: int, tokens: int) -> int:
    """Multiply-accumulates of one update of a student, embeddings and head left out."""
    linear = sum(m * k * n for m, k, n in product_shapes(shape, rows, tokens))
    heads, size = shape.num_attention_heads, shape.hidden_size // shape.num_attention_heads
    attention = min(product_macs(tokens, size).values()) * heads * shape.timesteps * rows
    return UPDATE * (linear + attention * shape.num_hidden_layers)


def neuron_values(shape: ModelSettings, rows: int, tokens: int) -> int:
    """Values that the neurons of a student put out in one pass: six layers of D, and the MLP's."""
    width = shape.hidden_size * (6 + shape.mlp_ratio)
    return round(width * shape.num_hidden_layers * shape.timesteps * rows * tokens)


def scaled_update(axis: str, value: int) -> tuple[ModelSettings, int, int]:
    """Shape, sentences and tokens of an update in the benchmark of scaling, but for one of these
    those below."""
    at = {"timesteps": 4, "tokens": 32, "hidden_size": 128, "batch_size": 32} | {axis: value}
    width, steps = at["hidden_size"], at["timesteps"]
    shape = ModelSettings(
        hidden_size=width, timesteps=steps, num_hidden_layers=2, num_attention_heads=4
    )
    return shape, at["batch_size"], at["tokens"]


def student_parameters(shape: ModelSettings, vocabulary: int, labels: int = 2) -> int:
    """Trained numbers of a student: word embeddings, blocks of linears and norms, head."""
    width, inner = shape.hidden_size, round(shape.mlp_ratio * shape.hidden_size)
    projections = [(width, width)] * 4 + [(width, inner), (inner, width)]
    block = sum(a * b + 3 * b for a, b in projections)  # weight, bias, norm's weight and bias
    position = shape.max_position_embeddings if shape.position == "learned" else 0
    embeddings = (vocabulary + position) * width
    return embeddings + shape.num_hidden_layers * block + 2 * width + (width + 1) * labels


def bert_macs(layers: int, width: int, rows: int, tokens: int) -> int:
    """Multiply-accumulates of a forward pass of BERT, whose MLP is four times as wide."""
    return rows * tokens * layers * (12 * width * width + 2 * tokens * width)

"""The kernels' mathematics in plain NumPy on row-major matrices: the specification every kernel is tested against.

a : (rows, inputs), w : (inputs, units), bias : (units,), scale, c : (rows,); all float32. weights : (rows,), or of
pairs (positives,), how often each counts where a mean is taken over the rows, once in the mean.
"""

from __future__ import annotations

import numpy as np


def tree_sum(values: np.ndarray) -> np.ndarray:
    """Return the sum of `values` (n, ...) over the first axis: neighbours are added until one is left.

    The last one waits where it has no neighbour. Of panels' shares it is the sum over a layer, however that is cut.
    """
    while len(values) > 1:
        odd = values[len(values) // 2 * 2 :]
        values = np.concatenate([values[0:-1:2] + values[1::2], odd])
    return values[0]


def panel_sum(values: np.ndarray) -> np.ndarray:
    """Return the sum of `values` (rows, units) float32 over the units, (rows,): halves of a panel, then the tree."""
    shares = np.pad(values, ((0, 0), (0, -values.shape[1] % 16))).reshape(len(values), -1, 16)
    while shares.shape[2] > 1:
        half = shares.shape[2] // 2
        shares = shares[:, :, :half] + shares[:, :, half:]
    return tree_sum(shares[:, :, 0].T)


def compose(
    images: np.ndarray, samples: np.ndarray, skipped: int, slope: np.ndarray, offset: np.ndarray, inputs: int
) -> np.ndarray:
    """Return the inputs (rows, inputs): scaled pixels, zero in the first `skipped` places and beyond the pixels.

    slope, offset : (pixels,).
    """
    a = np.zeros((len(samples), inputs), np.float32)
    scaled = slope * images[samples].astype(np.float32) + offset
    a[:, skipped : images.shape[1]] = scaled[:, skipped:]
    return a


def move(image: np.ndarray, down: int, right: int, flip: bool, fill: float) -> np.ndarray:
    """Return `image` (planes, height, width, depth) moved `down` and to the `right`, then mirrored if `flip`.

    What has moved in from outside is `fill`. A crop at (y, x) out of an image with a border of k pixels is this with
    k - y and k - x.
    """
    _, height, width, _ = image.shape
    border = (0, 0), (abs(down),) * 2, (abs(right),) * 2, (0, 0)
    y, x = abs(down) - down, abs(right) - right
    moved = np.pad(image, border, constant_values=fill)[:, y : y + height, x : x + width]
    return moved[:, :, ::-1] if flip else moved


def show(
    a: np.ndarray, source: np.ndarray, labels: np.ndarray, label_offset: int, classes: int, value: np.float32
) -> np.ndarray:
    """Return the images `source` of a with `labels` in their places: `value` in one, or value/classes each for -1."""
    shown = a[source]
    one_hot = (labels[:, None] == np.arange(classes)).astype(np.float32)
    shown[:, label_offset : label_offset + classes] = np.where(
        labels[:, None] < 0, value / np.float32(classes), value * one_hot
    )
    return shown


def forward(a: np.ndarray, scale: np.ndarray, w: np.ndarray, bias: np.ndarray, *, rectify: bool = True) -> np.ndarray:
    """Return h = max(scale a w + bias, 0), or without the maximum. A NaN stays a NaN."""
    z = scale[:, None] * (a @ w) + bias
    return np.maximum(z, 0) if rectify else z


def logits(h: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Return h d, (rows, classes), of h (rows, units), d (units, classes): a panel's units in order, then the tree."""
    panels = range(0, h.shape[1], 16)
    return tree_sum(np.stack([h[:, u : u + 16] @ d[u : u + 16] for u in panels]))


def forward_labelled(
    a: np.ndarray, source: np.ndarray, labels: np.ndarray, label_offset: int, classes: int, value: np.float32,
    scale: np.ndarray, w: np.ndarray, bias: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Return `forward` of the images `source` of a (samples, inputs) showing `labels`."""
    return forward(show(a, source, labels, label_offset, classes, value), scale, w, bias)


def goodness_loss(
    g: np.ndarray, positives: int, theta: float, slope: float, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return coefficients c = -s sigmoid(-s (g - theta)) slope / rows and losses softplus(-s (g - theta)), float64.

    Both are multiplied with the weights of the pairs, if there are any.
    """
    sign = np.where(np.arange(len(g)) < positives, 1.0, -1.0)
    x = -sign * (g.astype(np.float64) - theta)
    often = 1.0 if weights is None else np.tile(weights, 2)
    return often * -sign / (1 + np.exp(-x)) * slope / len(g), often * np.logaddexp(0, x)


def row_scale(total: np.ndarray, divisor: float, eps: float) -> np.ndarray:
    """Return the normalisation of rows from their sums of squares: 1 / (sqrt(total / divisor) + eps)."""
    return np.float32(1) / (np.sqrt(total / np.float32(divisor)) + np.float32(eps))


def softmax(
    logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Return the derivative of the mean cross-entropy against `labels` by the logits, and each row's, float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    norm = np.exp(shifted).sum(axis=1, keepdims=True)
    one_hot = labels[:, None] == np.arange(logits.shape[1])
    often = np.ones(len(labels)) if weights is None else weights
    error = (np.exp(shifted) / norm - one_hot) / len(labels)
    return often[:, None] * error, often * (np.log(norm) - shifted)[one_hot]


def backward(
    error: np.ndarray, d: np.ndarray, h: np.ndarray, scale: np.ndarray, divisor: float, eps: float, slope: float = 0.0
) -> np.ndarray:
    """Return the derivative by the values before a ReLU of a loss whose derivative by (scale h) d is `error`.

    d : (units, classes). scale = 1 / (r + eps) with r = sqrt(sum of h squared / divisor), or constant if divisor is 0.
    slope : below zero, of a leaky ReLU whose output h is.
    """
    by_a = error @ d.T
    by_h = scale[:, None] * by_a
    if divisor:
        r = 1 / scale - eps
        back = np.divide(scale**2 * (by_a * h).sum(axis=1), divisor * r, out=np.zeros_like(r), where=r > 0)
        by_h -= back[:, None] * h
    return np.where(h > 0, by_h, slope * by_h)


def gradients(a: np.ndarray, scale: np.ndarray, c: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return dw = (scale c a)^T z and db = sum of c z (docs/design.md, section 3)."""
    return a.T @ ((c * scale)[:, None] * z), (c[:, None] * z).sum(axis=0)


def adam(
    w: np.ndarray, g: np.ndarray, m: np.ndarray, v: np.ndarray, step: int, rate: float, decay: float,
    beta1: float, beta2: float, eps: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Return w, m, v after Adam's `step`-th step (from 1; Kingma and Ba) with decoupled decay (Loshchilov, Hutter)."""
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    direction = m / (1 - beta1**step) / (np.sqrt(v / (1 - beta2**step)) + eps)
    return (1 - rate * decay) * w - rate * direction, m, v


def sgd(
    w: np.ndarray, g: np.ndarray, m: np.ndarray, rate: float, decay: float, momentum: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return w and m after a step along the running mean of the gradient, m = momentum m + (1 - momentum) g."""
    m = momentum * m + (1 - momentum) * g
    return (1 - rate * decay) * w - rate * m, m


def nesterov(
    w: np.ndarray, g: np.ndarray, m: np.ndarray, rate: float, decay: float, momentum: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return w and m after a step that looks ahead (Nesterov, as Sutskever et al., 2013): the new m is used once more.

    m = momentum m + (1 - momentum) g, and the step goes along momentum m + (1 - momentum) g.
    """
    m = momentum * m + (1 - momentum) * g
    return (1 - rate * decay) * w - rate * (momentum * m + (1 - momentum) * g), m


def lion(
    w: np.ndarray, g: np.ndarray, m: np.ndarray, rate: float, decay: float, beta1: float, beta2: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return w and m after a step of Lion (Chen et al., arXiv 2302.06675, algorithm 2)."""
    step = np.sign(beta1 * m + (1 - beta1) * g)
    return (1 - rate * decay) * w - rate * step, beta2 * m + (1 - beta2) * g


def batch_statistics(
    x: np.ndarray, momentum: float, running_mean: np.ndarray, running_variance: np.ndarray,
    weights: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Return each unit's mean and variance over the rows of x (rows, units), and what the running ones become.

    The batch's variance is the mean square, the running one estimates without bias, as PyTorch's BatchNorm1d has it. Of
    rows with weights it is that of as many rows as tell as much (Kish, Survey Sampling, 1965).
    """
    mean = np.average(x, axis=0, weights=weights)
    variance = np.average((x - mean) ** 2, axis=0, weights=weights)
    count = len(x) if weights is None else weights.sum() ** 2 / (weights**2).sum()
    if count < 1.0001:
        return mean, variance, running_mean, running_variance
    unbiased = variance * count / (count - 1)
    stay = 1 - momentum
    return mean, variance, stay * running_mean + momentum * mean, stay * running_variance + momentum * unbiased


def batch_norm(
    x: np.ndarray, mean: np.ndarray, variance: np.ndarray, epsilon: float, gain: np.ndarray, shift: np.ndarray
) -> np.ndarray:
    """Return x (rows, units) normalised over the rows (Ioffe and Szegedy, arXiv 1502.03167, algorithm 1)."""
    return gain * (x - mean) / np.sqrt(variance + epsilon) + shift


def batch_norm_backward(
    dy: np.ndarray, x: np.ndarray, epsilon: float, gain: np.ndarray, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the derivatives by x, gain and shift from that by the output, `dy` (rows, units)."""
    often = np.ones((len(x), 1)) if weights is None else weights[:, None]
    mean = (often * x).mean(axis=0)
    inverse = 1 / np.sqrt((often * (x - mean) ** 2).mean(axis=0) + epsilon)
    normalised = (x - mean) * inverse
    dgain, dshift = (dy * normalised).sum(axis=0), dy.sum(axis=0)
    return gain * inverse * (dy - often * (dshift + normalised * dgain) / len(x)), dgain, dshift


def groups(units: int, classes: int) -> np.ndarray:
    """Return the group of each unit, (units,): as many groups as classes, of sizes that differ by one at most."""
    return np.arange(units) * classes // units


def group_means(h: np.ndarray, classes: int, power: int) -> np.ndarray:
    """Return the mean over each group of h (rows, units) to a power, (rows, classes)."""
    one_hot = groups(h.shape[1], classes)[:, None] == np.arange(classes)
    return h**power @ (one_hot / one_hot.sum(axis=0)).astype(h.dtype)


def group_backward(error: np.ndarray, h: np.ndarray, power: int) -> np.ndarray:
    """Return the derivative by the values before the ReLU from `error` (rows, classes), that by the group means."""
    group = groups(h.shape[1], error.shape[1])
    by_mean = (error / np.bincount(group))[:, group]
    return 2 * h * by_mean if power == 2 else np.where(h > 0, by_mean, 0)


def philox(counter: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    """Return the words of Philox4x32-10 (Salmon et al., SC 2011, section 3.3) for counters (n, 4) uint32."""
    x = counter.astype(np.uint64)
    for i in range(10):
        k = [np.uint64((key[j] + i * weyl) % 2**32) for j, weyl in enumerate((0x9E3779B9, 0xBB67AE85))]
        p0, p1 = x[:, 0] * np.uint64(0xD2511F53), x[:, 2] * np.uint64(0xCD9E8D57)
        (high0, low0), (high1, low1) = np.divmod(p0, 2**32), np.divmod(p1, 2**32)
        x = np.stack([high1 ^ x[:, 1] ^ k[0], low1, high0 ^ x[:, 3] ^ k[1], low0], axis=1)
    return x.astype(np.uint32)


def dropout(
    h: np.ndarray, samples: np.ndarray, kinds: np.ndarray, seed: int, epoch: int, purpose: int, probability: float
) -> np.ndarray:
    """Return h (rows, units), zero with a probability and otherwise divided by what is left of 1.

    Units u that agree in u // 128 and u % 16 share a counter, (16 (u // 128) + u % 16, sample, epoch, 256 purpose +
    kind), in the words of which u // 16 % 8 counts groups of 16 bits, the low ones of the first word first. A unit is
    dropped if they are less than 65536 times the probability, rounded.
    """
    u, threshold = np.arange(h.shape[1]), round(probability * 65536)
    counter = np.empty((*h.shape, 4), np.uint32)
    counter[..., 0], counter[..., 1] = 16 * (u // 128) + u % 16, samples[:, None]
    counter[..., 2], counter[..., 3] = epoch, 256 * purpose + kinds[:, None]
    words = philox(counter.reshape(-1, 4), (seed % 2**32, seed >> 32)).reshape(*h.shape, 4)
    place = u // 16 % 8
    bits = words[:, u, place // 2] >> (16 * (place % 2)).astype(np.uint32) & 0xFFFF
    return np.where(bits < threshold, 0, h * (65536 / (65536 - threshold)))


def peer_means(
    h: np.ndarray, momentum: float, means: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:  # fmt: skip
    """Return the running means of the units, which follow those over the positive rows h (positives, units)."""
    return momentum * means + (1 - momentum) * np.average(h, axis=0, weights=weights)


def peer_gradient(
    h: np.ndarray, c: np.ndarray, positives: int, means: np.ndarray, strength: float,
    weights: np.ndarray | None = None,
) -> np.ndarray:  # fmt: skip
    """Return dz: c h, and on positive rows what draws the units' running means to their mean (Hinton's code).

    A step of descent along it adds strength (mean of the means - means) / positives, also where h is zero.
    """
    dz = c[:, None] * h
    often = np.ones(positives) if weights is None else weights
    dz[:positives] -= often[:, None] * strength * (means.mean() - means) / max(positives, 1)
    return dz


def gram(h: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the inner products of all pairs of rows of h (rows, units), and the rows' sums."""
    return h @ h.T, h.sum(axis=1)


def similarities(x: np.ndarray) -> np.ndarray:
    """Return the cosines between all pairs of rows of x, each less its mean: their correlations, (rows, rows)."""
    centred = x - x.mean(axis=1, keepdims=True)
    centred /= np.sqrt((centred**2).sum(axis=1, keepdims=True)) + 1e-8
    return np.clip(centred @ centred.T, -1, 1)


def similarity_loss(h: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Return each row's mean over all rows of (similarity of the two - that of their one-hot classes)^2."""
    distance = similarities(h) - similarities(np.eye(classes)[labels])
    return (distance**2).mean(axis=1)


def similarity_backward(h: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Return the derivative by h of the mean over the rows of `similarity_loss`, (rows, units)."""
    rows = len(h)
    centred = h - h.mean(axis=1, keepdims=True)
    length = np.sqrt((centred**2).sum(axis=1, keepdims=True))
    unit = centred / (length + 1e-8)
    error = 2 * (similarities(h) - similarities(np.eye(classes)[labels])) / rows**2
    by_unit = 2 * error @ unit
    return by_unit / (length + 1e-8) - unit * (by_unit * unit).sum(axis=1, keepdims=True) / length

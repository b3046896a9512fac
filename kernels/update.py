"""The fused update: the gradient's product with the optimiser in its epilogue; no gradient is ever stored."""

from __future__ import annotations

import numpy as np
from numba import prange

from .compiled import compiled
from .constants import ADAM, LION, NESTEROV
from .powers import power
from .simd import LANES, div, flush, fma, load, load_splat, mul, pointer, prefetch, sign, splat, sqrt, store, sub
from .sparse import Memory, density, list_inputs, width_of
from .tile import AHEAD, PANELS, UPDATE_INPUTS, WIDE, sparse_tile, update_tile, update_tile_of_many

#: Unit panels in one go where zeros are skipped, at most and at least, and times rows, which a first-level cache holds.
_MOST_PANELS, _LEAST_PANELS, _CACHED = 6, 6 if WIDE else 2, 448
#: Share of activations that are not zero below which skipping the others pays whatever the rows; the share, and how
#: many of an input, below which it pays with few rows; and how many panels are updated while the others are listed.
WORTHWHILE, MOST, FEW = (0.1, 0.5, 13) if WIDE else (0.4, 0.8, 75)
LISTING = 1.4
_MOST_LISTED = 2**16  # rows whose places uint16 can hold
#: Rows in one go: their share of a and of dz stays in the second-level cache while all inputs pass.
_ROWS = 1024


@compiled
def _optimise(kind, index, gradient, parameters, constants):  # type: ignore[no-untyped-def]
    """Update sixteen parameters; denormal moments become zero, since they slow the machine a hundredfold."""
    w, m, v = parameters
    for parameter in (w, m, v):  # the next tile's, which follows this one in memory
        prefetch(parameter, index + UPDATE_INPUTS * LANES)
    mean = flush(fma(load(m, index), load_splat(constants, 0), mul(gradient, load_splat(constants, 1))))
    step = mean
    if kind == ADAM:
        square = mul(mul(gradient, gradient), load_splat(constants, 3))
        square = flush(fma(load(v, index), load_splat(constants, 2), square))
        step = div(mean, fma(sqrt(square), load_splat(constants, 4), load_splat(constants, 5)))
        store(v, index, square)
    elif kind == NESTEROV:
        step = fma(mean, load_splat(constants, 0), mul(gradient, load_splat(constants, 1)))
    elif kind == LION:
        step = sign(fma(load(m, index), load_splat(constants, 2), mul(gradient, load_splat(constants, 3))))
    store(m, index, mean)
    store(w, index, sub(mul(load(w, index), load_splat(constants, 7)), mul(step, load_splat(constants, 6))))


@compiled
def _dz(panel, j, rows, label_arguments, g, label_gradient, out):  # type: ignore[no-untyped-def]
    """Write what the active rows of a are multiplied with for panel `panel` + j into g, the bias's gradient into out.

    With labels, their places' gradient goes into `label_gradient`.
    """
    scaled, c, z, active, pair = rows
    labels, classes = label_arguments[0], label_arguments[2]
    label_gradient[j] = 0.0
    total = splat(np.float32(0.0))
    for i in range(len(active)):
        row = active[i]
        together = splat(np.float32(0.0))
        while row < len(c):
            activation = load(z, ((panel + j) * z.shape[1] + row) * LANES)
            total = fma(activation, splat(c[row]), total)
            together = fma(activation, splat(scaled[row]), together)
            if classes > 0:
                place_index = (j * label_gradient.shape[1] + labels[row]) * LANES
                store(
                    label_gradient, place_index, fma(activation, splat(scaled[row]), load(label_gradient, place_index))
                )
            row += pair
        store(g, (j * g.shape[1] + i) * LANES, together)
    store(out, j * LANES, total)


@compiled
def _columns(first, last, kind, a, rows, label_arguments, state, constants):  # type: ignore[no-untyped-def]
    """Update the column tiles [first, last): no two of them touch the same memory."""
    w, bias, m, v, mb, vb = state
    active, label_offset, classes = rows[3], label_arguments[1], label_arguments[2]
    value = splat(label_arguments[3])
    pitch, inputs, count = a.shape[1], w.shape[1], len(active)
    g = np.empty((PANELS, max(count, 1), LANES), np.float32)
    label_gradient = np.empty((PANELS, max(classes, 1), LANES), np.float32)  # gradient of the label places
    size, many = UPDATE_INPUTS * PANELS * LANES, count > _ROWS
    tiles = np.empty(inputs // UPDATE_INPUTS * size if many else size, np.float32)
    no_decay = constants.copy()
    no_decay[7] = 1.0  # biases do not decay
    # Addresses are handed on without counting references, arrays are not.
    weights, biases = (pointer(w), pointer(m), pointer(v)), (pointer(bias), pointer(mb), pointer(vb))
    with_decay, without_decay = pointer(constants), pointer(no_decay)
    for column in range(first, last):
        panel = column * PANELS
        width = min(PANELS, len(w) - panel)
        for j in range(width):
            _dz(panel, j, rows, label_arguments, g, label_gradient, tiles)
            _optimise(kind, (panel + j) * LANES, load(tiles, j * LANES), biases, without_decay)
        if many:
            tiles[:] = 0.0
        for begin in range(0, max(count, 1), _ROWS):
            end = min(begin + _ROWS, count)
            for start in range(0, inputs, UPDATE_INPUTS):
                a_index = start // LANES * pitch * LANES + start % LANES
                tile, step = 0, g.shape[1] * LANES
                if many:
                    tile = start // UPDATE_INPUTS * size
                    update_tile_of_many(width, a, a_index, active, begin, end, g, step, tiles, tile)
                else:
                    update_tile(width, a, a_index, active, begin, end, g, step, tiles, tile)
                if end < count:
                    continue
                for i in range(UPDATE_INPUTS):
                    for j in range(width):
                        gradient = load(tiles, tile + (i * width + j) * LANES)
                        if label_offset <= start + i < label_offset + classes:
                            label = load(
                                label_gradient, (j * label_gradient.shape[1] + start + i - label_offset) * LANES
                            )
                            gradient = fma(label, value, gradient)
                        _optimise(kind, ((panel + j) * inputs + start + i) * LANES, gradient, weights, with_decay)


@compiled
def _sparse_columns(first, last, kind, rows, label_arguments, state, constants, listed):  # type: ignore[no-untyped-def]
    """Update the unit panels [first, last) from the activations that are not zero."""
    w, bias, m, v, mb, vb = state
    label_offset, classes, value = label_arguments[1], label_arguments[2], splat(label_arguments[3])
    values, places, counts, pitch = listed
    inputs, count = w.shape[1], len(rows[3])
    most = max(_LEAST_PANELS, min(_MOST_PANELS, _CACHED // max(count, 1)))
    g = np.empty((most, max(count, 1), LANES), np.float32)
    label_gradient = np.empty((most, max(classes, 1), LANES), np.float32)
    tile = np.empty(most * LANES, np.float32)
    no_decay = constants.copy()
    no_decay[7] = 1.0
    weights, biases = (pointer(w), pointer(m), pointer(v)), (pointer(bias), pointer(mb), pointer(vb))
    with_decay, without_decay = pointer(constants), pointer(no_decay)
    panel = first
    while panel < last:
        width = width_of(last - panel, most)
        for j in range(width):
            _dz(panel, j, rows, label_arguments, g, label_gradient, tile)
            _optimise(kind, (panel + j) * LANES, load(tile, j * LANES), biases, without_decay)
        for k in range(inputs):
            for j in range(width):
                store(tile, j * LANES, splat(np.float32(0.0)))
            start = k * pitch
            sparse_tile(width, values, places, start, start + counts[k], g, 0, g.shape[1] * LANES, tile, 0)
            for j in range(width):
                gradient = load(tile, j * LANES)
                if label_offset <= k < label_offset + classes:
                    label = load(label_gradient, (j * label_gradient.shape[1] + k - label_offset) * LANES)
                    gradient = fma(label, value, gradient)
                _optimise(kind, ((panel + j) * inputs + k) * LANES, gradient, weights, with_decay)
        panel += width


@compiled(parallel=True)
def _columns_parallel(threads, kind, a, rows, label_arguments, state, constants):  # type: ignore[no-untyped-def]
    columns = -(-len(state[0]) // PANELS)
    for t in prange(threads):
        _columns(columns * t // threads, columns * (t + 1) // threads, kind, a, rows, label_arguments, state, constants)


@compiled(parallel=True)
def _sparse_columns_parallel(threads, kind, rows, label_arguments, state, constants, listed):  # type: ignore[no-untyped-def]
    panels = len(state[0])
    for t in prange(threads):
        _sparse_columns(
            panels * t // threads, panels * (t + 1) // threads, kind, rows, label_arguments, state, constants, listed
        )


@compiled
def _participants(c, scale, pair):  # type: ignore[no-untyped-def]
    """Return c x scale and the rows of a that take part: those with a coefficient that is not zero, or whose pair has.

    Row i of a has the coefficients i and, if there are more, i + `pair`.
    """
    scaled, active, count = np.empty(len(c), np.float32), np.zeros(pair + AHEAD, np.int64), 0
    for row in range(len(c)):
        scaled[row] = c[row] * scale[row]
    for row in range(pair):
        if c[row] != 0 or (pair < len(c) and c[row + pair] != 0):
            active[count] = row
            count += 1
    return scaled, active[:count]


@compiled
def _skipping_pays(a, active, panels, nonzeros):  # type: ignore[no-untyped-def]
    """Say whether skipping zeros is faster: measured at 4 to 300 rows of layers of 500 to 2000 units.

    With AVX-512 it is below a tenth of activations, and with fewer than 13 an input, where the optimiser's memory
    traffic rules; with AVX2 below 0.4 and 75. Of few panels each bears more of what listing takes.
    """
    count = len(active)
    if len(nonzeros[0]) == 0 or not 0 < count <= _MOST_LISTED:
        return False
    share = max(WORTHWHILE, min(MOST, FEW / count))
    return density(a, active[-1] + 1) < share * (1 - LISTING / panels)


LabelArguments = tuple[np.ndarray, int, int, np.float32]
#: An update without labels: every row has an input of its own.
NO_LABELS: LabelArguments = (np.empty(0, np.int64), 0, 0, np.float32(1.0))


@compiled
def update(kind, a, scale, c, z, w, bias, moments, constants, label_arguments, nonzeros):  # type: ignore[no-untyped-def]
    """Take one optimiser step along dW = (scale c a)^T z and db = sum of c z, see `reference.gradients`.

    Rows whose coefficient is zero take no part. Returns how many rows of a did.

    Parameters
    ----------
    kind : ADAM, SGD, NESTEROV or LION
    a : (input panels, pitch, 16) float32, the layer's input before normalisation
    scale : (rows or more,) float32, the normalisation of each row
    c : (rows,) float32, the coefficient of each row
    z : (unit panels, pitch of its own, 16) float32, the layer's activations
    w, bias : (unit panels, inputs padded, 16) and (unit panels, 16) float32, updated
    moments : first and second moment of w, then of bias, like w and bias, updated; only ADAM touches the second
    constants : (8,) float32, see `adam_constants`, `sgd_constants` (also for NESTEROV) and `lion_constants`
    label_arguments : NO_LABELS; or, where z has two rows for each row of a, which show different labels, first all
        positives and then all negatives: their labels (rows or more,) int64, the first label place of a, how many there
        are, and what stands in the place of the label that a row shows, float32. The places are zero in a, and their
        share of the gradient is added.
    nonzeros : `Nonzeros.arrays`, memory that lets a batch with few activations skip the zeros; with DENSE it does not
    """
    pair = len(c) // 2 if label_arguments[2] > 0 else len(c)
    scaled, active = _participants(c, scale, pair)
    rows, state = (scaled, c, z, active, pair), (w, bias, moments[0], moments[1], moments[2], moments[3])
    if _skipping_pays(a, active, len(w), nonzeros):
        listed = list_inputs(a, active, nonzeros)
        _sparse_columns(0, len(w), kind, rows, label_arguments, state, constants, listed)
    else:
        _columns(0, -(-len(w) // PANELS), kind, a, rows, label_arguments, state, constants)
    return len(active)


def update_parallel(
    threads: int,
    kind: int,
    a: np.ndarray,
    scale: np.ndarray,
    c: np.ndarray,
    z: np.ndarray,
    w: np.ndarray,
    bias: np.ndarray,
    moments: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    constants: np.ndarray,
    label_arguments: LabelArguments,
    nonzeros: Memory,
) -> int:
    """Do what `update` does on so many of Numba's threads, which share the column panels."""
    pair = len(c) // 2 if label_arguments[2] > 0 else len(c)
    scaled, active = _participants(c, scale, pair)
    rest = ((scaled, c, z, active, pair), label_arguments, (w, bias, *moments), constants)
    if _skipping_pays(a, active, len(w), nonzeros):
        _sparse_columns_parallel(threads, kind, *rest, list_inputs(a, active, nonzeros))
    else:
        _columns_parallel(threads, kind, a, *rest)
    return len(active)


@compiled
def adam_constants(steps, rate, decay, beta1, beta2, eps):  # type: ignore[no-untyped-def]
    """Return Adam's constants for its `steps` (from 1): Kingma and Ba's algorithm with AdamW's decoupled decay.

    steps : (n,) int64; all others are float64. The constants are (n, 8) float32.
    """
    constants = np.empty((len(steps), 8), np.float32)
    for i in range(len(steps)):
        constants[i, 0], constants[i, 1] = beta1, 1 - beta1
        constants[i, 2], constants[i, 3] = beta2, 1 - beta2
        constants[i, 4], constants[i, 5] = 1 / np.sqrt(1 - power(beta2, steps[i])), eps
        constants[i, 6], constants[i, 7] = rate / (1 - power(beta1, steps[i])), 1 - rate * decay
    return constants


@compiled
def sgd_constants(rate, decay, momentum):  # type: ignore[no-untyped-def]
    """Return the constants of descent along a running mean of the gradient, m = momentum m + (1 - momentum) g."""
    constants = np.zeros(8, np.float32)
    constants[0], constants[1] = momentum, 1 - momentum
    constants[6], constants[7] = rate, 1 - rate * decay
    return constants


@compiled
def lion_constants(rate, decay, beta1, beta2):  # type: ignore[no-untyped-def]
    """Return Lion's constants (Chen et al., arXiv 2302.06675, algorithm 2): the step is rate times a sign.

    All are float64; the constants are (8,) float32.
    """
    constants = np.zeros(8, np.float32)
    constants[0], constants[1] = beta2, 1 - beta2
    constants[2], constants[3] = beta1, 1 - beta1
    constants[6], constants[7] = rate, 1 - rate * decay
    return constants


#: With these constants SGD adds the gradient to its first moments and leaves the weights: m = m + g, w = w - 0 m.
ACCUMULATE = np.array([1, 1, 0, 0, 0, 0, 0, 1], np.float32)


@compiled
def _step_array(kind, gradient, state, constants):  # type: ignore[no-untyped-def]
    """Take a step with all elements of an array; `state` is itself and its two moments."""
    parameters, constants_at = (pointer(state[0]), pointer(state[1]), pointer(state[2])), pointer(constants)
    for index in range(0, state[0].size, LANES):
        _optimise(kind, index, load(gradient, index), parameters, constants_at)


@compiled
def step_vector(kind, gradient, state, constants):  # type: ignore[no-untyped-def]
    """Take one optimiser step with a vector that does not decay (a bias, gains), along a gradient: zero afterwards.

    gradient : (panels, 16) float32; state : the vector and its two moments, shaped alike, updated
    """
    no_decay = constants.copy()
    no_decay[7] = 1.0
    _step_array(kind, gradient, state, no_decay)
    gradient[:] = 0.0


@compiled
def step_along(kind, gradient, state, constants):  # type: ignore[no-untyped-def]
    """Take one optimiser step along an accumulated gradient, which then is zero again.

    gradient : that of w and of the bias, float32 of their shapes; state : (w, bias, m, v, mb, vb) as for `update`
    """
    w, bias, m, v, mb, vb = state
    _step_array(kind, gradient[0], (w, m, v), constants)
    step_vector(kind, gradient[1], (bias, mb, vb), constants)
    gradient[0][:] = 0.0

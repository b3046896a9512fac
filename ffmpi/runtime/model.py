"""What one rank holds: its layers and classifiers, the weights it computes with, and its samples."""

from __future__ import annotations

import resource

from ..config.schema import Config
from ..data import DataSet
from ..data.info import DatasetInfo, images_composed, rows_of
from ..network.classifier import Classifier
from ..network.inputs import InputBuilder, Labels
from ..network.layer import Activations, Inputs, LabelledLayer, Layer, Parameters, initialise, widths
from ..schedule import Schedule
from ..schedule.steps import Split


class Samples:
    """Samples of one split or shard: their labels and, where inputs are composed, their images."""

    def __init__(self, config: Config, data: DataSet, dataset: DatasetInfo) -> None:
        """Take over `data`; classes are below those of `dataset`."""
        self.labels = Labels(config, data.classes, dataset.classes)
        self.builder = InputBuilder(config, data, dataset.scaling) if data.images is not None else None
        self.nbytes = data.classes.nbytes + (0 if data.images is None else data.images.nbytes)


class RankModel:
    """The share of the network and of the data that a schedule gives to a rank.

    Attributes
    ----------
    layers : those whose activities this rank computes, by index; it trains some or all of them
    head : the softmax head, where this rank trains it
    classifiers : with the local-softmax rule, those of its layers
    inputs : the first layer's input, where it is composed
    samples, scored : the training samples by shard, and those that are only scored by split, where they are needed
    """

    def __init__(
        self, config: Config, dataset: DatasetInfo, schedule: Schedule, rank: int, samples: dict[int, DataSet],
        scored: dict[Split, DataSet],
    ) -> None:  # fmt: skip
        """Make them, with weights of zero.

        `samples` are by shard, `scored` by split; both are empty where neither images nor classes are needed.
        """
        self.config, self.dataset = config, dataset
        classes, sizes = dataset.classes, widths(config, dataset.pixels, dataset.classes)
        self.rows = rows_of(config, classes)
        self.layers: dict[int, Layer] = {}
        self.inputs: Inputs | None = None
        trained = schedule.trained(rank)
        at_once = images_composed(config, classes)
        for layer in schedule.computed(rank):
            inputs, units = sizes[layer], sizes[layer + 1]
            # A layer that others train gets its weights from them.
            parameters = Parameters(inputs, units, config.optimizer if layer in trained else None)
            if layer == 0 and not config.local:
                self.layers[0] = LabelledLayer(config, parameters, self.rows, at_once)
            else:
                self.layers[layer] = Layer(config, parameters, self.rows)
        if 0 in self.layers:
            label_offset = dataset.pixels if config.data.label == "append" else 0
            images, value = max(at_once, self.rows) if config.local else at_once, config.data.label_value
            assert value != "auto"  # see info.resolved
            self.inputs = Inputs(sizes[0], images, label_offset, classes, value)
        stages = len(config.network.layers)
        has_head = bool(config.head_layers) and stages in trained
        self.head = Classifier(config, config.head_layers, classes, config.train.batch_size) if has_head else None
        self.classifiers = {
            layer: Classifier(config, (layer,), classes, self.rows) for layer in self.layers if config.local
        }
        self.samples = {shard: Samples(config, data, dataset) for shard, data in samples.items()}
        self.scored = {name: Samples(config, data, dataset) for name, data in scored.items()}
        self.trained = {layer: self.layers[layer].parameters for layer in trained if layer < stages}

    def initialise(self) -> None:
        """Draw the weights that the stages this rank trains begin with."""
        for layer, parameters in self.trained.items():
            initialise(self.config, layer, parameters)
            if layer in self.classifiers:
                self.classifiers[layer].initialise()
        if self.head:
            self.head.initialise()

    def activations(self, layer: int, rows: int | None = None) -> Activations:
        """Return memory for what `layer` puts out."""
        width = self.dataset.classes if self.config.local else 1
        return Activations(self.config.network.layers[layer], rows or self.rows, width)

    def states(self, stage: int) -> dict[str, Parameters]:
        """Return all parameters of a stage that this rank trains, by their name in a checkpoint."""
        if stage == len(self.config.network.layers):
            assert self.head is not None
            return {f"head/{layer}": block for layer, block in self.head.blocks.items()}
        states = {f"layers/{stage}": self.trained[stage]}
        if stage in self.classifiers:
            states[f"classifiers/{stage}"] = self.classifiers[stage].blocks[stage]
        return states

    def copies(self, stage: int) -> dict[str, Parameters]:
        """Return room for the weights of a layer that another rank trains, named as its states."""
        layer = self.layers[stage].parameters
        copies = {f"layers/{stage}": Parameters(layer.inputs, layer.units, None)}
        if stage in self.classifiers:
            copies[f"classifiers/{stage}"] = Parameters(layer.units, self.dataset.classes, None)
        return copies

    def use(self, stage: int, states: dict[str, Parameters]) -> None:
        """Compute what a layer puts out with these parameters, named as its states."""
        self.layers[stage].parameters = states[f"layers/{stage}"]
        if stage in self.classifiers:
            self.classifiers[stage].blocks[stage] = states[f"classifiers/{stage}"]

    @property
    def all_states(self) -> dict[str, Parameters]:
        """All parameters that this rank trains, by their name in a checkpoint."""
        stages = [*self.trained, *([len(self.config.network.layers)] if self.head else [])]
        return {name: parameters for stage in stages for name, parameters in self.states(stage).items()}

    def memory(self, buffers: int) -> dict[str, float]:
        """Return this rank's memory in bytes: the peak so far, and what it owns, of which `buffers` for links."""
        weights = sum(parameters.flat.nbytes for parameters in self.all_states.values())
        data = sum(part.nbytes for part in self.samples.values()) + sum(part.nbytes for part in self.scored.values())
        return {
            "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0,
            "owned_bytes": float(weights + buffers + data),
            "weight_bytes": float(weights),
            "link_bytes": float(buffers),
            "data_bytes": float(data),
        }


def shapes_of(config: Config, dataset: DatasetInfo, stage: int) -> dict[str, dict[str, tuple[int, ...]]]:
    """Return the names of a stage's parameters in a checkpoint, and the shapes of their arrays."""
    sizes = widths(config, dataset.pixels, dataset.classes)
    if stage < len(config.network.layers):
        shapes = {f"layers/{stage}": Parameters.shapes_of(sizes[stage], sizes[stage + 1], config.optimizer)}
        classifiers = {f"classifiers/{stage}": stage} if config.local else {}
    else:
        shapes, classifiers = {}, {f"head/{layer}": layer for layer in config.head_layers}
    for name, layer in classifiers.items():
        shapes[name] = Parameters.shapes_of(sizes[layer + 1], dataset.classes, config.head.optimizer)
    return shapes

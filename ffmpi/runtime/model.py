"""What one rank has: its layers and classifiers, the weights it computes with, and its samples."""

from __future__ import annotations

import resource
from collections.abc import Mapping

from ..config.schema import Config
from ..data import DataSet
from ..data.info import DatasetInfo
from ..data.streamed import StreamedImages
from ..network.activations import Activations, Inputs
from ..network.augmented import AugmentedInputBuilder
from ..network.classifier import Classifier, classifier_block
from ..network.inputs import InputBuilder
from ..network.labels import Labels
from ..network.layer import LabelledLayer, Layer
from ..network.layout import BatchLayout
from ..network.parameters import Parameters
from ..network.stages import declared, name_of, sizes_of
from ..network.transformed import TransformedImages
from ..network.window import Window
from ..schedule import Schedule
from ..schedule.steps import Split


class Samples:
    """Samples of one split or shard: their labels and, where inputs are built, their images."""

    def __init__(
        self, config: Config, data: DataSet, dataset: DatasetInfo, at_once: int, *, training: bool,
        transformed: TransformedImages | None = None,
    ) -> None:  # fmt: skip
        """Take over `data`; classes are below those of `dataset`. Images for `training` are augmented.

        at_once : the most images of a batch
        transformed : what changes them then
        """
        self.labels = Labels(config, data.classes, dataset.classes, data.weights if training else None)
        kind = AugmentedInputBuilder if training and config.augment else InputBuilder
        images, window = data.images, None
        if isinstance(images, StreamedImages):
            window = Window(images, config if training else None, at_once)
            held = window.nbytes
        else:
            held = 0 if images is None else images.nbytes
        self.builder = kind(config, data, dataset.scaling, window, transformed) if images is not None else None
        self.nbytes = data.classes.nbytes + held + (0 if data.weights is None else data.weights.nbytes)

    def release(self) -> None:
        """Give back the memory of streamed images, until they are used again."""
        if self.builder and self.builder.window:
            self.builder.window.release()


class RankModel:
    """The share of the network and of the data that a schedule gives to a rank.

    Attributes
    ----------
    layout : the rows of the batches
    layers : those whose activations this rank computes, by index; it trains some or all of them
    trained : the parameters of those it trains, by layer and name
    head : the softmax head, where this rank trains it
    inputs : the first layer's input, where it is built
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
        classes, sizes = dataset.classes, sizes_of(config, dataset)
        self.layout = BatchLayout(config, classes)
        rows, images = self.layout.most_rows, self.layout.most_images
        trained, stages, pieces = schedule.trained(rank), len(config.network.layers), schedule.pieces(rank)
        self.layers: dict[int, Layer] = {}
        for index in schedule.computed(rank):
            # A layer that others train gets its weights from them.
            learns, panels = index in trained, pieces.get(index)
            if index == 0 and self.layout.labelled:
                layer: Layer = LabelledLayer(
                    config, index, sizes[0], classes, rows, images, learns=learns, panels=panels
                )
            else:
                layer = Layer(config, index, sizes[index], classes, rows, learns=learns, panels=panels)
            layer.workspace = config.rule.workspace(config, layer, rows, classes)
            self.layers[index] = layer
        self.trained = {index: self.layers[index].blocks for index in trained if index < stages}
        self.inputs: Inputs | None = None
        if 0 in self.layers:
            label_offset = dataset.pixels if config.data.label == "append" else 0
            value = config.data.label_value
            assert value != "auto"  # see info.resolved
            self.inputs = Inputs(sizes[0], images, label_offset, classes, value)
        #: What changes the images that this rank's layers learn from.
        self.transformed: TransformedImages | None = None
        if self.inputs and config.network.input_transforms:
            self.transformed = TransformedImages(config, sizes[0], images)
        self.head: Classifier | None = None
        #: Whether the head's weights of a layer are where the layer's are; else they are all in one place.
        self.head_in_pieces = config.schedule.by_batch
        if config.head_layers and (self.head_in_pieces or stages in trained):
            blocks = {}
            for index in config.head_layers:
                if index in self.layers or not self.head_in_pieces:
                    own = self.layers[index] if self.head_in_pieces else None
                    part = None if own is None or own.whole else own.panels
                    block = classifier_block(config, config.network.layers[index], classes)
                    blocks[index] = Parameters(block, part=part)
            if blocks:
                self.head = Classifier(config, blocks, classes, config.train.batch_size, config.head_layers)
        self.samples = {
            shard: Samples(config, data, dataset, images, training=True, transformed=self.transformed)
            for shard, data in samples.items()
        }
        self.scored = {name: Samples(config, data, dataset, images, training=False) for name, data in scored.items()}

    def initialise(self) -> None:
        """Draw the weights that the stages this rank trains begin with."""
        for index in self.trained:
            self.layers[index].initialise()
        if self.head:
            self.head.initialise()

    def activations(self, layer: int, rows: int | None = None) -> Activations:
        """Return memory for the output of `layer`."""
        outputs = self.config.rule.outputs(self.dataset.classes)
        return Activations(self.config.network.layers[layer], rows or self.layout.most_rows, outputs)

    def states(self, stage: int) -> dict[str, Parameters]:
        """Return what this rank has of a stage that it trains, all parameters, by their name in a checkpoint."""
        if stage < len(self.config.network.layers):
            own = {name_of(stage, name): parameters for name, parameters in self.trained[stage].items()}
            if self.head_in_pieces and self.head and stage in self.head.blocks:
                own[f"head/{stage}"] = self.head.blocks[stage]
            return own
        assert self.head is not None
        return {f"head/{layer}": block for layer, block in self.head.blocks.items()}

    def snapshot(self, stage: int) -> dict[str, Parameters]:
        """Return copies of what this rank has of a stage now, named as its states.

        Those of a layer are without its rows of the head, which learns from a batch later than the layer does.
        """
        states = self.trained.get(stage)
        named = self.states(stage) if states is None else {name_of(stage, name): one for name, one in states.items()}
        return {name: parameters.copy() for name, parameters in named.items()}

    def copies(self, stage: int) -> dict[str, Parameters]:
        """Return room for the weights of a layer that another rank trains, named as its states."""
        blocks = declared(self.config, self.dataset, stage)
        return {name: Parameters(block, learns=False) for name, block in blocks.items()}

    def use(self, stage: int, states: Mapping[str, Parameters]) -> None:
        """Compute a layer's output with these parameters, named as its states."""
        layer = self.layers[stage]
        layer.use({name: states[name_of(stage, name)] for name in layer.blocks})

    @property
    def all_states(self) -> dict[str, Parameters]:
        """All parameters that this rank trains, by their name in a checkpoint."""
        whole_head = self.head is not None and not self.head_in_pieces
        stages = [*self.trained, *([len(self.config.network.layers)] if whole_head else [])]
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

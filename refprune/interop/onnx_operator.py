"""One operator of an ONNX file, with what is known of its inputs, and the errors that name it."""

import numpy as np

from refprune.interop.graph import unsupported
from refprune.interop.optional import optional


class Operator:
    """A node of an ONNX graph.

    Parameters
    ----------
    proto : onnx.NodeProto
    file : File
        Its `opset`, the version of the operators, and its precision.
    known : mapping of str to array
        Values that do not depend on the network's input.
    shapes : mapping of str to tuple
        Shapes of the values that do; an unknown size is a name.

    Attributes
    ----------
    word, name : str
        The operator, and what the file calls the node (its first output where it has no name).
    inputs : tuple of str
        Empty strings stand for optional inputs that are not given.
    output : str
        The first output.
    """

    def __init__(self, proto, file, known, shapes):
        helper = optional("onnx.helper", "onnx")
        self.word, self.inputs, self.output = proto.op_type, tuple(proto.input), proto.output[0]
        self.name = proto.name or self.output
        self.opset, self.element, self.dtype = file.opset, file.element, file.dtype
        self.outputs = [name for name in proto.output if name]
        self._attributes = {a.name: _text(helper.get_attribute_value(a)) for a in proto.attribute}
        self._known, self._shapes = known, shapes

    def refuse(self, why) -> ValueError:
        """The error that names this operator, its node and the reason."""
        return unsupported(self.word, self.name, why)

    def need(self, holds, why):
        """Raise `refuse(why)` unless `holds`."""
        if not holds:
            raise self.refuse(why)

    def take(self, **defaults) -> list:
        """The values of the named attributes, in order; any other attribute in the file is refused."""
        for name in self._attributes:
            self.need(name in defaults, f"its attribute {name} is not supported")
        return [self._attributes.get(name, default) for name, default in defaults.items()]

    def given(self, place) -> bool:
        """Whether the input at `place` is there."""
        return place < len(self.inputs) and self.inputs[place] != ""

    def is_known(self, place) -> bool:
        """Whether the input at `place` is there and does not depend on the network's input."""
        return self.given(place) and self.inputs[place] in self._known

    def constant(self, place, what):
        """The constant input at `place`, or None when it is not given; `what` names it in the error."""
        if not self.given(place):
            return None
        self.need(self.is_known(place), f"its {what} depends on the network's input; need a constant")
        value = self.constant_or_shape(place)
        self.need(value.dtype != object, f"its {what} depends on the size of the network's input")
        return value

    def constant_or_shape(self, place):
        """The input at `place` that does not depend on what the network's input holds; perhaps on its shape."""
        return self._known[self.inputs[place]]

    def scalar(self, place, what):
        """The constant input at `place` as a float; None when it is not given."""
        value = self.constant(place, what)
        if value is None:
            return None
        self.need(value.size == 1, f"need a single number as its {what}; got shape {value.shape}")
        return float(value.reshape(()))

    def integers(self, place, what):
        """The constant input at `place` as a list of int; None when it is not given."""
        value = self.constant(place, what)
        return None if value is None else [int(v) for v in np.ravel(value)]

    @property
    def shape(self) -> tuple:
        """The shape of the first input, which depends on the network's; an unknown size is a name."""
        return self._shapes[self.inputs[0]]

    def rank(self, *ranks):
        """Refuse a first input of another rank than one of `ranks`."""
        known = {2: "(samples, features)", 4: "(samples, channels, height, width)"}
        wanted = " or ".join(known[rank] for rank in ranks)
        self.need(len(self.shape) in ranks, f"need an input {wanted}; got shape {self.shape}")

    def images(self) -> tuple:
        """The (height, width) of the images at the first input, None for a size that is not known."""
        self.rank(4)
        return tuple(n if isinstance(n, int) else None for n in self.shape[2:])


def _text(value):
    """An attribute's value with its bytes as text."""
    return value.decode() if isinstance(value, bytes) else value

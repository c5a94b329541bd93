"""A PyTorch module, traced by `torch.fx`, as the nodes of `refprune.interop.graph`."""

import operator
from inspect import signature
from types import ModuleType

from refprune.interop.graph import ADD, PASS, Assembled, Node, assemble, unsupported
from refprune.interop.optional import optional
from refprune.interop.torch_layers import METHODS, SIZE, VALUE, add, functions, modules, view
from refprune.interop.torch_marks import confirm_features, without_pads

SHAPE = "the shape of a value"


def torch() -> ModuleType:
    """PyTorch, imported now."""
    return optional("torch", "torch")


def traced(module) -> Assembled:
    """The layers of `module` at inference; `params` are its own tensors, `names` the paths of its modules.

    A layer that is no module of its own is named after the module whose forward calls it.

    Raises
    ------
    TypeError, ValueError
        As `refprune.interop.from_torch`.
    """
    nn = torch().nn
    if not isinstance(module, nn.Module):
        raise TypeError(f"need a torch.nn.Module; got {type(module).__name__}")
    for path, part in module.named_modules():
        if part._forward_hooks or part._forward_pre_hooks:
            advice = "remove them (those of torch.nn.utils.prune with prune.remove)"
            raise unsupported(type(part).__name__, path, f"its hooks may change what it computes; {advice}")
    reader = _Reader(module)
    for step in _graph(module).nodes:
        reader.read(step)
    found = assemble(without_pads(reader.nodes), reader.source, reader.result)
    confirm_features(found)
    return found


def _graph(module):
    """The graph of `module` in evaluation mode; the mode of every part is put back."""
    t = torch()

    class Value(t.fx.Proxy):
        def __iadd__(self, other):  # fx itself takes `a += b` for `a = a + b`
            return self.tracer.create_proxy("call_function", operator.iadd, (self, other), {})

    tracer, whole = t.fx.Tracer(), t.nn.Sequential(module)  # so that a single layer is a step too
    tracer.proxy = lambda step: Value(step, tracer)
    modes = {part: part.training for part in whole.modules()}
    try:
        for part in modes:
            part.training = False
        return tracer.trace(whole)
    except Exception as error:  # the forward of somebody else has run
        kind = type(module).__name__
        raise ValueError(f"need a module that torch.fx can trace; got {kind}: {error}") from error
    finally:
        for part, mode in modes.items():
            part.training = mode


class _Memory:
    """Which values share memory, and when it was written to: in PyTorch `x.relu_()` changes x itself."""

    def __init__(self):
        self._made, self._owner, self._written = {}, {}, {}

    def __contains__(self, value):
        return value in self._made

    def make(self, value, shared=None, written=False):
        """`value` is made, perhaps in the memory of the value `shared`, perhaps by writing there."""
        self._made[value] = len(self._made)
        self._owner[value] = value if shared is None else self._owner[shared]
        if written:
            self._written[self._owner[value]] = self._made[value]

    def stale(self, value):
        """Whether what stood in `value` was written over."""
        return self._made[value] < self._written.get(self._owner[value], -1)


class _Reader:
    """Reads the steps of a graph in order into `nodes`; `source` and `result` name what goes in and out."""

    def __init__(self, module):
        self.module, self.modules, self.Step = module, modules(), torch().fx.Node
        self.functions, self.writing = functions()
        self.nodes, self.source, self.result = [], None, None
        self._memory = _Memory()
        self._sizes = {}  # the steps that give no array -> SHAPE, SIZE or VALUE
        self._owners = {}  # id of a tensor -> the name under which it was read first

    def read(self, step):
        """Take one step of the graph."""
        if step.op == "placeholder":
            self.source = step.name
            self._memory.make(step)
        elif step.op == "output":
            self._readable(step.args[0])
            self.result = step.args[0].name
        elif not self._is_size(step):
            self._compute(step)

    def _is_size(self, step):
        """Whether the step asks for a shape, or for an entry of one; the answer is noted."""
        target, rest = step.target, step.args[1:]
        if target == "size" or (target is getattr and rest == ("shape",)):
            index = rest[0] if target == "size" and rest else None
        elif target is operator.getitem and self._sizes.get(step.args[0]) == SHAPE:
            index = rest[0]
        else:
            return False
        self._sizes[step] = SHAPE if index is None else SIZE if index == 0 else VALUE
        return True

    def _compute(self, step):
        """Add the nodes of a step that computes."""
        if step.op == "call_module":
            name, call = step.target[2:], self._module_call
            kind = type(self.module.get_submodule(name)).__name__
        else:
            path = [*step.meta.get("nn_module_stack", {"0": None})][-1][2:]
            name, call = f"{path}.{step.name}".lstrip("."), self._function_call
            kind = getattr(step.target, "__name__", step.target)
        try:
            does, inputs, writes, tensors = call(step)
            for value in inputs:
                self._readable(value)
        except (TypeError, ValueError) as error:
            raise unsupported(kind, name, str(error)) from None
        passes = does == [PASS]
        same_memory = passes or writes or (does != [ADD] and does[0]["type"] == "flatten")
        self._memory.make(step, inputs[0] if same_memory else None, writes and not passes)
        names = tuple(value.name for value in inputs)
        for i, what in enumerate(does, start=1):
            output = step.name if i == len(does) else f"{step.name}/{i}"
            self.nodes.append(Node(name, kind, names, output, what, tensors))
            names = (output,)

    def _module_call(self, step):
        """What a call of a module does, the values that it reads, whether it writes into them, its tensors."""
        part = self.module.get_submodule(step.target[2:])
        if type(part) not in self.modules:
            raise ValueError("no layer does the same")
        if len(step.args) != 1 or step.kwargs:
            raise ValueError(f"need a call with one value; got {step.args} and {step.kwargs}")
        does = self.modules[type(part)](part)
        tensors = dict([*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)])
        tensors.pop("num_batches_tracked", None)
        for key, tensor in tensors.items():
            if id(tensor) in self._owners:
                raise ValueError(
                    f"need weights used once; got {key}, which is {self._owners[id(tensor)]} too"
                )
            self._owners[id(tensor)] = f"{step.target[2:]}.{key}".lstrip(".")
        return does, step.args, getattr(part, "inplace", False), tensors

    def _function_call(self, step):
        """The same of a call of a function or method, which has no tensors."""
        layers = (METHODS if step.op == "call_method" else self.functions).get(step.target)
        if step.op == "get_attr" or layers is None:
            raise ValueError("no layer does the same")
        args, named = list(step.args), dict(step.kwargs)
        first = args.pop(0) if args else named.pop("input", None)
        bound = signature(layers).bind(*self._stood(args), **self._stood(named))
        if layers not in (add, view) and {SIZE, VALUE} & {*_leaves(list(bound.arguments.values()))}:
            raise ValueError("need arguments that are not computed")
        does = layers(*bound.args, **bound.kwargs)
        inputs = (first, (args or [named.get("other")])[0]) if does == [ADD] else (first,)
        writes = bound.arguments.get("inplace", False) or step.target in self.writing
        return does, inputs, writes, {}

    def _stood(self, value):
        """The arguments of a call, with what is computed replaced by what it stands for."""
        if isinstance(value, dict):
            return {key: self._stood(entry) for key, entry in value.items()}
        if isinstance(value, (list, tuple)):
            return tuple(map(self._stood, value))
        return self._sizes.get(value, VALUE) if isinstance(value, self.Step) else value

    def _readable(self, value):
        """Raise ValueError unless `value` is an array of the graph whose memory was not written over."""
        if not isinstance(value, self.Step) or value not in self._memory:
            raise ValueError(f"need an array computed from the input; got {value!r}")
        if self._memory.stale(value):
            raise ValueError(
                f"need a value as it was computed; got {value!r}, which was written over in place"
            )


def _leaves(value):
    return (
        [leaf for entry in value for leaf in _leaves(entry)] if isinstance(value, (list, tuple)) else [value]
    )

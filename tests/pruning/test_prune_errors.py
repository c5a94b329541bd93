"""What `rp.prune` refuses: arguments, before any layer is pruned; answers of methods that break their promise."""

import dataclasses
import functools

import numpy as np
import pytest

import refprune as rp
from refprune.pruning.layers import admitted
from refprune.pruning.plan import Task

HALF = rp.Unstructured(sparsity=0.5)
NETWORK = rp.Network([rp.Dense(6, 4), rp.ReLU(), rp.Residual([rp.Dense(4, 4)]), rp.Dense(4, 3)])


def given():
    rng = np.random.default_rng(0)
    return NETWORK.init(rng), rng.normal(size=(30, 6)) + 0.5


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"network": [rp.Dense(6, 4)]}, TypeError, "need a Network; got list"),
        ({"params": {}}, ValueError, "need params named"),
        ({"network": rp.Network([rp.ReLU()]), "params": {}}, ValueError, "need a network with at least one Dense"),
        ({"inputs": np.zeros((0, 6))}, ValueError, r"need inputs of shape \(samples, ...\) with at least one sample"),
        ({"inputs": np.zeros((3, 5))}, ValueError, r"layer 0: need samples of shape \(6,\)"),
        ({"inputs": np.full((3, 6), np.nan)}, ValueError, "need finite numbers in inputs"),
        ({"method": "OBS"}, ValueError, "need method to be one of magnitude, .*, or a callable; got 'OBS'"),
        ({"method": 3}, TypeError, "need method to be a name or a callable; got int"),
        ({"pattern": 0.5}, TypeError, "need pattern to be Unstructured, NM, Blocks or Groups .*; got float"),
        ({"pattern": None}, TypeError, "need pattern to be .*; got None"),
        ({"pattern": rp.NM(2, 4)}, ValueError, "^layer 0: need columns in a multiple of m = 4"),
        ({"pattern": rp.Blocks(4, keep=1)}, ValueError, "^layer 0: need columns in a multiple of the block size 4"),
        ({"pattern": rp.Unstructured(keep=13)}, ValueError, "^layer 3: need keep <= 12"),
        ({"overrides": ["2"]}, TypeError, "need overrides to be a mapping by layer; got list"),
        ({"overrides": {"1": None}}, ValueError, "need overrides for the layers 0, 2.body.0, 3; got '1'"),
        ({"overrides": {"2": None}}, ValueError, "need overrides for the layers 0, 2.body.0, 3; got '2'"),
        ({"overrides": {0: None}}, ValueError, "need overrides for the layers 0, 2.body.0, 3; got 0"),
        ({"overrides": {"0": None, "0.weight": HALF}}, ValueError, "need one override for each layer; got two for 0"),
        ({"overrides": {"0": 0.5}}, TypeError, r"^overrides\['0'\]: need pattern"),
        ({"overrides": {"0": {}}}, ValueError, r"need method or pattern or both in overrides\['0'\]; got \[\]"),
        ({"overrides": {"0": {"sparsity": 1}}}, ValueError, r"in overrides\['0'\]; got \['sparsity'\]"),
        ({"overrides": {"3": {"method": "none"}}}, ValueError, r"^overrides\['3'\]: need method to be one of"),
        ({"overrides": {"3": rp.NM(1, 3)}}, ValueError, "^layer 3: need columns in a multiple of m = 3"),
        ({"calibration": "both"}, ValueError, "need calibration to be pruned or dense; got 'both'"),
        ({"batch_size": 0}, ValueError, "need batch_size >= 1; got 0"),
        ({"batch_size": 2.0}, TypeError, "need batch_size to be an integer"),
        ({"executor": 4}, TypeError, "need executor to be a concurrent.futures.Executor; got int"),
        ({"masks": {"0.bias": np.ones(4, dtype=bool)}}, ValueError, "need masks for 0.weight, .*; got '0.bias'"),
        ({"masks": {"3.weight": np.ones((3, 4))}}, TypeError, "need a boolean array"),
        ({"masks": {"3.weight": np.zeros((3, 4), dtype=bool)}}, ValueError, r"need params\['3.weight'\] to be 0 where"),
        ({"targets": np.zeros(29, dtype=int)}, ValueError, "^targets: need y of shape"),
        ({"progress": "no"}, TypeError, "need progress to be True or False; got 'no'"),
    ],
)  # fmt: skip
def test_arguments_are_refused_before_any_work(changed, error, message):
    def never(problem, pattern, mask=None):
        raise AssertionError("a layer was pruned")

    params, inputs = given()
    arguments = {"network": NETWORK, "params": params, "inputs": inputs, "method": never, "pattern": HALF}
    with pytest.raises(error, match=message):
        rp.prune(**arguments | changed)


def test_units_where_there_are_none_are_refused():
    network = rp.Network([rp.Dense(6, 4), rp.Residual([rp.Dense(4, 4)])])
    params = network.init(np.random.default_rng(0))
    with pytest.raises(
        ValueError, match=r"need inputs that are units which can go; got layer 0: .*; layer 1.body.0: "
    ):
        rp.prune(network, params, given()[1], "obs", rp.Groups(sparsity=0.5, axis=1))


def test_prior_masks_with_more_zeros_than_the_pattern_are_refused_before_any_work():
    params, inputs = given()
    calls = []

    def spy(problem, pattern, mask=None):
        calls.append(pattern)
        return rp.obs(problem, pattern, mask=mask)

    mask = np.zeros((3, 4), dtype=bool)
    params["3.weight"] = params["3.weight"] * 0
    for method in ("magnitude", "obd", "obs", "wanda", "alps", spy):
        pattern = rp.Unstructured(sparsity=0.5, scope="layer" if method is spy else None)
        with pytest.raises(ValueError, match=r"^layer 3: need at least"):
            rp.prune(NETWORK, params, inputs, method, pattern, masks={"3.weight": mask})
    assert not calls


def broken(change):
    """A method that answers as magnitude does, but for one fault."""

    def method(problem, pattern, mask=None):
        return change(rp.magnitude(problem, pattern, mask=mask))

    return method


def one_more(answer):
    mask = answer.mask.copy()
    mask.flat[np.flatnonzero(mask)[0]] = False
    return dataclasses.replace(answer, mask=mask, weight=answer.weight * mask)


def last_kept(answer):
    mask = answer.mask.copy()
    mask.flat[np.flatnonzero(mask)[-1]] = False
    return dataclasses.replace(answer, mask=mask, weight=answer.weight * mask)


def moved(answer):
    mask = answer.mask.copy()
    mask[0], mask[1] = False, True
    return dataclasses.replace(answer, mask=mask, weight=answer.weight * mask)


def as_type(field, dtype):
    return lambda answer: dataclasses.replace(answer, **{field: getattr(answer, field).astype(dtype)})


@pytest.mark.parametrize(
    ("change", "pattern", "error", "message"),
    [
        (lambda answer: answer.weight, HALF, TypeError, "need a Pruned answer from the method method; got ndarray"),
        (lambda answer: None, HALF, TypeError, "need a Pruned answer from the method method; got NoneType"),
        (one_more, HALF, ValueError, r"need a mask that Unstructured\(.*\) allows .* got another one, which keeps 11"),
        (moved, rp.Unstructured(keep=3, scope="row"), ValueError, "need a mask that Unstructured"),
        (moved, rp.NM(1, 2), ValueError, "need a mask that NM"),
        (one_more, rp.Blocks(2, sparsity=0.5), ValueError, "need a mask that Blocks"),
        (one_more, rp.Groups(sparsity=0.5), ValueError, "need a mask that Groups"),
        (one_more, rp.Unstructured(sparsity=0.5, scope="network"), ValueError, "need a mask that Unstructured"),
        (lambda a: dataclasses.replace(a, weight=a.weight + 1), HALF, ValueError, "need weights that are 0 where"),
        (lambda a: dataclasses.replace(a, weight=a.weight.T, mask=a.mask.T), HALF, ValueError, "need the weight"),
        (lambda a: dataclasses.replace(a, weight=a.weight + np.nan), HALF, ValueError, "need finite numbers in"),
        (as_type("mask", float), HALF, TypeError, "need a boolean array the mask of the method"),
        (as_type("weight", "float32"), HALF, TypeError, "need a weight of float64 .*; got float32"),
    ],
)  # fmt: skip
def test_an_answer_that_breaks_its_promise_is_refused(change, pattern, error, message):
    params, inputs = given()
    with pytest.raises(error, match=f"^layer 0: {message}"):
        rp.prune(NETWORK, params, inputs, broken(change), pattern)


def test_a_block_that_is_kept_may_lack_its_prior_zeros_and_no_other_weight():
    params, inputs = given()
    mask = np.ones((4, 6), dtype=bool)
    mask[1, 2] = False
    params["0.weight"][1, 2] = 0
    for method, message in (
        (broken(lambda answer: answer), None),
        (broken(last_kept), "need a mask that Blocks"),
    ):

        def run(method=method):
            return rp.prune(
                NETWORK, params, inputs, method, rp.Blocks(2, keep=10), masks={"0.weight": mask},
                overrides={"2.body.0": None, "3": None},
            )  # fmt: skip

        if message is None:
            assert np.count_nonzero(~run().masks["0.weight"]) in (4, 5)
        else:
            with pytest.raises(ValueError, match=f"^layer 0: {message}"):
                run()


def test_a_method_of_unknown_scope_may_count_by_rows_or_by_the_layer():
    params, inputs = given()
    overrides = {"0": None, "2.body.0": None}
    pattern = rp.Unstructured(sparsity=0.4)  # of 3 rows of 4: 2 in each row, or 5 of 12

    def run(method):
        masks = rp.prune(NETWORK, params, inputs, method, pattern, overrides=overrides).masks
        return np.count_nonzero(~masks["3.weight"])

    assert run("wanda") == run(lambda problem, pattern: rp.wanda(problem, pattern)) == 6
    assert run(lambda problem, pattern: rp.obd(problem, pattern)) == 5
    with pytest.raises(ValueError, match=r"^layer 3: need a mask that Unstructured"):
        run(lambda problem, pattern: rp.obd(problem, rp.Unstructured(keep=6)))  # 6, but not 2 in each row
    with pytest.raises(ValueError, match=r"^layer 3: need a mask that Unstructured"):
        run(lambda problem, pattern: rp.obd(problem, rp.Unstructured(keep=8)))


def test_sparsegpt_counts_in_its_own_blocks_of_columns():
    params, inputs = given()
    method = functools.partial(rp.sparsegpt, block_size=3)
    pattern = rp.Unstructured(sparsity=0.3)  # of 12 weights 4 in each block of columns; 7 of 24
    answer = rp.prune(NETWORK, params, inputs, method, pattern, overrides={"2.body.0": None, "3": None})
    mask = answer.masks["0.weight"]
    assert [np.count_nonzero(~mask[:, :3]), np.count_nonzero(~mask[:, 3:])] == [4, 4]
    task = Task("0.weight", functools.partial(method, damp=0.5), "sparsegpt", pattern)
    assert admitted(task, mask)
    for i, j in ((0, 5), (5, 0)):  # one weight more in one block, one less in the other
        other = mask.copy()
        row = np.flatnonzero(other[:, i])[0]
        other[row, i] = False
        other[np.flatnonzero(~other[:, 3:] if j > 2 else ~other[:, :3])[0] // 3, j] = True
        assert not admitted(task, other)


def test_a_method_may_answer_with_the_weight_itself():
    params, inputs = given()
    mask = np.ones((4, 6), dtype=bool)
    answer = rp.prune(
        NETWORK, params, inputs, lambda problem, pattern: rp.Pruned(problem.weight, mask), rp.Unstructured(0),
        overrides={"2.body.0": None, "3": None},
    )  # fmt: skip
    assert not np.shares_memory(answer.params["0.weight"], params["0.weight"])
    assert not np.shares_memory(answer.masks["0.weight"], mask)


def test_a_method_that_revives_a_prior_zero_is_refused():
    params, inputs = given()
    mask = np.ones((4, 6), dtype=bool)
    mask[1, 2] = False
    params["0.weight"][1, 2] = 0

    def forgetful(problem, pattern, mask=None):
        return rp.wanda(problem, pattern)

    rp.prune(NETWORK, params, inputs, forgetful, HALF, masks={"0.weight": mask})  # it goes anyway: it is 0
    dense = rp.Unstructured(sparsity=0.04, scope="layer"), {"2.body.0": None, "3": None}

    def reviving(problem, pattern, mask=None):
        return rp.magnitude(rp.LayerProblem(problem.weight + (problem.weight == 0), problem.gram), pattern)

    with pytest.raises(
        ValueError, match=r"^layer 0: need prior zeros that stay pruned; got one that .* revived"
    ):
        rp.prune(NETWORK, params, inputs, reviving, dense[0], overrides=dense[1], masks={"0.weight": mask})


def test_errors_of_a_method_name_the_layer():
    params, inputs = given()

    def picky(problem, pattern):
        if problem.rows == 3:
            raise ValueError("need more rows; got 3")
        return rp.magnitude(problem, pattern)

    with pytest.raises(ValueError, match=r"^layer 3: need more rows; got 3"):
        rp.prune(NETWORK, params, inputs, picky, HALF)
    inputs[:, 1] = inputs[:, 0]
    with pytest.raises(np.linalg.LinAlgError, match=r"^layer 0: need a positive definite gram; got .*damp="):
        rp.prune(NETWORK, params, inputs, "obs", HALF)


def test_activations_that_leave_the_range_name_the_layer_they_reach():
    params, inputs = given()
    params = {name: value.astype("float32") for name, value in params.items()}
    params["0.weight"] = params["0.weight"] * np.float32(1e38)
    wrong = pytest.raises(ValueError, match=r"^layer 2.body.0: need finite numbers in batch")
    with np.errstate(over="ignore", invalid="ignore"), wrong:
        rp.prune(NETWORK, params, inputs.astype("float32") * 100, "magnitude", HALF)


def prunes_in_place(problem, pattern, mask=None):
    """What other people's code does: it damps the Gram, and writes into the weight and the mask that it was given."""
    problem.gram[:] += np.eye(len(problem.gram))
    found = rp.magnitude(problem.weight, pattern, mask=mask).mask
    if mask is None:
        mask = found
    mask &= found
    problem.weight[~mask] = 0
    return rp.Pruned(problem.weight, mask)


def test_a_method_that_writes_into_its_problem_changes_nothing_outside():
    params, x = given()
    prior = np.arange(12).reshape(3, 4) > 2
    params["3.weight"] = params["3.weight"] * prior
    masks = {"3.weight": prior.copy()}
    before = {name: value.copy() for name, value in params.items()}
    rude = rp.prune(NETWORK, params, x, prunes_in_place, HALF, masks=masks)
    assert all((params[name] == before[name]).all() for name in params)
    assert (masks["3.weight"] == prior).all()
    polite = rp.prune(NETWORK, params, x, "magnitude", HALF, masks=masks)
    for name in params:
        np.testing.assert_array_equal(rude.params[name], polite.params[name])
    for one, other in zip(rude.report.layers, polite.report.layers, strict=True):
        assert (one.objective, one.error) == (other.objective, other.error)
        assert one.error > 0


@pytest.mark.parametrize("allocation", [None, "global"])
@pytest.mark.parametrize("pattern", [rp.Blocks(2, sparsity=0.5), rp.Groups(sparsity=0.5)], ids=type)
def test_sparsegpt_and_units_of_several_weights_are_refused_before_any_work(pattern, allocation):
    def never(problem, pattern):
        raise AssertionError("a layer was pruned")

    params, x = given()
    change = {"3": {"method": functools.partial(rp.sparsegpt, damp=0.1), "pattern": pattern}}
    with pytest.raises(TypeError, match=r"^layer 3: need an Unstructured or NM pattern for sparsegpt; got"):
        rp.prune(NETWORK, params, x, never, rp.Groups(keep=1), overrides=change, allocation=allocation)


def test_an_error_of_any_kind_names_the_layer():
    def lost(problem, pattern):
        raise KeyError("hessian")

    params, x = given()
    with pytest.raises(KeyError) as caught:
        rp.prune(NETWORK, params, x, lost, HALF, overrides={"0": None})
    assert caught.value.__notes__ == ["layer 2.body.0"]


def test_sparsegpt_in_a_function_of_its_own_is_told_what_to_ask_for():
    """Its budget is that of blocks of columns, which is neither the layer's nor the row's."""
    network = rp.Network([rp.Dense(300, 10)])
    rng = np.random.default_rng(1)
    params, x = network.init(rng), rng.normal(size=(400, 300))
    pattern = rp.Unstructured(
        sparsity=0.3335
    )  # round(426.88) + round(426.88) + round(146.74) against round(1000.5)
    assert sum(rp.Unstructured(sparsity=0.3335).removals((10, width)) for width in (128, 128, 44)) != 1000
    with pytest.raises(ValueError, match="needs a pattern with scope='layer'"):
        rp.prune(network, params, x, lambda p, q: rp.sparsegpt(p, q), pattern)
    own = dataclasses.replace(pattern, scope="layer")
    assert rp.prune(network, params, x, lambda p, q: rp.sparsegpt(p, q), own).report.pruned == 1000

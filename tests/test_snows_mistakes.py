"""Known mistakes in SNOWS, each killed with its own message; the plain one and refprune's own pass."""

import pytest

import refprune as rp
from tests.snows_by_hand import NETWORK, by_hand, judge

pytest.importorskip("autograd", reason="autograd is a test dependency that may be missing")


def plain(params, masks, x, horizon, **options):
    return by_hand(params, masks, x, horizon, **options)[0]


def refprunes(params, masks, x, horizon, **options):
    given = {"max_iter": 25, "tol": 1e-9, "cg_rtol": 1e-12}
    return rp.snows(NETWORK, params, masks, x, horizon, **given, **options).params


MISTAKES = {
    "a pruned weight came back": {"revive": True},
    "the start is its own target": {"blind": True},
    "not the best weights for the inputs that reach the layer": {"inputs": "dense"},
    "not the fit of the dense targets": {"target_inputs": "pruned"},
    "does not look just K operations ahead": {"off": 1},
    "goes through another tail than asked for": {"tail": "dense"},
}


@pytest.mark.parametrize("method", [plain, refprunes])
def test_the_right_ones_pass(method):
    judge(method)


@pytest.mark.parametrize("message", MISTAKES)
def test_every_mistake_has_its_message(message):
    def wrong(params, masks, x, horizon, **options):
        return plain(params, masks, x, horizon, **(options | MISTAKES[message]))

    with pytest.raises(AssertionError, match=message):
        judge(wrong)

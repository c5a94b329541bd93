"""The methods: the efficient forms, each held to its definition by tests."""

from refprune.methods.alps import alps
from refprune.methods.cosamp import cosamp
from refprune.methods.force import force
from refprune.methods.grasp import grasp
from refprune.methods.htp import htp
from refprune.methods.iht import iht
from refprune.methods.iobs import iobs
from refprune.methods.ispasp import ispasp
from refprune.methods.magnitude import magnitude
from refprune.methods.mini_batches import MiniBatches
from refprune.methods.newton_cg import newton_cg
from refprune.methods.obd import obd
from refprune.methods.obs import obs
from refprune.methods.optimal_weights import optimal_weights
from refprune.methods.snip import snip
from refprune.methods.sparsegpt import sparsegpt
from refprune.methods.synflow import synflow
from refprune.methods.wanda import wanda
from refprune.methods.woodfisher import woodfisher

__all__ = [
    "MiniBatches",
    "alps",
    "cosamp",
    "force",
    "grasp",
    "htp",
    "iht",
    "iobs",
    "ispasp",
    "magnitude",
    "newton_cg",
    "obd",
    "obs",
    "optimal_weights",
    "snip",
    "sparsegpt",
    "synflow",
    "wanda",
    "woodfisher",
]

"""Passes that tidy an exported graph without changing a number it computes.

The exporter's own optimizer is left out: its rewrite rules take most of the export's time, and one
of them removes the sum with 1e-8 that the inverse STFT divides by.
"""

import onnx_ir
from onnx_ir.passes import common
from onnxscript.optimizer import fold_constants, remove_unused_nodes
from onnxscript.rewriter import RewriteRuleSet
from onnxscript.rewriter.rules.common import fuse_pad_into_conv_rule


def clean_up(model: onnx_ir.Model) -> None:
    """Fold what is constant, share what is equal, drop what is unused; in place."""
    fold_constants(model)
    remove_unused_nodes(model)
    common.CommonSubexpressionEliminationPass()(model)
    RewriteRuleSet([fuse_pad_into_conv_rule]).apply_to_model(model)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    common.DeduplicateInitializersPass()(model)
    common.RemoveUnusedNodesPass()(model)

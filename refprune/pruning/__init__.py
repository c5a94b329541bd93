"""The parts of `rp.prune`: what happens to each layer (`plan`), the inputs that reach it (`calibration`), how one
budget is shared by the layers (`budgets`), one layer pruned and checked (`layers`), and the record (`report`).
"""

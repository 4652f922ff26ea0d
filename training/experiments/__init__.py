"""The experiments of Fu et al., WSDM 2024: a table or a figure of the paper is one command each.

spec       one training run, as data, with a stable name
scales     what a run may cost, in one table; rates: learning rates, in one table
plan       which runs a table or figure needs, and where each stands in it
data       sources and targets cut to a scale; backbones: pretrained once and kept
runs       executes what is not there yet; results: one JSON file a run
published  the paper's own figures; report, plots: ours beside them
"""

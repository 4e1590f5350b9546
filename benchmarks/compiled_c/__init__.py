"""The parts of ``benchmarks/compiled.py``: how a contender is run, one file for each; and the models, one file for each."""

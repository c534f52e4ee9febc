"""What `manage.py bench` measures, each figure as a ratio against the plain way in the same run.

A run_*.py for each of its words. `serve`, `segment` and `load` start a server on a temporary home of their own, so that
nothing touches the installation (apart.py); `finetune` and `video` measure in this process, with pipeline/bench_*.py.
"""

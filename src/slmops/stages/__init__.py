"""Stages: the only place where rooms meet. One short file per stage, named by what it makes.

    dataset → teacher → labels → pruned → targets → student → int4 … → evidence → bundle

`project.py` composes the config, `assemble.py` the pipeline, `run.py` runs it, here or by `on_azure.py`. Others are
commands that join rooms and make no artifact: `verbs.py`, `verdict.py`, `search.py`, `advise.py`, `doctor.py` ….
"""

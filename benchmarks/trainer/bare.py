"""What a job is held against: `python -m benchmarks.trainer.bare WHAT SPEC DATA FOLDER`.

WHAT is `training`: the candidate of SPEC (the JSON of a job's spec) is trained on DATA (Parquet)
by the code that a worker runs, trained again on train and validation, tested, exported to ONNX
and written into FOLDER; nothing is reported, checkpointed, audited or registered. Or it is
`tuning`: Optuna searches the candidate's space, one process for each parallel trial, over a
journal in FOLDER. Both are as nice as a worker. Prints one line of JSON.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import sys
import time
import warnings
from pathlib import Path

import optuna
import psutil
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import MaxTrialsCallback
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

from services.trainer.adapters.export.graph import export_graph
from services.trainer.adapters.learning.encoding import frame
from services.trainer.adapters.learning.loading import load_table
from services.trainer.adapters.learning.recipe import Checkpoint, Step
from services.trainer.adapters.learning.trials import Workbench
from services.trainer.adapters.processes import PRELOADED
from services.trainer.adapters.recipes import load_recipes
from services.trainer.adapters.worker.limits import NICENESS
from services.trainer.core.jobs import Trial
from services.trainer.core.parameters import completed
from services.trainer.core.scores import score
from services.trainer.core.search_space import FloatRange
from services.trainer.core.spec import JobSpec, spec_from_json
from services.trainer.core.splits import Split, split_by_time
from services.trainer.core.tables import Table


class Stamps:
    """Hears of a fit and notes when each step was done."""

    def __init__(self) -> None:
        self.times_s: list[float] = []

    def stepped(self, _: Step) -> None:
        """Note a step."""
        self.times_s.append(time.time())

    def save(self, _: Checkpoint) -> None:
        """A bare script keeps no checkpoints."""


def training(spec_path: str, data_path: str, folder: str) -> dict[str, object]:
    """Train once; gives the seconds that it took, and when each step of both fits was done."""
    import_s = time.time() - psutil.Process().create_time()
    started, cpu_before_s = time.time(), time.process_time()
    spec = spec_from_json(json.loads(Path(spec_path).read_text()))
    candidate = spec.candidates[0]
    recipes = load_recipes()
    recipe = recipes[candidate.algorithm]
    with threadpool_limits(spec.threads):
        table = load_table([data_path], spec)
        split = split_by_time(table.event_time_us, spec.shares)
        bench = Workbench(spec, recipes, table, split, cores=spec.threads)
        parameters = completed(candidate.parameters, recipe.rules)
        trial, winner = Stamps(), Stamps()
        outcome = bench.run_trial(Trial("bare", 0, recipe.algorithm, parameters), trial, None)
        model = bench.retrain(outcome, winner, None)
        test = table.take(split.test)
        matrix = model.encoder.transform(frame(test)).astype("float32")
        scores = score(test.label, model.estimator.predict_proba(matrix)[:, 1])
        recipe.teach_export()
        graph = export_graph(model.encoder, model.estimator, table.take(split.fit))
        (Path(folder) / "model.onnx").write_bytes(graph)
    return {
        "import_s": import_s,
        "total_s": time.time() - started,
        "cpu_s": time.process_time() - cpu_before_s,
        "fits_s": [trial.times_s, winner.times_s],
        "auc": scores.values["auc"],
    }


def tuning(spec_path: str, data_path: str, folder: str) -> dict[str, object]:
    """Search; gives the trials that were done and the seconds from the data's being there."""
    spec = spec_from_json(json.loads(Path(spec_path).read_text()))
    assert spec.tuning is not None
    table = load_table([data_path], spec)
    split = split_by_time(table.event_time_us, spec.shares)
    journal = str(Path(folder) / "journal.log")
    started = time.time()
    _study(journal, 0)
    context = multiprocessing.get_context("fork")
    processes = [
        context.Process(target=_search, args=(spec, table, split, journal, seed))
        for seed in range(spec.tuning.parallel_trials)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    took_s = time.time() - started
    done = _study(journal, 0).get_trials(states=(optuna.trial.TrialState.COMPLETE,))
    return {"trials": len(done), "total_s": took_s}


def _search(spec: JobSpec, table: Table, split: Split, journal: str, seed: int) -> None:
    assert spec.tuning is not None
    recipes = load_recipes()
    candidate = spec.candidates[0]
    recipe = recipes[candidate.algorithm]
    cores = max(1, spec.threads // spec.tuning.parallel_trials)
    bench = Workbench(spec, recipes, table, split, cores=cores)

    def objective(trial: optuna.Trial) -> float:
        drawn = {}
        for each in candidate.space:
            found = each.distribution
            assert isinstance(found, FloatRange)
            drawn[each.name] = trial.suggest_float(each.name, found.low, found.high, log=found.log)
        parameters = completed({**candidate.parameters, **drawn}, recipe.rules)
        run = Trial(f"bare-{trial.number}", trial.number, recipe.algorithm, parameters)
        return bench.run_trial(run, Stamps(), None).metrics["auc"]

    with threadpool_limits(cores):
        callback = MaxTrialsCallback(spec.tuning.max_trials)
        share = spec.tuning.max_trials // spec.tuning.parallel_trials
        _study(journal, seed).optimize(objective, n_trials=share, callbacks=[callback])


def _study(journal: str, seed: int) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(
        storage=JournalStorage(JournalFileBackend(journal)),
        study_name="bare",
        direction="maximize",
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(
            seed=seed, multivariate=True, group=True, constant_liar=True
        ),
    )


if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    os.nice(NICENESS)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    # A warm worker has loaded them, and neither is to be timed while it does.
    for module in PRELOADED:
        importlib.import_module(module)
    print(json.dumps({"training": training, "tuning": tuning}[what](*arguments)))

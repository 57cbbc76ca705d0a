"""The report of a project's last evidence: gathered from the manifests, rendered by `evaluation.report`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from slmops.core.artifact import Manifest, hash_json
from slmops.core.errors import SlmopsError
from slmops.core.files import write_whole
from slmops.core.machine import describe_versions
from slmops.core.measurement import ArtifactId, Interval
from slmops.core.pipeline import Planned
from slmops.core.store import Store
from slmops.evaluation import summary as parts
from slmops.evaluation.summary import Summary
from slmops.models.families import family_of, render_prompt
from slmops.models.tokenizer import Tokenizer
from slmops.runtimes.proof import Link
from slmops.stages.answers import against_teacher, calibration, confusion, mistakes, rows_of
from slmops.stages.certificate import read_certificates, say_worth
from slmops.stages.diagnosis import DIAGNOSIS_FILE, read_diagnosis
from slmops.stages.evidence import CLASSICAL, has_answers, read_answers
from slmops.stages.learning import CURVE_FILE
from slmops.stages.ledger import read_ledger
from slmops.stages.making import making_of
from slmops.stages.parts import read_part, read_task
from slmops.stages.project import Project
from slmops.stages.prove import recorded_chain
from slmops.stages.published import published
from slmops.stages.run import check_gates, figures_of, open_store, plan
from slmops.stages.search import read_found
from slmops.stages.trials import SEARCH_FILE
from slmops.stages.verdict import read_verdict
from slmops.tasks.types import Labels, Record, Task, messages_for
from slmops.training.curve import read_curve
from slmops.training.student_config import StudentConfig
from slmops.training.tracking import say_resources

_GAINS = ("accuracy_kept", "quality_kept", "latency_reduction", "model_bytes_reduction", "memory_reduction")
_PARTS = {
    "layers": "layer",
    "units": "hidden unit",
    "kv_heads": "key-value head",
    "heads": "query head",
    "width": "channel",
    "context": "position",
    "vocabulary": "token",
}


def summarize(project: Project) -> Summary:
    """What the project's artifacts, as configured, have shown.

    Raises:
        SlmopsError: evidence was not made yet, or is of another config.
    """
    planned = {item.stage.name: item for item in plan(project)}
    evidence = planned["evidence"].made
    if evidence is None:
        raise SlmopsError(
            f"there is no evidence for this config ({planned['evidence'].why})", where="report", remedy="slmops run"
        )
    store = open_store(project)
    dataset = store.open(evidence.parents["dataset"])
    task, answers_folder = read_task(dataset), store.open(evidence.id)
    figures, shipped = figures_of(evidence), project.shipped()
    labels = task.grammar.values if isinstance(task.grammar, Labels) else ()
    quality = task.metrics[0]
    compared = [name for name in project.subjects() if has_answers(answers_folder, name)]
    answers = {name: read_answers(answers_folder, name) for name in compared}
    scored = {name: rows_of(task, answers[name]) for name in compared}
    example = read_part(dataset, "test")[0]
    tokenizers = _tokenizers(store, [evidence.parents[name] for name in compared if name != CLASSICAL])
    made = {name: item.made for name, item in planned.items() if item.made}
    making, bundle = making_of(project, made, figures), made.get("bundle")
    return Summary(
        name=f"{project.name} ({project.variant})" if project.variant else project.name,
        task=task.name,
        config=project.path.read_text("utf-8"),
        quality=quality.name,
        labels=labels,
        made=parts.Made(
            run=evidence.made_by.id,
            date=evidence.made_by.started,
            command=evidence.made_by.command,
            seed=evidence.made_by.seed,
            versions=dict(evidence.made_by.versions),
            machine={name: value for name, value in evidence.made_by.machine.items() if name != "choices"},
            choices=dict(evidence.made_by.machine.get("choices", {}))
            | {"usd_per_hour": project.evaluation.cost.usd_per_hour, **_timed_with(evidence)},
        ),
        data=_describe_data(planned),
        shipped=shipped,
        subjects=tuple(_describe_subject(project, name, evidence, task, example, tokenizers) for name in compared),
        **_gain(figures, shipped, "teacher", quality.name),
        against_teacher_int4=parts.Gain(**_gain(figures, shipped, "teacher_int4", quality.name))
        if _has(figures, "teacher_int4")
        else None,
        comparisons=_comparisons(evidence),
        gates=tuple(
            parts.Gate(name=verdict.gate.name, sentence=verdict.sentence, passed=verdict.passed)
            for verdict in check_gates(project, evidence)
        ),
        proof=tuple(parts.Link(**asdict(link)) for link in _chain(project, planned, store)),
        published=published(figures, shipped, quality.name, project.optimization, making.teacher_usd_per_million),
        curves=_curves(store, planned),
        faults=_faults(store, planned),
        searches=_searches(project, store, planned, evidence.parents["dataset"]),
        trainings=_trainings(store, planned),
        confusion=parts.Confusion(subject=shipped, matrix=confusion(answers[shipped], labels)) if labels else None,
        mistakes=mistakes(answers, scored, shipped, task),
        lineage=_lineage(planned),
        foundry_local=_foundry(bundle, quality.name) if bundle else None,
        verdict=read_verdict(project, evidence.parents[shipped], evidence.parents["dataset"]),
        ledger=read_ledger(project, evidence.parents["student"], evidence.parents["dataset"])
        if "student" in evidence.parents
        else None,
        **against_teacher(answers, scored, shipped, task, bool(labels), evidence.made_by.seed),
        calibration=calibration(answers, scored, shipped, task) if labels else {},
        making=making,
    )


def write_report(project: Project, out: Path | None = None, *, again: bool = True) -> tuple[Summary, Path]:
    """Writes the HTML page; returns what it shows and where it is. Not `again`: the project's own stays where it shows
    the same."""
    summary, own, shown = summarize(project), project.state / "report.html", project.state / "report.sha256"
    path, shows = out or own, hash_json([describe_versions(), summary.to_json()])
    stands = path == own and own.is_file() and shown.is_file() and shown.read_text("utf-8") == shows
    if again or not stands:
        from slmops.evaluation.report import render

        write_whole(path, render(summary))
        if path == own:
            write_whole(shown, shows)
    return summary, path


def _chain(project: Project, planned: dict[str, Planned], store: Store) -> list[Link]:
    made = {name: item.made for name, item in planned.items() if item.made}
    return recorded_chain(project, made, store)


def _describe_data(planned: dict[str, Planned]) -> parts.Data:
    def measured(stage: str) -> dict[tuple[str, str], float]:
        made = planned[stage].made if stage in planned else None
        return {(m.name, m.subject): m.value.value for m in made.measurements} if made else {}

    rows = {subject: int(value) for (name, subject), value in measured("dataset").items() if name == "rows"}
    labels = {name: int(value) for (name, subject), value in measured("labels").items() if subject == "unlabelled"}
    rejected = {"doubtful or no answer": labels["rejected"]} if labels.get("rejected") else {}
    return parts.Data(
        train=rows["train"],
        validation=rows["validation"],
        test=rows["test"],
        unlabelled=rows["unlabelled"],
        labelled_by_teacher=labels.get("accepted", 0),
        rejected=rejected,
        opinions=_opinions(planned["targets"].made) if "targets" in planned else {},
    )


def _opinions(targets: Manifest | None) -> dict[str, Interval]:
    measured = targets.measurements if targets else ()
    return {one.subject: one.value for one in measured if one.name == "validation_accuracy"}


def _tokenizers(store: Store, artifacts: Sequence[ArtifactId]) -> dict[ArtifactId, Tokenizer]:
    """Those of the models; one that several share is read once, which takes a while."""
    digests = {artifact: store.manifest(artifact).files["tokenizer.json"].sha256 for artifact in artifacts}
    one_of_each = {digest: artifact for artifact, digest in digests.items()}
    read = {digest: Tokenizer(store.open(artifact)) for digest, artifact in one_of_each.items()}
    return {artifact: read[digest] for artifact, digest in digests.items()}


def _describe_subject(
    project: Project,
    name: str,
    evidence: Manifest,
    task: Task,
    example: Record,
    tokenizers: Mapping[ArtifactId, Tokenizer],
) -> parts.Subject:
    figures = {
        figure: value
        for (subject, figure, against), value in figures_of(evidence).items()
        if subject == name and not against
    }
    if name == CLASSICAL:
        return parts.Subject(name=name, what=task.classical, figures=figures)
    artifact = evidence.parents[name]
    tokenizer = tokenizers[artifact]
    return parts.Subject(
        name=name,
        what=_what(project, name, tokenizer.vocabulary_size),
        artifact=artifact,
        prompt=render_prompt(family_of(tokenizer), messages_for(task, project.prompt_of(name), example)),
        figures=figures,
    )


def _what(project: Project, name: str, tokens: int) -> str:
    teacher = project.teacher.model if project.teacher else ""
    taught = project.local_teacher and project.local_teacher.train
    learned = f"{teacher} + {taught.method}" if taught else teacher
    student = _kept(project.student, tokens)
    known = {
        "teacher": f"{learned}, fp32 torch",
        "teacher_int4": f"{learned}, int4 ONNX",
        "untrained": f"{student} before learning, fp32 torch",
        "student": f"{student}, fp32 torch",
    }
    return known.get(name) or f"the student as {name} ONNX"


def _kept(student: StudentConfig, tokens: int) -> str:
    """What a student of so many tokens is made of."""
    source = student.model or "the teacher"
    kept = student.cuts | ({"vocabulary": tokens} if student.vocabulary != "all" else {})
    told = [f"{count:,} {_PARTS[name]}{'s' * (count > 1)}" for name, count in kept.items()]
    what = f"{', '.join(told)} of {source}" if told else student.model or "the whole teacher"
    return f"{what}, from scratch" if student.from_scratch else what


def _has(figures: dict[tuple[str, str, str], Interval], against: str) -> bool:
    return any(other == against for _, _, other in figures)


def _gain(figures: dict[tuple[str, str, str], Interval], shipped: str, against: str, quality: str) -> dict[str, Any]:
    names = {name: f"{quality}_kept" if name == "quality_kept" else name for name in _GAINS}
    return {name: figures.get((shipped, figure, against)) for name, figure in names.items()}


def _comparisons(evidence: Manifest) -> tuple[parts.Comparison, ...]:
    return tuple(
        parts.Comparison(
            a=measured.subject,
            b=measured.conditions["against"],
            metric=measured.conditions["metric"],
            difference=measured.value,
            p_value=measured.conditions["p_value"],
        )
        for measured in evidence.measurements
        if measured.name == "difference"
    )


def _curves(store: Store, planned: dict[str, Planned]) -> dict[str, tuple[parts.Point, ...]]:
    return {
        stage: tuple(
            parts.Point(step=point.step, loss=point.loss, validation_loss=point.validation_loss)
            for point in read_curve(path)
        )
        for stage, path in _trained(store, planned, CURVE_FILE)
    }


def _searches(
    project: Project, store: Store, planned: dict[str, Planned], dataset: ArtifactId
) -> dict[str, parts.Search]:
    of_stages = {
        stage: parts.Search.model_validate_json(path.read_text("utf-8"))
        for stage, path in _trained(store, planned, SEARCH_FILE)
    }
    found = read_found(project, dataset)
    return of_stages | ({"search": parts.Search.model_validate(found)} if found else {})


def _faults(store: Store, planned: dict[str, Planned]) -> dict[str, tuple[parts.Fault, ...]]:
    return {
        stage: tuple(parts.Fault(**asdict(fault)) for fault in read_diagnosis(path.parent))
        for stage, path in _trained(store, planned, DIAGNOSIS_FILE)
    }


def _trainings(store: Store, planned: dict[str, Planned]) -> dict[str, str]:
    made = {stage: item.made for stage, item in planned.items() if item.made}
    told = {stage: say_resources(manifest.measurements) for stage, manifest in made.items()}
    certificate = made.get("certificate")
    if certificate and (worth := read_certificates(store.open(certificate.id))):
        told["targets"] = say_worth(worth[0])
    return {stage: words for stage, words in told.items() if words}


def _trained(store: Store, planned: dict[str, Planned], file: str) -> Iterator[tuple[str, Path]]:
    """The file of each model that learned, where it has one."""
    for stage, item in planned.items():
        if item.made and file in item.made.files:
            yield stage, store.open(item.made.id) / file


def _lineage(planned: dict[str, Planned]) -> tuple[parts.Step, ...]:
    return tuple(
        parts.Step(
            stage=name,
            kind=item.made.kind,
            id=item.made.id,
            parents=dict(item.made.parents),
            seconds=item.made.made_by.seconds,
            size_bytes=item.made.size_bytes,
            base_models=dict(item.made.made_by.base_models),
        )
        for name, item in planned.items()
        if item.made
    )


def _timed_with(evidence: Manifest) -> dict[str, int]:
    found = next((one.conditions["threads"] for one in evidence.measurements if "threads" in one.conditions), None)
    return {} if found is None else {"threads_of_what_is_timed": found}


def _foundry(bundle: Manifest, quality: str) -> parts.FoundryLocal:
    figures = {m.name: m.value for m in bundle.measurements if m.subject == "foundry-local"}
    figures["quality"] = figures[quality]
    return parts.FoundryLocal(**{name: figures.get(name) for name in parts.FoundryLocal.model_fields})

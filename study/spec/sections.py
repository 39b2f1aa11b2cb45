"""The sections of a study file, validated here and nowhere else.

`load_spec` reads TOML, resolves the search space and returns a frozen `StudySpec`.  If anything is
wrong, it raises one `InputError` with one line per problem.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import tomli_w
from pydantic import Field, ValidationError, model_validator

from study.errors import Faults, refusing
from study.kinds.goals import GOALS, STARTS
from study.kinds.language_names import translation_instruction
from study.kinds.measurements import COSTS
from study.kinds.methods import METHODS
from study.kinds.metrics import METRICS
from study.kinds.samplers import PRUNERS
from study.kinds.schedules import SCHEDULES
from study.kinds.table_names import names_where
from study.kinds.tasks import TASKS, TaskKind, TaskName
from study.searching.coordinates import PRODUCT
from study.searching.ladder import ladder
from study.spec.base_and_data import (
    DEV_SHARE,
    INSTRUCTION_WITHOUT_LANGUAGES,
    BaseModelSpec,
    DataSpec,
    Seed,
)
from study.spec.diffusion import DiffusionSpec
from study.spec.evaluation import EvaluationSpec
from study.spec.hyperparameters import (
    DistillationSpec,
    Hyperparameters,
    MethodSpec,
    Strict,
    TrainingSpec,
    field_of,
    row_named,
    rule,
    searchable,
    with_values,
)
from study.spec.init_adapter import FIXED
from study.spec.own_task import OwnTaskSpec
from study.spec.problems import problems_of, without_faulty
from study.spec.search import CONFIRMATIONS, NO_SPACE, SearchSpec, names_in
from study.spec.toml_text import parse_toml

REPORTS = 4  # of a short training, by default
SCHEDULE_REPORTS = 6  # the same with a schedule: its first rung is at a sixth
LEAST_BY_DEFAULT = 4 * CONFIRMATIONS  # trials, of which at most a quarter confirm the winner


def _pauses(search: Any) -> bool:
    """Return whether a `[search]` section, not yet checked, names a schedule that pauses trials."""
    named = search.get("schedule") if isinstance(search, Mapping) else None
    return isinstance(named, str) and named in SCHEDULES and SCHEDULES[named].pauses


class StudySpec(Strict):
    """A complete study: task, base model, data, method, training, evaluation, search."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)] = "study"
    task: TaskName = "translation"
    own_task: OwnTaskSpec | None = None
    seed: Seed = 0
    base: BaseModelSpec = BaseModelSpec()
    data: DataSpec = DataSpec()
    method: MethodSpec = MethodSpec()
    training: TrainingSpec = TrainingSpec()
    distillation: DistillationSpec | None = None
    diffusion: DiffusionSpec | None = None
    evaluation: EvaluationSpec = EvaluationSpec()
    search: SearchSpec = SearchSpec()

    @model_validator(mode="before")
    @classmethod
    def _fill_task_defaults(cls, data: Any) -> Any:
        """Fill in the task's defaults, such as accuracy for classification."""
        if (task := row_named(data, "task", TASKS)) is None:
            return data
        for section, defaults in task.defaults.items():
            given = data.get(section, {})
            if isinstance(given, Mapping):
                data = {**data, section: {**defaults, **given}}
        return data

    @model_validator(mode="before")
    @classmethod
    def _fill_instruction(cls, data: Any) -> Any:
        """Name the languages that the file declares, if its task asks a chat model to translate.

        The default names those of the embedded corpus; other data may have any.
        """
        task = row_named(data, "task", TASKS)
        given = data.get("data") if task is not None and task.instructs else None
        if not isinstance(given, Mapping) or "instruction" in given:
            return data
        source, target = given.get("source_language"), given.get("target_language")
        written = None
        if isinstance(source, str) and isinstance(target, str):
            written = translation_instruction(source, target)
        if "train" in given or given.get("corpus", "embedded") != "embedded":
            written = written or INSTRUCTION_WITHOUT_LANGUAGES
        return data if written is None else {**data, "data": {**given, "instruction": written}}

    @model_validator(mode="before")
    @classmethod
    def _fill_stop_token(cls, data: Any) -> Any:
        """Let a chat model of your own end its answers as it does anyway, unless told otherwise.

        The miniature has no chat format of its own; a token is trained to end its translations.
        """
        if not isinstance(data, Mapping):
            return data
        given, task = data.get("data", {}), data.get("task")
        if not isinstance(given, Mapping) or not isinstance(task, str) or task not in TASKS:
            return data
        base = data.get("base")
        model = base.get("model", "embedded") if isinstance(base, Mapping) else "embedded"
        if not TASKS[task].instructs or "stop_token" in given or model == "embedded":
            return data
        return {**data, "data": {**given, "stop_token": None}}

    @model_validator(mode="before")
    @classmethod
    def _fill_dev_share(cls, data: Any) -> Any:
        """Take the dev set out of the training rows, where a task of conversations has no other."""
        given, task = (data.get("data"), data.get("task")) if isinstance(data, Mapping) else (0, 0)
        if not isinstance(given, Mapping) or not isinstance(task, str) or task not in TASKS:
            return data
        is_whole = given.get("train", given.get("corpus", "embedded")) == "embedded"
        if not TASKS[task].reads_conversations or is_whole or "dev" in given:
            return data
        return {**data, "data": {"dev_share": DEV_SHARE, **given}}

    @model_validator(mode="before")
    @classmethod
    def _fill_report_every(cls, data: Any) -> Any:
        """Report four times in a training of few steps, unless the file says how often."""
        if not isinstance(data, Mapping):
            return data
        training, search = data.get("training"), data.get("search")
        parameters = search.get("parameters") if isinstance(search, Mapping) else None
        searched = parameters if isinstance(parameters, Mapping) else {}
        if not isinstance(training, Mapping) or "report_every" in training:
            return data
        steps = training.get("steps", TrainingSpec().steps)
        if "epochs" in (*training, *searched) or "steps" in searched or type(steps) is not int:
            return data
        reports = SCHEDULE_REPORTS if _pauses(search) else REPORTS
        often = min(TrainingSpec().report_every, max(1, steps // reports))
        return {**data, "training": {**training, "report_every": often}}

    @model_validator(mode="before")
    @classmethod
    def _fill_confirm(cls, data: Any) -> Any:
        """Confirm where the goal asks for it, there are held-out examples, and it costs little."""
        search = data.get("search") if isinstance(data, Mapping) else None
        if not isinstance(search, Mapping) or "confirm" in search:
            return data
        goal, trials = row_named(search, "goal", GOALS), search.get("trials", SearchSpec().trials)
        if goal is None or not goal.confirms:
            return data
        corpus = data.get("data", {})
        of_its_own = isinstance(corpus, Mapping) and corpus.get("train") is not None
        is_tested = not of_its_own or corpus.get("test") is not None
        wanted = is_tested and type(trials) is int and trials >= LEAST_BY_DEFAULT
        return {**data, "search": {**search, "confirm": wanted}}

    @property
    def starts(self) -> tuple[dict[str, Any], ...]:
        """The points of the ladder, if the search starts there."""
        if not STARTS[self.search.start]:
            return ()
        return tuple(ladder(self.search.search_space, self.fixed_product))

    @property
    def fixed_product(self) -> dict[str, Any]:
        """Learning rate and alpha where the search leaves them as they are."""
        return {name: self.values_of(name)[0] for name in PRODUCT}

    @property
    def task_kind(self) -> TaskKind:
        """The task's row in TASKS."""
        return TASKS[self.task]

    @rule
    def _check_own_data(self) -> Iterator[str]:
        named = {"base.model": self.base.model, "data.train": self.data.origin}
        missing = [key for key, value in named.items() if value == "embedded"]
        if self.task_kind.miniature is None and missing:
            yield (
                f"{missing[0]}: the task {self.task!r} has neither a base nor data embedded; give "
                f"{' and '.join(missing)}"
            )

    @rule
    def _check_labels(self) -> Iterator[str]:
        data, kind = self.data, self.task_kind
        if data.text_column is not None and not kind.reads_labels:
            allowed = names_in(names_where(TASKS, lambda kind: kind.reads_labels))
            yield (
                f"data.text_column: works only with {allowed}, got the task {self.task!r}; "
                "use data.source_column and data.target_column"
            )
        if not kind.reads_labels:
            return
        label = data.label_column or "label"
        texts = ("text_column", "second_text_column", "source_column", "target_column")
        for key in texts:
            if getattr(data, key) == label:
                yield (
                    f"data.{key}: {label!r} is the column of the labels, which no model may read; "
                    "set data.text_column to the text's and data.label_column to the labels'"
                )
        for key in texts[2:] if data.text_column is not None else ():
            if getattr(data, key) != DataSpec.model_fields[key].default:
                yield (
                    f"data.{key}: give text_column and second_text_column, or source_column and "
                    f"target_column, got {getattr(data, key)!r} beside text_column"
                )
        if data.labels and kind.outputs != "classes":
            yield (
                f"data.labels: names classes, but the labels of {self.task!r} are numbers; "
                "leave it out"
            )
        if self.evaluation.numeric.decimal_comma:
            yield (
                "evaluation.numeric.decimal_comma: is for texts that a model writes, got the task "
                f"{self.task!r}; leave it out"
            )

    @rule
    def _check_conversations(self) -> Iterator[str]:
        given = {key: getattr(self.data, key) for key in ("train_on", "chat_template")}
        given["too_long"] = self.data.too_long if self.data.too_long == "drop" else None
        for key, value in given.items():
            if value is not None and not self.task_kind.reads_conversations:
                allowed = names_in(names_where(TASKS, lambda kind: kind.reads_conversations))
                yield (
                    f"data.{key}: {value!r:.60} works only with {allowed}, got the task "
                    f"{self.task!r}"
                )
        share, kind = self.data.dev_share, self.task_kind
        if share is not None and self.data.train is None and not kind.reads_conversations:
            yield (
                f"data.dev_share: takes the dev set from data.train, got {share} without train; "
                "leave it out"
            )
        if self.data.stop_token is None and not (kind.reads_conversations or kind.instructs):
            yield "data.stop_token: must be the name of a token, got none"

    @property
    def generates(self) -> bool:
        """Whether an evaluation generates outputs besides computing the loss."""
        rows = map(self.evaluation.row, self.evaluation.metrics)
        scored = any(row.reads_outputs for row in rows)
        return scored or self.task_kind.always_generates

    @rule
    def _check_diffusion(self) -> Iterator[str]:
        if (self.diffusion is None) == self.task_kind.diffuses:
            allowed = names_in(names_where(TASKS, lambda kind: kind.diffuses))
            yield f"diffusion: works only with {allowed}, got the task {self.task!r}"

    @rule
    def _check_evaluation(self) -> Iterator[str]:
        of_task = (None, "any", self.task_kind.outputs)
        fitting = names_where(
            METRICS,
            lambda m: (
                m.outputs in of_task
                and not m.afterwards
                and not (m.from_loss and self.task_kind.diffuses)  # its loss is only a bound
                and not (m.from_loss and self.task_kind.reads_labels)  # it has none per token
                and not (m.of_pairs and not self.task_kind.reads_preferences)
            ),
        )
        for metric in self.evaluation.metrics:
            if metric not in (*fitting, *self.evaluation.own_metrics):
                yield (
                    f"evaluation.metrics: {metric!r} does not apply to the task {self.task!r}; "
                    f"allowed: {names_in(fitting)}"
                )
        for objective in self.evaluation.objective:
            if objective.startswith("general_") and not self.measures_forgetting:
                yield f"evaluation.objective: {objective!r} needs data.general, got none"

    @rule
    def _check_whole_texts(self) -> Iterator[str]:
        for metric in self.evaluation.metrics:
            if self.evaluation.row(metric).counts_bytes and self.data.too_long == "truncate":
                whole = "'refuse'" + " or 'drop'" * self.task_kind.reads_conversations
                yield (
                    f"data.too_long: {metric!r} counts the bytes of whole references, so none may "
                    f"be truncated, got {self.data.too_long!r}; allowed: {whole}"
                )

    @rule
    def _check_subset(self) -> Iterator[str]:
        allowed = self.task_kind.subsets if self.data.origin == "embedded" else ()
        if allowed and self.data.subset not in (None, *allowed):
            yield (
                f"data.subset: no such embedded corpus, got {self.data.subset!r}; "
                f"allowed: {names_in(allowed)}"
            )

    @property
    def measures_forgetting(self) -> bool:
        """Whether the study has general text, on which forgetting shows."""
        return self.data.general is not None or (
            self.data.origin == "embedded" and self.task_kind.has_general
        )

    @property
    def scored_at_reports(self) -> tuple[str, ...]:
        """The objectives that reports score: the first, or all where trials are compared there.

        A cost is not scored: it is known, or measured in training.
        """
        compares = SCHEDULES[self.search.schedule].pauses
        objectives = self.evaluation.objective[: None if compares else 1]
        return tuple(objective for objective in objectives if objective not in COSTS)

    @property
    def most_steps(self) -> int | None:
        """The steps of the longest trial; None if they depend on epochs, so on the data."""
        if self.training.epochs is not None or "epochs" in self.search.parameters:
            return None
        return int(max(self.values_of("steps")))

    @rule
    def _check_search(self) -> Iterator[str]:
        if not self.search.search_space.distributions:
            yield "search: nothing to search; give a space or parameters"
        if len(self.evaluation.objective) > 1 and PRUNERS[self.search.pruner].prunes:
            allowed = names_in(names_where(PRUNERS, lambda kind: not kind.prunes))
            yield (
                f"search.pruner: pruning needs a single objective, got {self.search.pruner!r}; "
                f"allowed: {allowed!r}"
            )
        if SCHEDULES[self.search.schedule].pauses and not self.scored_at_reports:
            yield (
                f"search.schedule: {self.search.schedule} compares scores of reports, got "
                f"{' and '.join(self.evaluation.objective)}; allowed: 'none'"
            )
        most, every = self.most_steps, self.training.report_every
        schedule = SCHEDULES[self.search.schedule]
        if schedule.pauses and most is not None and not schedule.steps(most, every):
            yield (
                f"search.schedule: {self.search.schedule} compares trials at reports before their "
                f"end, got training.report_every = {every} for {most} steps; report more often"
            )
        if most is not None and self.training.report_every > most:
            yield (
                f"training.report_every: must be at most training.steps = {most}, "
                f"got {self.training.report_every}"
            )

    @rule
    def _check_length(self) -> Iterator[str]:
        named = {*self.search.parameters, *self.training.model_fields_set}
        for one, other in (("steps", "epochs"), ("warmup_fraction", "warmup_steps")):
            if {one, other} <= named:
                yield f"training: give {one} or {other}, not both"

    @rule
    def _check_cutoff(self) -> Iterator[str]:
        is_given = self.training.cutoff_tokens or "cutoff_tokens" in self.search.parameters
        if is_given and not self.task_kind.diffuses:
            allowed = names_in(names_where(TASKS, lambda kind: kind.diffuses))
            yield (
                f"training.cutoff_tokens: works only with {allowed}, got the task {self.task!r}; "
                "use data.max_tokens"
            )

    @rule
    def _check_preferences(self) -> Iterator[str]:
        kind = self.task_kind
        if not kind.reads_preferences:
            if self.training.beta is not None or "beta" in self.search.parameters:
                allowed = names_in(names_where(TASKS, lambda kind: kind.reads_preferences))
                yield f"training.beta: works only with {allowed}, got the task {self.task!r}"
            return
        if self.data.train_on != "last":
            yield (
                f"data.train_on: pairs differ in the last answer, so it must be 'last', got "
                f"{self.data.train_on!r}; leave it out"
            )
        for method in self.methods:
            if not METHODS[method].is_adapter or METHODS[method].quantizes:
                yield (
                    f"method.name: {method!r} changes the reference, which is the base with its "
                    "adapters off; allowed: methods that leave the base unchanged, such as lora"
                )

    @rule
    def _check_teacher(self) -> Iterator[str]:
        if self.distillation is not None and not self.task_kind.distils:
            allowed = names_in(names_where(TASKS, lambda kind: kind.distils))
            yield f"distillation: works only with {allowed}, got the task {self.task!r}"
        for name in self.search.parameters:
            if searchable()[name] is DistillationSpec and self.distillation is None:
                yield f"search.parameters.{name}: needs a teacher; set distillation.teacher"

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that trials may use."""
        return self.values_of("method")

    @property
    def trains_adapters(self) -> bool:
        """Whether any method leaves the base's weights unchanged."""
        return any(METHODS[name].is_adapter for name in self.methods)

    @property
    def _fitting_methods(self) -> tuple[str, ...]:
        model = self.task_kind.model_class
        return tuple(method for method in self.methods if METHODS[method].fits(model))

    @rule
    def _check_methods(self) -> Iterator[str]:
        for method in self.methods:
            kind = METHODS[method]
            if method not in self._fitting_methods:
                allowed = [name for name, task in TASKS.items() if kind.fits(task.model_class)]
                yield (
                    f"method.name: {method!r} does not support the task {self.task!r}; "
                    f"supported: {', '.join(allowed)}"
                )
            for key, value in kind.plain_at.items():
                if self.values_of(key) == (value,):
                    yield (
                        f"method.{key}: {method!r} with {value:g} is the same as 'lora'; "
                        "use another value, or search it"
                    )

    @rule
    def _check_init_adapter(self) -> Iterator[str]:
        if self.method.init_adapter is None:
            return
        for name in FIXED:
            if name in self.search.parameters:
                yield (
                    f"search.parameters.{name}: method.init_adapter fixes it at "
                    f"{getattr(self.method, name)!r}, so it cannot be searched; leave it out"
                )
        if others := [name for name in self.methods if not METHODS[name].continues]:
            allowed = names_in(names_where(METHODS, lambda kind: kind.continues))
            yield f"method.init_adapter: works only with {allowed}, got the method {others[0]!r}"
        if self.method.begins_in_weight:
            yield (
                "method.init_lora_weights: must be 'default' with method.init_adapter, got "
                f"{self.method.init_lora_weights!r}"
            )

    @rule
    def _check_method_parameters(self) -> Iterator[str]:
        """Refuse to search a parameter that a method lacks: it would seem to have no effect."""
        for name, parameter in self.search.parameters.items():
            if searchable()[name] is not MethodSpec or name == "method":
                continue
            having = [method for method in self.methods if name in METHODS[method].own]
            if having and parameter.value is not None:
                continue
            for method in self._fitting_methods:
                if method not in having and self.search.may_hold(name, method):
                    remedy = f"add when = {{ method = {having} }}" if having else "leave it out"
                    if self.search.space not in (None, NO_SPACE):
                        remedy += f", or set search.space = {NO_SPACE!r} to search only your own"
                    yield f"search.parameters.{name}: the method {method!r} has no {name}; {remedy}"

    @rule
    def _check_named_base(self) -> Iterator[str]:
        if self.data.origin != "embedded" and "model" not in self.base.model_fields_set:
            yield (
                "base.model: needed beside data of your own, got none; allowed: a folder, a hub "
                "name, or 'embedded' for the miniature; `optuna-study init` writes a study file "
                "for a model and data"
            )

    def resolve(self, values: Mapping[str, Any]) -> Hyperparameters:
        """Return a trial's hyperparameters; `values` override fixed ones and the file's."""
        chosen = {**self.search.fixed, **values}
        return Hyperparameters(
            with_values(self.method, chosen),
            with_values(self.training, chosen),
            with_values(self.distillation, chosen) if self.distillation else None,
        )

    def values_of(self, name: str) -> tuple[Any, ...]:
        """Return a hyperparameter's choices, the ends of its range, or its one value."""
        parameter = self.search.parameters.get(name)
        if parameter:
            return parameter.examples
        field = field_of(name)
        return tuple(getattr(part, field) for part in self.resolve({}) if hasattr(part, field))

    def to_toml(self) -> str:
        """Return the resolved study file."""
        document = self.model_dump(mode="json", exclude_none=True)
        if self.most_steps is None:
            del document["training"]["steps"]
        if "warmup_steps" in (*document["training"], *self.search.parameters):
            del document["training"]["warmup_fraction"]
        if not self.evaluation.metric_files:
            del document["evaluation"]["metric_files"]
        for key in self.method.model_dump(exclude={"name"}):
            if not any(METHODS[method].has(key) for method in (*self.methods, self.method.name)):
                document["method"].pop(key, None)
        document["search"]["parameters"] = {
            name: parameter.model_dump(mode="json", exclude_defaults=True)
            for name, parameter in self.search.parameters.items()
        }
        return tomli_w.dumps(document)


# ---------------------------------------------------------------- reading


def parse_spec(document: Mapping[str, Any], where: str, faults: Faults | None = None) -> StudySpec:
    """Validate a resolved document; raises InputError with one line per problem.

    Faulty values of some keys do not keep the others from being checked.  With `faults`, the
    problems are collected there instead, if a study is left without these values: it is returned,
    so that its data and base can be looked at too.
    """
    found = Faults()
    spec, problems = _judged(document, where, found)
    if spec is None:
        rest = without_faulty(document, problems)
        spec, _ = _judged(rest, where, found)
        if spec is None:
            spec, _ = _judged(_with_what_is_needed(rest), where, found)
    if spec is None or faults is None:
        found.refuse()
    assert spec is not None
    if faults is not None:
        with faults.collected():
            found.refuse()
    return spec


def _judged(
    document: Mapping[str, Any], where: str, found: Faults
) -> tuple[StudySpec | None, Sequence[Any]]:
    """Return a document's study; or none, and pydantic's problems, which `found` has in words."""
    try:
        return StudySpec.model_validate(document), ()
    except ValidationError as error:
        found.add(problems_of(error, where, StudySpec))
        return None, error.errors(include_url=False)


def _with_what_is_needed(document: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in the base that data of one's own need, with that of the shipped studies."""
    given = document.get("base", {})
    return {
        **document,
        "base": {"model": "embedded", **given} if isinstance(given, Mapping) else given,
    }


def spec_from_toml(content: str, where: str) -> StudySpec:
    """Read a resolved study file written by `to_toml`; InputError if it is invalid."""
    with refusing(f"{where}: the stored study file is not valid TOML", ValueError, RecursionError):
        document = parse_toml(content)
    return parse_spec(without_unused(document), where)


def without_unused(document: dict[str, Any]) -> dict[str, Any]:
    """Return a stored study without a share that it never took: earlier versions stored it so."""
    data = document.get("data")
    if isinstance(data, dict) and ("dev" in data or data.get("corpus") == "embedded"):
        data.pop("dev_share", None)
    return document

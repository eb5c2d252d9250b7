"""What a configuration turns into, and what is refused, by its words."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from spikebert.config.plan import Plan, content, local_files, make_plan
from spikebert.config.registry import COMPRESSED, MODELS, SHAPE
from spikebert.config.schema import config_schema
from spikebert.config.settings import (
    ALGORITHM,
    STEPS,
    ModelSettings,
    Stage2Settings,
)
from spikebert.errors import UserError
from spikebert.records.paper import GLUE
from spikebert.report import captions

ROOT = Path(__file__).parents[2]
# own.yaml, of somebody's file, has a test of its own.
CONFIGS = sorted({*(ROOT / "config").glob("*.yaml")} - {ROOT / "config/own.yaml"})
TINY = yaml.safe_load((ROOT / "tests/inputs/tiny.yaml").read_text("utf-8"))


def plan(rows: list[dict[str, Any]] | None = None, **changes: Any) -> Plan:
    """The plan of the tiny configuration; each row is of set films and seed 1 unless it says so."""
    config = {**copy.deepcopy(TINY), **changes}
    if rows is not None:
        config["runs"] = [{"datasets": ["films"], "seeds": [1], **row} for row in rows]
    return make_plan(config)


def ids(made: Plan) -> list[str]:
    return [run.id for run in made.runs]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_shipped_configurations_are_plans(path: Path) -> None:
    made = make_plan(yaml.safe_load(path.read_text("utf-8")))
    asked = {run.model for run in made.runs} - {*COMPRESSED}
    if path.name == "small.yaml":  # it names what is published
        assert asked >= {"tfidf", "teacher", "direct", "stage2_only", "spikebert"}
    else:
        assert asked == set(MODELS) - {*COMPRESSED}
    others = {*GLUE, "glue", *COMPRESSED}
    assert {*made.used_sets(), *made.unavailable} - others <= {
        "mr",
        "sst2",
        "subj",
        "sst5",
        "chnsenti",
        "waimai",
    }
    about = captions.glue(made)
    reasons = [bool(note.get("reason")) for note in about.values()]
    assert list(about) == list(GLUE)
    assert set(reasons) == {path.name != "paper.yaml"}


def test_glue_at_the_papers_scale_is_judged_as_glue_is() -> None:
    made = make_plan(yaml.safe_load((ROOT / "config/paper.yaml").read_text("utf-8")))
    about = captions.glue(made)
    assert {name: note["metric"] for name, note in about.items()} == {
        **dict.fromkeys(GLUE, "accuracy"),
        "glue_cola": "matthews",
        "glue_stsb": "pearson_spearman",
        "glue_mrpc": "f1",
        "glue_qqp": "f1",
    }
    tests = {name: note["test"] for name, note in about.items()}
    assert tests.pop("glue_mnli") == "validation_matched"
    assert tests.pop("glue_mnli_mm") == "validation_mismatched"
    assert set(tests.values()) == {"validation"}
    for name in GLUE:
        first, second = made.datasets[name]["files"]
        assert (first["hub_split"], first["split"], second["split"]) == ("train", "train", "test")
        assert ("pair_column" in first) == (name not in ("glue_sst2", "glue_cola"))
        assert {**first, "hub_split": "", "split": ""} == {**second, "hub_split": "", "split": ""}


def test_compressed_models_need_a_checkpoint_and_an_english_set() -> None:
    row = {"models": ["distilbert"]}
    with pytest.raises(UserError, match=r"compressed\.distilbert"):
        plan([row])
    folder = {"distilbert": {"source": "folder", "path": "distil"}}
    made = plan([row], compressed=folder, teachers={}, unlabelled={})
    assert ids(made) == ["films.distilbert.base.s1"]
    assert made.used_teachers() == []
    assert json.loads(made.runs[0].step("finetune")).keys() == {"finetune", "algorithm"}
    with pytest.raises(UserError, match=r"distilbert on meals[\s\S]*an English set"):
        plan([{**row, "datasets": ["meals"]}], compressed=folder)
    with pytest.raises(UserError, match=r"compressed\.distilbert\.source"):
        plan([row], compressed={"distilbert": {"source": "pretrain"}})
    with pytest.raises(
        UserError, match=r"setting compressed.mobilebert [\s\S]*distilbert or tinybert"
    ):
        plan([row], compressed={"mobilebert": folder["distilbert"]})


def test_table_of_compressed_models_says_what_is_there_and_why_not() -> None:
    teacher = {"source": "folder", "path": "m", "description": "MiniLM", "compressed": True}
    made = plan(
        [{"models": ["spikebert", "tinybert"]}],
        compressed={"tinybert": {"source": "folder", "path": "t", "description": "TinyBERT 4"}},
        teachers={"en": teacher},
        unavailable={"distilbert": "no offline source"},
    )
    about = captions.compression(made)
    assert about["datasets"] == {"films": {"analogue": False}}
    models = about["models"]
    assert models["teacher"]["description"] == "MiniLM, itself a compressed BERT"
    assert models["distilbert"]["reason"] == "no offline source"
    assert models["tinybert"]["description"] == "TinyBERT 4"
    assert "1 blocks of width 16" in models["spikebert"]["description"]
    assert captions.notes(made).keys() == {"films"}  # no row of the accuracy table
    judged = {"films": {**TINY["datasets"]["films"], "metric": "f1"}}
    assert captions.compared_sets(plan([{"models": ["spikebert"]}], datasets=judged)) == []
    plain = {key: value for key, value in teacher.items() if key != "compressed"}
    assert content(teacher) == content(plain)  # published teachers stay as they are


def test_published_schema_is_in_step() -> None:
    path = ROOT / "workflow/schemas/config.schema.json"
    assert json.loads(path.read_text("utf-8")) == config_schema(), (
        f"run: python -m spikebert.config.schema > {path.relative_to(ROOT)}"
    )


def test_every_key_of_the_schema_is_described() -> None:
    schema = config_schema()
    for name, definition in {**schema["$defs"], "the top": schema}.items():
        assert definition["description"], name
        assert definition["additionalProperties"] is False, name
        for key, value in definition["properties"].items():
            target = schema["$defs"].get(value.get("$ref", "").split("/")[-1], {})
            assert value.get("description") or target.get("description"), f"{name}.{key}"


@pytest.mark.parametrize("path", [*CONFIGS, ROOT / "tests/inputs/tiny.yaml"], ids=lambda p: p.name)
def test_editors_find_the_schema(path: Path) -> None:
    first = path.read_text("utf-8").splitlines()[0]
    named = first.removeprefix("# yaml-language-server: $schema=")
    assert (path.parent / named).resolve() == ROOT / "workflow/schemas/config.schema.json"


def test_paper_configuration_takes_every_default() -> None:
    made = make_plan(yaml.safe_load((ROOT / "config/paper.yaml").read_text("utf-8")))
    run = made.of("spikebert")["mr.spikebert.base.s10"]
    assert run.settings["model"]["hidden_size"] == ModelSettings().hidden_size
    assert run.settings["stage2"]["weight_decay"] == Stage2Settings().weight_decay


def test_rows_are_products_and_imply_teachers() -> None:
    made = plan([{"models": ["spikebert", "tfidf"], "seeds": [1, 2]}])
    assert ids(made) == [
        "films.tfidf.base.s1",
        "films.tfidf.base.s2",
        "films.teacher.base.s1",
        "films.teacher.base.s2",
        "films.spikebert.base.s1",
        "films.spikebert.base.s2",
    ]
    assert made.of("spikebert")["films.spikebert.base.s2"].teacher == "films.teacher.base.s2"


def test_a_spiking_textcnn_brings_the_one_it_is_made_of() -> None:
    made = plan(
        [
            {"models": ["snn_textcnn"], "seeds": [1, 2]},
            {
                "models": ["snn_textcnn"],
                "variant": "wide",
                "overrides": {"steps.textcnn.filters": 9},
            },
            {
                "models": ["snn_textcnn"],
                "variant": "leaky",
                "overrides": {"steps.snn_textcnn.beta": 0.9},
            },
        ]
    )
    sources = {run.id: run.teacher for run in made.of("snn_textcnn").values()}
    assert sources == {
        "films.snn_textcnn.base.s1": "films.textcnn.base.s1",
        "films.snn_textcnn.base.s2": "films.textcnn.base.s2",
        "films.snn_textcnn.wide.s1": "films.textcnn.wide.s1",
        "films.snn_textcnn.leaky.s1": "films.textcnn.base.s1",
    }
    assert made.of("textcnn").keys() == set(sources.values())
    step = json.loads(made.of("textcnn")["films.textcnn.wide.s1"].last_step)
    assert step["textcnn"]["widths"] == [3, 4, 5]
    assert step.keys() == {"textcnn", "algorithm"}
    step = json.loads(made.of("snn_textcnn")["films.snn_textcnn.base.s1"].last_step)
    assert step.keys() == {"snn_textcnn", "algorithm"}


def test_dense_students_depend_on_the_shape_alone() -> None:
    models = ["dense_direct", "dense_distilled", "spikebert"]

    def steps(**model: Any) -> dict[str, list[str]]:
        made = plan([{"models": models}], model={**TINY["model"], **model})
        runs = [run for run in made.runs if run.model in models]
        return {
            run.model: [run.last_step, *([run.stage1] if "direct" not in run.model else [])]
            for run in runs
        }

    first, leaky, deep = steps(), steps(beta=0.5, timesteps=3), steps(num_hidden_layers=2)
    assert {name for name in first if first[name] == leaky[name]} == set(models[:2])
    assert not any(first[name] == deep[name] for name in first)
    assert json.loads(first["dense_distilled"][0])["model"].keys() == set(SHAPE)
    assert first["dense_distilled"][1] != first["spikebert"][1]
    made = plan([{"models": ["dense_distilled"], "seeds": [1, 2]}])
    assert made.used_texts() == ["en"]
    runs = made.of("dense_distilled").values()
    assert {run.teacher for run in runs} == {"films.teacher.base.s1", "films.teacher.base.s2"}
    assert len({run.stage1 for run in runs}) == 1


def test_an_override_of_spikes_leaves_a_dense_student_as_it_is() -> None:
    row = {"variant": "beta-0.8", "overrides": {"model.beta": 0.8}}
    with pytest.raises(UserError, match="none for dense_direct"):
        plan([{"models": ["direct", "dense_direct"], **row}])
    with pytest.raises(UserError, match=r"override of model\.beta"):
        plan([{"models": ["dense_direct"], **row}])


def test_models_steps_and_sources_fit_each_other() -> None:
    for spec in MODELS.values():
        assert spec.step in STEPS
        if spec.parent:
            assert set(MODELS[spec.parent].sections) < set(spec.sections)


def test_run_in_two_equal_rows_is_one_run() -> None:
    row = {"models": ["direct"]}
    assert ids(plan([row, row])) == ["films.direct.base.s1"]


def test_steps_are_told_of_their_own_settings_alone() -> None:
    run = plan([{"models": ["spikebert"]}]).of("spikebert")["films.spikebert.base.s1"]
    stage2 = json.loads(run.step("stage2"))
    assert stage2.keys() == {"model", "stage2", "algorithm"}
    assert stage2["model"]["beta"] == 0.9
    assert stage2["algorithm"] == ALGORITHM["stage2"]
    assert json.loads(run.name) == {
        "id": "films.spikebert.base.s1",
        "dataset": "films",
        "source": "sentences on films, written for this test",
        "model": "spikebert",
        "variant": "base",
        "seed": 1,
        "teacher": "films.teacher.base.s1",
        "augment": run.settings["augment"],
    }
    direct = plan([{"models": ["direct"]}]).of("direct")["films.direct.base.s1"]
    assert "augment" not in json.loads(direct.name)


def test_stage1_is_shared_by_seeds_and_by_variants_of_stage2() -> None:
    made = plan(
        [
            {"models": ["spikebert"], "seeds": [1, 2]},
            {
                "models": ["spikebert"],
                "variant": "warm",
                "overrides": {"steps.stage2.temperature": 2.0},
            },
            {"models": ["spikebert"], "variant": "beta-0.8", "overrides": {"model.beta": 0.8}},
        ]
    )
    keys = {run.id: run.stage1 for run in made.of("spikebert").values()}
    assert len(keys) == 4
    assert keys["films.spikebert.base.s1"] == keys["films.spikebert.base.s2"]
    assert keys["films.spikebert.base.s1"] == keys["films.spikebert.warm.s1"]
    assert keys["films.spikebert.base.s1"] != keys["films.spikebert.beta-0.8.s1"]


def test_a_later_setting_at_its_default_leaves_published_results_alone() -> None:
    made = make_plan(yaml.safe_load((ROOT / "config/small.yaml").read_text("utf-8")))
    published = [run for run in made.of("spikebert").values() if run.variant.endswith("heaviside")]
    assert {run.stage1 for run in published} == {"en.96044a38541c"}
    row = {"models": ["spikebert"]}
    base, null, capped = (
        plan([row], steps={**TINY["steps"], "stage1": {**TINY["steps"]["stage1"], **more}})
        for more in ({}, {"max_sentences": None}, {"max_sentences": 10})
    )
    run, same, other = (
        made.of("spikebert")["films.spikebert.base.s1"] for made in (base, null, capped)
    )
    assert "max_sentences" not in run.step("stage1")
    assert run.step("stage1") == same.step("stage1")
    assert '"max_sentences":10' in other.step("stage1")
    assert other.stage1 != run.stage1


def test_a_transfer_set_needs_text_and_single_sentences() -> None:
    rows = [{"models": ["stage2_only"]}]
    ready = {"en": {"source": "folder", "path": "bert"}}  # needs no text of its own
    made = plan(rows, augment={"transfer_sentences": 5}, teachers=ready)
    (run,) = made.of("stage2_only").values()
    assert run.transfers
    assert made.used_texts() == ["en"]
    assert '"transfer_sentences":5' in run.step("augment")
    assert plan(rows, teachers=ready).used_texts() == []
    assert "transfer" not in next(iter(plan(rows).of("stage2_only").values())).step("augment")
    with pytest.raises(UserError, match=r"unlabelled\.en"):
        plan(rows, augment={"transfer_sentences": 5}, teachers=ready, unlabelled={})


def test_variant_starts_from_its_base_row() -> None:
    made = plan(
        [
            {"models": ["spikebert"], "variant": "beta-0.8", "overrides": {"model.beta": 0.8}},
            {"models": ["spikebert"], "overrides": {"steps.stage2.epochs": 7}},
        ]
    )
    variant = made.of("spikebert")["films.spikebert.beta-0.8.s1"]
    assert variant.settings["stage2"]["epochs"] == 7
    assert variant.teacher == "films.teacher.base.s1"


def test_variant_of_fine_tuning_has_its_own_teacher() -> None:
    made = plan(
        [
            {"models": ["spikebert"]},
            {
                "models": ["spikebert"],
                "variant": "long",
                "overrides": {"steps.finetune.epochs": 9},
            },
        ]
    )
    assert made.of("spikebert")["films.spikebert.long.s1"].teacher == "films.teacher.long.s1"
    assert made.of("teacher")["films.teacher.long.s1"].settings["finetune"]["epochs"] == 9
    assert made.of("teacher")["films.teacher.base.s1"].settings["finetune"]["epochs"] == 1


@pytest.mark.parametrize("spelling", [3, 3.0, "3", "3e0"])
def test_a_number_has_one_spelling(spelling: Any) -> None:
    made = plan([{"models": ["direct"]}], steps={"direct": {"epochs": spelling}})
    assert '"epochs":3.0' in made.runs[0].step("direct")


def test_words_for_people_do_not_decide_content() -> None:
    spec = TINY["datasets"]["films"]
    changed = {**spec, "description": "other words", "analogue": True, "caps": {"train": 5}}
    assert content(changed) == content(spec)
    assert content({**spec, "labels": ["positive", "negative"]}) != content(spec)


def test_local_files_are_found_in_every_kind_of_spec() -> None:
    assert local_files(TINY["datasets"]["films"]) == ["tests/inputs/films_en.tsv"]
    assert local_files({"source": "folder", "path": "bert"}) == ["bert"]
    assert local_files({"source": "pretrain"}) == []
    archive = {"files": [{"source": "file", "path": "a.zip!/b/*.txt", "format": "text"}]}
    assert local_files(archive) == ["a.zip"]


def test_notes_list_used_and_unavailable_sets_in_order() -> None:
    notes = captions.notes(plan([{"models": ["tfidf"]}]))
    assert list(notes) == ["films", "waimai"]
    assert notes["waimai"] == {"source": "no offline source", "analogue": False}


def test_captions_call_stand_ins_by_their_name() -> None:
    datasets = copy.deepcopy(TINY["datasets"])
    datasets["films"]["analogue"] = True
    about = captions.about(plan([{"models": ["tfidf"], "seeds": [2, 1]}], datasets=datasets))
    assert about == [
        "**films** (stand-in, not the published set: sentences on films, written for this test): "
        "tfidf; seeds 1, 2.",
        "**waimai**: no offline source.",
    ]


def test_captions_say_how_large_and_how_long() -> None:
    datasets = copy.deepcopy(TINY["datasets"])
    datasets["films"]["caps"] = {"train": 1600, "test": 20}
    rows = [
        {"models": ["spikebert"]},
        {"models": ["spikebert"], "variant": "t1", "overrides": {"model.timesteps": 1}},
    ]
    assert captions.about(plan(rows, datasets=datasets)) == [
        "**films** (sentences on films, written for this test): teacher, spikebert; seeds 1; "
        "at most 1,600 train, 20 test rows; student 1 x 16 (blocks x width), T = 2; "
        "epochs: finetune 1, stage1 1, stage2 1; variants: t1.",
        "teacher, *en*: BERT pre-trained on the training rows.",
        "text of stage 1, *en*: the training rows.",
        "**waimai**: no offline source.",
    ]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "unknown name at the top": ({"learning_rat": 1}, "steps.stage2.learning_rate"),
    "setting at the top": ({"beta": 0.8}, "did you mean model.beta?"),
    "unknown setting": ({"model": {"bta": 0.8}}, "model.bta[\\s\\S]*did you mean beta?"),
    "out of range": ({"model": {"beta": 1.5}}, "model.beta[\\s\\S]*a number from 0 below 1"),
    "not a number": ({"model": {"beta": "high"}}, "model.beta[\\s\\S]*number[\\s\\S]*high"),
    "NaN": ({"model": {"beta": float("nan")}}, "finite numbers"),
    "NaN as text": ({"model": {"beta": "NaN"}}, "model.beta[\\s\\S]*number"),
    "heads that do not divide": (
        {"model": {"hidden_size": 10, "num_attention_heads": 3}},
        "divisor",
    ),
    "run outside results": ({"run": "../elsewhere"}, "setting run "),
    "set outside its folder": ({"datasets": {"../x": TINY["datasets"]["films"]}}, "datasets"),
    "no runs": ({"runs": []}, "setting runs "),
    "unknown language": (
        {"teachers": {"fr": {"source": "pretrain"}}},
        "setting teachers.fr [\\s\\S]*en or zh",
    ),
    "unpinned teacher": (
        {"teachers": {"en": {"source": "hub", "repository": "a/b", "revision": "main"}}},
        "teachers.en.revision[\\s\\S]*pin",
    ),
    "metric of another task": (
        {"datasets": {"films": {**TINY["datasets"]["films"], "metric": "pearson"}}},
        "metric of data set films[\\s\\S]*accuracy",
    ),
    "set in two places": ({"unavailable": {"films": "lost"}}, "both"),
}


@pytest.mark.parametrize(("changes", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_wrong_configurations_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        plan(**changes)


REFUSED_ROWS: dict[str, tuple[list[dict[str, Any]], str]] = {
    "unknown set": ([{"models": ["tfidf"], "datasets": ["filmz"]}], "filmz[\\s\\S]*mean films?"),
    "unknown model": ([{"models": ["spikbert"]}], "runs.0.models.0"),
    "variant with a path": (
        [{"models": ["direct"], "variant": "../x", "overrides": {"model.beta": 0.8}}],
        "runs.0.variant",
    ),
    "unknown override": (
        [{"models": ["direct"], "overrides": {"model.bta": 0.8}}],
        "model.bta[\\s\\S]*did you mean model.beta?",
    ),
    "override out of range": (
        [{"models": ["direct"], "overrides": {"model.beta": 1.5}}],
        "setting model.beta in row 1 of runs",
    ),
    "override of the shared teacher": (
        [{"models": ["direct"], "overrides": {"steps.pretrain.epochs": 2}}],
        "steps.pretrain excepted",
    ),
    "override without effect": (
        [{"models": ["direct"], "overrides": {"steps.stage1.epochs": 2}}],
        "override of steps.stage1.epochs",
    ),
    "variant without effect on a model": (
        [{"models": ["direct", "tfidf"], "variant": "x", "overrides": {"model.beta": 0.8}}],
        "none for tfidf",
    ),
    "one name for two settings": (
        [{"models": ["direct"]}, {"models": ["direct"], "overrides": {"model.beta": 0.8}}],
        "films.direct.base in row 1 of runs and row 2 of runs[\\s\\S]*model.beta",
    ),
    "no teacher of the language": (
        [{"models": ["direct"], "datasets": ["meals"]}],
        "teachers.zh[\\s\\S]*row 1 of runs",
    ),
}


@pytest.mark.parametrize(("rows", "words"), REFUSED_ROWS.values(), ids=REFUSED_ROWS.keys())
def test_wrong_rows_are_refused(rows: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(UserError, match=words):
        plan(rows)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(UserError, match=r"setting run in the configuration\n") as caught:
        make_plan({name: value for name, value in TINY.items() if name != "run"})
    assert "got:      none" in str(caught.value)
    with pytest.raises(UserError, match=r"runs\.0\.seeds") as caught:
        plan([{"models": ["tfidf"], "seeds": [1, 1]}])
    assert "unique" in str(caught.value)


def test_beta_beside_tau_is_refused() -> None:
    row = {"models": ["direct"], "variant": "leaky", "overrides": {"model.beta": 0.8}}
    with pytest.raises(UserError, match=r"override of model\.beta in row 1"):
        plan([row], model={**TINY["model"], "tau": 2.0})
    row["overrides"] = {"model.beta": 0.8, "model.tau": None}
    assert plan([row], model={**TINY["model"], "tau": 2.0}).runs


def test_rows_are_cut_as_the_last_step_says() -> None:
    made = plan([{"models": ["teacher", "direct", "spikebert", "textcnn", "snn_textcnn"]}])
    lengths = {run.model: run.max_length for run in made.runs}
    steps = {"teacher": "finetune", "spikebert": "stage2"}
    assert lengths == {
        model: run.settings[steps.get(model, model)]["max_length"]
        for model, run in ((run.model, run) for run in made.runs)
    }


@pytest.mark.parametrize("model", ["spikebert", "dense_distilled"])
def test_text_is_needed_for_stage1(model: str) -> None:
    teachers = {"en": {"source": "folder", "path": "bert"}}
    with pytest.raises(UserError, match=r"unlabelled\.en"):
        plan([{"models": [model]}], teachers=teachers, unlabelled={})


def test_resources_are_those_of_the_rule_unless_the_configuration_says_more() -> None:
    made = plan(resources={"stage1": {"mem_mb": 64000}}).resources
    assert (made["stage1"].mem_mb, made["stage1"].runtime) == (64000, 1440)
    assert made["stage2"] == plan().resources["stage2"]
    assert (made["stage2"].mem_mb, made["stage2"].runtime) == (8000, 720)


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        ({"stage_1": {"mem_mb": 1}}, "unknown setting resources.stage_1"),
        ({"stage1": {"memory": 1}}, "unknown setting resources.stage1.memory"),
        ({"stage1": {"runtime": 0}}, "setting resources.stage1.runtime"),
        ({"stage1": {"mem_mb": "64G"}}, "setting resources.stage1.mem_mb"),
    ],
)
def test_wrong_resources_are_named(resources: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        plan(resources=resources)


def test_resources_and_retries_change_no_run() -> None:
    assert (
        plan(resources={"stage1": {"mem_mb": 1}}, retries=7, checkpoints="/x").runs == plan().runs
    )


def test_the_configuration_for_ones_own_file_is_whole() -> None:
    plan = make_plan(yaml.safe_load((ROOT / "config/own.yaml").read_text("utf-8")))
    assert {run.model for run in plan.runs} == {
        *("tfidf", "textcnn", "teacher", "direct", "spikebert")
    }
    assert not plan.unavailable

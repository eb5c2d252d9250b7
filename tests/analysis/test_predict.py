"""What a model says of texts as people give them."""

import json

import pandas
import pytest
from toy import save_student
from typer.testing import CliRunner

from spikebert.analysis.predict import predict
from spikebert.cli import app

LONG = "a warm film " * 4000


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_student(tmp_path_factory.mktemp("model"))


def said(model, *arguments, **options):
    result = CliRunner().invoke(app, ["predict", str(model), *map(str, arguments)], **options)
    return result.exit_code, result.stdout.splitlines()


def test_each_text_is_a_line_whatever_it_holds(model):
    status, lines = said(model, "a warm\tfilm\nfilm", LONG, "电影 很 好", "", "a film")
    assert status == 1  # one of them has no answer
    columns = [line.split("\t") for line in lines]
    assert [len(line) for line in columns] == [4, 5, 5, 5, 4]
    assert columns[0][3] == "a warm film film"
    assert len(lines[1]) < 250
    assert columns[1][4] == "cut after 512 of 12,002 pieces"
    assert columns[2][4] == "4 of 4 pieces unknown to this model"
    assert columns[3][0] == "-"
    assert columns[3][4] == "an empty text"


def test_texts_come_from_a_pipe(model):
    assert said(model, input="a film\na dull film\n") == said(model, "a film", "a dull film")
    assert said(model, "-", input="a film\n") == said(model, "a film")


@pytest.mark.parametrize("kind", ["txt", "csv", "tsv", "jsonl", "json", "parquet", "csv.gz"])
def test_texts_come_from_a_file(model, tmp_path, kind):
    path = tmp_path / f"texts.{kind}"
    table = pandas.DataFrame({"text": ["a film", "a warm film"], "other": [1, 2]})
    {
        "txt": lambda: path.write_text("a film\na warm film\n"),
        "csv": lambda: table.to_csv(path, index=False),
        "csv.gz": lambda: table.to_csv(path, index=False),
        "tsv": lambda: table.to_csv(path, index=False, sep="\t"),
        "jsonl": lambda: table.to_json(path, orient="records", lines=True),
        "json": lambda: table.to_json(path, orient="records"),
        "parquet": lambda: table.to_parquet(path),
    }[kind]()
    assert said(model, "--file", path) == said(model, "a film", "a warm film")


def test_json_keeps_the_whole_text(model):
    status, (line,) = said(model, "--json", LONG)
    answer = json.loads(line)
    assert status == 0
    assert answer["text"] == LONG
    assert answer["notes"] == ["cut after 512 of 12,002 pieces"]
    assert [answer["probabilities"]] == [predict(model, [LONG])[0]["probabilities"]]


def test_a_file_of_another_kind_is_named(model, tmp_path):
    result = CliRunner().invoke(app, ["predict", str(model), "--file", str(tmp_path / "a.docx")])
    assert "ends in .txt, .csv" in str(result.exception)


@pytest.mark.parametrize("form", ["onnx", "pt2"])
def test_a_graph_answers_as_the_model_does(model, tmp_path, form):
    out = tmp_path / f"model.{form}"
    result = CliRunner().invoke(app, ["export", str(model), "--format", form, "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert float(result.stdout.split()[-1]) < 1e-5
    assert out.stat().st_size > 1000

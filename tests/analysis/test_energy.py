"""The energy account: operations by hand and by torch's own counter, rates, charges, the table."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast
from typer.testing import CliRunner

from spikebert import SpikeBertConfig, SpikeBertForSequenceClassification
from spikebert.analysis.energy import count_macs, measure, watch
from spikebert.analysis.inspection import measure_folder
from spikebert.cli import app
from spikebert.config.schema import MODELS
from spikebert.errors import UserError
from spikebert.kernels.build import library
from spikebert.models.fuse import PLAIN, fuse
from spikebert.records.energy import (
    Charge,
    ConventionEnergy,
    EnergyRecord,
    RealEnergy,
    Workload,
    bert_macs,
    charge,
    matching_length,
    read_energy,
)
from spikebert.report.energy_table import COLUMNS, energy_table, write_energy
from spikebert.report.published import Published
from spikebert.utils.files import write_json

STUDENT = {
    "vocab_size": 50,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "timesteps": 3,
}


def student(**changes: Any) -> SpikeBertForSequenceClassification:
    torch.manual_seed(0)
    return SpikeBertForSequenceClassification(SpikeBertConfig(**{**STUDENT, **changes})).eval()


def bert(attention: str = "eager") -> BertForSequenceClassification:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=50,
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        attn_implementation=attention,
    )
    return BertForSequenceClassification(config).eval()


def ids(tokens: int, rows: int = 1) -> torch.Tensor:
    return torch.arange(rows * tokens).reshape(rows, tokens) % 49 + 1


# Operations


@pytest.mark.parametrize(("tokens", "product"), [(3, 3 * 3 * 4), (6, 6 * 4 * 4)])
@pytest.mark.parametrize("encoder", ["heaviside", "lif", "current"])
def test_macs_of_a_student_by_hand(tokens: int, product: int, encoder: str) -> None:
    macs = count_macs(student(encoder=encoder), ids(tokens), time_first=True, timesteps=3)
    linear = 4 * 8 * 8 + 2 * 8 * 32  # Q, K, V, output; up and down
    # two products of two heads of width 4, N x N as long as N is less than that
    block = 3 * (tokens * linear + 2 * 2 * product)
    assert sum(macs.values()) == 2 * block + 3 * 8 * 2  # head: one vector a step
    name = "spikebert.blocks.1.attention.product"
    assert macs[f"{name}.k"] == 3 * 2 * product
    assert (macs[f"{name}.v"], macs[f"{name}.q"]) == (
        (3 * 2 * product, 0) if tokens == 3 else (0, 3 * 2 * product)
    )


def test_a_student_without_spikes_is_charged_as_a_dense_network() -> None:
    model = student(neuron="relu", encoder="current", timesteps=1)
    measured = measure(model, [ids(5)], time_first=True, timesteps=1)
    assert list(measured.accounts) == ["dense"]
    macs = sum(count_macs(model, ids(5), time_first=True, timesteps=1).values())
    assert measured.accounts["dense"].real.energy_pj == pytest.approx(4.6 * macs)


@pytest.mark.parametrize("order", ["qk_first", "kv_first"])
def test_macs_of_a_student_are_torchs(order: str) -> None:
    model = student(attention_order=order, encoder="lif")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(ids(5))
    macs = count_macs(model, ids(5), time_first=True, timesteps=3)
    assert 2 * sum(macs.values()) == counter.get_total_flops()


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_macs_of_bert_are_torchs_and_the_formulas(attention: str) -> None:
    macs = sum(count_macs(bert(attention), {"input_ids": ids(7)}).values())
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        bert("eager")(ids(7))
    assert 2 * macs == counter.get_total_flops()
    assert macs == bert_macs(7, layers=2, width=8, intermediate=32)


def test_convolutions_are_torchs() -> None:
    model = nn.Sequential(
        nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), nn.ConvTranspose2d(6, 4, 2, groups=2)
    )
    x = torch.rand(2, 4, 9, 9)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(x)
    assert 2 * sum(count_macs(model, x).values()) == counter.get_total_flops()


@pytest.mark.parametrize("fused", [False, True])
def test_products_without_a_rule_are_an_error(fused: bool) -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.query = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            q = self.query(x)
            if fused:
                return nn.functional.scaled_dot_product_attention(*3 * [q[:, None]])[:, 0]
            return q @ q.mT @ q

    with pytest.raises(UserError, match="MACs of Attention"):
        count_macs(Attention(), torch.rand(1, 3, 4))
    rule = {"Attention": lambda module: {"q": (module.query, lambda q: 2 * q.shape[1] ** 2 * 4)}}
    macs = count_macs(Attention(), torch.rand(1, 3, 4), products=rule)
    assert macs == {"query": 3 * 4 * 4, ".product.q": 2 * 3 * 3 * 4}


def test_the_papers_figure_has_two_readings() -> None:
    for flops_per_mac, tokens in ((1, 250.8), (2, 128.6)):
        length = matching_length(22.46e9 / flops_per_mac)
        assert length == pytest.approx(tokens, abs=0.05)
        assert bert_macs(length) * flops_per_mac == pytest.approx(22.46e9)
    millijoules = 22.46e9 * 4.6e-9  # 4.6 pJ for every FLOP
    assert millijoules == pytest.approx(103.38, rel=1e-3)
    with pytest.raises(UserError, match="MACs of a BERT"):
        matching_length(1.0)


# Rates


def test_rates_of_inputs_by_hand() -> None:
    model = nn.Linear(2, 3)
    with watch(model, time_first=True) as layers:
        model(torch.tensor([[[1.0, 0.0]], [[1.0, 1.0]]]))  # T 2, one row
    layer = layers[""]
    assert [step[0] / step[2] for step in layer.steps] == [0.5, 1.0]
    assert (layer.rate, layer.magnitude, layer.kind, layer.macs) == (0.75, 0.75, "binary", 12)
    with watch(model, time_first=True) as layers:
        model(torch.tensor([[[2.0, 0.0]], [[-1.0, 1.0]]]))
    assert (layers[""].rate, layers[""].magnitude, layers[""].kind) == (0.75, 1.0, "integer")
    with watch(model) as layers:
        model(torch.tensor([[0.5, 0.0]]))
        model(input=torch.tensor([[1.0, 1.0]]))
    assert [step[0] / step[2] for step in layers[""].steps] == [0.5, 1.0]  # a call is a step
    assert layers[""].kind == "real"


def test_one_step_stands_for_all() -> None:
    """The same spikes at every step cost the same, whether they are computed once or T times."""
    model = student()
    with torch.no_grad(), watch(model, time_first=True, timesteps=3) as once:
        model(ids(5))
        spikes = (model.spikebert.embeddings(ids(5))[1] != 0).double().mean().item()
    first = once["spikebert.blocks.0.attention.query.linear"]
    assert (first.macs, first.ran, len(first.steps)) == (3 * 5 * 64, 5 * 64, 3)
    assert first.rate == spikes
    later = once["spikebert.blocks.1.attention.query.linear"]
    assert later.macs == later.ran == 3 * 5 * 64


def test_kinds_of_inputs_follow_the_residual() -> None:
    name = "spikebert.blocks.1.mlp.up.linear"
    for residual, kind in (("add", "integer"), ("membrane", "binary")):
        found = measure(
            student(residual=residual, embedding_std=4.0, threshold=0.3),
            [ids(5)],
            time_first=True,
            timesteps=3,
        )
        kinds = {layer.name: layer.kind for layer in found.layers}
        assert kinds[name] == kind
        assert kinds["classifier"] == "real"
        assert {k for n, k in kinds.items() if ".product." in n} == {"binary"}


def test_hooks_come_off_and_the_kernel_comes_back() -> None:
    model = fuse(student())
    fast = [m for m in model.modules() if type(m) in PLAIN]

    def crash() -> None:
        with watch(model, time_first=True):
            model(torch.zeros(1, 3, dtype=torch.long), labels="no labels")

    with pytest.raises((TypeError, AttributeError)):
        crash()
    assert not any(module._forward_hooks for module in model.modules())
    assert fast
    assert all(type(m) in PLAIN for m in fast)


@pytest.mark.skipif(library() is None, reason="no C++ compiler")
def test_fused_neurons_are_measured_as_plain_ones() -> None:
    plain = measure(student(), [ids(5)], ids(9), time_first=True, timesteps=3)
    model = fuse(student())
    assert measure(model, [ids(5)], ids(9), time_first=True, timesteps=3) == plain


def test_a_spiking_network_of_another_package() -> None:
    base = pytest.importorskip("spikingjelly.activation_based")
    from spikingjelly.activation_based import functional, neuron

    assert base
    torch.manual_seed(0)
    steps, x = 4, 2 * torch.rand(4, 1, 6)
    spikes = {}
    for mode in ("s", "m"):
        torch.manual_seed(1)
        model = nn.Sequential(
            nn.Linear(6, 10), neuron.LIFNode(step_mode=mode), nn.Linear(10, 2)
        ).eval()
        with torch.no_grad():
            model[0].weight.abs_()
        functional.reset_net(model)
        with torch.no_grad(), watch(model, time_first=mode == "m") as layers:
            for part in x if mode == "s" else [x]:
                model(part)
        assert (layers["0"].macs, layers["2"].macs) == (steps * 60, steps * 20)
        assert (layers["0"].kind, layers["2"].kind) == ("real", "binary")
        spikes[mode] = [step[0] for step in layers["2"].steps]
    assert spikes["s"] == spikes["m"]
    assert 0 < sum(spikes["m"]) < 40
    found = measure(
        model, [x, x], time_first=True, reset=lambda: functional.reset_net(model)
    ).accounts["strict"]
    assert (found.real.macs, found.real.sops) == (240, pytest.approx(2 * sum(spikes["m"])))


# Charges


def test_three_accounts_of_one_layer_by_hand() -> None:
    loads = [
        Workload(100, "binary", 0.25, 0.25),
        Workload(200, "integer", 0.5, 1.5),
        Workload(10, "real", 1.0, 0.7),
    ]
    sops = {"paper": 25 + 100, "strict": 25, "unary": 25 + 300}
    macs = {"paper": 10, "strict": 210, "unary": 10}
    for convention, expected in sops.items():
        found = charge(loads, convention)
        assert (found.macs, found.sops) == (macs[convention], expected)
        assert found.energy_pj == pytest.approx(4.6 * macs[convention] + 0.9 * expected)
    assert charge(loads, "paper").spike_rate == pytest.approx(125 / 300)
    assert charge(loads, "strict").spike_rate == 0.25
    assert charge(loads, "dense") == Charge(310, 0, None, pytest.approx(1426))
    with pytest.raises(UserError, match="convention of energy"):
        charge(loads, "free")


def test_a_layer_is_of_one_kind_for_all_samples() -> None:
    """One sentence whose counts happen to be 0 and 1 does not make a layer binary."""
    binary, counts = torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 0.0]])
    accounts = measure(nn.Linear(2, 5), [binary, counts]).accounts
    found = {name: (account.real.macs, account.real.sops) for name, account in accounts.items()}
    assert found == {"paper": (0, 5), "strict": (10, 0), "unary": (0, 10)}


def test_bert_is_dense_and_percentiles_are_of_its_samples() -> None:
    found = measure(bert(), [ids(n) for n in (3, 5, 9)], ids(6))
    (account,) = found.accounts.values()
    costs = [4.6 * bert_macs(n, 2, 8, 32) for n in (3, 5, 9, 6)]
    assert account.real.energy_pj == pytest.approx(sum(costs[:3]) / 3)
    assert account.real.energy_pj_p50 == pytest.approx(costs[1])
    assert account.real.energy_pj_p5 == pytest.approx(costs[0] + 0.1 * (costs[1] - costs[0]))
    assert account.fixed
    assert account.fixed.energy_pj == pytest.approx(costs[3])
    assert (account.real.sops, account.real.spike_rate) == (0, None)


def test_fixed_length_takes_the_rates_of_the_samples() -> None:
    found = measure(student(), [ids(3), ids(4)], ids(9), time_first=True, timesteps=3)
    for convention, account in found.accounts.items():
        loads = [Workload(x.macs_fixed or 0, x.kind, x.rate, x.magnitude) for x in found.layers]
        assert account.fixed == charge(loads, convention)
    total = sum(x.macs_fixed or 0 for x in found.layers)
    macs = count_macs(student(), ids(9), time_first=True, timesteps=3)
    assert total == sum(macs.values())


def test_nothing_to_measure_is_an_error() -> None:
    for model, samples in ((bert(), []), (nn.ReLU(), [torch.ones(2)])):
        with pytest.raises(UserError, match="samples to measure"):
            measure(model, samples)


# The verb


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student's folder and a corpus."""
    folder = tmp_path_factory.mktemp("energy")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "good", "bad", "film"]
    (folder / "vocab.txt").write_text("\n".join(words))
    run = folder / "films.spikebert.beta-0.8.s3"
    student().save_pretrained(run)
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(run)
    rows = [{"id": str(n), "text": "a good film " * n, "label": 1} for n in (1, 2, 3)]
    (folder / "films").mkdir()
    (folder / "films/test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_verb_writes_a_record(trained: Path) -> None:
    run = trained / "films.spikebert.beta-0.8.s3"
    out = trained / "energy.json"
    arguments = ["--corpus", trained / "films", "--limit", 2, "--length", 12, "--out", out]
    result = CliRunner().invoke(app, ["energy", *map(str, [run, *arguments])])
    assert result.exit_code == 0, result.output
    record = read_energy(out)
    names = (record.dataset, record.model, record.variant, record.seed)
    assert names == ("films", "spikebert", "beta-0.8", 3)
    assert (record.samples, record.timesteps, record.tokens_mean) == (2, 3, 6.5)  # 5 and 8
    account = record.accounts["paper"]
    per_token = 4 * 8 * 8 + 2 * 8 * 32
    products = 2 * 2 * 12 * 4 * 4
    assert sum(x.macs_fixed or 0 for x in record.layers) == (
        2 * 3 * (12 * per_token + products) + 3 * 8 * 2
    )
    assert account.fixed
    assert account.fixed.macs == account.real.macs == 3 * 8 * 2
    assert dataclasses.asdict(record) == json.loads(out.read_text())


@pytest.mark.parametrize(
    "inner",
    [
        nn.MultiheadAttention(8, 2, batch_first=True),
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
        nn.LSTM(8, 8, batch_first=True),
        nn.GRU(8, 8, batch_first=True),
        nn.Bilinear(8, 8, 8),
    ],
    ids=lambda inner: type(inner).__name__,
)
def test_products_that_no_layer_shows_are_refused(inner: nn.Module) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.head = inner.eval(), nn.Linear(8, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            asked = {nn.MultiheadAttention: 3, nn.Bilinear: 2}.get(type(inner), 1)
            y = self.inner(*[x] * asked)
            return self.head(y[0] if isinstance(y, tuple) else y)

    with pytest.raises(UserError, match="MACs of Net"):
        count_macs(Net().eval(), torch.randn(1, 5, 8))
    assert torch.backends.mha.get_fastpath_enabled()


def test_sentences_are_cut_where_the_rows_of_the_model_are(trained: Path) -> None:
    run = trained / "films.spikebert.beta-0.8.s3"
    record = measure_folder(run, trained / "films", max_length=6)
    assert (record.tokens_mean, record.tokens_p95) == (pytest.approx(17 / 3), 6)  # 5, 6 and 6


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("--length", 1000), "--length"),
        (("--corpus", "nowhere"), "file nowhere"),
    ],
)
def test_mistakes_are_named(trained: Path, change: tuple[str, Any], words: str) -> None:
    options = {"--corpus": trained / "films", "--out": trained / "x.json"} | dict([change])
    flat = [str(part) for pair in options.items() for part in pair]
    result = CliRunner().invoke(
        app, ["energy", str(trained / "films.spikebert.beta-0.8.s3"), *flat]
    )
    assert isinstance(result.exception, UserError)
    assert words in str(result.exception)


def test_a_folder_without_a_model_is_an_error(trained: Path) -> None:
    arguments = [trained / "films", "--corpus", trained / "films", "--out", trained / "x.json"]
    result = CliRunner().invoke(app, ["energy", *map(str, arguments)])
    assert isinstance(result.exception, UserError)


# The table


def record(dataset: str, model: str, energies: dict[str, float], **changes: Any) -> EnergyRecord:
    accounts = {
        name: ConventionEnergy(
            RealEnergy(1e6, 2e6, 0.25, pj, pj, pj, pj), Charge(2e6, 4e6, None, 2 * pj)
        )
        for name, pj in energies.items()
    }
    values: dict[str, Any] = {
        "id": f"{dataset}.{model}.base.s1",
        "dataset": dataset,
        "source": "rows",
        "model": model,
        "variant": "base",
        "seed": 1,
        "split": "test",
        "samples": 10,
        "timesteps": 4,
        "fixed_length": 128,
        "tokens_mean": 20.0,
        "tokens_p5": 10.0,
        "tokens_p50": 20.0,
        "tokens_p95": 30.0,
        "parameters": 100,
        "layers": [],
        "accounts": accounts,
    }
    return EnergyRecord(**{**values, **changes})


SPIKES = {"paper": 1e9, "strict": 2e9, "unary": 3e9}
RECORDS = [
    record("sst2", "spikebert", SPIKES),
    record("mr", "spikebert", SPIKES),
    record("mr", "teacher", {"dense": 4e9}),
    record("own", "my_net", SPIKES),
]
NOTES = {"mr": {"analogue": True}, "sst2": {"analogue": False}}


def test_rows_of_the_table() -> None:
    table = energy_table(RECORDS, NOTES)
    assert tuple(table.columns) == (*COLUMNS, "paper_status")
    assert list(dict.fromkeys(zip(table.dataset, table.model, strict=True))) == [
        ("mr", "teacher"),
        ("mr", "spikebert"),
        ("sst2", "spikebert"),
        ("own", "my_net"),
    ]
    cells = table.set_index(["dataset", "model", "convention", "length"])
    row = cells.loc[("mr", "spikebert", "strict", "real")]
    assert (row.macs, row.sops, row.spike_rate, row.energy_pj) == (1e6, 2e6, 0.25, 2e9)
    assert row.share_of_bert == 0.5
    assert pd.isna(row.paper)
    row = cells.loc[("mr", "spikebert", "paper", "128")]
    assert (row.share_of_bert, row.paper, row.paper_status) == (0.25, 28.03e9, "sourced")
    assert cells.loc[("mr", "teacher", "dense", "128")].paper == 102.24e9
    row = cells.loc[("sst2", "spikebert", "paper", "128")]
    assert pd.isna(row.share_of_bert)
    assert row.paper_status == "recalled"


def test_what_cannot_stand_in_one_table() -> None:
    with pytest.raises(UserError, match=r"energy of mr\.spikebert\.base"):
        energy_table([*RECORDS, record("mr", "spikebert", SPIKES, seed=2)])
    with pytest.raises(UserError, match="10 of test"):
        energy_table([RECORDS[2], record("mr", "direct", SPIKES, samples=9)])


def test_other_lengths_have_no_share() -> None:
    table = energy_table([RECORDS[2], record("mr", "direct", SPIKES, fixed_length=64)])
    shares = table[table.model == "direct"].set_index("length").share_of_bert
    assert shares["64"].isna().all()
    assert shares["real"].notna().all()


def test_three_formats(tmp_path: Path) -> None:
    files = [tmp_path / f"{r.id}.json" for r in RECORDS]
    for file, made in zip(files, RECORDS, strict=True):
        write_json(file, dataclasses.asdict(made))
        assert read_energy(file) == made
    write_energy(Published(energies=files, notes=NOTES), tmp_path)
    csv = pd.read_csv(tmp_path / "energy.csv", dtype={"length": str})
    assert csv.energy_pj.tolist()[:2] == [4e9, 8e9]
    markdown = (tmp_path / "energy.md").read_text("utf-8")
    assert r"| mr\*" in markdown
    assert "2.854e+10†" in markdown
    assert "a stand-in, not the set of the paper" in markdown
    for words in ("strict: ", "4.6 pJ", "without padding", "128.6 tokens", "250.8 if"):
        assert words in markdown
    latex = (tmp_path / "energy.tex").read_text("utf-8")
    assert r"2.854e+10\dag{}" in latex
    assert r"share\_of\_bert" in latex
    assert "†" not in latex


@pytest.mark.parametrize("text", ["{", "{}", "[]", '{"schema": 99}', '{"schema": 1}'])
def test_other_files_are_no_records(tmp_path: Path, text: str) -> None:
    path = tmp_path / "record.json"
    path.write_text(text)
    with pytest.raises(UserError, match="energy record"):
        read_energy(path)


def test_models_of_the_paper_are_ours() -> None:
    from spikebert.records.paper import PAPER_ENERGY, paper_value

    assert PAPER_ENERGY.keys() <= MODELS.keys()
    assert paper_value("spikebert", "beta-0.8", "mr", PAPER_ENERGY) is None
    assert {s: cell.mean for s, cell in PAPER_ENERGY["teacher"].items()} == {
        "mr": 102.24,
        "chnsenti": 103.38,
    }

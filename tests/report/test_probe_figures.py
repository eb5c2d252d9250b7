"""What the figures of the probes show, from made-up arrays."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

from spikebert.errors import UserError
from spikebert.report.probe_figures import (
    attention_figure,
    cka_figure,
    layer_of,
    raster_figure,
    rates_figure,
    read_arrays,
    write_attention,
    write_probes,
)
from spikebert.report.published import Published
from spikebert.report.style import IMAGE_STYLE, run_title

L, T, H = 3, 4, 5
TOKENS = (["[CLS]", "warm", "##th", "电影", "[SEP]"], ["[CLS]", "dull", "[SEP]"])
KINDS = ("attention.query_neuron", "mlp.neuron", "mlp_residual")
STAND_IN = {"films": {"source": "ours", "analogue": True}}
NAMES = ("attention_a", "attention_b", "spike_rates", "raster", "cka")


def probe_arrays() -> dict:
    rng = np.random.default_rng(0)
    arrays: dict = {"model": "films.spikebert.beta-0.8.s3", "sentences": 2}
    for number, tokens in enumerate(TOKENS):
        size = len(tokens)
        arrays |= {
            f"text_{number}": f"sentence {number}",
            f"tokens_{number}": np.array(tokens),
            f"label_{number}": "positive",
            f"blocks_{number}": L,
            f"attention_{number}": rng.integers(0, 9, (L - 1, T, H, size, size), dtype=np.int16),
            f"raster_{number}": rng.random((len(KINDS), T, size, 6)) < 0.2,
            f"raster_layers_{number}": np.array([f"spikebert.blocks.2.{kind}" for kind in KINDS]),
        }
    layers = [f"spikebert.blocks.{block}.{kind}" for block in range(L) for kind in KINDS]
    return arrays | {
        "rate_layers": np.array(["spikebert.embeddings.neuron", *layers]),
        "rates": rng.random((1 + len(layers), T), dtype=np.float32),
        "rate_sentences": 1200,
        "dataset": "films",
        "split": "test",
    }


def cka_arrays(**more) -> dict:
    rng = np.random.default_rng(1)
    return {
        "before": rng.random((L, 4), dtype=np.float32),
        "after": rng.random((L, 4), dtype=np.float32),
        "pairs": np.array([[1, 2], [2, 3], [3, 4]]),
        "rows": 5000,
        "sentences": 200,
        "student": "en.0123456789ab",
        "teacher": "en",
        "seed": 7,
        "embedding_init": "random",
        **more,
    }


def test_attention_shows_the_means_the_tokens_and_every_head() -> None:
    arrays = probe_arrays()
    figure = attention_figure(arrays, 0, notes=STAND_IN)
    mean, *heads = [panel for panel in figure.axes if panel.get_images() and panel.get_title()]
    assert [label.get_text() for label in mean.get_yticklabels()] == TOKENS[0]
    assert [label.get_text() for label in mean.get_xticklabels()] == TOKENS[0]
    last = arrays["attention_0"][-1].astype(float)
    np.testing.assert_allclose(mean.get_images()[0].get_array(), last.mean((0, 1)))
    shown = [panel for panel in heads if panel.get_visible()]
    assert [panel.get_title() for panel in shown] == [f"head {h}" for h in range(1, H + 1)]
    np.testing.assert_allclose(shown[3].get_images()[0].get_array(), last.mean(0)[3])
    assert len({panel.get_images()[0].get_clim() for panel in shown}) == 1
    title = figure.get_suptitle()
    assert "spikebert (beta-0.8) on films (a stand-in), seed 3" in title
    assert "block 3 of 3" in title


def test_another_block_may_be_drawn_if_the_file_holds_it() -> None:
    arrays = probe_arrays()
    figure = attention_figure(arrays, 1, block=2)
    shown = figure.axes[0].get_images()[0].get_array()
    np.testing.assert_allclose(shown, arrays["attention_1"][0].astype(float).mean((0, 1)))
    for block in (1, 4):
        with pytest.raises(UserError, match="2 to 3"):
            attention_figure(arrays, 1, block=block)


def test_rates_have_a_panel_for_each_kind_and_a_line_for_each_block() -> None:
    arrays = probe_arrays()
    figure = rates_figure(arrays)
    panels = {panel.get_title(): panel for panel in figure.axes if panel.get_visible()}
    assert list(panels) == ["embedding", "Q", "MLP, inner", "MLP, output"]
    lines = panels["MLP, inner"].get_lines()
    np.testing.assert_allclose(lines[1].get_ydata(), arrays["rates"][5])
    assert list(lines[1].get_xdata()) == [1, 2, 3, 4]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["block 1", "block 2", "block 3"]
    assert "1,200 test sentences of films" in figure.get_suptitle()


def test_raster_puts_the_steps_of_a_token_side_by_side() -> None:
    arrays = probe_arrays()
    panel = raster_figure(arrays, 1).axes[1]
    image = panel.get_images()[0].get_array()
    assert image.shape == (6, 3 * T)
    assert image[4, 2 * T + 3] == arrays["raster_1"][1, 3, 2, 4]
    rate = 100 * arrays["raster_1"][1].mean()
    assert panel.get_title(loc="left") == f"MLP, inner, {rate:.1f} % spike"


def test_cka_maps_share_a_scale_and_mark_the_aligned_pairs() -> None:
    more = {"random": np.zeros((L, 4), np.float32)}
    for arrays, count in ((cka_arrays(), 2), (cka_arrays(**more), 3)):
        panels = [panel for panel in cka_figure(arrays).axes if panel.get_title()]
        assert len(panels) == count
        assert {panel.get_images()[0].get_clim() for panel in panels} == {(0, 1)}
        frames = [frame.get_center().round(2).tolist() for frame in panels[0].patches]
        assert frames == [[1, 0], [2, 1], [3, 2]]
        assert panels[-1].get_title() == "after stage 1"


def test_names_are_read_as_words() -> None:
    assert run_title("my-folder", {}) == "my-folder"
    assert layer_of("blocks.11.attention_residual") == (12, "attention, output")
    assert layer_of("embeddings.neuron") == (None, "embedding")


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    np.savez_compressed(tmp_path / "probe.npz", **probe_arrays())
    np.savez_compressed(tmp_path / "cka.npz", **cka_arrays())
    return tmp_path / "probe.npz", tmp_path / "cka.npz"


@pytest.mark.filterwarnings("ignore:Glyph")  # the PNG's font has no Chinese
def test_every_figure_is_written_twice_the_same(files: tuple[Path, Path], tmp_path: Path) -> None:
    for folder in ("first", "second"):
        write_probes(Published(probe=files[0], cka=files[1], notes=STAND_IN), tmp_path / folder)
    for name in NAMES:
        for suffix in ("svg", "png"):
            first, second = (tmp_path / f / f"{name}.{suffix}" for f in ("first", "second"))
            assert first.stat().st_size > 1000
            assert first.read_bytes() == second.read_bytes()
    drawn = {name: (tmp_path / f"first/{name}.svg").read_text("utf-8") for name in NAMES}
    for name in ("attention_a", "raster"):
        assert all(f">{token}</text>" in drawn[name] for token in TOKENS[0])
    assert ">dull</text>" in drawn["attention_b"]
    assert all("(a stand-in)" in drawn[name] for name in NAMES if name != "cka")
    assert "layer of the teacher" in drawn["cka"]


def test_the_map_of_any_sentence_is_an_svg_and_a_png(tmp_path: Path) -> None:
    arrays = {key.replace("_1", "_0"): v for key, v in probe_arrays().items() if "_0" not in key}
    write_attention(arrays, tmp_path / "map.svg", 2)
    assert ">dull</text>" in (tmp_path / "map.svg").read_text("utf-8")
    assert (tmp_path / "map.png").is_file()


def test_a_file_that_lacks_something_is_named(files: tuple[Path, Path], tmp_path: Path) -> None:
    _, cka = files
    with pytest.raises(UserError, match="no attention_0, attention_1, rates in it"):
        write_probes(Published(probe=cka, cka=cka), tmp_path)
    (tmp_path / "text.npz").write_text("no archive", encoding="utf-8")
    for name in ("none.npz", "text.npz"):
        with pytest.raises(UserError, match=name):
            read_arrays(tmp_path / name)


def test_a_silent_head_is_drawn_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    arrays = probe_arrays()
    arrays["attention_1"] = np.zeros_like(arrays["attention_1"])
    with mpl.rc_context(IMAGE_STYLE):
        attention_figure(arrays, 1).draw_without_rendering()
    assert not [warning for warning in recwarn if issubclass(warning.category, RuntimeWarning)]

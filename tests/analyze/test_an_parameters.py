"""Where two checkpoints differ: figures that can be checked by hand, every layout of files, and what cannot be read."""

import json
import math
import random

import pytest

pytest.importorskip("torch", reason="needs the extra train")

import torch
from safetensors.torch import save_file

from toolfoundry.analyze import parameters as analysis
from toolfoundry.analyze.checkpoints import open_pair, place_of
from toolfoundry.analyze.parameter_report import claim_sentence, largest_sentences, to_markdown
from toolfoundry.analyze.parameters import compare_checkpoints, low_mlp
from toolfoundry.errors import InputError

torch.set_num_threads(1)
UP = "model.layers.1.mlp.up_proj.weight"
SHAPES = {
    "self_attn.q_proj": (16, 16),
    "self_attn.k_proj": (8, 16),
    "self_attn.v_proj": (8, 16),
    "self_attn.o_proj": (16, 16),
    "mlp.gate_proj": (24, 16),
    "mlp.up_proj": (24, 16),
    "mlp.down_proj": (16, 24),
}


def weights(layers=3, seed=0, dtype=torch.float32):
    """The tensors of a small Llama."""
    generator = torch.Generator().manual_seed(seed)
    found = {"model.embed_tokens.weight": torch.randn(50, 16, generator=generator)}
    for layer in range(layers):
        for name, shape in SHAPES.items():
            found[f"model.layers.{layer}.{name}.weight"] = torch.randn(shape, generator=generator)
        found[f"model.layers.{layer}.input_layernorm.weight"] = torch.ones(16)
    found |= {"model.norm.weight": torch.ones(16), "lm_head.weight": torch.randn(50, 16, generator=generator)}
    return {name: tensor.to(dtype) for name, tensor in found.items()}


def save(folder, tensors, shards=1, config=None):
    folder.mkdir()
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    if shards == 1:
        save_file(tensors, folder / "model.safetensors")
        return folder
    places = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        part = dict(list(tensors.items())[shard::shards])
        save_file(part, folder / file)
        places |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    return folder


def changed(tensors, name=UP, by=0.1, rows=slice(None)):
    """The tensors with `by` added to some rows of one."""
    other = {key: tensor.clone() for key, tensor in tensors.items()}
    other[name][rows] += by
    return other


def compared(before, after, **options):
    return compare_checkpoints(open_pair(before, after), **options)


def figures(changes):
    return {one.name: one.change for one in changes.tensors}


def test_a_planted_change_is_found_named_and_measured(tmp_path):
    """0.1 on every element of one tensor: each figure is what its formula says; all others are 0."""
    tensors = weights()
    changes = compared(save(tmp_path / "b", tensors), save(tmp_path / "a", changed(tensors)))
    found = figures(changes)
    assert found[UP].relative == pytest.approx(0.1 * math.sqrt(24 * 16) / tensors[UP].norm().item(), rel=1e-5)
    assert found[UP].mean_abs == pytest.approx(0.1, rel=1e-5)
    assert (found[UP].share, found[UP].changed, found[UP].elements) == (1.0, 1.0, 384)
    assert all(one.relative == one.changed == one.share == 0 for name, one in found.items() if name != UP)
    assert largest_sentences(changes) == [
        "Largest share: layer 1, MLP (100.0% of the squared change).",
        f"Strongest for its size: layer 1, MLP up (relative change {100 * found[UP].relative:.3f}%).",
    ]
    assert changes.layers == 3
    assert changes.modules["up"].elements == 3 * 384
    assert sum(one.elements for one in changes.modules.values()) == changes.total.elements


def test_shares_and_changed_elements(tmp_path):
    """Half the rows of one tensor and one row of another: shares of ||d||^2 and of elements add up."""
    tensors, other = weights(), "model.layers.2.self_attn.q_proj.weight"
    after = changed(changed(tensors, rows=slice(0, 12)), other, by=0.2, rows=slice(0, 1))
    found = figures(compared(save(tmp_path / "b", tensors), save(tmp_path / "a", after)))
    first, second = 12 * 16 * 0.1**2, 16 * 0.2**2
    assert found[UP].share == pytest.approx(first / (first + second), rel=1e-4)
    assert found[other].share == pytest.approx(second / (first + second), rel=1e-4)
    assert (found[UP].changed, found[other].changed) == (0.5, 1 / 16)


@pytest.mark.parametrize("small", [False, True])
def test_shards_and_pieces_do_not_matter(tmp_path, monkeypatch, small):
    """One file or three, whole tensors or pieces of few rows: the same figures for the same tensors."""
    tensors = weights()
    after = changed(tensors)
    whole = compared(save(tmp_path / "b", tensors), save(tmp_path / "a", after))
    if small:
        monkeypatch.setattr(analysis, "_PIECE_BYTES", 3 * 16 * 4)
        monkeypatch.setattr(analysis, "_BLOCK", 20)
    split = compared(save(tmp_path / "b3", tensors, 3), save(tmp_path / "a2", after, 2))
    mine, theirs = figures(whole), figures(split)
    assert mine.keys() == theirs.keys()
    for name, one in mine.items():
        assert theirs[name].model_dump() == pytest.approx(one.model_dump(), rel=1e-5), name


def test_bfloat16_and_another_dtype_after(tmp_path):
    """bfloat16 is compared exactly; with float32 after, rounding counts as change and is said."""
    half = weights(dtype=torch.bfloat16)
    after = {name: tensor.clone() for name, tensor in half.items()}
    after[UP][0, 0] = 7.0
    found = figures(compared(save(tmp_path / "b", half), save(tmp_path / "a", after)))
    expected = (7.0 - half[UP][0, 0].float()).abs() / half[UP].float().norm()
    assert found[UP].relative == pytest.approx(expected.item(), rel=1e-4)
    assert found[UP].changed == pytest.approx(1 / 384)
    full = compared(tmp_path / "b", save(tmp_path / "f", weights()))
    assert any("another dtype after (BF16 and F32)" in note for note in full.notes)
    assert 0 < full.total.relative < 0.01


def test_nothing_changed(tmp_path):
    """The same twice: shares are unknown, not 0, and no claim is made."""
    folder = save(tmp_path / "b", weights())
    changes = compared(folder, folder)
    assert changes.total.share is None
    assert changes.total.relative == 0
    assert changes.claim is None
    assert largest_sentences(changes) == ["Nothing changed: all parameters are the same."]
    assert "nothing changed" in claim_sentence(changes)


# --- adapters and tied weights -------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # of peft
@pytest.mark.parametrize("options", [{}, {"use_rslora": True}, {"alpha_pattern": {"up_proj": 3}, "r": 2}])
def test_an_adapter_is_what_the_merged_model_is(tmp_path, options):
    """peft's own merge, compared as a whole model, gives the figures that the adapter gives unmerged."""
    peft = pytest.importorskip("peft", reason="needs the extra train")
    from train.toy_model import toy_model

    model, _ = toy_model()
    model.save_pretrained(tmp_path / "base")
    settings = {"r": 4, "lora_alpha": 12, "target_modules": ["q_proj", "up_proj"], **options}
    adapted = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", **settings))
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    adapted.save_pretrained(tmp_path / "adapter")
    adapted.merge_and_unload().save_pretrained(tmp_path / "merged")
    lora = compared(tmp_path / "base", tmp_path / "adapter")
    merged = compared(tmp_path / "base", tmp_path / "merged")
    mine, theirs = figures(lora), figures(merged)
    assert mine.keys() == theirs.keys()
    touched = {name for name, one in mine.items() if one.share}
    assert touched == {name for name in mine if "q_proj" in name or "up_proj" in name}
    for name, one in mine.items():
        assert one.relative == pytest.approx(theirs[name].relative, rel=1e-4, abs=1e-9), name
        assert one.share == pytest.approx(theirs[name].share, rel=1e-4, abs=1e-9), name
    assert any("LoRA adapter" in note for note in lora.notes)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"peft_type": "LORA", "use_dora": True, "lora_alpha": 1}, "use_dora"),
        ({"peft_type": "IA3"}, "peft_type: found 'IA3', expected 'LORA'"),
        ({"peft_type": "LORA"}, "lora_alpha: found None"),
        ({"peft_type": "LORA", "lora_alpha": 1, "nowhere": True}, "does not have: model.nowhere.weight"),
    ],
)
def test_adapters_that_cannot_be_read(tmp_path, config, message):
    """Other kinds, missing settings, modules that the base has not."""
    module = "base_model.model.model.nowhere" if config.pop("nowhere", None) else f"base_model.model.{UP[:-7]}"
    factors = {f"{module}.lora_A.weight": torch.ones(2, 16), f"{module}.lora_B.weight": torch.ones(24, 2)}
    (tmp_path / "lora").mkdir()
    save_file(factors, tmp_path / "lora" / "adapter_model.safetensors")
    (tmp_path / "lora" / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=message):
        open_pair(save(tmp_path / "b", weights()), tmp_path / "lora")


def test_tied_weights_are_counted_once(tmp_path):
    """The head is the embedding: without a tensor in both, or stored again in one of two."""
    tensors = weights()
    del tensors["lm_head.weight"]
    after = changed(tensors, "model.embed_tokens.weight")
    tied = compared(save(tmp_path / "b", tensors), save(tmp_path / "a", after, config={"tie_word_embeddings": True}))
    assert "head" not in tied.modules
    assert any("tied weights" in note for note in tied.notes)
    again = {**after, "lm_head.weight": after["model.embed_tokens.weight"].clone()}
    stored = compared(tmp_path / "b", save(tmp_path / "a2", again, config={"tie_word_embeddings": True}))
    assert figures(stored) == figures(tied)
    assert any("counted once" in note for note in stored.notes)


def test_a_head_that_was_untied(tmp_path):
    """Before it was the embedding: its change is measured from there."""
    tensors = weights()
    del tensors["lm_head.weight"]
    after = {**tensors, "lm_head.weight": tensors["model.embed_tokens.weight"] + 0.5}
    changes = compared(save(tmp_path / "b", tensors), save(tmp_path / "a", after))
    assert figures(changes)["lm_head.weight"].mean_abs == pytest.approx(0.5)
    assert changes.modules["embeddings"].relative == 0
    assert any("its head is the embeddings' tensor" in note for note in changes.notes)


# --- what cannot be compared ---------------------------------------------------------------------------------------


def test_other_names_and_shapes(tmp_path):
    """The first few are listed, with both shapes."""
    tensors = weights()
    before = save(tmp_path / "b", tensors)
    fewer = save(tmp_path / "fewer", weights(layers=2))
    with pytest.raises(InputError, match=r"8 tensors that .*fewer does not have: model\.layers\.2\..*, …"):
        open_pair(before, fewer)
    wide = {**tensors, UP: torch.ones(30, 16)}
    with pytest.raises(InputError, match=rf"1 tensors have other shapes: {UP} \(\[24, 16\] and \[30, 16\]\)"):
        open_pair(before, save(tmp_path / "wide", wide))


def test_broken_files(tmp_path):
    """Cut off, no safetensors at all, a missing shard, an index that lies: one line that names the file."""
    good = save(tmp_path / "b", weights())
    cut = save(tmp_path / "cut", weights())
    whole = (cut / "model.safetensors").read_bytes()
    for damage in (whole[:-100], whole[:5], b"\xff" * 100, b""):
        (cut / "model.safetensors").write_bytes(damage)
        with pytest.raises(InputError, match=r"cut/model\.safetensors: cannot be read as safetensors"):
            open_pair(good, cut)
    sharded = save(tmp_path / "s", weights(), 2)
    index = sharded / "model.safetensors.index.json"
    places = json.loads(index.read_text())["weight_map"]
    for wrong, message in (
        ({**places, UP: "../b/model.safetensors"}, "expected the name of one beside it"),
        ({**places, UP: "model-9.safetensors"}, "found no model-9.safetensors"),
        ({**places, "model.more.weight": places[UP]}, "1 tensors are not where"),
        ([], "weight_map"),
    ):
        index.write_text(json.dumps({"weight_map": wrong}))
        with pytest.raises(InputError, match=message):
            open_pair(good, sharded)
    (tmp_path / "empty").mkdir()
    for folder, message in (("empty", "found no model.safetensors"), ("nowhere", "there is no such folder")):
        with pytest.raises(InputError, match=message):
            open_pair(good, tmp_path / folder)


def test_weights_that_are_no_numbers(tmp_path):
    """NaN is an error that names the tensor; so are quantised weights. Tensors of integers are left out and counted."""
    tensors = weights()
    before = save(tmp_path / "b", tensors)
    with pytest.raises(InputError, match=f"{UP}: holds NaN or infinities"):
        compared(before, save(tmp_path / "a", changed(tensors, by=math.nan)))
    quantised = {**tensors, UP: torch.ones(24, 16, dtype=torch.int8)}
    with pytest.raises(InputError, match=f"{UP} is I8"):
        open_pair(save(tmp_path / "q", quantised), tmp_path / "q")
    counted = {**tensors, "model.steps": torch.arange(3)}
    changes = compared(save(tmp_path / "c", counted), tmp_path / "c")
    assert "model.steps" not in figures(changes)
    assert any("1 tensors of integers are left out" in note for note in changes.notes)


# --- spectrum ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exact", [True, False])
def test_spectra(tmp_path, monkeypatch, exact):
    """A change of rank 2 plus noise: the values of the whole matrix's decomposition, exact or by the subspace."""
    generator = torch.Generator().manual_seed(1)
    w = torch.randn(120, 90, generator=generator)
    d = torch.outer(torch.randn(120, generator=generator), torch.randn(90, generator=generator))
    d = d + 0.5 * torch.outer(torch.randn(120, generator=generator), torch.randn(90, generator=generator))
    d = d + 0.01 * torch.randn(120, 90, generator=generator)
    if not exact:
        monkeypatch.setattr(analysis, "_EXACT", 0)
        monkeypatch.setattr(analysis, "_PIECE_BYTES", 50 * 90 * 4)
    before, after = save(tmp_path / "b", {UP: w}), save(tmp_path / "a", {UP: w + d})
    [one] = compared(before, after, spectral=True).tensors
    true = torch.linalg.svdvals(d)
    assert one.spectrum.exact == exact
    assert one.spectrum.values == pytest.approx(true[:8].tolist(), rel=0.02)
    assert one.spectrum.values[:2] == pytest.approx(true[:2].tolist(), rel=1e-4)
    assert one.spectrum.stable_rank == pytest.approx((true.square().sum() / true[0] ** 2).item(), rel=1e-4)
    assert one.spectrum.energy == pytest.approx((true[:8].square().sum() / true.square().sum()).item(), rel=1e-4)
    assert [one.spectrum for one in compared(before, after).tensors] == [None]


# --- the claim -----------------------------------------------------------------------------------------------------


def test_the_test_is_calibrated():
    """Without an effect p is uniform: its quantiles over 400 draws are those of chance, within four deviations."""
    random_ = random.Random(5)
    found = [
        low_mlp([random_.lognormvariate(0, 0.3) for _ in range(12)], attention=0.1, share=0, elements=0).p
        for _ in range(400)
    ]
    for level in (0.05, 0.25, 0.5, 0.75):
        got, spread = sum(p <= level for p in found) / 400, math.sqrt(level * (1 - level) / 400)
        assert abs(got - level) < 4 * spread, (level, got)


def test_equal_changes_are_no_evidence():
    """All MLPs changed alike, in whatever order they are added up: p is 1."""
    found = low_mlp([0.1 + 0.2] * 14, attention=0.1, share=0.2, elements=0.2)
    assert (found.p, found.holds, found.choices) == (1.0, False, 364)


def model_pair(tmp_path, layers, scale):
    """Two checkpoints; `scale` gives the size of the change of a tensor by layer and name."""
    before, generator = weights(layers), torch.Generator().manual_seed(9)
    after = dict(before)
    for name, tensor in before.items():
        place = place_of(name)
        size = 0.01 if place.layer is None else scale(place)
        after[name] = tensor + size * torch.randn(tensor.shape, generator=generator)
    return compared(save(tmp_path / "b", before), save(tmp_path / "a", after))


def test_changes_in_low_mlps_make_the_claim_hold(tmp_path):
    """Planted there it is YES at the least p there is; planted in whole low layers with more in the attention, NO."""
    changes = model_pair(tmp_path, 12, lambda p: 0.05 if p.layer < 3 and p.module in ("gate", "up", "down") else 0.01)
    assert changes.claim.p == pytest.approx(1 / 220)
    assert changes.claim.holds is True
    assert changes.claim.lowest == pytest.approx(0.05, rel=0.1)
    assert "? YES. " in claim_sentence(changes)
    assert "all 220 choices of 3 layers" in claim_sentence(changes)


def test_low_layers_as_a_whole_are_not_low_mlps(tmp_path):
    """The MLPs of the lowest layers stand out from other MLPs, but their attention changed more: NO."""

    def scale(place):
        return (0.2 if place.module in "qkvo" else 0.05) if place.layer < 3 else 0.01

    changes = model_pair(tmp_path, 12, scale)
    assert changes.claim.p < 0.05
    assert changes.claim.holds is False
    assert "? NO. " in claim_sentence(changes)


def test_small_models_get_figures_without_a_test(tmp_path):
    """Eleven layers: no p, no verdict, the figures all the same."""
    changes = model_pair(tmp_path, 11, lambda p: 0.05 if p.layer < 3 and p.module == "up" else 0.01)
    assert (changes.claim.p, changes.claim.holds, changes.claim.choices) == (None, None, None)
    assert changes.claim.lowest > changes.claim.above
    assert "Not tested: 11 layers, 12 are needed." in claim_sentence(changes)


# --- names ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "layer", "module"),
    [
        ("model.layers.7.self_attn.q_proj.bias", 7, "q"),
        ("model.layers.7.self_attn.q_norm.weight", 7, "norms"),
        ("model.layers.0.mlp.experts.11.down_proj.weight", 0, "down"),
        ("model.layers.0.mlp.experts.gate_up_proj", 0, "gate_up"),
        ("model.layers.0.mlp.gate.weight", 0, "other"),
        ("model.layers.3.self_attn.qkv_proj.weight", 3, "qkv"),
        ("transformer.h.5.attn.c_attn.weight", 5, "qkv"),
        ("transformer.h.5.attn.c_proj.weight", 5, "o"),
        ("transformer.h.5.mlp.c_fc.weight", 5, "up"),
        ("transformer.h.5.mlp.c_proj.bias", 5, "down"),
        ("transformer.h.5.ln_1.weight", 5, "norms"),
        ("transformer.ln_f.weight", None, "norms"),
        ("transformer.wte.weight", None, "embeddings"),
        ("gpt_neox.layers.2.attention.dense.weight", 2, "o"),
        ("gpt_neox.layers.2.mlp.dense_4h_to_h.weight", 2, "down"),
        ("model.decoder.layers.4.fc1.weight", 4, "up"),
        ("model.decoder.layers.4.self_attn.out_proj.weight", 4, "o"),
        ("lm_head.weight", None, "head"),
        ("visual.blocks.3.attn.qkv.weight", None, "other"),
        ("model.layers.1.linear_attn.A_log", 1, "other"),
    ],
)
def test_names(name, layer, module):
    """Layer and module in the words of the common families."""
    assert place_of(name) == (layer, module)


# --- the command ---------------------------------------------------------------------------------------------------


def test_the_command(tmp_path, run):
    """Table, sentences and four files; a second time only with --force; --json has the same figures."""
    pytest.importorskip("matplotlib", reason="needs the extra plots")
    tensors = weights(layers=13)
    before = save(tmp_path / "b", tensors, 2)
    after = save(tmp_path / "a", changed(tensors))
    code, out, err = run("analyze", "parameters", before, after, "-o", tmp_path / "out", "--spectral")
    assert (code, "layer 1, MLP (100.0% of the squared change)" in out.replace("\n", " ")) == (0, True), err
    document = json.loads((tmp_path / "out" / "parameters.json").read_text())
    assert (document["toolfoundry"], document["layers"], len(document["tensors"])) == ("parameters", 13, len(tensors))
    spectra = [one["name"] for one in document["tensors"] if one["spectrum"]]
    assert spectra == [UP]
    text = (tmp_path / "out" / "parameters.md").read_text()
    assert "| `model.layers.1.mlp.up_proj.weight` |" in text
    assert (tmp_path / "out" / "parameters.png").read_bytes().startswith(b"\x89PNG")
    assert "MLP up" in (tmp_path / "out" / "parameters.svg").read_text()
    code, _, err = run("analyze", "parameters", before, after, "-o", tmp_path / "out")
    assert (code, "--force" in err) == (6, True)
    code, out, _ = run("analyze", "parameters", before, after, "--json")
    assert json.loads(out)["total"] == document["total"]
    (tmp_path / "file").write_text("mine")
    code, _, err = run("analyze", "parameters", before, after, "-o", tmp_path / "file")
    assert (code, "found a file, expected a folder" in err) == (6, True)
    code, _, err = run("analyze", "parameters", "tiny", after)
    assert (code, "tensors that" in err) == (3, True)
    code, _, err = run("analyze", "parameters", before, tmp_path / "none")
    assert (code, err.startswith("error: ")) == (3, True)


def test_names_of_others_do_nothing_in_the_report(tmp_path):
    """A tensor whose name is markup comes out as text."""
    evil = "model.layers.0.x|`<script>alert(1)</script>\x1b[31m"
    tensors = {evil: torch.zeros(4, 4), UP: torch.ones(4, 4)}
    changes = compared(save(tmp_path / "b", tensors), save(tmp_path / "a", changed(tensors, evil)))
    text = to_markdown(changes, "a`b", "after")
    assert "`model.layers.0.x¦'<script>alert(1)</script>\\x1b[31m`" in text
    assert "\x1b" not in text

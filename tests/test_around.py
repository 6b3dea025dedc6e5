"""Around pruning: whatever batches a loader gives, whatever a network answers, and what others train it with."""

import dataclasses
import json
from collections import OrderedDict

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from prune_lib.anynet import load, prune
from prune_lib.nets.export import export
from prune_lib.system.checkpoint import digest
from prune_lib.system.errors import InputError

X = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 3, 0, 1])
LOOKING = ("cdp", "cfdp", "taylor", "hessian")


class Small(nn.Module):
    """conv-BN-ReLU twice and four classes, called and answering as ``answers`` says."""

    def __init__(self, answers=lambda logits: logits):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.more, self.norm = nn.Conv2d(8, 12, 3, padding=1), nn.BatchNorm2d(12)
        self.head, self.answers = nn.Linear(12, 4), answers

    def forward(self, pixel_values, labels=None):
        assert labels is None
        maps = self.bn(self.conv(pixel_values)).relu()
        return self.answers(self.head(self.norm(self.more(maps)).relu().mean((2, 3))))


@dataclasses.dataclass
class Output:
    hidden: torch.Tensor
    logits: torch.Tensor


def small(answers=lambda logits: logits):
    torch.manual_seed(0)
    return Small(answers)


BATCHES = {
    "tuples": [(X[:4], LABELS[:4]), (X[4:], LABELS[4:])],
    "lists": [[X[:4], LABELS[:4]], [X[4:], LABELS[4:]]],
    "mappings": [{"pixel_values": X[:4], "labels": LABELS[:4]}, {"pixel_values": X[4:], "labels": LABELS[4:]}],
    "another name": [{"pixel_values": X, "label": LABELS, "labels": None}],
    "one mapping": OrderedDict(pixel_values=X, labels=LABELS),
    "a loader": torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, LABELS), batch_size=4),
    "a loader of mappings": torch.utils.data.DataLoader(
        [{"pixel_values": x, "labels": int(label)} for x, label in zip(X, LABELS, strict=True)], batch_size=5
    ),
    "doubles": [(X.double(), LABELS)],
}


@pytest.fixture(scope="module")
def usual():
    """What stays when a loader gives tuples and the network answers with logits."""
    return {criterion: prune(small(), X[:1], criterion, BATCHES["tuples"]).kept for criterion in LOOKING}


@pytest.mark.parametrize("data", BATCHES.values(), ids=BATCHES)
def test_any_batches_are_looked_at(data, usual):
    for criterion, expected in usual.items():
        found = prune(small(), X[:1], criterion, data).kept
        assert all(torch.equal(found[layer], kept) for layer, kept in expected.items()), criterion


ANSWERS = {
    "a mapping": lambda logits: {"loss": None, "logits": logits},
    "another mapping": lambda logits: {"out": logits, "aux": logits.sum()},
    "a dataclass": lambda logits: Output(logits.exp(), logits),
    "a tuple": lambda logits: (logits, logits.exp()),
    "class numbers first": lambda logits: (logits.argmax(1), logits),
}


@pytest.mark.parametrize("answers", ANSWERS.values(), ids=ANSWERS)
def test_any_answers_are_understood(answers, usual):
    for criterion, expected in usual.items():
        found = prune(small(answers), X[:1], criterion, BATCHES["tuples"]).kept
        assert all(torch.equal(found[layer], kept) for layer, kept in expected.items()), criterion


def test_rows_of_numbers_are_data_too():
    model = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 4))
    rows = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    pruned = prune(model, rows[:1], "taylor", [(rows, LABELS.repeat(2)[:8])])
    assert pruned.model[0].out_features == 8


def test_labels_for_every_pixel_give_gradients():
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 1))
    pruned = prune(model, X[:1], "taylor", [(X, (X[:, 0] > 0).long())])
    assert pruned.model[0].out_channels == 4


class Tied(nn.Module):
    """Two names for one conv, a buffer that no state dict has, a norm of groups, a PReLU and a depthwise conv."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.act = nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(4, 8), nn.PReLU(8)
        self.deep, self.last = nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 2, 1)
        self.again = self.conv
        self.register_buffer("scale", torch.arange(1.0, 9).view(1, 8, 1, 1), persistent=False)

    def forward(self, x):
        return self.last(self.deep(self.act(self.norm(self.again(x))) * self.scale).relu())


def normed():
    torch.manual_seed(0)
    model = small()
    model.more = nn.utils.parametrizations.weight_norm(model.more)
    return model


class Held(nn.Module):
    """A network in one module called ``net``, as Lightning's often are."""

    def __init__(self):
        super().__init__()
        self.net = small()

    def forward(self, x):
        return self.net(x)


@pytest.mark.parametrize("make", [small, Tied, normed, Held])
def test_a_pruned_network_is_saved_and_loaded_into_a_fresh_one(make, tmp_path):
    model = make().eval()
    pruned = prune(model, X[:1], flops=0.5)
    pruned.save(str(tmp_path / "small.safetensors"))
    fresh = make().eval()
    shapes = {name: t.shape for name, t in fresh.state_dict().items()}
    loaded = load(tmp_path / "small.safetensors", fresh)
    with torch.no_grad():
        assert torch.equal(loaded(X), pruned.model(X))
    assert str(loaded) == str(pruned.model)  # in the widths that layers declare too
    assert {name: t.shape for name, t in fresh.state_dict().items()} == shapes
    loaded.train()(X).sum().backward()
    assert all(p.grad is not None for p in loaded.parameters())
    assert {p.requires_grad for p in loaded.parameters()} == {True}


def test_a_pruned_network_goes_on_without_its_class(tmp_path):
    pruned = prune(small().eval(), X[:2], flops=0.5)
    export(pruned.model, X[:2], tmp_path / "small.pt2")
    with torch.no_grad():
        found = torch.export.load(tmp_path / "small.pt2").module()(X)
        torch.testing.assert_close(found, pruned.model(X))


def test_a_file_of_another_network_is_refused(tmp_path):
    path = tmp_path / "small.safetensors"
    prune(small(), X[:1]).save(path)
    wide = small()
    wide.conv = nn.Conv2d(3, 2, 3)
    shorter, longer = small(), small()
    del shorter.more
    longer.extra = nn.Linear(2, 2)
    weights = tmp_path / "weights.safetensors"
    save_file(small().state_dict(), weights)
    header = {"format": "prune_lib.anynet", "declared": json.dumps({"conv": {"forward": 1}})}
    odd = tmp_path / "odd.safetensors"
    save_file(small().state_dict(), odd, header)
    for attempt, words in (
        (lambda: prune(small(), X[:1]).save(tmp_path / "x.bin"), "x.bin: expected a name that ends in .safetensors"),
        (lambda: load(odd, small()), "its header does not say how wide the layers of Small are"),
        (lambda: load(path, shorter), "has more.bias, which Small has not; expected the same network"),
        (lambda: load(path, longer), "Small has extra.weight, which it has not; expected the same network"),
        (lambda: load(path, wide), r"conv.bias is \(.,\), and Small has \(2,\); expected the network that was pruned"),
        (lambda: load(weights, small()), "not written by Pruned.save"),
        (lambda: load(tmp_path / "none", small()), "none"),
    ):
        with pytest.raises(InputError, match=words) as refusal:
            attempt()
        assert "\n" not in str(refusal.value)


BAD = {
    "no labels": (lambda: prune(small(), X[:1], "hessian", X), "takes gradients of a loss, and the images have no lab"),
    "a label beyond": (
        lambda: prune(small(), X[:1], "taylor", [(X, LABELS + 9)]),
        "a label is 12 where the network answers with 4 classes",
    ),
    "another name": (lambda: prune(small(), X[:1], "cdp", {"pixels": X}), "cdp: Small does not run on data .*pixels"),
    "no tensors": (lambda: prune(small(), X[:1], "cdp", [{"names": "a"}]), "data gives a mapping of names; expected t"),
}


@pytest.mark.parametrize(("attempt", "words"), BAD.values(), ids=BAD)
def test_batches_that_cannot_be_are_one_line(attempt, words):
    with pytest.raises(InputError, match=words) as refusal:
        attempt()
    assert "\n" not in str(refusal.value)


@pytest.mark.filterwarnings("ignore")  # of their own making
def test_lightning_trains_what_is_pruned(tmp_path):
    lightning = pytest.importorskip("lightning")

    class Lit(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = small()

        def forward(self, x):
            return self.net(x)

        def training_step(self, batch, _):
            return nn.functional.cross_entropy(self(batch[0]), batch[1])

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    def fit(model):
        quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
        lightning.Trainer(max_epochs=1, accelerator="cpu", default_root_dir=tmp_path, **quiet).fit(model, loader)

    loader, model = BATCHES["a loader"], Lit()
    fit(model)
    pruned = prune(model, X[:1], "taylor", data=loader, flops=0.5)
    assert pruned.macs <= 0.5 * pruned.full_macs
    before = pruned.model.net.conv.weight.detach().clone()
    fit(pruned.model)
    assert not torch.equal(pruned.model.net.conv.weight, before)
    pruned.save(tmp_path / "lit.safetensors")
    loaded = load(tmp_path / "lit.safetensors", Lit())
    with torch.no_grad():
        assert torch.equal(loaded.eval()(X), pruned.model.eval()(X))


@pytest.mark.filterwarnings("ignore")
def test_hugging_face_s_trainer_trains_what_is_pruned(tmp_path):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], layer_type="basic", num_labels=4
    )

    def trainer(model):
        options = {"num_train_epochs": 1, "per_device_train_batch_size": 4, "report_to": [], "save_strategy": "no"}
        quiet = {"use_cpu": True, "disable_tqdm": True, "logging_strategy": "no"}
        examples = [{"pixel_values": x, "labels": int(label)} for x, label in zip(images, LABELS, strict=True)]
        return transformers.Trainer(
            model, transformers.TrainingArguments(str(tmp_path), **options, **quiet), train_dataset=examples
        )

    images = torch.nn.functional.interpolate(X, scale_factor=4)
    torch.manual_seed(0)
    model = transformers.ResNetForImageClassification(config)
    first = trainer(model)
    first.train()
    pruned = prune(model, {"pixel_values": images[:1]}, "taylor", data=first.get_train_dataloader(), flops=0.5)
    assert 0.4 * pruned.full_macs < pruned.macs <= 0.5 * pruned.full_macs
    before = digest(pruned.model.state_dict())
    trainer(pruned.model).train()
    assert digest(pruned.model.state_dict()) != before
    pruned.save(tmp_path / "hf.safetensors")
    loaded = load(tmp_path / "hf.safetensors", transformers.ResNetForImageClassification(config))
    with torch.no_grad():
        assert torch.equal(loaded.eval()(images).logits, pruned.model.eval()(images).logits)

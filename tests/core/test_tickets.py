"""The table of tickets: each line gives the mask and the weights it says."""

import zlib

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from ticketlib import masks, models, ratios, tickets
from ticketlib.errors import TicketError
from ticketlib.models import prunable


def streams(name):
    return torch.Generator().manual_seed(zlib.crc32(name.encode()))


OPTIONS = dict(linear="own", variant="default", min_per_layer=0)


@pytest.fixture
def net():
    return models.build("resnet8", 10, 1, width=4, generator=torch.Generator().manual_seed(7))


@pytest.fixture
def batch():
    draw = torch.Generator().manual_seed(3)
    return torch.randn(20, 1, 8, 8, generator=draw), torch.arange(20) % 10


def trained_weights(net):
    draw = torch.Generator().manual_seed(5)
    return {name: torch.randn(w.shape, generator=draw) for name, w in models.prunable(net).items()}


def find(ticket, net, sparsity="0.8", **given):
    return tickets.find_mask(ticket, net, sparsity, streams, **{**OPTIONS, **given})


@pytest.mark.parametrize("ticket", tickets.TICKETS)
def test_every_ticket_keeps_the_asked_total(ticket, net, batch):
    counts = ratios.keep_counts(net, "uniform", "0.8")
    mask = find(ticket, net, trained=trained_weights(net), batch=batch, counts=counts)
    assert mask.kept == (mask.size if ticket == "dense" else masks.asked_total(mask.size, "0.8"))


def test_a_ticket_of_given_counts_keeps_them_and_no_other_total(net):
    counts = ratios.keep_counts(net, "igq", "0.8")
    assert find("table", net, counts=counts).counts == counts and find("table", net, counts=counts) == find("igq", net)
    with pytest.raises(TicketError, match="None weights"):
        find("table", net)
    with pytest.raises(TicketError, match=str(sum(counts.values()))):
        find("table", net, "0.9", counts=counts)


def test_the_table_says_what_the_book_says():
    assert {name for name, r in tickets.TICKETS.items() if r.start == "trained"} == {"lrr", "omp", "hybrid", "imp_lrr"}
    assert {name for name, r in tickets.TICKETS.items() if r.needs_trained} == {
        "lt", "lrr", "omp", "hybrid", "imp", "imp_lrr",
    }  # fmt: skip
    assert tickets.TICKETS["hybrid"].rule == tickets.TICKETS["smart"].rule == "smart"
    assert tickets.TICKETS["omp"].schedule == "last"


def test_a_lottery_ticket_keeps_its_whole_classifier_and_the_largest_weights(net):
    trained = trained_weights(net)
    mask = find("lt", net, trained=trained)
    assert mask["fc.weight"].all()
    convs = [name for name in mask if name != "fc.weight"]
    kept = torch.cat([trained[n].abs()[mask[n]] for n in convs]).min()
    pruned = torch.cat([trained[n].abs()[~mask[n]] for n in convs]).max()
    assert kept >= pruned
    assert not find("lt", net, trained=trained, linear="global")["fc.weight"].all()
    assert find("lt", net, trained=trained, linear="0.5").counts["fc.weight"] == mask.sizes["fc.weight"] // 2


def test_a_classifier_that_does_not_fit_is_a_clear_error(net):
    with pytest.raises(TicketError, match="sparsity"):
        find("lt", net, "0.99", trained=trained_weights(net))


def test_hybrid_has_the_smart_counts_and_the_largest_trained_weights_of_each_layer(net):
    trained = trained_weights(net)
    mask = find("hybrid", net, trained=trained)
    assert mask.counts == ratios.keep_counts(net, "smart", "0.8")
    name = "blocks.1.conv2.weight"
    assert trained[name].abs()[mask[name]].min() >= trained[name].abs()[~mask[name]].max()


def test_a_random_ticket_looks_at_nothing_but_its_stream(net):
    other = models.build("resnet8", 10, 1, width=4, generator=torch.Generator().manual_seed(8))
    assert find("smart", net) == find("smart", other)


def test_missing_inputs_are_named(net):
    with pytest.raises(TicketError, match="trained"):
        find("lt", net)
    with pytest.raises(TicketError, match="image"):
        find("snip", net)
    with pytest.raises(TicketError, match="snippp"):
        find("snippp", net)


def test_rounds_of_iterative_pruning():
    assert tickets.previous_round("0.2") == "0"
    assert tickets.previous_round("0.36") == "0.2"
    assert tickets.previous_round("0.3") == "0.2"
    assert tickets.previous_round("0.488") == "0.36"
    assert tickets.previous_round("0.9") == "0.8926258176"  # 0.8 ** 10 is kept before the last round


def test_what_a_round_pruned_stays_pruned(net):
    trained = trained_weights(net)
    first = find("imp", net, "0.2", trained=trained, linear="global")
    flipped = {name: w.abs().max() - w.abs() for name, w in trained.items()}  # the smallest are now the largest
    second = find("imp", net, "0.36", trained=flipped, previous=first, linear="global")
    assert all((second[name] <= first[name]).all() for name in first)


def test_no_layer_is_guarded_unless_asked_for():
    net = models.build("resnet14", 10, 1, width=4)
    counts = ratios.keep_counts(net, "ascending", "0.98")
    assert counts["conv.weight"] == 0
    assert tickets.find_mask("ascending", net, "0.98", streams).counts == counts
    assert tickets.mask_of("ascending", None, net, "0.98", streams).counts == counts
    guarded = tickets.find_mask("ascending", net, "0.98", streams, min_per_layer=3)
    assert guarded.counts["conv.weight"] == 3 and guarded.kept == sum(counts.values())


@pytest.mark.parametrize("check", tickets.CHECKS)
def test_checks_do_what_they_say(check, net):
    found = find("smart", net)
    before = {name: w.detach().clone() for name, w in models.prunable(net).items()}
    mask = tickets.apply_check(check, net, found, streams)
    after = models.prunable(net)
    assert mask.counts == found.counts
    assert (mask != found) == (check == "rearranged")
    assert all((after[name][~mask[name]] == 0).all() for name in mask)
    name = "blocks.1.conv1.weight"
    same = torch.equal(after[name][mask[name]], before[name][mask[name]])
    assert same == (check in ("none", "rearranged"))
    if check == "shuffled":
        assert torch.equal(after[name][mask[name]].sort()[0], before[name][mask[name]].sort()[0])
    if check in ("random_signs", "fresh_magnitudes"):
        flips = (after[name].signbit() != before[name].signbit())[mask[name]].float().mean()
        assert (0.3 < flips < 0.7) if check == "random_signs" else flips == 0
    if check == "fresh_magnitudes":
        fresh = models.prunable(models.build("resnet8", 10, 1, width=4, generator=streams("fresh")))[name]
        sizes = fresh.abs()[mask[name]]
        assert torch.allclose(after[name].abs()[mask[name]] * sizes.norm() / before[name][mask[name]].norm(), sizes)


class Tied(nn.Module):
    """A network of somebody else, with a parameter that two layers share."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.norm = nn.Conv2d(3, 4, 3), nn.Linear(4, 5), nn.BatchNorm2d(4)
        self.bias = self.a.bias

    def forward(self, x):
        return self.b(self.norm(self.a(x)).mean((2, 3)))


def test_a_stored_ticket_makes_another_network_the_same(tmp_path):
    net, other, images = Tied(), Tied(), torch.randn(4, 3, 8, 8)
    net(images)  # running statistics
    mask = masks.global_mask({name: w.abs() for name, w in prunable(net).items()}, "0.5")
    tickets.save(tmp_path / "ticket", net, mask)
    assert tickets.load(tmp_path / "ticket", other) == mask
    stored = load_file(tmp_path / "ticket")
    assert all(torch.equal(stored[f"mask/{name}"], kept) and stored[f"mask/{name}"].dtype == torch.bool
               for name, kept in mask.items())  # fmt: skip
    mask.apply(net)
    with torch.no_grad():
        assert torch.equal(net.eval()(images), other.eval()(images)) and net(images).any()
    assert int(sum(w.count_nonzero() for w in prunable(other).values())) == mask.kept


def test_what_is_no_ticket_of_this_network_is_refused(tmp_path):
    net, path = Tied(), tmp_path / "ticket"
    with pytest.raises(TicketError, match="cannot be loaded"):
        tickets.load(path, net)
    path.write_bytes(b"{}")
    with pytest.raises(TicketError, match="cannot be loaded"):
        tickets.load(path, net)
    tickets.save(path, net, masks.Mask.dense(net))
    with pytest.raises(TicketError, match="Linear"):
        tickets.load(path, nn.Linear(4, 5))
    with pytest.raises(TicketError, match="lacks weight"):
        tickets.save(path, nn.Linear(4, 5), masks.Mask.dense(net))
    save_file(net.norm.state_dict(), path)
    with pytest.raises(TicketError, match="no layers"):
        tickets.load(path, nn.BatchNorm2d(4))


def test_only_what_chooses_by_score_is_scored(net, batch):
    assert [tickets.find_scores(t, net, "0.8", streams) for t in ("dense", "smart", "erk")] == [None] * 3
    for ticket in ("random", "magnitude", "snip"):
        assert set(tickets.find_scores(ticket, net, "0.8", streams, batch=batch)) == set(models.prunable(net))


@pytest.mark.parametrize("returned", [None, {}])
def test_a_check_that_returns_no_mask_is_told(returned, monkeypatch):
    monkeypatch.setitem(tickets.CHECKS, "mine", lambda *_: returned)
    net = nn.Linear(2, 2)
    with pytest.raises(TicketError, match=f"check 'mine' returned a {type(returned).__name__}"):
        tickets.apply_check("mine", net, masks.global_mask({"weight": net.weight.detach()}, "0.5"), None)

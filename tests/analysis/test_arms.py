"""Arms of a check on a network from outside: a rule by depth goes by what a forward pass calls."""

from torch import nn

from ticketlib import masks, models
from ticketlib.analysis import own
from ticketlib.analysis.arms import OwnPlan
from ticketlib.analysis.scorer import digest, scorer
from ticketlib.experiments import session


def magnitude(model, images, labels):
    return {name: weight.abs() for name, weight in models.prunable(model).items()}


class Net(nn.Module):
    def __init__(self, names):
        super().__init__()
        for name in names:
            setattr(self, name, nn.Conv2d(1 if name == "first" else 20, 20, 3, padding=1))
        self.fc = nn.Linear(20, 10)

    def forward(self, x):
        return self.fc(self.second(self.first(x)).mean((2, 3)))


def straight():
    return Net(("first", "second"))


def turned():
    return Net(("second", "first"))


def plan_of(make, folder):
    """The plan of a check of `magnitude` on a network of one's own and the digits."""
    folders = dict(ledger=str(folder), data_root="")
    asked = session.check(dict(profile="smoke", source="run", seeds=1, device="cpu") | folders)
    return OwnPlan(asked, scorer(magnitude, None), session.images(asked), own.network(make, "resnet"), "resnet",
                   dict(engine="dense", padding=0, flip=False, per_class=10), ("0.8",))  # fmt: skip


def test_the_smart_ratio_goes_by_the_order_of_calls(tmp_path):
    counts, tickets = [], []
    for make in (straight, turned):
        plan = plan_of(make, tmp_path)
        config = plan.config("smart", "0.8", 0)
        counts.append(plan.find(config, plan.dataset, plan.draw(config))[0].counts)
        tickets.append(plan.tickets["smart"])
    # 796 of 3,980 stay; fc keeps 60 of 200; 12 x 180 stands to 6 x 3,600 as 1 to 10, so 736 are 67 and 669
    assert counts[0] == counts[1] == {"first.weight": 67, "second.weight": 669, "fc.weight": 60}
    assert tickets[0] == f"own-{digest('smart', 'resnet')}" != tickets[1]


def test_synflow_prunes_in_a_hundred_rounds(tmp_path):
    plan = plan_of(straight, tmp_path)
    config = plan.config("synflow", "0.69", 0)  # 1,234 of 3,980 stay
    scores = plan.synflow(plan.draw(config), config.sparsity)
    assert sum(int((of >= 0).sum()) for of in scores.values()) == 1249  # 3980 (1234 / 3980)^.99; ^(100/101) is 1248
    assert plan.find(config, plan.dataset, plan.draw(config))[0] == masks.global_mask(scores, "0.69")

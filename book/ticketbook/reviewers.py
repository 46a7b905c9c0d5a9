"""What the paper's three reviewers asked, in our own words, and what settles each question."""

from ticketbook import observations, published
from ticketbook.answers import COMPUTED, EDITORIAL, MEASURED, Item, Need, Pair
from ticketlib.analysis.plots import style
from ticketlib.experiments import grids
from ticketlib.experiments.profiles import PROFILES

EPOCHS = PROFILES["laptop"].training["epochs"]
TOTAL = grids.total_epochs("laptop")
BOTH, SPARSE, ONE = ("0.9", "0.98"), ("0.98",), ("0.9",)
HYBRID = (Pair("hybrid over LRR", "hybrid", "lrr"),)
CIFAR100 = dict(seeds=3, dataset="cifar100", grid="step6", changes=tuple(grids.other_recipe("laptop").items()))
CIFAR = ", CIFAR-100 at 0.9"  # the places that labels name
SLIM = ", slim VGG-16 at 0.98"
DATA = "claims/02_data_checks"
PLACES, TICKETS, RULES = "claims/03_architecture_checks", "claims/04_hybrid_tickets", "claims/01_smart_ratios"
OTHERS = "claims/09_published"
DRIFTS, DEPTH = "claims/07_corrupted_ratios", "claims/08_depth_or_size"
SPARSE_END, SCALE = "claims/11_sparse_end", "claims/12_imagenet"


def _against_itself(*tickets, checks=("rearranged",), where=""):
    said = {"rearranged": "rearranged", "both": "on corrupted data", "reinitialised": "re-initialised"}
    return tuple(Pair(f"{style(t).label} {said[check]}{where}", f"{t}+{check}", t) for t in tickets for check in checks)


def _checks_on(where):
    return _against_itself("snip", "grasp", "lt", checks=("both", "rearranged"), where=where)


def _imp(where=""):
    return _against_itself("imp", checks=("rearranged", "reinitialised"), where=where)


def _step1(*pairs, sparsities=BOTH):
    return Need(tuple(Pair(*pair) for pair in pairs), sparsities, "step1")


RATES = tuple(
    Need((Pair(f"smart ratio over SNIP at rate {lr:g}", "smart", "snip"),
          Pair(f"smart ratio over GraSP at rate {lr:g}", "smart", "grasp"),
          Pair(f"smart ratio over LT at rate {lr:g}", "smart", "lt")), BOTH, seeds=5, changes=(("lr", lr),))
    for lr in (0.01, 0.03, 0.3)
)  # fmt: skip
IMP = Need(_imp(), BOTH, seeds=3)
ITEMS = (
    Item("R1.1", "Does the hybrid ticket gain more than a little?", MEASURED, (TICKETS, OTHERS), claim="D2",
         others=((published.HYBRID,),)),
    Item("R1.2", "Is training unstable at high sparsity, and does one fixed learning rate hide something?", MEASURED,
         ("threats",), extra=observations.stability, grid="step1", needs=RATES),
    Item("R1.3", "The symbol for the size of a layer: does it count weights or neurons?", EDITORIAL, (RULES,),
         text="Weights only. The sizes and shares of layers are defined where they are first used.",
         phrase="is the fraction of the weights of layer $l$ that stays"),
    Item("R1.4", "After the authors' reply: the doubt about the hybrid ticket stands.", MEASURED, (TICKETS,),
         claim="D2",
         needs=(_step1(("hybrid over smart ratio, as many epochs in all", "hybrid", "smart", (("epochs", TOTAL),))),)),
    Item("R2.1", "Do the checks come out the same for iterative pruning?", MEASURED,
         needs=(IMP, Need(_imp(CIFAR), ONE, **CIFAR100))),
    Item("R2.2", "Do smart ratio and hybrid do better than iterative pruning?", MEASURED, (OTHERS,),
         others=((published.ITERATED,),),
         needs=(Need((Pair("smart ratio over IMP", "smart", "imp"), Pair("LRR over iterative LRR", "lrr", "imp_lrr"),
                      Pair("hybrid over iterative LRR", "hybrid", "imp_lrr")), BOTH, seeds=3),
                Need((Pair(f"smart ratio over IMP{CIFAR}", "smart", "imp"),
                      Pair(f"hybrid over IMP{CIFAR}", "hybrid", "imp"),
                      Pair(f"IMP over LT{CIFAR}", "imp", "lt")), ONE, **CIFAR100))),
    Item("R2.3", "In Table 3, half the data or shuffled weights hardly look worse than LT. Are they worse?",
         MEASURED, (TICKETS,), claim="D1", others=((published.AGAIN, None, "renda2020"),),
         needs=(_step1(("LRR on half the data over LT", "lrr+half", "lt"),
                       ("LRR with shuffled weights over LT", "lrr+shuffled", "lt")),
                _step1(("dense on half the data over dense", "dense+half", "dense"), sparsities=("0",)))),
    Item("R2.4", "Is the hybrid better only at 98 %, where what it is compared with collapses?", MEASURED,
         (TICKETS, OTHERS), extra=observations.emptied, grid="step1", others=((published.HYBRID,),),
         needs=(*(Need((Pair(f"hybrid over LRR at {s}", "hybrid", "lrr"),), (s,), "step1") for s in BOTH),
                Need((Pair("hybrid over LRR at 0.995", "hybrid", "lrr"),), ("0.995",), "step3", 3),
                *(Need((Pair(f"hybrid over LRR at {s}", "hybrid", "lrr"),), (s,), "step7", 3)
                  for s in ("0.95", "0.99")),
                Need((Pair("hybrid over LRR with no layer empty, at 0.995", "hybrid", "lrr+min_per_layer=1"),),
                     ("0.995",), "step7", 3),
                Need((Pair(f"hybrid over LRR{SLIM}", "hybrid", "lrr"),), SPARSE, "step4", 5, "vgg"))),
    Item("R2.5", "A method that fails a check is not bad: these are properties, not duties.", EDITORIAL, ("index",),
         text="The book speaks of methods that depend on data or on positions, and of others that do not.",
         phrase="has not failed at anything"),
    Item("R2.6", "Earlier work showed keep-ratios that fall with depth. Is this new?", MEASURED,
         (DEPTH, RULES), extra=observations.depth, probed=observations.METHODS),
    Item("R2.7", "Do rearranged tickets lose at extreme sparsity?", MEASURED, (PLACES, SPARSE_END),
         extra=observations.movable,
         needs=(Need(_against_itself("snip", "lt", "lrr", where=", ResNet-20 at 0.995"), ("0.995",), "step3", 3),)),
    Item("R2.8", "More networks and data for iterative pruning.", MEASURED,
         needs=(Need(_imp(SLIM), SPARSE, seeds=3, network="vgg"), Need(_imp(CIFAR), ONE, **CIFAR100))),
    Item("R2.9", "Do the checks come out the same on other data than CIFAR-10?", MEASURED,
         (DATA, PLACES, RULES, OTHERS),
         others=((published.CORRUPTED, "cifar100"), (published.MOVED, "cifar100")),
         needs=(Need(_checks_on(CIFAR), ONE, **CIFAR100),
                Need(tuple(Pair(f"smart ratio over {style(arm).label}{CIFAR}", "smart", arm) for arm in
                           ("snip", "grasp", "lt", "uniform")), ONE, **CIFAR100),
                Need(_checks_on(", Tiny-ImageNet"), ONE, seeds=3, dataset="tiny_imagenet"))),
    Item("R2.10", "Why does corruption not hurt: are the keep-ratios the same? Would longer training tell?", MEASURED,
         (DRIFTS, DATA), extra=observations.corruption, probed=("snip", "grasp", "lt+both"),
         needs=(Need((Pair("LT on corrupted data, twice the epochs", "lt+both", "lt"),), ONE, "step7", 3,
                     changes=(("epochs", 2 * EPOCHS),)),)),
    Item("R2.11", "How many runs stand behind an error bar?", MEASURED, ("protocol",), extra=observations.seeds,
         grid="step1"),
    Item("R2.12", "How close is the smart ratio to the ratios that methods find?", MEASURED, (RULES,),
         extra=observations.distances, probed=observations.METHODS),
    Item("R2.13", "Say in Figure 2 what every arrow means.", EDITORIAL, ("pipeline",),
         text="In our picture of the pipeline every arrow has its words.", phrase="arrow"),
    Item("R2.14", "Cite the data-free method that appeared at the same time.", EDITORIAL, ("glossary",),
         text="SynFlow is cited, and is one of this book's methods. That it was meant is a guess.",
         phrase="{cite:p}`tanaka2020`"),
    Item("R3.1", "Does it hold at the scale of ImageNet?", MEASURED, (SCALE, OTHERS), extra=observations.at_scale,
         at_scale=True, others=((published.UNIFORM, "tiny-imagenet"), (published.ITERATED, "imagenet")),
         needs=(Need(tuple(Pair(f"smart ratio over {label}, Tiny-ImageNet", "smart", arm) for label, arm in
                           (("uniform", "uniform"), ("ERK", "erk"), ("GraSP", "grasp"), ("LRR", "lrr"))),
                     ONE, seeds=3, dataset="tiny_imagenet"),)),
    Item("R3.2", "The smart ratio was tuned on the networks that test it, and sparsity need not grow with depth.",
         MEASURED, (DEPTH, RULES), extra=observations.confounded,
         needs=(_step1(("smart ratio over ERK", "smart", "erk"), sparsities=SPARSE),
                Need((Pair("smart ratio over linear", "smart", "linear"),
                      Pair("smart ratio over cubic", "smart", "cubic"),
                      Pair("smart ratio over ascending, no layer empty", "smart", "ascending+min_per_layer=1")),
                     SPARSE, "step2", 3),
                Need((Pair(f"smart ratio over uniform{SLIM}", "smart", "uniform"),
                      Pair(f"smart ratio over SNIP{SLIM}", "smart", "snip"),
                      Pair(f"smart ratio over LT{SLIM}", "smart", "lt")), SPARSE, "step4", 5, "vgg"))),
    Item("R3.3", "Does the hybrid help on CIFAR-100 only?", MEASURED, (TICKETS, OTHERS),
         others=((published.HYBRID, "cifar10"), (published.HYBRID, "cifar100")),
         needs=(_step1(("hybrid over LRR, CIFAR-10 at 0.9", "hybrid", "lrr"), sparsities=ONE),
                Need((Pair(f"hybrid over LRR{CIFAR}", "hybrid", "lrr"),), ONE, **CIFAR100))),
    Item("R3.C0", "Begin with the random tickets.", EDITORIAL, ("index",), text="The front page explains them first.",
         phrase="## What a random ticket is"),
    Item("R3.C1", "Who believed that structure is crucial? Quote it, or say less.", EDITORIAL, ("index",),
         text="The book says less: it speaks of a belief that is checked.",
         phrase="What is checked is a belief"),
    Item("R3.C2", "Fail and pass are confusing words here.", EDITORIAL, ("index",),
         text="As R2.5. A claim holds or does not; a method has nothing to pass.", phrase="has not failed at anything"),
    Item("R3.C3", "How is accuracy measured under corruption?", EDITORIAL, ("protocol",),
         text="Only what finds the mask is corrupted. Training and test images are clean.",
         phrase="trains on all of the clean data, and is tested on clean images"),
    Item("R3.C4", "Figure 3: thinner lines, and a closer look at high sparsity.", EDITORIAL, (PLACES,),
         text="The figure shows differences, with intervals from three seeds on, over a logarithmic axis.",
         phrase="plots.differences("),
    Item("R3.C5", "Report the sparsity of every layer.", MEASURED, (RULES,), extra=observations.recorded,
         probed=observations.METHODS),
    Item("R3.C6", "Masked and unmasked weights seem to be mixed up where weights are shuffled.", EDITORIAL,
         ("glossary",), text="The kept weights are shuffled, among the kept positions.",
         phrase="the values of the kept weights are permuted"),
    Item("R3.P1", "Cite the early work that prunes whole filters or neurons.", EDITORIAL, ("reviewers",),
         text="It is cited at the end of this page.", phrase="{cite:p}`li2017,wen2016,alvarez2016`"),
    Item("R3.F1", "Give most of the room to tickets that need no training.", COMPUTED, ("protocol", "index"),
         extra=observations.weight_of_initial_tickets),
)  # fmt: skip

"""How prose writes names and numbers, and what is folded up."""

import re

NETWORKS = {"vgg11": "VGG-11", "vgg16": "VGG-16", "vgg19": "VGG-19", "resnet8": "ResNet-8",
            "resnet18": "ResNet-18", "resnet20": "ResNet-20", "resnet32": "ResNet-32", "resnet50": "ResNet-50",
            "resnet56": "ResNet-56"}  # fmt: skip
OURS = NETWORKS | {"vgg16": "slim VGG-16"}  # a quarter of the channels; that of others is in full
DATASETS = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "tiny-imagenet": "Tiny-ImageNet", "imagenet": "ImageNet"}

SETTINGS = {  # fields of a recipe
    "epochs": "epochs", "batch": "images a step", "lr": "first learning rate", "momentum": "momentum",
    "weight_decay": "weight decay", "drops": "rate falls to a tenth at", "padding": "random crops, padding in pixels",
    "flip": "random horizontal flips", "precision": "precision of the dense engine", "engine": "engine of the tickets",
    "eval_every": "epochs between two points of a learning curve",
}  # fmt: skip


def title(name):
    """What prose calls a network of ours, a data set, or the one on the other; an unknown name stays as it is."""
    return ", ".join(OURS.get(part) or DATASETS.get(part, part) for part in name.split(" on "))


def signed(value, digits=2, sign="+"):
    """A difference with its sign, "+0.12" or "−0.68", and "0.00" for what rounds to nothing."""
    text = f"{value:{sign}.{digits}f}"
    return text.replace("-", "−") if float(text) else text.lstrip("+-")


def decimal(value, digits=2):
    """A number that may be negative, without a plus."""
    return signed(value, digits, sign="-")


def span(values, digits=2, write=decimal):
    """The smallest and the largest of some numbers, "1.2 to 3.4"; one number where both are written alike."""
    values = list(values)
    return " to ".join(dict.fromkeys(write(value, digits) for value in (min(values), max(values))))


def percent(share):
    """A share, 0 to 1, a number or decimal text: "98 %"."""
    return f"{100 * float(share):g} %"


def removed(sparsity):
    """A sparsity in words: "98 % removed"."""
    return f"{percent(sparsity)} removed"


def points(value):
    """A number of points of accuracy with its unit."""
    return f"{value:g} point{'s' * (value != 1)}"


def folded(summary, text):
    """Markdown that a page shows once its summary is clicked."""
    return f"<details><summary>{summary}</summary>\n\n{text}\n\n</details>"


def without_folded(text):
    """Markdown for a log: what a page folds away is named alone."""
    return re.sub(r"<details><summary>(.*?)</summary>.*?</details>", r"[\1: folded]", text, flags=re.DOTALL)

"""A trained ticket as a classifier of its own."""

from ticketlib.sparse import SparseNet


def export(model, mask, image_shape):
    """A function that classifies images with a ticket, touching no zero.

    Arguments: model, a trained ResNet or VGG; mask, its mask; image_shape, (channels, height, width).
    Returns: a function from images, float32 (any number, channels, height, width), to logits (number, classes).
    """
    net = SparseNet(model, mask, 64, image_shape)
    return net.evaluate

"""katsaros: convolutional networks, padding, strides, pooling, activations."""

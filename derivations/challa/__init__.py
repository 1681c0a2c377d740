"""challa2023, and its earlier edition challa2022: backpropagation through dense and convolution layers."""

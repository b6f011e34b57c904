"""Mathematics on tensors: expansion, convolution over it, normalisation. Knows no layer."""

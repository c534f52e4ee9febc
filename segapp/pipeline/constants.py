"""Numbers that every part of the pipeline shares."""

IGNORE = 255  # label of pixels that neither teach nor count
STRIDE = 32  # of the encoder's deepest features; inputs are padded to multiples of it

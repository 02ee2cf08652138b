"""How close is equal. The ladder's tolerances, each with its reason; no test loosens one."""

# Float64 keeps 2^-53 = 1.1e-16; a few layers multiply that by some hundreds. What is left above this is another formula.
FLOAT64 = 1e-12

# Rounding differs between kernels, so float32 is judged by its distance from the float64 truth, against Hugging Face's own.
FLOAT32_AGAINST_HUGGING_FACE = 2.0

# Relative to the largest value of each tensor. Sums over all positions in float64, through the whole model and back.
FLOAT64_GRADIENTS = 1e-11

# A gradient below this share of the largest in the model is zero by algebra (a key's bias shifts all scores alike): it is
# rounding alone, and compared with nothing.
ZERO_GRADIENT = 1e-9

# Ten steps of AdamW in float64. Its first steps divide a gradient by its own size, which multiplies rounding in small gradients.
FLOAT64_STEPS = 1e-9

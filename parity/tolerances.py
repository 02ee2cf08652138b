"""How close is equal: the tolerances between two implementations, each with its reason; no test loosens one.

What compares an implementation with itself (processes, packed weights) or with a formula has its limit in its test.
"""

# Float64 keeps 2^-53 = 1.1e-16; a few layers multiply that by some hundreds. What is left above this is another formula.
FLOAT64 = 1e-12

# Rounding differs between kernels, so float32 is judged by its distance from the float64 truth, against Hugging Face's own.
FLOAT32_AGAINST_HUGGING_FACE = 2.0

# How often that, where float64 agrees with the truth: kernels add wide sums up in other orders, of which Hugging Face's is one.
FLOAT32_OF_ONE_FORMULA = 2.0

# Two implementations in float32 where no float64 stands beside them, relative to the largest value: 2^-24 = 6e-8, times some hundreds.
FLOAT32 = 1e-5

# Of sums of log-probabilities in float32, each of them up to 40, that may be multiplied by a length.
FLOAT32_SCORES = {"atol": 2e-4, "rtol": 1e-5}

# Losses, and norms of gradients, while two implementations train in float32: each step begins at the rounding of those before.
FLOAT32_CURVE = 1e-4

# Relative to the largest value of each tensor. Sums over all positions in float64, through the whole model and back.
FLOAT64_GRADIENTS = 1e-11

# A gradient below this share of the largest in the model is zero by algebra (a key's bias shifts all scores alike): it is
# rounding alone, and compared with nothing.
ZERO_GRADIENT = 1e-9

# Ten steps of AdamW in float64. Its first steps divide a gradient by its own size, which multiplies rounding in small gradients.
FLOAT64_STEPS = 1e-9

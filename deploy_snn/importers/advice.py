"""Advice for files with weights or a torch module, but without a network that can be read as data."""

BUILD_INSTEAD = (
    "write a Python file whose build() loads the weights and returns Network.sequential(...), "
    "in which Dense.from_linear(...) takes a trained nn.Linear, and give that file"
)
COPY_WEIGHTS = (
    "write a Python file whose build() reads the weights and returns a Network with Dense(w, b), and give that file"
)

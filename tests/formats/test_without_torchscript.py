"""With ``torch.jit`` gone, as its deprecation announces, everything but TorchScript works.

(``is_scripting`` and ``trace`` stay, as torch itself still names them.)
"""

import subprocess
import sys
from pathlib import Path

GONE = """
import sys, torch, torch.export, torch._inductor
for name in ("script", "load", "save", "export", "unused", "ignore"):
    delattr(torch.jit, name)
import deploy_snn
from deploy_snn.errors import Unavailable
from deploy_snn.neurons import LIFNodes, SRM0Nodes
bundle = deploy_snn.export(LIFNodes(n=4), sys.argv[1], formats=["onnx", "pt2"], golden_steps=5)
report = deploy_snn.verify(bundle, steps=20)
assert report.equal and report.spikes, report
print(*sorted({run.runtime for run in report.runs if run.mode == "free"}))
try:
    deploy_snn.export(LIFNodes(n=4), sys.argv[1])
except Unavailable as error:
    print(error)
"""


def test_everything_else_works(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", GONE, str(tmp_path / "lif")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    runtimes, error = done.stdout.splitlines()
    assert runtimes == "onnx-reference onnxruntime-cpu pt2"
    assert error.startswith("format torchscript cannot be written: torch ")
    assert error.endswith("has no torch.jit.script")

"""What choosing a backend costs: nothing at import, one decision for a compiler."""

import subprocess
import sys

import torch

from conv_kan.ops.backend import takes_cupy


def test_importing_the_library_does_not_import_compilers():
    code = (
        "import sys, torch\n"
        "before = set(sys.modules)\n"
        "import conv_kan, conv_kan.published, conv_kan.interop\n"
        "new = {name.split('.')[1] for name in set(sys.modules) - before if name[:6] == 'torch.'}\n"
        "print(*sorted(new & {'_dynamo', '_inductor', '_functorch', 'onnx', 'distributed'}))"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == ""


def test_the_choice_of_cupy_is_a_constant_for_compilers():
    @torch.compiler.assume_constant_result
    def marked():
        pass

    assert vars(marked) and vars(takes_cupy) == vars(marked)

"""Programs that torch exports in memory, run from the graph alone and compared with torch; where torch is installed."""

import numpy as np
import pytest
from onnx_run import run_block

from tierplan.frontend.jaxpr_block_graph import graph_of_block
from tierplan.frontend.torch_archive import load_pt2
from tierplan.frontend.torch_export import export, exported_graph, program_of
from tierplan.frontend.torch_graph import block_of_program

torch = pytest.importorskip("torch")


class NoModel:
    class graph:
        initializer = ()
        node = ()


def networks():
    """Small networks with arguments, by name."""
    from torch import nn
    from torch.nn import functional

    class Net(nn.Module):
        def __init__(self, run, *parts):
            super().__init__()
            self.run, self.parts = run, nn.ModuleList(parts)

        def forward(self, *args):
            return self.run(self.parts, *args)

    torch.manual_seed(0)
    image, rows = torch.randn(2, 3, 16, 16), torch.randn(3, 4)
    heads = torch.randn(2, 3, 5, 8)

    def conv(p, x):
        return functional.softmax(p[2](p[1](torch.relu(p[0](x))).mean((2, 3))), -1)

    def moved(p, x, i):
        return (
            x[i],
            torch.cat([x, x[1:]], 0),
            x.flip(0),
            torch.where(x > 0, x, 2.0),
            torch.topk(x, 2)[0],
            x.chunk(2, 1)[1],
        )

    def elements(p, x):
        return functional.gelu(x), functional.silu(x) + 2 * x, x**3, x.std(0), x.max(1)[0], torch.cumsum(x, 1), x % 0.7

    pools = (nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(3, 2, 1, ceil_mode=True))
    turned = nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1)
    return {
        "conv": (Net(conv, nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Linear(8, 4)), (image,)),
        "pools": (Net(lambda p, x: (p[0](x), p[1](x)), *pools), (image,)),
        "transformer": (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (torch.randn(2, 5, 8),)),
        "lstm": (Net(lambda p, x: p[0](x)[0], nn.LSTM(4, 5, 2, bidirectional=True)), (torch.randn(3, 2, 4),)),
        "gru": (Net(lambda p, x: p[0](x)[0], nn.GRU(4, 6, batch_first=True)), (torch.randn(2, 3, 4),)),
        "attention": (Net(lambda p, x: functional.scaled_dot_product_attention(x, x, x, is_causal=True)), (heads,)),
        "moved": (Net(moved), (rows, torch.tensor([2, 0]))),
        "elements": (Net(elements), (rows,)),
        "turned": (Net(lambda p, x: p[0](x), turned), (image,)),
    }  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted(networks()))
def test_a_network_computes_what_torch_computes(name, tmp_path):
    module, args = networks()[name]
    module = module.eval()
    exported = export(module, args, name)
    program = program_of(exported, name)
    block, arguments, ops = block_of_program(program)
    graph = graph_of_block(name, block, arguments, fused=True, cyclic=False)
    called = {**block.names, **{v: a.name for v, a in zip(block.arguments, arguments, strict=True)}}
    held = {**dict(module.named_parameters()), **dict(module.named_buffers()), **exported.constants}
    users = iter(args)
    values = {i.target: (held[i.target] if i.what != "input" else next(users)).detach().numpy() for i in program.inputs}
    made = run_block(graph, called, block, ops, NoModel, values)
    wanted = module(*args)
    for ours, theirs in zip(made, wanted if isinstance(wanted, tuple) else (wanted,), strict=True):
        np.testing.assert_allclose(ours.reshape(theirs.shape), theirs.detach().numpy(), rtol=2e-3, atol=1e-4)
    assert graph.n_parameters == sum(parameter.numel() for parameter in module.parameters())
    torch.export.save(exported, tmp_path / "m.pt2")
    saved = load_pt2(tmp_path / "m.pt2")
    assert [(op.kind, op.matrix_ops, op.vector_ops) for op in saved.ops] == [
        (op.kind, op.matrix_ops, op.vector_ops) for op in exported_graph(exported, name).ops
    ]

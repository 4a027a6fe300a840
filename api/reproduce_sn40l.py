"""SambaNova SN40L: its numbers beside ours, as sections of a report."""

from tierplan.hardware.load import load_machine
from tierplan.model_bytes import model_bytes
from tierplan.programs import Shaping, read_program
from tierplan.reproduction import Report, Section, row_of
from tierplan.sim.reproduce_sn40l import sn40l_rows
from tierplan.sim.reproduce_sn40l_fusion import speedup_of_fusing

_TITLES = {
    "switching": "Switching an expert: SN40L node over DGX",
    "footprint": "How many experts fit",
    "run": "Running an expert: SN40L node over DGX (inputs)",
    "overall": "Table V: 150 experts, 20 tokens: SN40L node over DGX",
    "intensity": "Table I: operations per byte of a Monarch FFT, by what is fused (not claimed)",
    "fusion": "Fused over unfused (not claimed)",
}


_MODELS = {"fusion": "all", "intensity": "Monarch FFT"}
_PHASES = {"prefill, train, sparseGPT": "prefill", "decode": "decode"}


def fused_speedups() -> dict[str, float]:
    """By class of the paper: how much faster fusing makes Llama 2 7B at 4096 tokens, all operands in HBM."""
    machine = load_machine("sn40l-node")
    return {
        name: speedup_of_fusing(read_program("llama2-7b", Shaping(phase, 1, 4096, "bf16")), machine, "hbm")
        for name, phase in _PHASES.items()
    }


def report(_energy: str) -> Report:
    """Every row of the paper that is compared; the paper gives no energy."""
    rows = sn40l_rows(model_bytes("llama2-7b").total, fused=fused_speedups())
    sections = tuple(
        Section(
            title,
            tuple(
                row_of(row, _MODELS.get(begin, "Llama 2 7B"), " ".join(row.id.split("/")[2:]))
                for row in rows
                if row.id.startswith(f"sn40l/{begin}/")
            ),
        )
        for begin, title in _TITLES.items()
    )
    remarks = (
        "Predicted: switching, from the size of an expert and the paper's link speeds (1 TB/s reached from DDR to HBM, "
        "32 and 64 GB/s from the host), and how many experts a DGX holds.",
        "Fitted: 14 GB an expert for the footprint; the times of the router and of a run of 20 tokens, to the four "
        "cells of Table V, which shows that the model is consistent with them and predicts nothing.",
        "Fused over unfused is printed by class only, and the intensities of Table I for shapes that are in a figure "
        "alone: not reproducible. Ours are of other programs, every operand in HBM and no time for launches: no claim.",
    )
    return Report("sn40l", sections, remarks)

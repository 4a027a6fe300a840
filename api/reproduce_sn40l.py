"""SambaNova SN40L: its numbers beside ours, as sections of a report."""

from tierplan.model_bytes import model_bytes
from tierplan.reproduction import Report, Section, row_of
from tierplan.sim.reproduce_sn40l import sn40l_rows

_TITLES = {
    "switching": "Switching an expert: SN40L node over DGX",
    "footprint": "How many experts fit",
    "run": "Running an expert: SN40L node over DGX (inputs)",
    "overall": "Table V: 150 experts, 20 tokens: SN40L node over DGX",
    "fusion": "Fused over unfused",
}


def report(_energy: str) -> Report:
    """Every row of the paper that is compared; the paper gives no energy."""
    rows = sn40l_rows(model_bytes("llama2-7b").total)
    sections = tuple(
        Section(
            title,
            tuple(
                row_of(row, "Llama 2 7B" if begin != "fusion" else "all", " ".join(row.id.split("/")[2:]))
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
        "Fused over unfused is printed by class only, with shapes and bars in figures alone: not reproducible.",
    )
    return Report("sn40l", sections, remarks)

"""The built-in machines say what their sources say."""

import subprocess
import sys

import pytest

from tierplan.hardware.load import builtin_names, load_hardware, load_machine
from tierplan.ir.machine import Machine, Tier

GB, GiB, MiB, TiB, TB = 10**9, 2**30, 2**20, 2**40, 10**12


def tier(machine: Machine, name: str) -> Tier:
    return machine.tiers[machine.tier_index(name)]


def link_rate(machine: Machine, source: str, target: str) -> float:
    (found,) = [link for link in machine.links if (link.source, link.target) == (source, target)]
    return found.bandwidth


def test_the_names() -> None:
    assert builtin_names() == (
        "a100", "a100-dgx", "b200", "flat-cloud", "fusemax-cloud", "gb200", "h100", "h100-dgx", "h200", "l40s",
        "laptop", "m1-max", "rtx-pro-6000", "rtx4090-pc", "sn40l", "sn40l-node", "tpu-v4i",
    )  # fmt: skip


@pytest.mark.parametrize("name", builtin_names())
def test_each_loads_and_describes_itself(name: str) -> None:
    hardware = load_hardware(name)
    assert hardware.machine.name == name
    assert hardware.description
    assert hardware.machine.tiers[0].direct


@pytest.mark.parametrize("name", builtin_names())
def test_every_tier_can_be_copied_to_and_from(name: str) -> None:
    machine = load_machine(name)
    for each in machine.tiers:
        assert any(link.source == each.name for link in machine.links), each.name
        assert any(link.target == each.name for link in machine.links), each.name


@pytest.mark.parametrize("name", builtin_names())
def test_tiers_stand_fastest_first(name: str) -> None:
    rates = [each.read_bandwidth for each in load_machine(name).tiers]
    assert rates == sorted(rates, reverse=True)


def test_laptop() -> None:
    laptop = load_machine("laptop")
    assert [each.name for each in laptop.tiers] == ["vram", "ddr", "flash"]
    assert (tier(laptop, "vram").capacity, tier(laptop, "vram").read_bandwidth) == (8 * GB, 256e9)
    assert (tier(laptop, "ddr").capacity, tier(laptop, "ddr").read_bandwidth) == (16 * GB, 50e9)
    assert tier(laptop, "ddr").read_link == "ddr->vram"
    assert tier(laptop, "ddr").write_link == "vram->ddr"
    assert not tier(laptop, "flash").direct
    assert link_rate(laptop, "ddr", "vram") == link_rate(laptop, "vram", "ddr") == 15.75e9
    assert link_rate(laptop, "flash", "ddr") == link_rate(laptop, "ddr", "flash")


@pytest.mark.parametrize("name", ["laptop", "rtx4090-pc"])
def test_the_nvme_curve_lies_on_the_line_its_comment_gives(name: str) -> None:
    flash = tier(load_machine(name), "flash")
    at_4_kib = flash.queue_depth * 4096 / flash.latency_s
    overhead_s = 4096 / at_4_kib - 4096 / flash.read_bandwidth
    for chunk, rate in flash.read_curve:
        # 45 us and 22 000/s agree to 1%; so do the rounded points
        assert rate == pytest.approx(chunk / (overhead_s + chunk / flash.read_bandwidth), rel=0.015)


def test_m1_max_reads_flash_on_the_fitted_line() -> None:
    """t(s) = 5.825 us + s / 11.25 GB/s, capped at 6.1 GB/s; fitted on Table 2 of "LLM in a flash"."""
    flash = tier(load_machine("m1-max"), "flash")
    assert not flash.direct
    assert dict(flash.read_curve)[8 * 1024] == 1.25e9
    assert dict(flash.read_curve)[16 * 1024] == 2.25e9
    for chunk, rate in flash.read_curve:
        assert rate == pytest.approx(min(6.1e9, chunk / (5.825e-6 + chunk / 11.25e9)), rel=2e-3)
    assert flash.read_curve[-1][1] == flash.read_bandwidth == 6.1e9
    assert flash.queue_depth == 32
    assert load_machine("m1-max").tiers[0].read_bandwidth == 400e9


def test_tpu_v4i() -> None:
    tpu = load_machine("tpu-v4i")
    assert tpu.home == "hbm"
    assert tpu.matrix.peak["bfloat16"] == 138e12
    cmem, hbm = tpu.tiers
    assert (cmem.capacity, cmem.read_bandwidth, cmem.write_bandwidth) == (128 * MiB, 2048e9, 1024e9)
    assert (hbm.capacity, hbm.read_bandwidth, hbm.write_bandwidth) == (8 * GiB, 614e9, 614e9)
    assert cmem.direct
    assert hbm.direct
    assert (cmem.read_j, cmem.write_j, hbm.read_j) == pytest.approx((1.88e-12 * 8, 2.36e-12 * 8, 7.03e-12 * 8))
    assert tpu.matrix.energy_j == pytest.approx(0.084e-12 / 2)


def test_gpus() -> None:
    h100 = load_machine("h100")
    assert (tier(h100, "hbm").capacity, tier(h100, "hbm").read_bandwidth) == (80 * GB, 3.35e12)
    assert h100.matrix.peak["bfloat16"] == pytest.approx(989e12, rel=1e-3)
    assert not tier(h100, "ddr").direct
    for name, rate in (("h100", 64e9), ("h100-dgx", 64e9), ("a100-dgx", 32e9)):
        assert link_rate(load_machine(name), "ddr", "hbm") == rate
    a100 = load_machine("a100-dgx")
    assert a100.matrix.peak["bfloat16"] == 8 * 312e12
    assert tier(a100, "hbm").read_bandwidth == 8 * 2.039e12
    assert tier(a100, "hbm").capacity == 640 * GB


@pytest.mark.parametrize(("one", "eight", "name"), [("h100", "h100-dgx", "hbm"), ("sn40l", "sn40l-node", "hbm")])
def test_aggregates_are_eight_of_one(one: str, eight: str, name: str) -> None:
    single, whole = load_machine(one), load_machine(eight)
    assert tier(whole, name).capacity == 8 * tier(single, name).capacity
    assert tier(whole, name).read_bandwidth == pytest.approx(8 * tier(single, name).read_bandwidth)
    for unit, units in ((single.matrix, whole.matrix), (single.vector, whole.vector)):
        assert {dtype: 8 * rate for dtype, rate in unit.peak.items()} == pytest.approx(dict(units.peak))


def test_sn40l() -> None:
    sn40l = load_machine("sn40l")
    sram, hbm, ddr = sn40l.tiers
    assert (sram.capacity, hbm.capacity, ddr.capacity) == (520 * MiB, 64 * GiB, 3 * TiB // 2)
    assert (hbm.read_bandwidth, ddr.read_bandwidth) == (1.8e12, 200e9)
    assert sn40l.matrix.peak["bfloat16"] == 638e12
    assert link_rate(load_machine("sn40l-node"), "ddr", "hbm") == 1e12


def test_finding_hardware_imports_neither_pydantic_nor_yaml() -> None:
    code = (
        "import sys, tierplan.hardware.load as load; load.builtin_names(); "
        "assert not {'pydantic', 'yaml'} & set(sys.modules), 'imported too early'; "
        "load.load_machine('h100'); assert {'pydantic', 'yaml'} <= set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("name", "buffer", "registers"), [("fusemax-cloud", 16, (12, 32)), ("flat-cloud", 32, (4, 16))]
)
def test_spatial_machines(name: str, buffer: int, registers: tuple[int, int]) -> None:
    """FuseMax (MICRO 2024), table of the evaluated accelerators."""
    hardware = load_hardware(name)
    entry = hardware.spatial
    assert entry is not None
    assert entry.buffer.size == buffer * MiB == tier(hardware.machine, "buffer").capacity
    assert entry.clock == 940e6
    assert entry.memory.rate == 400 * GiB == tier(hardware.machine, "dram").read_bandwidth
    assert [(a.array, a.columns, a.rows) for a in entry.arrays] == [("2d", 256, 256), ("1d", 256, 1)]
    assert tuple(a.registers for a in entry.arrays) == registers
    # one line per cycle on each of four ports, and both ways to write the energies agree
    assert entry.buffer.rate == pytest.approx(4 * entry.buffer.access * entry.clock)
    for memory, where in ((entry.buffer, "buffer"), (entry.memory, "dram")):
        there = tier(hardware.machine, where)
        assert (there.read_j, there.write_j) == pytest.approx(
            (memory.read / memory.access, memory.write / memory.access), rel=1e-6
        )


def test_only_spatial_machines_have_arrays() -> None:
    assert [name for name in builtin_names() if load_hardware(name).spatial] == ["flat-cloud", "fusemax-cloud"]

"""Each mistake in a hardware file is one line that says where it stands and what to write instead."""

from pathlib import Path

import pytest

from tierplan.hardware.load import load_machine
from tierplan.ir.errors import InvalidInputError

GOOD = """\
schema: 1
name: toy
description: two tiers and a disk
home: far
compute:
  matrix:
    bf16: 1 Tflop/s
    energy: 0.5 pJ/op
  vector: {float32: 100 Gflop/s}
tiers:
  - name: near
    capacity: 1 MiB
    bandwidth: 1 TB/s
    scratch: 64 KiB
    alignment: 64 B
  - name: far
    capacity: 1 GiB
    read_bandwidth: 100 GB/s
    write_bandwidth: 50 GB/s
    latency: 1 us
    read_energy: 7 pJ/bit
    read_link: far->near
    write_link: near->far
  - name: disk
    capacity: 1 TB
    bandwidth: 5 GB/s
    direct: false
    queue_depth: 8
    read_curve:
      - {chunk: 4 KiB, bandwidth: 400 MB/s}
      - {chunk: 64 KiB, bandwidth: 4 GB/s}
links:
  - {from: far, to: near, bandwidth: 90 GB/s, duplex: true}
  - name: disk read
    from: disk
    to: far
    bandwidth: 5 GB/s
    channels: 2
    energy: 1 pJ/bit
"""


def message(tmp_path: Path, content: str | bytes) -> str:
    """What loading `content` as a file complains of, without the folder."""
    file = tmp_path / "toy.yaml"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(InvalidInputError) as caught:
        load_machine(str(file))
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(str(file)), text
    return text.removeprefix(f"{tmp_path}/")


def test_the_good_file_is_good(tmp_path: Path) -> None:
    file = tmp_path / "toy.yaml"
    file.write_text(GOOD)
    machine = load_machine(str(file))
    assert [link.name for link in machine.links] == ["far->near", "near->far", "disk read"]
    near, far, disk = machine.tiers
    assert (near.capacity, near.scratch, near.alignment, near.usable) == (2**20, 2**16, 64, 2**20 - 2**16)
    assert (far.read_bandwidth, far.write_bandwidth, far.latency_s) == (1e11, 5e10, 1e-6)
    assert (far.read_j, far.write_j) == (7e-12 * 8, None)
    assert disk.read_curve == ((4096, 4e8), (65536, 4e9))
    assert machine.matrix.peak == {"bfloat16": 1e12}
    assert machine.matrix.energy_j == 5e-13
    assert machine.links[2].channels == 2
    assert machine.links[2].energy_j == 8e-12


EDITS = {
    # what is replaced, by what, then position, key path and words of the message
    "misspelt key at the top": ("description:", "desciption:", "3:1", "desciption: unknown key", "'description'"),
    "misspelt required key": ("home: far", "hoem: far", "4:1", "hoem: unknown key", "did you mean 'home'?"),
    "misspelt key in compute": ("  vector:", "  vectro:", "9:3", "compute.vectro: unknown key", "'vector'"),
    "misspelt key in a unit": ("energy: 0.5", "enegry: 0.5", "8:5", "compute.matrix.enegry", "mean 'energy'?"),
    "unknown dtype": ("bf16:", "bfloat61:", "7:5", "compute.matrix.bfloat61: unknown dtype", "mean 'bfloat16'?"),
    "misspelt key in a tier": ("write_bandwidth", "write_bandwith", "19:5", "tiers[1].write_bandwith", "bandwidth'?"),
    "misspelt key in a curve": ("chunk: 64", "chunks: 64", "31:10", "tiers[2].read_curve[1].chunks", "mean 'chunk'?"),
    "misspelt key in a link": ("channels", "chanels", "38:5", "links[1].chanels: unknown key", "'channels'"),
    "missing key": ("    capacity: 1 GiB\n", "", "16:5", "tiers[1]: missing key 'capacity'", ""),
    "missing section": ("home: far\n", "", "1:1", "missing key 'home'", ""),
    "no bandwidth": ("    bandwidth: 1 TB/s\n", "", "11:5", "tiers[0]: missing key 'bandwidth'", "read_bandwidth"),
    "half a bandwidth": ("    write_bandwidth: 50 GB/s\n", "", "16:5", "tiers[1]: missing key", "write_bandwidth"),
    "bandwidth twice": ("latency: 1 us", "bandwidth: 1 GB/s", "16:5", "tiers[1]: give either", "not both"),
    "duplicate key": ("name: toy", "name: toy\nname: toy", "3:1", "name: key written twice", "line 2"),
    "duplicate inner key": ("latency: 1 us", "capacity: 2 GiB", "20:5", "tiers[1].capacity: key written", "line 17"),
    "negative": ("1 TB/s", "-1 TB/s", "13:16", "tiers[0].bandwidth: '-1 TB/s' must be a positive", ""),
    "zero": ("1 GiB", "0 GiB", "17:15", "tiers[1].capacity: '0 GiB' must be a positive", ""),
    "not a number": ("1 GiB", "nan GiB", "17:15", "tiers[1].capacity: 'nan GiB' must be", "finite"),
    "infinite": ("1 Tflop/s", "inf Tflop/s", "7:11", "compute.matrix.bf16: 'inf Tflop/s' must be", "finite"),
    "absurd": ("1 TB/s", "1e30 TB/s", "13:16", "tiers[0].bandwidth: '1e30 TB/s' is absurdly large", "check the unit"),
    "absurdly small": ("90 GB/s", "1e-30 GB/s", "33:38", "links[0].bandwidth: '1e-30 GB/s' is absurdly small", ""),
    "unknown unit": ("1 GiB", "1 gib", "17:15", "tiers[1].capacity: unknown unit 'gib'", "mean 'GiB'?"),
    "unit of something else": ("1 us", "1 GB", "20:14", "tiers[1].latency: unknown unit 'GB'", "like '2 us'"),
    "missing unit": ("1 GiB", "1073741824", "17:15", "tiers[1].capacity: 1073741824 has no unit", "like '16 GiB'"),
    "missing unit, text": ("1 GiB", "'17'", "17:15", "tiers[1].capacity: '17' has no unit", "like '16 GiB'"),
    "nan": ("1 GiB", ".nan", "17:15", "tiers[1].capacity: nan has no unit", ""),
    "truth for a size": ("1 GiB", "yes", "17:15", "tiers[1].capacity: need a size", ""),
    "words for a size": ("1 GiB", "a lot", "17:15", "tiers[1].capacity: 'a lot' is not a size", "'16 GiB'"),
    "nothing for a size": ("1 GiB", "", "17:14", "tiers[1].capacity: need a size, like '16 GiB'", ""),
    "number for a name": ("name: toy", "name: 4090", "2:7", "name: need text; put it in quotes", ""),
    "truth for a name": ("name: toy", "name: no", "2:7", "name: need text; put it in quotes", ""),
    "odd name": ("name: toy", "name: '*'", "2:7", "name: need a name", "letters"),
    "text for a count": ("depth: 8", "depth: eight", "28:18", "tiers[2].queue_depth: need a whole number", ""),
    "zero count": ("channels: 2", "channels: 0", "38:15", "links[1].channels: must be greater than or equal to 1", ""),
    "text for a truth": ("false", "never", "27:13", "tiers[2].direct: need true or false", ""),
    "list for a mapping": ("{float32: 100 Gflop/s}", "[1]", "9:11", "compute.vector: need a mapping", ""),
    "no rate": ("{float32: 100 Gflop/s}", "{}", "9:11", "compute.vector: need a peak rate", "bfloat16"),
    "one dtype twice": ("energy: 0.5 pJ/op", "bfloat16: 1 Tflop/s", "7:5", "compute.matrix: the rate of bfloat16", ""),
    "wrong version": ("schema: 1", "schema: 2", "1:9", "schema: write 'schema: 1'", ""),
    "no version": ("schema: 1\n", "", "1:1", "schema: write 'schema: 1'", ""),
    "unknown home": ("home: far", "home: fra", "4:7", "home: unknown tier 'fra'", "mean 'far'?"),
    "link from an unknown tier": ("from: disk", "from: disc", "35:11", "links[1].from: unknown tier 'disc'", "'disk'?"),
    "link to an unknown tier": ("to: near", "to: nera", "33:21", "links[0].to: unknown tier 'nera'", "mean 'near'?"),
    "link to itself": ("to: near", "to: far", "33:5", "links[0]: the link leads from 'far' to itself", ""),
    "name and duplex": ("to: near", "to: near, name: x", "33:5", "links[0]: a duplex link is two", "'FROM->TO'"),
    "two tiers of one name": ("name: near", "name: far", "16:11", "tiers[1].name: two tiers are", "line 11"),
    "two links of one name": ("disk read", "far->near", "34:5", "links[1]: two links are named 'far->near'", "line 33"),
    "tier that no link reaches": ("from: disk", "from: near", "24:5", "tiers[2]: no link leads from tier 'disk'", ""),
    "unknown read link": ("k: far->near", "k: far-near", "22:16", "tiers[1].read_link: unknown link", "'far->near'?"),
    "read link backwards": ("read_link: far->near", "read_link: near->far", "22:16", "tiers[1].read_link:", "start at"),
    "write link elsewhere": ("k: near->far", "k: far->near", "23:17", "tiers[1].write_link:", "end at"),
    "link of an indirect tier": ("queue_depth: 8", "read_link: x", "24:5", "tiers[2]: 'read_link'", "direct"),
    "scratch over capacity": ("64 KiB\n    al", "2 MiB\n    al", "11:5", "tiers[0]: scratch", "capacity"),
    "alignment over capacity": ("64 B", "64 MiB", "11:5", "tiers[0]: alignment is", "capacity"),
    "falling curve": ("4 GB/s}", "4 MB/s}", "30:7", "tiers[2].read_curve: bandwidth must not fall", ""),
    "unsorted curve": ("chunk: 64 KiB", "chunk: 1 KiB", "30:7", "tiers[2].read_curve: chunk sizes must rise", ""),
    "curve above the tier": ("4 GB/s}", "9 GB/s}", "24:5", "tiers[2]: read curve of tier 'disk' rises above", ""),
    "syntax": ("{float32: 100 Gflop/s}", "{float32: 100 Gflop/s", "10:6", "YAML syntax: ", ""),
    "tab": ("  vector", "\tvector", "9:1", "YAML syntax: found character", ""),
    "tag": ("name: toy", "name: !!python/name:os.system toy", "2:7", "name: the tag '!!python/name:os.system'", ""),
    "merge": ("name: toy", "<<: {name: toy}", "2:1", "merge keys (<<) are not supported", ""),
    "alias into itself": ("compute:", "more: &a [*a]\ncompute:", "5:7", "more[0]: an alias stands inside", ""),
    "two documents": ("tiers:", "---\ntiers:", "10:1", "YAML syntax: expected a single document", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", EDITS)
def test_one_mistake(tmp_path: Path, name: str) -> None:
    old, new, position, path_and_what, hint = EDITS[name]
    assert old in GOOD
    told = message(tmp_path, GOOD.replace(old, new, 1))
    assert told.startswith(f"toy.yaml:{position}: {path_and_what}"), told
    assert hint in told


def test_no_direct_tier(tmp_path: Path) -> None:
    lines = [line for line in GOOD.splitlines() if "_link" not in line]
    text = "\n".join(lines).replace("    scratch:", "    direct: false\n    scratch:")
    told = message(tmp_path, text.replace("    latency", "    direct: false\n    latency"))
    assert "no direct tier" in told or "towards a direct tier" in told


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "toy.yaml: the file is empty"),
        ("# only a comment\n", "toy.yaml: the file is empty"),
        ("- a\n- b\n", "toy.yaml:1:1: need a mapping"),
        ("42", "toy.yaml:1:1: need a mapping"),
        ("null", "toy.yaml:1:1: need a mapping"),
        (b"\x00\x01\x02", "toy.yaml:1:1: not text"),
        (b"a: b\nc: \x07", "toy.yaml:2:4: not text"),
        (b"\x89PNG\r\n\x1a\n", "toy.yaml:1: not UTF-8 text"),
        (b"a: 1\n\xff\xfe", "toy.yaml:2: not UTF-8 text"),
        ("a: " + "x" * 300_000, "toy.yaml: larger than 256 KiB"),
        ("a: " + "x" * 5_000, "toy.yaml:1:4: a: text of more than 4000 characters"),
        ("[" * 5_000, "toy.yaml:1:17: nested more than 16 levels deep"),
        ("a: " + "{a: " * 40 + "1" + "}" * 40, "toy.yaml:1:61: nested more than 16 levels deep"),
        ("? [a]\n: 1\n", "toy.yaml:1:3: a key must be a short word"),
    ],
)
def test_files_that_are_not_hardware(tmp_path: Path, content: str | bytes, told: str) -> None:
    assert message(tmp_path, content).startswith(told)


def test_an_alias_bomb_is_refused_before_it_grows(tmp_path: Path) -> None:
    bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
    for level in range(1, 10):
        bomb += f"a{level}: &a{level} [{','.join([f'*a{level - 1}'] * 10)}]\n"
    assert "aliases repeat too much" in message(tmp_path, bomb)


def test_an_alias_that_saves_typing_is_fine(tmp_path: Path) -> None:
    file = tmp_path / "toy.yaml"
    file.write_text(GOOD.replace("1 TB/s", "&fast 1 TB/s").replace("read_bandwidth: 100 GB/s", "read_bandwidth: *fast"))
    assert load_machine(str(file)).tiers[1].read_bandwidth == 1e12


def test_a_byte_order_mark_and_windows_lines_are_fine(tmp_path: Path) -> None:
    file = tmp_path / "toy.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert load_machine(str(file)).name == "toy"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("h10", "did you mean 'h100'?"),
        ("no/such/file.yaml", "no hardware file and no built-in hardware 'no/such/file.yaml'"),
        ("", "Built in: a100, a100-dgx, "),
        ("a\0b", "no hardware file"),
        ("x" * 10_000, "no hardware file"),
        ("two\nlines", "no hardware file"),
    ],
)
def test_no_such_hardware(name: str, told: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        load_machine(name)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_is_not_a_hardware_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="cannot be read: is a directory"):
        load_machine(str(tmp_path))


def test_a_file_name_of_two_lines_is_told_on_one(tmp_path: Path) -> None:
    file = tmp_path / "two\nlines.yaml"
    file.write_text("- 1")
    with pytest.raises(InvalidInputError) as caught:
        load_machine(str(file))
    assert str(caught.value).endswith("two?lines.yaml:1:1: need a mapping: one 'key: value' per line")

"""The buffer table: what it may look like, what comes back, and what is refused where."""

import json

import pytest
import typer
from hypothesis import given
from offset_oracle import problems

from tierplan.commands.allocate import allocate
from tierplan.frontend.buffers import load_text, read_buffers, write_buffers
from tierplan.ir.errors import InvalidInputError
from tierplan.planner.offsets import solve

PLAIN = "id,lower,upper,size\nb1,0,3,4\nb2,3,9,4\nb3,0,9,4\nb4,9,21,4\nb5,0,21,4\n"


def test_columns_come_in_any_order_and_under_several_names():
    tables = [
        "id,lower,upper,size\nx,2,7,8\n",
        "size,buffer,start,upper\n8,x,2,7\n",
        "buffer_id, begin , end ,size\nx,2,6,8\n",
    ]
    for table in tables:
        b = read_buffers(table)
        assert (b.ids, b.start.tolist(), b.stop.tolist(), b.size.tolist()) == (("x",), [2], [7], [8])


def test_optional_columns():
    b = read_buffers(
        "id,lower,upper,size,alignment,hint,gaps,offset,alias\n"
        "x,0,20,8,4,16,2-4 6-9@2:6,-1,g\n"
        "y,0,20,8,,-1,,12,\n"
        "z,30,31,8,1,,,,g\n"
    )
    assert b.alignment.tolist() == [4, 1, 1]
    assert b.hint.tolist() == [16, -1, -1]
    assert b.fixed.tolist() == [-1, 12, -1]
    assert b.alias.tolist() == [0, -1, 0]
    g = b.gaps
    assert list(zip(g.buffer, g.start, g.stop, g.low, g.high, strict=True)) == [(0, 2, 4, 0, 0), (0, 6, 9, 2, 6)]


def test_inclusive_ends_are_inclusive_in_gaps_too():
    b = read_buffers("id,lower,end,size,gaps\nx,0,9,4,2-3\n")
    assert b.stop.tolist() == [10]
    assert (b.gaps.start.tolist(), b.gaps.stop.tolist()) == ([2], [4])


def test_the_table_ends_at_an_empty_line():
    assert len(read_buffers(PLAIN + "\nleft,over\n")) == 5


def test_what_is_written_is_the_input_with_offsets():
    b = read_buffers(PLAIN)
    found = solve(b, capacity=12)
    text = write_buffers(PLAIN, b, found)
    lines = text.splitlines()
    assert lines[0] == "id,lower,upper,size,offset"
    assert lines[1] == f"b1,0,3,4,{found.offset[0]}"
    again = read_buffers(text)
    assert again.fixed.tolist() == found.offset.tolist()
    assert write_buffers(text, again, found) == text


@given(problems())
def test_print_then_parse_keeps_everything(b):
    rows = zip(b.start, b.stop, b.size, b.alignment, strict=True)
    text = "id,lower,upper,size,alignment\n" + "".join(f"{i},{r[0]},{r[1]},{r[2]},{r[3]}\n" for i, r in enumerate(rows))
    again = read_buffers(text)
    for name in ("start", "stop", "size", "alignment", "hint", "fixed", "alias"):
        assert getattr(again, name).tolist() == getattr(b, name).tolist()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is empty"),
        ("id,lower,upper\nx,0,1\n", "line 1: the header lacks size"),
        ("id,size\nx,0\n", "the header lacks lower, upper"),
        ("id,lower,upper,sise\nx,0,1,2\n", "line 1, column 4: unknown column 'sise'; did you mean 'size'?"),
        ("id,lower,start,upper,size\n", "line 1, column 3: a second column for 'lower'"),
        ("id,lower,upper,end,size\n", "keep one"),
        ("id,lower,upper,size\nx,0,1\n", "line 2: 3 cells under a header of 4"),
        ("id,lower,upper,size\nx,0,1,8\ny,0,one,8\n", r"line 3, column 3 \(upper\): 'one' is not an integer"),
        ("id,lower,upper,size\nx,0,,8\n", r"line 2, column 3 \(upper\): '' is not an integer"),
        ("id,lower,upper,size\nx,0,1,2.5\n", r"line 2, column 4 \(size\)"),
        ("id,lower,upper,size\nx,0,1,99999999999999999999\n", "beyond"),
        ("id,lower,upper,size\nx,0,1,0\n", "t.csv: buffer x: size 0 must be at least 1"),
        ("id,lower,upper,size\nx,4,4,1\n", "empty or reversed"),
        ("id,lower,upper,size\nx,0,1,1\nx,0,1,1\n", "id 'x' is used twice"),
        ("id,lower,upper,size,gaps\nx,0,9,1,3+4\n", r"line 2, column 5 \(gaps\): '3\+4' is not a gap"),
        ("id,lower,upper,size,gaps\nx,0,9,1,3-14\n", "gap 3-14 must be a run of steps inside"),
        ("id,lower,upper,size,gaps\nx,0,9,4,3-4@2:9\n", "window 2:9 must lie inside of its 4 bytes"),
        ("id,lower,upper,size,gaps\nx,0,9,4,3-4@2:2\n", "window of '3-4@2:2' is empty"),
        ("id,lower,upper,size,gaps\nx,0,9,4,2-5 4-6\n", "two of its gaps overlap"),
    ],
)
def test_bad_tables_are_refused_with_the_place(text, told):
    with pytest.raises(InvalidInputError, match=told):
        read_buffers(text, "t.csv")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InvalidInputError, match=r"no\.csv: cannot be read"):
        load_text(tmp_path / "no.csv")
    (tmp_path / "raw.csv").write_bytes(b"id,\xff\xfe\n")
    with pytest.raises(InvalidInputError, match="not a UTF-8"):
        load_text(tmp_path / "raw.csv")


def command(*arguments):
    app = typer.Typer()
    app.command()(allocate)
    return app([str(a) for a in arguments], standalone_mode=False)


def test_the_command_writes_offsets_and_a_picture(tmp_path, capsys):
    path = tmp_path / "in.csv"
    path.write_text(PLAIN)
    command(path, "--capacity", 12, "-o", tmp_path / "out.csv", "--plot", tmp_path / "map.png", "--json")
    row = json.loads(capsys.readouterr().out)
    assert (row["status"], row["height"], row["capacity"], row["lower_bound"]) == ("optimal", 12, 12, 12)
    assert (row["gap"], row["n_buffers"]) == (0.0, 5)
    assert {"seconds", "planner"} <= set(row)
    assert (tmp_path / "out.csv").read_text().startswith("id,lower,upper,size,offset\n")
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_says_why_nothing_fits(tmp_path, capsys):
    path = tmp_path / "in.csv"
    path.write_text(PLAIN)
    assert command(path, "--capacity", 11, "-o", tmp_path / "out.csv") == 1
    shown = capsys.readouterr().out
    assert "proved that no plan fits" in shown
    assert "cannot fit together" in shown
    assert not (tmp_path / "out.csv").exists()


def test_the_command_tells_the_least_height_where_the_capacity_is_too_small(tmp_path, capsys):
    path = tmp_path / "in.csv"
    path.write_text(PLAIN)
    assert command(path, "--capacity", 11, "--minimize", "-o", tmp_path / "out.csv", "--json") == 1
    row = json.loads(capsys.readouterr().out)
    assert (row["status"], row["height"], row["capacity"], row["gap"]) == ("infeasible", 12, 11, 0.0)
    assert not (tmp_path / "out.csv").exists()

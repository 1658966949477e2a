"""Hostile source lists of every format."""

from __future__ import annotations

import bz2
import gzip
import json
import struct
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hostile.breaking import CARD_VALUES, ESCAPE, flipped, gzip_of_zeros, make_odd, set_card
from hostile.families import family
from hostile.world import Attempt, World

NUMBERS = (
    "",
    "nan",
    "inf",
    "-inf",
    "1e400",
    "-1",
    "-99",
    "0",
    "361",
    "-91",
    "1e300",
    "9223372036854775808",
    "1" * 400,
    "1" * 5000,
    "0x1F",
    "1_000",
    "1,5",
    "١٢",
    "½",
    "text",
    "true",
    "None",
    "1d5",
    "+-3",
    ESCAPE,
    "1e-400",
    "2 3",
    "--",
    "NULL",
    '"',
    "'",
    "\x00",
)
TABLE_KEYS = (
    "TFIELDS",
    "NAXIS1",
    "NAXIS2",
    "NAXIS",
    "BITPIX",
    "PCOUNT",
    "GCOUNT",
    "THEAP",
    "TFORM1",
    "TFORM2",
    "TFORM4",
    "TTYPE1",
    "TTYPE2",
    "TNULL1",
    "TSCAL2",
    "TZERO1",
    "TZERO2",
    "TUNIT2",
    "TDIM2",
    "TDISP2",
    "XTENSION",
    "EXTNAME",
)
TABLE_VALUES = (
    *CARD_VALUES,
    "'1J'",
    "'D'",
    "'999999999D'",
    "'99999999999999999999D'",
    "'0D'",
    "'-1D'",
    "'1PD(3)'",
    "'1QD(99999999999)'",
    "'X'",
    "'A'",
    "'1M'",
    "'ID'",
    "'RA'",
    "'(2,2)'",
    "'(-1)'",
    "'hourangle'",
    "'deg'",
    "'BINTABLE'",
    "'TABLE'",
    "'1Z'",
    "'20A5'",
)


def _rows(world: World) -> list[list[str]]:
    return [[str(value) for value in row] for row in world.table()]


def _text(rows: list[list[str]], head: str = "ID,RA,DEC,Z", mark: str = ",") -> str:
    return "\n".join([head, *(mark.join(row) for row in rows)]) + "\n"


def _refused() -> Attempt:
    return Attempt(rows=None)


@family
def fits_table_cards(world: World) -> Attempt:
    for _ in range(int(world.rng.choice([1, 1, 2]))):
        set_card(world / "list.fits", world.choose(TABLE_KEYS), world.choose(TABLE_VALUES), hdu=1)
    return _refused()


@family
def fits_table_bytes(world: World) -> Attempt:
    path = world / "list.fits"
    content = path.read_bytes()
    cut = content[: int(world.rng.integers(1, len(content)))]
    path.write_bytes(world.choose((cut, flipped(world, content, 20, 2880, 2880 * 2), flipped(world, content, 8, 2880 * 2))))
    return _refused()


@family
def parquet_bytes(world: World) -> Attempt:
    path = world.name_list("list.parquet")
    world.table().to_pandas().to_parquet(path)
    content = path.read_bytes()
    footer = len(content) - 8 - struct.unpack("<I", content[-8:-4])[0]
    ways = (
        lambda: content[: int(world.rng.integers(4, len(content)))],
        lambda: flipped(world, content, 3, footer, len(content) - 8),
        lambda: flipped(world, content, 10, 4, footer),
        lambda: content[:-8] + struct.pack("<I", int(world.rng.integers(2**32))) + b"PAR1",
        lambda: b"PAR1" + content[-8:],
        lambda: b"PAR1PAR1",
        lambda: b"PAR1" + world.rng.bytes(3000) + content[-8:],
    )
    path.write_bytes(world.choose(ways)())
    return _refused()


@family
def parquet_types(world: World) -> Attempt:
    path, n = world.name_list("list.parquet"), 8
    columns = {name: pa.array(np.asarray(values)) for name, values in world.table().items()}
    odd = (
        lambda: pa.array([Decimal("1.5")] * n),
        lambda: pa.array([[1.0]] * n),
        lambda: pa.array([{"a": 1}] * n),
        lambda: pa.array(["1"] * n),
        lambda: pa.array([b"1"] * n),
        lambda: pa.array([True] * n),
        lambda: pa.array([datetime.now(UTC)] * n),
        lambda: pa.nulls(n),
        lambda: pa.array(["1", "2"] * 4).dictionary_encode(),
        lambda: pa.array([2**64 - 1] * n, pa.uint64()),
        lambda: pa.array([1.5] * n, pa.float16()),
        lambda: pa.array([[1.0, 2.0]] * n, pa.list_(pa.float64(), 2)),
        lambda: pa.array([float("inf")] * n),
        lambda: pa.array([None, *[1] * 7]),
        lambda: pa.array([5] * n, pa.duration("s")),
        lambda: pa.array([Decimal(10) ** 37] * n),
        lambda: pa.array(list(range(n)), pa.int8()),
        lambda: pa.array([None, *[1.5] * 7]).dictionary_encode(),
        lambda: pa.array([ESCAPE] * n),
        lambda: pa.array(["\ud7ff" * 9] * n),
    )
    columns[world.choose(list(columns))] = world.choose(odd)()
    metadata = {
        b"table_meta_yaml": world.choose(
            (b"", b"]]", b"\xff\xff", b"- a\n- b", b"datatype: 5", b"a: &a [*a]", b"datatype:\n- {name: RA}")
        )
    }
    table = pa.table(columns)
    table = table.replace_schema_metadata(metadata) if world.rng.random() < 0.4 else table
    pq.write_table(table.slice(0, int(world.rng.choice([n, n, n, 0]))), path)
    return _refused()


@family
def list_values(world: World) -> Attempt:
    rows = _rows(world)
    for _ in range(int(world.rng.choice([1, 3]))):
        rows[int(world.rng.integers(len(rows)))][int(world.rng.integers(4))] = world.choose(NUMBERS)
    world.name_list("list.csv").write_text(_text(rows), encoding="utf-8")
    return _refused()


@family
def csv_form(world: World) -> Attempt:
    rows, path = _rows(world), world.name_list("list.csv")
    good = _text(rows)
    ways = (
        lambda: good.encode("utf-16"),
        lambda: good.replace("\n", "\r").encode(),
        lambda: good.replace("\n", "\r\n").encode("utf-8-sig"),
        lambda: good.replace("RA", "RÀ").encode("latin-1"),
        lambda: good.encode() + b'1,"unclosed\n',
        lambda: good.encode() + b"1,2\n",
        lambda: good.encode() + b"1,2,3,4,5,6\n",
        lambda: b"\x00" + good.encode(),
        lambda: good.replace(",", "\x00,", 9).encode(),
        lambda: _text(rows, "ID,ID,DEC,Z").encode(),
        lambda: _text(rows, ",,,").encode(),
        lambda: _text([]).encode(),
        lambda: b"\n\n\n",
        lambda: good.encode() + b'"' + b"x" * 10**7 + b'"\n',
        lambda: _text(rows, "ID,RA,DEC," + ",".join(f"c{i}" for i in range(100_000))).encode(),
        lambda: (",".join(f"c{i}" for i in range(30_000)) + "\n" + ",".join("1" * 30_000) + "\n").encode(),
        lambda: b"ID,RA,DEC,Z\n" + b"," * 10**7,
        lambda: b"# " * 10**6 + good.encode(),
        lambda: b"#\n" * 10**6 + good.encode(),
        lambda: b" " * 10**7,
        lambda: good.encode() * 2,
        lambda: b"\xff\xfe" + good.encode(),
        lambda: good.encode().replace(b",", ESCAPE.encode() + b",", 3),
        lambda: b"(" * 10**6,
        lambda: _text(rows, "'ID','RA','DEC','Z'").encode(),
        lambda: b'"' * 10**6,
        lambda: good.replace("\n", "\n\n").encode(),
        lambda: good.replace(",", ";").encode(),
        lambda: good.replace(",", "\t").encode(),
        lambda: good.replace(",", "|").encode(),
    )
    path.write_bytes(world.choose(ways)())
    return _refused()


@family
def ecsv(world: World) -> Attempt:
    path = world.name_list("list.ecsv")
    world.table().write(path, format="ascii.ecsv")
    text = path.read_text()
    laughs = "# a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"# a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10)
    )
    ways = (
        lambda: text.replace(
            "datatype: int64", "datatype: " + world.choose(("object", "string", "float999", "[1]", "complex128", "bool", "''"))
        ),
        lambda: text.replace("# ---", "# --- !!python/object/apply:os.system ['touch pwned']"),
        lambda: text.replace("# ---\n", "# ---\n" + laughs),
        lambda: text.replace("# datatype:", "# datatype: 5 #"),
        lambda: text.replace("- {name: RA", "- {label: RA"),
        lambda: text.replace("0.9", "0.9 "),
        lambda: "# %ECSV 1.0\n" * 50,
        lambda: "# %ECSV 99.0\n" + text,
        lambda: text.replace("ID RA", "RA ID"),
        lambda: text.replace("# ---", "# " + "[" * 5000),
        lambda: text + "9 1 2\n",
        lambda: text + '9 "\n',
        lambda: text.replace("datatype: float64", "datatype: string, subtype: 'float64[2]'"),
        lambda: text.replace("datatype: float64", "datatype: string, subtype: 'json'"),
        lambda: text[: int(world.rng.integers(len(text)))],
        lambda: text.replace("schema: astropy-2.0", "schema: 5"),
        lambda: text.replace("# - {name: Z", f"# - {{name: '{ESCAPE}'"),
        lambda: text.replace("datatype: float64", "datatype: float64, unit: 'no such unit'"),
        lambda: text.replace("# ---", "# meta: !!omap\n# - {__serialized_columns__: {RA: {__class__: os.system}}}"),
        lambda: text.replace(
            "# schema", "# meta: {__serialized_columns__: {RA: {__class__: astropy.units.Quantity, value: 5}}}\n# schema"
        ),
        lambda: text.replace("# schema", "# delimiter: " + world.choose(("'|'", "','", "5", "[]", "''", "'ab'")) + "\n# schema"),
    )
    path.write_text(world.choose(ways)(), encoding="utf-8")
    return _refused()


@family
def votable(world: World) -> Attempt:
    path = world.name_list("list.vot")
    world.table().write(path, format="votable")
    text = path.read_text()
    entities = (
        '<!DOCTYPE v [<!ENTITY a "ha">' + "".join(f'<!ENTITY {chr(98 + i)} "{f"&{chr(97 + i)};" * 10}">' for i in range(9)) + "]>"
    )
    size = world.choose(("-1", "1", "2", "*", "999999999", "99999999999999999999", "2x2", "abc", "0", "1x*"))
    kind = world.choose(("int", "char", "boolean", "bit", "unicodeChar", "doubleComplex", "nonsense", "", "unsignedByte"))
    ways = (
        lambda: text.replace("?>", "?>" + entities, 1).replace("<TD>", "<TD>&j;", 1),
        lambda: text.replace("?>", '?><!DOCTYPE v [<!ENTITY x SYSTEM "file:///etc/passwd">]>', 1).replace("<TD>", "<TD>&x;", 1),
        lambda: text.replace('datatype="double"', f'datatype="double" arraysize="{size}"', 1),
        lambda: text.replace('datatype="double"', f'datatype="{kind}"', 1),
        lambda: text.replace('datatype="long"', f'datatype="{kind}"', 1),
        lambda: text[: int(world.rng.integers(60, len(text)))],
        lambda: text.replace("<TR>", "<TR><TD/>", 2),
        lambda: text.replace("</TD>", "", 3),
        lambda: text.replace('name="RA"', f'name="{world.choose(("ID", "", "&lt;b&gt;"))}"'),
        lambda: text.replace("TABLEDATA", "BINARY"),
        lambda: text.replace("<TABLEDATA>", '<BINARY><STREAM encoding="base64">AAAA!!</STREAM></BINARY><TABLEDATA>'),
        lambda: text.replace("<TABLEDATA>", '<FITS extnum="1"><STREAM href="file:///dev/zero"/></FITS><TABLEDATA>'),
        lambda: "<VOTABLE>" * 20_000,
        lambda: "<VOTABLE/>",
        lambda: text.replace('version="1.4"', 'version="9"'),
        lambda: text.replace("utf-8", "utf-99"),
        lambda: text + "<x>",
        lambda: text.replace("<TABLE", '<TABLE nrows="999999999999"', 1),
        lambda: text.replace("<RESOURCE", '<RESOURCE><TABLE ref="x"/></RESOURCE><RESOURCE', 1),
        lambda: text.replace("<TD>", "<TD>\x1b[31m", 1),
        lambda: text.replace('unit="deg"', 'unit="%%"'),
        lambda: text.replace("<FIELD", '<FIELD ID="x"'),
        lambda: text.replace("</FIELD>", '<VALUES null="abc"/></FIELD>', 1),
        lambda: text.replace("</FIELD>", "<DESCRIPTION>" + "x" * 10**6 + "</DESCRIPTION></FIELD>", 1),
        lambda: text.replace("<TABLEDATA>", '<BINARY><STREAM encoding="gzip" href="http://127.0.0.1:9/x"/></BINARY><TABLEDATA>'),
    )
    path.write_text(world.choose(ways)(), encoding="utf-8")
    return _refused()


@family
def ascii_headers(world: World) -> Attempt:
    body = _text(_rows(world), "", " ")
    claim = world.choose(("999999999", "2147483648", "9" * 30, "9" * 5000, "5000000"))
    numbered = "# 1 ID Number [count]\n# 2 RA x [deg]\n# 3 DEC y [deg]\n# 4 Z z\n"
    ways = (
        lambda: numbered + f"# {claim} LAST x\n",
        lambda: f"# 1 ID x\n# 2 RA x\n# {claim} DEC x\n",
        lambda: numbered + body,
        lambda: numbered.replace("# 4", "# 2") + body,
        lambda: "# 0 ID\n# 1 RA\n# 2 DEC\n# 3 Z\n" + body,
        lambda: "# ID RA DEC Z\n" + body,
        lambda: "# ID RA DEC\n" + body,
        lambda: "# ID RA DEC Z " + ESCAPE + "\n" + body,
        lambda: "# ID RA RA Z\n" + body,
        lambda: "#" + body,
        lambda: "# ID RA DEC Z\n",
        lambda: "# ID RA DEC Z\n" + body + "1 2\n",
        lambda: "# ID RA DEC Z\n" + "1 " * 10**6 + "\n",
        lambda: body,
        lambda: f"# {claim} ID\n" * 5 + body,
        lambda: "# ID RA DEC Z\n" + body.replace(" ", "\t"),
        lambda: "# ID RA DEC Z\n" + body.replace(" ", "\xa0"),
        lambda: "# 1 ID [" + "[" * 10**5 + "\n# 2 RA\n# 3 DEC\n# 4 Z\n" + body,
        lambda: numbered + body.replace("\n", "\r"),
        lambda: "# 1 ID\n# 2 RA x [%%]\n# 3 DEC x [rad]\n# 4 Z\n" + body,
    )
    world.name_list("list.cat").write_text(world.choose(ways)(), encoding="utf-8")
    return _refused()


@family
def ipac_and_other_forms(world: World) -> Attempt:
    rows = _rows(world)
    bars = "|" + "|".join(f"{name:>25}" for name in ("ID", "RA", "DEC", "Z")) + "|\n"
    body = "".join(" " + " ".join(f"{cell:>25}" for cell in row) + " \n" for row in rows)
    ways = (
        lambda: bars + body,
        lambda: "\\x = 5\n" + bars + body,
        lambda: "|" * 10**5 + "\n" + body,
        lambda: bars + bars.replace("ID", "xx") + body,
        lambda: json.dumps([dict(zip(["ID", "RA", "DEC", "Z"], row, strict=True)) for row in rows]),
        lambda: "[" * 10**6,
        lambda: "{" + bars + body,
        lambda: "\\begin{table}\n" + " & ".join(("ID", "RA", "DEC", "Z")) + "\\\\\n" + body,
        lambda: "<html><body>404</body></html>",
        lambda: "<" + body,
        lambda: "Title:\n" + "-" * 80 + "\nByte-by-byte Description of file:\n" + body,
        lambda: "global color=green\nfk5\ncircle(150,2,1)\n",
        lambda: "%PDF-1.4\n" + body,
        lambda: "SQLite format 3\x00" + body,
        lambda: "\x93NUMPY" + body,
        lambda: "\x89HDF\r\n\x1a\n" + body,
        lambda: "PK\x03\x04" + body,
    )
    world.name_list("list.tbl").write_text(world.choose(ways)(), encoding="utf-8")
    return _refused()


@family
def packed_lists(world: World) -> Attempt:
    text = _text(_rows(world)).encode()
    vot, fit = b"<?xml version='1.0'?><VOTABLE>", (world / "list.fits").read_bytes()
    ways = (
        lambda: gzip.compress(text),
        lambda: gzip.compress(text)[:-9],
        lambda: flipped(world, gzip.compress(text), 3, 12),
        lambda: gzip.compress(gzip.compress(text)),
        lambda: gzip_of_zeros(6 * 2**30, text),
        lambda: gzip_of_zeros(4 * 2**30, b"# %ECSV 1.0\n"),
        lambda: gzip_of_zeros(4 * 2**30, vot),
        lambda: gzip_of_zeros(4 * 2**30, fit[:5760]),
        lambda: gzip.compress(fit),
        lambda: gzip.compress(b""),
        lambda: bz2.compress(text),
        lambda: b"\x1f\x8b",
        lambda: gzip_of_zeros(4 * 2**30, b"PAR1"),
        lambda: gzip_of_zeros(4 * 2**30),
        lambda: gzip.compress(text) + b"more",
        lambda: gzip.compress(text + b"1,2\n" * 10**6),
    )
    world.name_list(world.choose(("list.csv.gz", "list.csv", "list.fits.gz", "list.vot.gz"))).write_bytes(world.choose(ways)())
    return _refused()


@family
def things_that_are_no_lists(world: World) -> Attempt:
    make_odd(world, _some_list(world))
    return _refused()


@family
def folders_of_lists(world: World) -> None:
    """If the list is accepted, no row may be missing: whatever is broken holds rows, or looks as if it did."""
    folder, table = world.name_list("parts"), world.table().to_pandas()
    places = ("a.parquet", "below/b.parquet", "below/Norder=0/c.parquet")
    for place, rows in zip(places, (slice(0, 3), slice(3, 3), slice(3, 8)), strict=True):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        table.iloc[rows].to_parquet(folder / place)
    part = folder / world.choose(places)
    elsewhere = world / "elsewhere"
    ways = (
        lambda: make_odd(world, part),
        lambda: part.rename(part.with_suffix(world.choose((".PARQUET", ".pq", "", ".parquet.part", ".old")))),
        lambda: part.write_bytes(part.read_bytes()[: int(world.rng.integers(part.stat().st_size))]),
        lambda: (folder / "d.parquet").symlink_to(world.choose(("gone.parquet", part, folder, world / "list.fits", "/dev/zero"))),
        lambda: ((folder / "below").rename(elsewhere), (folder / "below").symlink_to(elsewhere)),
        lambda: (folder / "around").symlink_to(folder),
        lambda: (folder / "dataset").mkdir() or (folder / "hats.properties").write_text("hats_nrows=8\n"),
        lambda: (folder / world.choose(("hats.properties", "collection.properties"))).write_bytes(world.rng.bytes(300)),
        lambda: (folder / "README").write_bytes(b"PAR1"),
        lambda: table.astype({"ID": world.choose(("float32", "string", "uint64", "bool"))}).iloc[3:].to_parquet(part),
    )
    world.choose(ways)()


def _some_list(world: World) -> Path:
    name = world.choose(("list.fits", "list.csv", "list.parquet", "list.ecsv", "list.vot"))
    path = world / name
    if name != "list.fits":
        world.name_list(name)
        table = world.table()
        table.to_pandas().to_parquet(path) if name.endswith("parquet") else table.write(
            path, format={"csv": "ascii.csv", "vot": "votable", "ecsv": "ascii.ecsv"}[name[5:]]
        )
    return path

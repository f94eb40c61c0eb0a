"""Prices: LLVM's tools on real blocks, an in-order core's own table, a cache that two processes share."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeopt.boards.virtual import assembly, counting, inorder
from edgeopt.boards.virtual.operands import Operation
from edgeopt.boards.virtual.prices import PriceList
from edgeopt.core.errors import BoardError, EdgeoptError

COUNTS = Path(__file__).parents[2] / "fixtures" / "counts" / "three_nodes_cortex_a72.counts"
GEMM = "3f8db5b012e39982"
"""ONNX Runtime's float kernel: 64 multiply-adds of four lanes, 78 instructions."""

FMLA = 0x4F881090  # fmla v16.4s, v4.4s, v8.s[0]
ADD = 0x91000400  # add x0, x0, #1
NO_INSTRUCTION = 0xFFFFFFFF


@pytest.fixture
def prices(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "prices.sqlite"


def blocks() -> dict[str, tuple[int, ...]]:
    return dict(counting.read(COUNTS).blocks)


def test_words_become_text_and_what_is_no_instruction_stays_in_its_place() -> None:
    assert assembly.disassemble([ADD, NO_INSTRUCTION, FMLA, NO_INSTRUCTION]) == [
        "add\tx0, x0, #1",
        None,
        "fmla\tv16.4s, v4.4s, v8.s[0]",
        None,
    ]


@pytest.mark.parametrize(
    ("core", "least", "most"),
    [("cortex-a72", 64, 66), ("neoverse-n1", 32, 34), ("cortex-a53", 64, 130)],
)
def test_a_matrix_kernel_costs_what_its_multiply_adds_occupy(
    core: str, least: float, most: float, prices: Path
) -> None:
    price = PriceList(core, prices).of({GEMM: blocks()[GEMM]})[GEMM]
    assert least <= price.cycles <= most
    assert price.unknown == 0


def test_a_store_that_moves_its_base_does_not_chain_a_loop() -> None:
    clamp = [
        "ldr q5, [x0]",
        "fadd v5.4s, v5.4s, v22.4s",
        "fmax v5.4s, v27.4s, v5.4s",
        "fmin v5.4s, v25.4s, v5.4s",
    ]
    ((post, known),) = assembly.scheduled_cycles([[*clamp, "str q5, [x0], #16"]], "cortex-a72")
    ((plain, _),) = assembly.scheduled_cycles([[*clamp, "str q5, [x0]", "add x0, x0, #16"]], "cortex-a72")
    ((before, _),) = assembly.scheduled_cycles([[*clamp, "str q5, [x0, #16]!"]], "cortex-a72")
    assert post == plain
    assert before < 10
    assert known == 5


def test_instructions_that_nobody_knows_are_charged_and_counted(prices: Path) -> None:
    for core in ("cortex-a53", "cortex-a72"):
        found = PriceList(core, prices).of(
            {"none": [NO_INSTRUCTION], "some": [ADD, NO_INSTRUCTION], "all": [ADD]}
        )
        assert found["none"].cycles > 0
        assert found["some"].cycles == pytest.approx(2 * found["all"].cycles)
        assert [found[name].unknown for name in ("none", "some", "all")] == [1, 1, 0]


def test_what_ran_rarely_costs_the_mean_of_what_ran_often(prices: Path) -> None:
    code = blocks() | {"rare": (ADD,)}
    priced = PriceList("cortex-a72", prices).price(code, {GEMM: 100_000, "rare": 10})
    assert set(priced.prices) == {GEMM}
    assert priced.coverage > 0.995
    hot = 100_000 * priced.prices[GEMM].cycles
    assert priced.cycles(code, {GEMM: 100_000, "rare": 10}) == pytest.approx(
        hot + 10 * priced.per_instruction
    )
    assert priced.per_instruction == pytest.approx(priced.prices[GEMM].cycles / 78)


def test_nothing_that_ran_costs_nothing(prices: Path) -> None:
    assert PriceList("cortex-a72", prices).price({}, {}).cycles({}, {}) == 0


def test_a_price_is_asked_for_once(prices: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = blocks()
    first = PriceList("cortex-a72", prices).of(code)
    monkeypatch.setattr(
        assembly, "disassemble", lambda words: pytest.fail(f"{len(words)} instructions were priced again")
    )
    assert PriceList("cortex-a72", prices).of(code) == first


def test_cores_do_not_share_prices(prices: Path) -> None:
    small = PriceList("cortex-a53", prices).of({GEMM: blocks()[GEMM]})
    assert PriceList("neoverse-n1", prices).of({GEMM: blocks()[GEMM]})[GEMM].cycles < small[GEMM].cycles


@pytest.mark.parametrize(
    "damage", [b"this is no database, however long it may be" * 50, b"SQLite format 3\0torn"]
)
def test_a_damaged_cache_is_begun_anew(prices: Path, damage: bytes) -> None:
    code = {GEMM: blocks()[GEMM]}
    whole = PriceList("cortex-a72", prices).of(code)
    prices.write_bytes(damage)
    assert PriceList("cortex-a72", prices).of(code) == whole
    assert PriceList("cortex-a72", prices).of(code) == whole
    assert prices.read_bytes().startswith(b"SQLite format 3\0")


def test_a_cache_with_nonsense_in_it_is_begun_anew(prices: Path) -> None:
    import sqlite3
    from contextlib import closing

    code = {GEMM: blocks()[GEMM]}
    whole = PriceList("cortex-a72", prices).of(code)
    with closing(sqlite3.connect(prices)) as cache, cache:
        cache.execute("update prices set cycles = 'many'")
    assert PriceList("cortex-a72", prices).of(code) == whole


def test_two_processes_share_one_cache(prices: Path) -> None:
    program = """
import json, sys
from pathlib import Path
from edgeopt.boards.virtual import counting
from edgeopt.boards.virtual.prices import PriceList
code = counting.read(Path(sys.argv[1])).blocks
for _ in range(3):
    found = [PriceList("cortex-a72", Path(sys.argv[2])).of({b: w}) for b, w in code.items()]
print(json.dumps({b: p.cycles for one in found for b, p in one.items()}))
"""
    command = [sys.executable, "-c", program, str(COUNTS), str(prices)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [json.loads(process.communicate(timeout=120)[0]) for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert answers[0] == answers[1]
    assert set(answers[0]) == set(blocks())


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(EdgeoptError, match=r"cache of prices .*file/prices\.sqlite"):
        PriceList("cortex-a72", tmp_path / "file" / "prices.sqlite").of({"a": [ADD]})


def test_missing_llvm_is_named_with_what_installs_it(prices: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(prices.parent))
    with pytest.raises(BoardError, match="llvm-mc of LLVM 19") as raised:
        PriceList("cortex-a72", prices).of({"a": [ADD]})
    assert raised.value.hint == "sudo apt-get install -y --no-install-recommends llvm-19"


def test_an_unknown_core_is_an_error_not_a_price(prices: Path) -> None:
    with pytest.raises(BoardError, match="cortex-b52"):
        PriceList("cortex-b52", prices).of({"a": [ADD]})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ldp q4, q5, [x1], #256", {"writes": ("v4", "v5", "r1"), "address": ("r1",), "memory_bytes": 32}),
        ("str q5, [x0, #16]!", {"writes": ("r0",), "reads": ("v5",), "base": "r0", "memory_bytes": 16}),
        ("ldr s31, [x27, x1, lsl #2]", {"writes": ("v31",), "address": ("r27", "r1"), "base": None}),
        ("fmla v16.4s, v4.4s, v8.s[0]", {"reads": ("v4", "v8"), "accumulator": ("v16",), "is_full": True}),
        ("fmadd s0, s1, s2, s3", {"reads": ("v1", "v2"), "accumulator": ("v3",), "is_full": False}),
        ("mov v3.d[1], x11", {"reads": ("r11", "v3"), "writes": ("v3",), "is_vector": True}),
        ("st4 { v0.4s, v1.4s, v2.4s, v3.4s }, [x3], #64", {"memory_bytes": 64, "writes": ("r3",)}),
        ("ld1 { v0.16b - v3.16b }, [x0]", {"writes": ("v0", "v1", "v2", "v3"), "memory_bytes": 64}),
        ("ld1 { v0.s }[1], [x0]", {"reads": ("v0",), "memory_bytes": 4}),
        ("cmp x24, x0", {"writes": ("flags",), "reads": ("r24", "r0")}),
        ("b.ne #-20", {"reads": ("flags",), "writes": ()}),
        ("csel x0, x1, x2, eq", {"reads": ("r1", "r2", "flags"), "writes": ("r0",)}),
        ("ldrb w0, [sp, #1]", {"address": ("sp",), "memory_bytes": 1}),
        ("prfm pldl1keep, [x1, #64]", {"address": ("r1",), "memory_bytes": 0, "writes": ()}),
        ("add x0, xzr, x2", {"reads": ("r2",)}),
    ],
)
def test_operands_of_an_instruction(text: str, expected: dict[str, object]) -> None:
    operation = Operation.parse(text)
    assert {name: getattr(operation, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("block", "cycles"),
    [
        (["add x0, x0, #1", "add x1, x1, #1"], 1),  # two issue together
        (["add x0, x0, #1", "add x0, x0, #1"], 2),  # unless one needs the other
        (["ldr x0, [x9]", "ldr x1, [x10]"], 2),  # one address a cycle
        (["ldr x0, [x9]", "add x1, x1, #1"], 1),
        ([f"fmla v{n}.4s, v30.4s, v31.4s" for n in range(8)], 8),  # 128 bits take both halves
        ([f"fmla v{n}.2s, v30.2s, v31.2s" for n in range(8)], 4),
        (["fmla v0.4s, v30.4s, v31.4s"], 4),  # the accumulator is forwarded
        (["fmul v0.4s, v0.4s, v31.4s"], 4),
        ([*(f"fmla v{n}.4s, v30.4s, v31.4s" for n in range(8)), "ldr x3, [x9]", "add x4, x4, #8"], 9),
        ([*(part for n in range(8) for part in (f"fmla v{n}.4s, v30.4s, v31.4s", f"add x{n}, x{n}, #1"))], 8),
        (["ldr q0, [x9]"], 2),  # 64 bits a cycle, alone
        ([part for n in range(4) for part in (f"ldr d{n}, [x9]", f"mov v{n + 4}.d[1], x3")], 4),
    ],
)
def test_the_in_order_core_pairs_and_waits_as_published(block: list[str], cycles: float) -> None:
    assert inorder.cycles(block) == pytest.approx(cycles)


LINES = st.sampled_from(
    """add x0, x0, #1; ldr q0, [x1], #16; fmla v0.4s, v1.4s, v2.s[1]; str q0, [x2], #16; cmp x0, x3; b.ne #-20
    smlal v3.8h, v4.8b, v5.8b; sdot v6.4s, v7.16b, v8.16b; ldp x4, x5, [sp]; fdiv s1, s2, s3; nop
    mov v3.d[1], x11; udiv x1, x2, x3; csel x0, x1, x2, eq""".replace("\n", ";").split(";")
)


@settings(deadline=None, max_examples=60)
@given(st.lists(LINES, min_size=1, max_size=24), LINES)
def test_more_instructions_never_cost_less_in_order(block: list[str], one_more: str) -> None:
    cycles = inorder.cycles(block)
    assert cycles >= len(block) / inorder.SLOTS
    assert inorder.cycles([*block, one_more]) >= cycles - 1e-9


@settings(max_examples=300)
@given(st.text(max_size=60))
def test_any_text_can_be_read_as_an_operation(text: str) -> None:
    Operation.parse(text)

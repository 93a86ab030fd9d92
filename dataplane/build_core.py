"""Builds `dataplane._core`: the C core, bound through cffi in API mode. setup.py names `ffibuilder`.

The declarations come from the headers themselves where a header is plain enough; the compiler checks the others
against the headers.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from cffi import FFI

CORE = Path("dataplane/core")
"""Relative to the repository's root, where setup.py runs: setuptools wants relative sources."""

PURE_PARTS = """
#define SCHEDULER_AHEAD_NS ...
enum labels_kind {
    LABELS_BEST_EFFORT, LABELS_LABELLED, LABELS_SHORT, LABELS_ONE_LABEL, LABELS_MANY_LABELS, ...
};
struct labels { uint32_t deadline; uint32_t channel; uint8_t tc; uint8_t ttl; };
enum labels_kind labels_parse(const uint8_t *frame, uint32_t length, struct labels *);
void labels_stamp(uint8_t *frame, uint32_t deadline_label, bool is_sure);
int64_t labels_relative_ns(uint32_t label);
uint32_t labels_absolute(int64_t deadline_wall_ns);
int64_t labels_lateness_ns(uint32_t label, int64_t now_wall_ns);

struct edf_queue { uint32_t count; uint32_t next_sequence; ...; };
int edf_queue_init(struct edf_queue *, uint32_t capacity);
void edf_queue_destroy(struct edf_queue *);
bool edf_queue_push(struct edf_queue *, int64_t deadline_ns, uint32_t item);
uint32_t edf_queue_pop(struct edf_queue *);
bool edf_queue_is_empty(const struct edf_queue *);
bool edf_queue_is_due(const struct edf_queue *, int64_t now_ns);
int64_t edf_queue_first_deadline(const struct edf_queue *);

enum scheduler_choice {
    SCHEDULER_NOTHING, SCHEDULER_WAIT, SCHEDULER_REAL_TIME, SCHEDULER_BEST_EFFORT, ...
};
struct scheduler {
    uint64_t rate_bps; int64_t be_slack_ns; int64_t allowance_ns; int64_t ahead_ns; int64_t wire_free_ns;
};
int64_t scheduler_wake_ns(const struct scheduler *);
enum scheduler_choice scheduler_choose(const struct scheduler *, const struct edf_queue *, bool best_effort_waits,
                                       int64_t now_ns);
int64_t scheduler_send(struct scheduler *, uint32_t frame_bytes, int64_t now_ns);

bool scheduler_is_late(const struct scheduler *, uint32_t frame_bytes, int64_t deadline_ns, int64_t now_ns);

struct bucket { int64_t full_ns; uint64_t start; };
void bucket_start(struct bucket *, uint64_t start, int64_t now_ns);
int64_t contract_conforming_ns(const struct terms *, const struct bucket *, uint32_t wire_bytes, int64_t arrival_ns);
void contract_charge(const struct terms *, struct bucket *, uint32_t wire_bytes, int64_t conforming_ns);

struct order { uint64_t start; int64_t last_ns; int64_t release_ns; uint32_t waiting; };
int64_t order_enter(struct order *, uint64_t start, int64_t due_ns);
int64_t order_release(struct order *, int64_t release_ns);
void order_leave(struct order *);

struct moment { int64_t earliest_ns; int64_t wall_ns; int64_t mono_ns; };
struct wall_clock { int64_t offset_ns; int64_t offset_most_ns; int64_t doubt_end_ns; };
#define WALL_CLOCK_STEP_NS ...
#define WALL_CLOCK_DOUBT_NS ...
bool wall_clock_follow(struct wall_clock *, const struct moment *now);
bool wall_clock_is_in_doubt(const struct wall_clock *, int64_t mono_ns);
bool books_is_miss(int64_t lateness_ns, int64_t clock_error_ns);
bool books_is_uncertain(int64_t lateness_ns, int64_t clock_error_ns);

struct histogram { ...; };
void histogram_record(struct histogram *, int64_t value_ns);
void histogram_summarize(const struct histogram *, struct summary *);
void histogram_cumulate(const struct histogram *, const int64_t bounds_ns[], uint32_t count, uint64_t up_to[]);
"""
"""What the tests try on its own: the same rules that the loops follow, at times of the tests' choice."""

HEADERS = ("shim", "labels", "scheduler", "contract", "order", "books", "wall_clock")


def declarations(header: str) -> str:
    """The text of a header without its preprocessor lines."""
    lines = (Path(__file__).parent / "core" / header).read_text().splitlines()
    return "\n".join(line for line in lines if not line.startswith("#"))


def state_layout() -> int:
    """64 bits, not 0, that differ whenever a header does: a shim adopts no state that another version has left."""
    headers = sorted((Path(__file__).parent / "core").glob("*.h"))
    digest = hashlib.sha256(b"".join(header.read_bytes() for header in headers)).digest()
    return int.from_bytes(digest[:8]) | 1


ffibuilder = FFI()
ffibuilder.cdef(declarations("report.h") + declarations("terms.h") + declarations("shim.h") + PURE_PARTS)
ffibuilder.set_source(
    "dataplane._core",
    "".join(f'#include "{name}.h"\n' for name in HEADERS),
    sources=sorted(map(str, CORE.glob("*.c"))),
    depends=sorted(map(str, CORE.glob("*.h"))),
    include_dirs=[str(CORE)],
    define_macros=[("_GNU_SOURCE", None), ("STATE_LAYOUT", f"{state_layout()}U")],
    extra_compile_args=["-std=c11", "-O2", "-Wall", "-Wextra"],
)

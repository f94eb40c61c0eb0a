/* Counts what the user programs of an emulated arm64 board execute between two markers.
 *
 * A QEMU TCG plugin (API version 1: QEMU 7.2 to 8.2). For every translated block it keeps the instruction words
 * and how often the block ran; every load and store goes through simulated caches. The markers are hint
 * instructions that do nothing on a real core. Between them, each read of the virtual counter (a program that
 * looks at the clock, such as a runtime's profiler) begins a new segment, so costs can be told apart by node.
 *
 * Arguments: out=FILE-PREFIX,cache=BYTES:WAYS[,cache=BYTES:WAYS...] (from the first level outwards).
 * The n-th stop marker writes FILE-PREFIX.n, whole or not at all (written beside it, then renamed).
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The few declarations of qemu-plugin.h that are used: Debian packages no header. */
typedef uint64_t qemu_plugin_id_t;
typedef uint32_t qemu_plugin_meminfo_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_info_t;
enum { CB_NO_REGS = 0, MEM_RW = 3, INLINE_ADD_U64 = 0 };
typedef void (*tb_trans_cb)(qemu_plugin_id_t, struct qemu_plugin_tb *);
typedef void (*udata_cb)(unsigned int, void *);
typedef void (*mem_cb)(unsigned int, qemu_plugin_meminfo_t, uint64_t, void *);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, tb_trans_cb);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int, void *, uint64_t);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *, udata_cb, int, void *);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *, mem_cb, int, int, void *);
bool qemu_plugin_mem_is_store(qemu_plugin_meminfo_t);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

enum { START = 0xd5032e1f, STOP = 0xd5032e3f, CLOCK = 0xd53be040, CLOCK_MASK = 0xffffffe0 };
enum { LINE_BITS = 6, MAX_LEVELS = 3, STREAMS = 16 };
#define USER_SPACE (UINT64_C(1) << 48)

/* ---- blocks ---- */
typedef struct Block {
    struct Block *next_same_hash;
    uint64_t hash, executed, reported;
    uint32_t n_words, id;
    bool written;
    uint32_t words[];
} Block;

enum { BUCKETS = 1 << 16 };
static Block *buckets[BUCKETS], **blocks;
static uint32_t n_blocks, room;

static uint64_t hash_of(const uint32_t *words, uint32_t n)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
    for (const uint8_t *byte = (const uint8_t *)words, *end = (const uint8_t *)(words + n); byte < end; byte++)
        hash = (hash ^ *byte) * UINT64_C(0x100000001b3);
    return hash;
}

static Block *block_of(const uint32_t *words, uint32_t n)
{
    uint64_t hash = hash_of(words, n);
    Block **bucket = &buckets[hash % BUCKETS];
    for (Block *b = *bucket; b; b = b->next_same_hash)
        if (b->hash == hash && b->n_words == n && !memcmp(b->words, words, 4 * n))
            return b;
    if (n_blocks == room)
        blocks = realloc(blocks, (room = room ? 2 * room : 4096) * sizeof *blocks);
    Block *b = calloc(1, sizeof *b + 4 * n);
    memcpy(b->words, words, 4 * n);
    b->hash = hash, b->n_words = n, b->id = n_blocks, b->next_same_hash = *bucket;
    return *bucket = blocks[n_blocks++] = b;
}

/* ---- caches: set-associative, least recently used, write-back ---- */
typedef struct { uint64_t line; bool dirty; } Way; /* line + 1, so that 0 is empty; most recent first */
typedef struct { Way *ways; uint64_t sets; uint32_t n_ways; uint64_t misses, streamed, written_back, streams[STREAMS]; uint32_t next; } Level;
static Level levels[MAX_LEVELS];
static int n_levels;
static uint64_t accesses, last_line;
static bool active;

/* A miss on the line after an earlier one is what a prefetcher sees coming. */
static void note_stream(Level *level, uint64_t line)
{
    for (int i = 0; i < STREAMS; i++)
        if (level->streams[i] == line) {
            level->streamed++;
            level->streams[i] = line + 1;
            return;
        }
    level->streams[level->next++ % STREAMS] = line + 1;
}

static void touch(int depth, uint64_t line, bool dirty)
{
    if (depth == n_levels)
        return;
    Level *level = &levels[depth];
    Way *set = level->ways + (line % level->sets) * level->n_ways, found = {line + 1, dirty};
    uint32_t at = 0;
    while (at < level->n_ways && set[at].line != line + 1)
        at++;
    if (at < level->n_ways) {
        found.dirty |= set[at].dirty;
    } else {
        level->misses++;
        note_stream(level, line);
        touch(depth + 1, line, false);
        if (set[--at].dirty) {
            level->written_back++;
            touch(depth + 1, set[at].line - 1, true);
        }
    }
    memmove(set + 1, set, at * sizeof *set);
    set[0] = found;
}

static void on_memory(unsigned int cpu, qemu_plugin_meminfo_t info, uint64_t address, void *unused)
{
    if (!active)
        return;
    uint64_t line = address >> LINE_BITS;
    bool store = qemu_plugin_mem_is_store(info);
    accesses++;
    if (line == last_line && !store)
        return;
    last_line = line;
    touch(0, line, store);
}

/* ---- segments ---- */
static FILE *out;
static const char *prefix;
static char target[4096], beside[4100];
static unsigned written;

static void end_segment(void)
{
    if (!out)
        return;
    for (uint32_t i = 0; i < n_blocks; i++) {
        Block *b = blocks[i];
        if (b->executed == b->reported)
            continue;
        if (!b->written) {
            fprintf(out, "block %" PRIu32 " %016" PRIx64, b->id, b->hash);
            for (uint32_t w = 0; w < b->n_words; w++)
                fprintf(out, " %08" PRIx32, b->words[w]);
            fputc('\n', out);
            b->written = true;
        }
        fprintf(out, "ran %" PRIu32 " %" PRIu64 "\n", b->id, b->executed - b->reported);
        b->reported = b->executed;
    }
    fprintf(out, "segment %" PRIu64, accesses);
    accesses = 0;
    for (Level *level = levels; level < levels + n_levels; level++) {
        fprintf(out, " %" PRIu64 " %" PRIu64 " %" PRIu64, level->misses, level->streamed, level->written_back);
        level->misses = level->streamed = level->written_back = 0;
    }
    fputc('\n', out);
}

static void on_start(unsigned int cpu, void *unused)
{
    if (out)
        fclose(out); /* a program died between its markers */
    snprintf(target, sizeof target, "%s.%u", prefix, ++written);
    snprintf(beside, sizeof beside, "%s.part", target);
    out = fopen(beside, "w");
    for (uint32_t i = 0; i < n_blocks; i++) {
        blocks[i]->reported = blocks[i]->executed;
        blocks[i]->written = false;
    }
    accesses = 0;
    for (Level *level = levels; level < levels + n_levels; level++)
        level->misses = level->streamed = level->written_back = 0;
    active = true;
}

static void on_stop(unsigned int cpu, void *unused)
{
    if (!active)
        return;
    active = false;
    end_segment();
    if (out) {
        bool whole = fprintf(out, "end\n") > 0;
        whole = !fclose(out) && whole;
        out = NULL;
        if (whole)
            rename(beside, target);
        else
            remove(beside);
    }
}

static void on_clock(unsigned int cpu, void *unused)
{
    if (active)
        end_segment();
}

/* ---- translation ---- */
static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    if (qemu_plugin_tb_vaddr(tb) >= USER_SPACE) /* the kernel's share depends on when its timer ticks */
        return;
    size_t n = qemu_plugin_tb_n_insns(tb);
    uint32_t words[n];
    for (size_t i = 0; i < n; i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        memcpy(&words[i], qemu_plugin_insn_data(insn), 4);
        if (words[i] == START)
            qemu_plugin_register_vcpu_insn_exec_cb(insn, on_start, CB_NO_REGS, NULL);
        else if (words[i] == STOP)
            qemu_plugin_register_vcpu_insn_exec_cb(insn, on_stop, CB_NO_REGS, NULL);
        else if ((words[i] & CLOCK_MASK) == CLOCK)
            qemu_plugin_register_vcpu_insn_exec_cb(insn, on_clock, CB_NO_REGS, NULL);
        if (n_levels)
            qemu_plugin_register_vcpu_mem_cb(insn, on_memory, CB_NO_REGS, MEM_RW, NULL);
    }
    qemu_plugin_register_vcpu_tb_exec_inline(tb, INLINE_ADD_U64, &block_of(words, n)->executed, 1);
}

__attribute__((visibility("default"))) int
qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info_t *info, int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        uint64_t bytes;
        uint32_t n_ways;
        if (!strncmp(argv[i], "out=", 4)) {
            prefix = strdup(argv[i] + 4);
        } else if (sscanf(argv[i], "cache=%" SCNu64 ":%" SCNu32, &bytes, &n_ways) == 2 && n_levels < MAX_LEVELS && n_ways) {
            Level *level = &levels[n_levels++];
            level->n_ways = n_ways;
            level->sets = bytes >> LINE_BITS;
            level->sets /= n_ways;
            level->ways = calloc(level->sets * n_ways, sizeof *level->ways);
        } else {
            fprintf(stderr, "counting: bad argument %s\n", argv[i]);
            return 1;
        }
    }
    if (!prefix)
        return 1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    return 0;
}

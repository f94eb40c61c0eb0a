/* Counts what a user program of an emulated arm64 board executes between two markers.
 *
 * A QEMU TCG plugin (API version 1: QEMU 7.2 to 8.2). Between the markers it keeps, for every translated block,
 * the instruction words and how often the block ran; every load and store goes through simulated caches. The
 * markers are hint instructions that do nothing on a real core:
 *     START  begins a count, with empty caches;
 *     AGAIN  forgets what was counted so far, but not what the caches hold (a first run has warmed them);
 *     STOP   ends it: the n-th count is written to FILE-PREFIX.n, whole or not at all.
 * Each read of the virtual counter (a program that looks at the clock, such as a runtime's profiler) begins a
 * new segment, so costs can be told apart by node.
 *
 * Only the process that executed START counts: the kernel's share depends on when its timer ticks, and that of
 * the others on when they wake. Outside of a count nothing is instrumented but the markers, and a block costs
 * what it costs without a plugin: START and STOP have everything translated anew.
 *
 * Arguments: out=FILE-PREFIX,cache=BYTES:WAYS[,cache=BYTES:WAYS...] (from the first level outwards).
 *
 * Not seen: what `dc zva` writes, an access beyond its first line, and that a block which ends early by a page
 * fault did not run whole.
 */
#include <errno.h>
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
typedef void (*simple_cb)(qemu_plugin_id_t);
typedef void (*tb_trans_cb)(qemu_plugin_id_t, struct qemu_plugin_tb *);
typedef void (*udata_cb)(unsigned int, void *);
typedef void (*mem_cb)(unsigned int, qemu_plugin_meminfo_t, uint64_t, void *);
void qemu_plugin_reset(qemu_plugin_id_t, simple_cb);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, tb_trans_cb);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int, void *, uint64_t);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *, udata_cb, int, void *);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *, mem_cb, int, int, void *);
bool qemu_plugin_mem_is_store(qemu_plugin_meminfo_t);

#define EXPORT __attribute__((visibility("default")))
#define UNUSED __attribute__((unused))
EXPORT int qemu_plugin_version = 1;

/* hint #0x70, #0x71, #0x72; mrs xN, cntvct_el0; msr sp_el0, x1, by which the kernel's cpu_switch_to makes
 * another task the current one. */
#define START UINT32_C(0xd5032e1f)
#define STOP UINT32_C(0xd5032e3f)
#define AGAIN UINT32_C(0xd5032e5f)
#define CLOCK UINT32_C(0xd53be040)
#define CLOCK_MASK UINT32_C(0xffffffe0)
#define SWITCH UINT32_C(0xd5184101)
/* Loads and stores: op0 (bits 28 to 25) is x1x0. */
#define MEMORY UINT32_C(0x08000000)
#define MEMORY_MASK UINT32_C(0x0a000000)
#define USER_SPACE (UINT64_C(1) << 48)

enum { LINE_BITS = 6, MAX_LEVELS = 3, STREAMS = 16, MOST_SEGMENTS = 1 << 16 };

static qemu_plugin_id_t self;
static bool counting; /* between the markers */
static bool here;     /* and the process that is counted is the one that runs */

static void *zeroed(size_t n, size_t size)
{
    void *memory = calloc(n, size);
    if (!memory) {
        fprintf(stderr, "counting: out of memory\n");
        abort();
    }
    return memory;
}

/* ---- blocks ---- */
typedef struct { uint64_t executed, reported, left; } Tally; /* left: `executed` when the process last left */
typedef struct Block {
    struct Block *next_same_hash;
    Tally *tally;
    uint64_t hash;
    uint32_t n_words, id;
    uint32_t written_in; /* the file that has its words */
    uint32_t words[];
} Block;

enum { BUCKETS = 1 << 16, SLAB = 1 << 12 };
static Block *buckets[BUCKETS], **blocks;
static Tally *slab; /* counters lie side by side: they are looked at all together, often */
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
    if (n_blocks == room) {
        Block **more = zeroed(room = room ? 2 * room : SLAB, sizeof *more);
        if (n_blocks)
            memcpy(more, blocks, n_blocks * sizeof *more);
        free(blocks);
        blocks = more;
    }
    if (n_blocks % SLAB == 0)
        slab = zeroed(SLAB, sizeof *slab);
    Block *b = zeroed(1, sizeof *b + 4 * n);
    memcpy(b->words, words, 4 * n);
    b->tally = &slab[n_blocks % SLAB];
    b->hash = hash, b->n_words = n, b->id = n_blocks, b->next_same_hash = *bucket;
    return *bucket = blocks[n_blocks++] = b;
}

/* ---- caches: set-associative, least recently used, write-back ---- */
typedef struct {
    uint64_t *ways; /* (line + 1) << 1 | dirty, so that 0 is empty; of a set the most recent first */
    uint64_t sets;
    uint32_t n_ways, next_stream;
    uint64_t misses, streamed, written_back, streams[STREAMS];
} Level;
static Level levels[MAX_LEVELS];
static int n_levels;
static uint64_t accesses, last_line;

/* A miss on the line after an earlier one is what a prefetcher sees coming. */
static void note_stream(Level *level, uint64_t line)
{
    for (int i = 0; i < STREAMS; i++)
        if (level->streams[i] == line) {
            level->streamed++;
            level->streams[i] = line + 1;
            return;
        }
    level->streams[level->next_stream++ % STREAMS] = line + 1;
}

static void touch(int depth, uint64_t line, uint64_t dirty)
{
    if (depth == n_levels)
        return;
    Level *level = &levels[depth];
    uint64_t set_number = level->sets & (level->sets - 1) ? line % level->sets : line & (level->sets - 1);
    uint64_t *set = level->ways + set_number * level->n_ways, tag = (line + 1) << 1, way = tag | dirty;
    if ((set[0] | 1) == (tag | 1)) {
        set[0] |= dirty;
        return;
    }
    uint32_t at = 1;
    while (at < level->n_ways && (set[at] | 1) != (tag | 1))
        at++;
    if (at < level->n_ways) {
        way |= set[at] & 1;
    } else {
        level->misses++;
        note_stream(level, line);
        touch(depth + 1, line, 0);
        if (set[--at] & 1) {
            level->written_back++;
            touch(depth + 1, (set[at] >> 1) - 1, 1);
        }
    }
    for (; at; at--)
        set[at] = set[at - 1];
    set[0] = way;
}

/* One callback for both: QEMU 7.2 mistakes loads for stores where only one kind is asked for. */
static void on_memory(unsigned cpu UNUSED, qemu_plugin_meminfo_t info, uint64_t address, void *data UNUSED)
{
    uint64_t line = address >> LINE_BITS;
    if (!here)
        return;
    accesses++;
    bool store = qemu_plugin_mem_is_store(info);
    if (line == last_line && !store)
        return;
    last_line = line;
    touch(0, line, store);
}

static void empty_caches(void)
{
    for (Level *level = levels; level < levels + n_levels; level++) {
        memset(level->ways, 0, level->sets * level->n_ways * sizeof *level->ways);
        memset(level->streams, 0, sizeof level->streams);
        level->next_stream = 0;
    }
    last_line = 0;
}

/* ---- counts and their segments ---- */
static FILE *out;
static const char *prefix;
static char target[4096], beside[4104];
static unsigned number;
static uint32_t n_segments, n_files;

static void forget(void)
{
    for (uint32_t i = 0; i < n_blocks; i++)
        blocks[i]->tally->reported = blocks[i]->tally->executed;
    accesses = 0;
    for (Level *level = levels; level < levels + n_levels; level++)
        level->misses = level->streamed = level->written_back = 0;
}

static void abandon(void)
{
    if (!out)
        return;
    fclose(out);
    out = NULL;
    remove(beside);
}

static void begin(void)
{
    abandon(); /* a program died between its markers, or has only warmed up so far */
    forget();
    n_segments = 0;
    snprintf(target, sizeof target, "%s.%u", prefix, ++number);
    snprintf(beside, sizeof beside, "%s.part", target);
    n_files++;
    out = fopen(beside, "w");
    if (!out)
        fprintf(stderr, "counting: cannot write %s: %s\n", beside, strerror(errno));
}

static void end_segment(void)
{
    if (!out)
        return;
    for (uint32_t i = 0; i < n_blocks; i++) {
        Block *b = blocks[i];
        uint64_t times = b->tally->executed - b->tally->reported;
        if (!times)
            continue;
        if (b->written_in != n_files) {
            fprintf(out, "block %" PRIu32 " %016" PRIx64, b->id, b->hash);
            for (uint32_t w = 0; w < b->n_words; w++)
                fprintf(out, " %08" PRIx32, b->words[w]);
            fputc('\n', out);
            b->written_in = n_files;
        }
        fprintf(out, "ran %" PRIu32 " %" PRIu64 "\n", b->id, times);
    }
    fprintf(out, "segment %" PRIu64, accesses);
    for (Level *level = levels; level < levels + n_levels; level++)
        fprintf(out, " %" PRIu64 " %" PRIu64 " %" PRIu64, level->misses, level->streamed, level->written_back);
    fputc('\n', out);
    forget();
}

static void finish(void)
{
    if (!out)
        return;
    fputs("end\n", out);
    bool whole = !ferror(out); /* remembers whatever went wrong since it was opened */
    whole = !fclose(out) && whole;
    out = NULL;
    if (!whole || rename(beside, target)) {
        fprintf(stderr, "counting: cannot write %s: %s\n", target, strerror(errno));
        remove(beside);
    }
}

/* ---- who runs: the kernel's cpu_switch_to stores to the task that goes and loads from the one that comes ---- */
static uint64_t stored_at, loaded_at, owner; /* the same field of a task's description, so they are comparable */

static void on_switch_memory(unsigned cpu UNUSED, qemu_plugin_meminfo_t info, uint64_t at, void *data UNUSED)
{
    if (qemu_plugin_mem_is_store(info))
        stored_at = at;
    else
        loaded_at = at;
}

static void on_switch(unsigned cpu UNUSED, void *data UNUSED)
{
    if (!counting || !stored_at || !loaded_at)
        return;
    if (!owner)
        owner = stored_at;
    bool now = loaded_at == owner;
    stored_at = loaded_at = 0;
    if (here && !now)
        for (uint32_t i = 0; i < n_blocks; i++)
            blocks[i]->tally->left = blocks[i]->tally->executed;
    if (now && !here)
        for (uint32_t i = 0; i < n_blocks; i++)
            blocks[i]->tally->reported += blocks[i]->tally->executed - blocks[i]->tally->left;
    here = now;
}

/* ---- markers ---- */
static void instrument_all(qemu_plugin_id_t id);
static void instrument_markers(qemu_plugin_id_t id);

static void on_start(unsigned cpu UNUSED, void *data UNUSED)
{
    if (!counting)
        qemu_plugin_reset(self, instrument_all); /* takes effect before the next block */
    empty_caches();
    owner = 0;
    counting = here = true;
    begin();
}

static void on_again(unsigned cpu UNUSED, void *data UNUSED)
{
    if (!counting || !here)
        return;
    number--; /* the same count */
    begin();
}

static void on_stop(unsigned cpu UNUSED, void *data UNUSED)
{
    if (!counting)
        return;
    if (here) {
        end_segment();
        finish();
    } else {
        abandon(); /* somebody cleans up after a program that died */
    }
    counting = here = false;
    qemu_plugin_reset(self, instrument_markers);
}

static void on_clock(unsigned cpu UNUSED, void *data UNUSED)
{
    if (here && n_segments < MOST_SEGMENTS) {
        n_segments++;
        end_segment();
    }
}

/* ---- translation ---- */
static uint32_t word_of(const struct qemu_plugin_insn *insn)
{
    uint32_t word = 0;
    size_t n = qemu_plugin_insn_size(insn);
    memcpy(&word, qemu_plugin_insn_data(insn), n < 4 ? n : 4);
    return word;
}

static void on_marker(struct qemu_plugin_insn *insn, uint32_t word)
{
    if (word == START)
        qemu_plugin_register_vcpu_insn_exec_cb(insn, on_start, CB_NO_REGS, NULL);
    else if (word == AGAIN)
        qemu_plugin_register_vcpu_insn_exec_cb(insn, on_again, CB_NO_REGS, NULL);
    else if (word == STOP)
        qemu_plugin_register_vcpu_insn_exec_cb(insn, on_stop, CB_NO_REGS, NULL);
}

/* A marker is the first instruction of its block: it is called as a function. */
static void on_translation_for_markers(qemu_plugin_id_t id UNUSED, struct qemu_plugin_tb *tb)
{
    if (qemu_plugin_tb_vaddr(tb) >= USER_SPACE)
        return;
    struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, 0);
    on_marker(insn, word_of(insn));
}

static void translate_kernel(struct qemu_plugin_tb *tb, size_t n)
{
    size_t at = 0;
    while (at < n && word_of(qemu_plugin_tb_get_insn(tb, at)) != SWITCH)
        at++;
    if (at == n)
        return;
    qemu_plugin_register_vcpu_insn_exec_cb(qemu_plugin_tb_get_insn(tb, at), on_switch, CB_NO_REGS, NULL);
    while (at--) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, at);
        qemu_plugin_register_vcpu_mem_cb(insn, on_switch_memory, CB_NO_REGS, MEM_RW, NULL);
    }
}

static void on_translation(qemu_plugin_id_t id UNUSED, struct qemu_plugin_tb *tb)
{
    size_t n = qemu_plugin_tb_n_insns(tb);
    if (qemu_plugin_tb_vaddr(tb) >= USER_SPACE) {
        translate_kernel(tb, n);
        return;
    }
    uint32_t words[n];
    for (size_t i = 0; i < n; i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        words[i] = word_of(insn);
        if (i == 0)
            on_marker(insn, words[i]);
        if ((words[i] & CLOCK_MASK) == CLOCK)
            qemu_plugin_register_vcpu_insn_exec_cb(insn, on_clock, CB_NO_REGS, NULL);
        /* Only these: whatever might access memory and calls a helper of QEMU's, such as a multiplication of
         * floats, would be made slower. */
        if (n_levels && (words[i] & MEMORY_MASK) == MEMORY)
            qemu_plugin_register_vcpu_mem_cb(insn, on_memory, CB_NO_REGS, MEM_RW, NULL);
    }
    uint64_t *executed = &block_of(words, n)->tally->executed;
    qemu_plugin_register_vcpu_tb_exec_inline(tb, INLINE_ADD_U64, executed, 1);
}

static void instrument_all(qemu_plugin_id_t id)
{
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
}

static void instrument_markers(qemu_plugin_id_t id)
{
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation_for_markers);
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info_t *info UNUSED, int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        uint64_t bytes;
        uint32_t n_ways;
        if (!strncmp(argv[i], "out=", 4)) {
            prefix = strdup(argv[i] + 4);
        } else if (sscanf(argv[i], "cache=%" SCNu64 ":%" SCNu32, &bytes, &n_ways) == 2 && n_levels < MAX_LEVELS &&
                   n_ways && bytes >> LINE_BITS >= n_ways) {
            Level *level = &levels[n_levels++];
            level->n_ways = n_ways;
            level->sets = (bytes >> LINE_BITS) / n_ways;
            level->ways = zeroed(level->sets * n_ways, sizeof *level->ways);
        } else {
            fprintf(stderr, "counting: bad argument %s\n", argv[i]);
            return 1;
        }
    }
    if (!prefix || strlen(prefix) > sizeof target - 16) {
        fprintf(stderr, "counting: out=FILE-PREFIX is missing or too long\n");
        return 1;
    }
    self = id;
    instrument_markers(id);
    return 0;
}

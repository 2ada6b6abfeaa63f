/*
 * A plugin for qemu-user 7.2 and later: counts the guest's instructions between two system calls that do no harm, umask(021) and umask(022), on the
 * thread that makes them; those of one library apart, with its hottest blocks. umask(020) says that the library is loaded and where it lies. Debian ships no header for it: what is used of the interface is
 * declared here, after qemu's documentation of TCG plugins (API version 1).
 *
 * Arguments: out=FILE, umask=NUMBER of the system call, range=FILE that holds "begin end" of the library in hexadecimal before umask(020).
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef void (*tb_trans_cb)(qemu_plugin_id_t, struct qemu_plugin_tb *);
typedef void (*exec_cb)(unsigned int, void *);
typedef void (*syscall_cb)(qemu_plugin_id_t, unsigned int, int64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t);
typedef void (*atexit_cb)(qemu_plugin_id_t, void *);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, tb_trans_cb);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, exec_cb, int, void *);
void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id_t, syscall_cb);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, atexit_cb, void *);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
char *qemu_plugin_insn_disas(const struct qemu_plugin_insn *);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

struct block {
  uint64_t address, hits;
  size_t instructions;
  char *text;
  struct block *next;
};

enum { RANGE_MASK = 020, BEGIN_MASK = 021, END_MASK = 022, HOTTEST = 1500, MOST_PIECES = 4096 };
static struct block *blocks;
static uint64_t range_begin, range_end, all, inside, all_before, inside_before;
/* What a piece of work between two marks took, and room for so many of them. */
static struct { uint64_t all, inside; } pieces[MOST_PIECES];
static size_t count_pieces;
static int counting = -1;
static int64_t umask_number = -1;
static const char *out_path, *range_path;

/* Only the thread that counts writes; the rest read one word. */
static void on_block(unsigned int vcpu, void *data) {
  struct block *block = data;
  if ((int)vcpu != counting) return;
  all += block->instructions;
  if (block->address < range_begin || block->address >= range_end) return;
  inside += block->instructions;
  block->hits++;
}

static void on_translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb) {
  (void)id;
  struct block *block = calloc(1, sizeof *block);
  block->address = qemu_plugin_tb_vaddr(tb);
  block->instructions = qemu_plugin_tb_n_insns(tb);
  if (block->address >= range_begin && block->address < range_end) {
    size_t length = 1;
    char *text = calloc(1, 1);
    for (size_t at = 0; at < block->instructions; at++) {
      char *line = qemu_plugin_insn_disas(qemu_plugin_tb_get_insn(tb, at));
      size_t more = strlen(line) + 2;
      text = realloc(text, length + more);
      strcat(strcat(text, line), "\\n");
      length += more;
      free(line);
    }
    block->text = text;
  }
  /* Blocks are never freed: qemu may translate one again and run either. */
  do block->next = __atomic_load_n(&blocks, __ATOMIC_RELAXED);
  while (!__atomic_compare_exchange_n(&blocks, &block->next, block, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED));
  qemu_plugin_register_vcpu_tb_exec_cb(tb, on_block, 0, block);
}

static void on_syscall(qemu_plugin_id_t id, unsigned int vcpu, int64_t number, uint64_t mask, uint64_t b, uint64_t c, uint64_t d, uint64_t e,
                       uint64_t f, uint64_t g, uint64_t h) {
  (void)id, (void)b, (void)c, (void)d, (void)e, (void)f, (void)g, (void)h;
  if (number != umask_number) return;
  if (mask == RANGE_MASK) {
    FILE *file = range_path ? fopen(range_path, "r") : NULL;
    if (file) {
      if (fscanf(file, "%" SCNx64 " %" SCNx64, &range_begin, &range_end) != 2) range_end = 0;
      fclose(file);
    }
  } else if (mask == BEGIN_MASK) {
    all_before = all, inside_before = inside;
    counting = (int)vcpu;
  } else if (mask == END_MASK && counting == (int)vcpu) {
    counting = -1;
    if (count_pieces < MOST_PIECES) pieces[count_pieces].all = all - all_before, pieces[count_pieces++].inside = inside - inside_before;
  }
}

static int by_weight(const void *one, const void *other) {
  const struct block *a = *(struct block *const *)one, *b = *(struct block *const *)other;
  uint64_t x = a->hits * a->instructions, y = b->hits * b->instructions;
  return (x < y) - (x > y);
}

static void on_exit_program(qemu_plugin_id_t id, void *data) {
  (void)id, (void)data;
  FILE *file = fopen(out_path, "w");
  if (!file) return;
  size_t count = 0;
  for (struct block *block = blocks; block; block = block->next) count += block->hits > 0;
  struct block **hot = malloc((count + 1) * sizeof *hot);
  count = 0;
  for (struct block *block = blocks; block; block = block->next)
    if (block->hits > 0) hot[count++] = block;
  qsort(hot, count, sizeof *hot, by_weight);
  fprintf(file, "{\"all\":%" PRIu64 ",\"inside\":%" PRIu64 ",\"pieces\":[", all, inside);
  for (size_t at = 0; at < count_pieces; at++)
    fprintf(file, "%s[%" PRIu64 ",%" PRIu64 "]", at ? "," : "", pieces[at].all, pieces[at].inside);
  fprintf(file, "],\"blocks\":[");
  for (size_t at = 0; at < count && at < HOTTEST; at++)
    fprintf(file, "%s{\"hits\":%" PRIu64 ",\"instructions\":%zu,\"text\":\"%s\"}", at ? "," : "", hot[at]->hits, hot[at]->instructions,
            hot[at]->text ? hot[at]->text : "");
  fprintf(file, "]}\n");
  fclose(file);
}

__attribute__((visibility("default"))) int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv) {
  (void)info;
  for (int at = 0; at < argc; at++) {
    if (!strncmp(argv[at], "out=", 4)) out_path = strdup(argv[at] + 4);
    if (!strncmp(argv[at], "range=", 6)) range_path = strdup(argv[at] + 6);
    if (!strncmp(argv[at], "umask=", 6)) umask_number = atoll(argv[at] + 6);
  }
  if (!out_path || umask_number < 0) return 1;
  qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
  qemu_plugin_register_vcpu_syscall_cb(id, on_syscall);
  qemu_plugin_register_atexit_cb(id, on_exit_program, NULL);
  return 0;
}

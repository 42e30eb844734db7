// SPDX-License-Identifier: Apache-2.0 OR MIT
// Writes to a volume for ever and says what is on the disk for certain: a line
// on standard output after each fsync. `cargo xtask crash` ends its machine at
// some moment and looks whether the lines were true.
//
//   writer DIRECTORY SEED LIFE
//
// Blocks are 4096 bytes that say what they are: a text "FILE INDEX VERSION\n",
// then bytes that follow from it. LIFE keeps versions apart when the volume has
// been written by an earlier run.

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BLOCK = 4096, TABLE = 24, LOGS = 3, SMALL = 64 };

static uint64_t state;
static long life;

static uint64_t draw(void) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state * 0x2545f4914f6cdd1dull;
}

static unsigned below(unsigned limit) { return (draw() >> 33) % limit; }

static void check(int good, const char *what) {
  if (!good) {
    printf("failed %s %d\n", what, errno);
    exit(1);
  }
}

static void say(const char *format, const char *name, long a, long b) {
  char line[256];
  int len = snprintf(line, sizeof line, format, name, a, b);
  check(write(1, line, len) == len, "say");
}

// The bytes behind the text are a stream that is seeded with a hash of it.
static void fill(char *block, const char *name, long index, long version) {
  memset(block, 0, BLOCK);
  int len = snprintf(block, 128, "%s %ld %ld\n", name, index, version);
  uint64_t hash = 0xcbf29ce484222325ull;
  for (int i = 0; i < len; i++) hash = (hash ^ (unsigned char)block[i]) * 0x100000001b3ull;
  for (int i = 128; i < BLOCK; i += 8) {
    hash ^= hash << 13;
    hash ^= hash >> 7;
    hash ^= hash << 17;
    memcpy(block + i, &hash, 8);
  }
}

static void put(int fd, const char *name, long index, long version) {
  static char block[BLOCK];
  fill(block, name, index, version);
  check(pwrite(fd, block, BLOCK, index * (long)BLOCK) == BLOCK, "write");
}

static void sync_directory(void) {
  int fd = open(".", O_RDONLY | O_DIRECTORY);
  check(fd >= 0 && fsync(fd) == 0 && close(fd) == 0, "fsync of the directory");
}

static long log_blocks[LOGS];
static long table_versions[LOGS][TABLE];
static long replaced[LOGS];
static long small_next, small_live[SMALL];
static int small_count;

static void append(void) {
  char name[32];
  int which = below(LOGS);
  snprintf(name, sizeof name, "log%d", which);
  int fd = open(name, O_WRONLY | O_CREAT | O_APPEND, 0644);
  check(fd >= 0, "open of a log");
  if (log_blocks[which] == 0) {
    struct stat st;
    check(fstat(fd, &st) == 0, "fstat");
    // What an earlier life did not finish is cut off.
    check(ftruncate(fd, st.st_size / BLOCK * BLOCK) == 0, "ftruncate");
    log_blocks[which] = st.st_size / BLOCK;
  }
  unsigned count = 1 + below(5);
  for (unsigned i = 0; i < count; i++) {
    static char block[BLOCK];
    fill(block, name, log_blocks[which]++, 1);
    check(write(fd, block, BLOCK) == BLOCK, "append");
  }
  if (below(3) > 0) {
    check(fsync(fd) == 0, "fsync of a log");
    say("log %s %ld %ld\n", name, log_blocks[which], 0);
  }
  check(close(fd) == 0, "close");
}

static void overwrite(void) {
  char name[32];
  int which = below(LOGS);
  snprintf(name, sizeof name, "table%d", which);
  int fd = open(name, O_RDWR | O_CREAT, 0644);
  check(fd >= 0, "open of a table");
  unsigned count = 1 + below(6);
  for (unsigned i = 0; i < count; i++) {
    int index = below(TABLE);
    long version = ++table_versions[which][index] + life * 1000000;
    put(fd, name, index, version);
  }
  if (below(3) > 0) {
    check((below(2) ? fdatasync : fsync)(fd) == 0, "fsync of a table");
    for (int index = 0; index < TABLE; index++)
      if (table_versions[which][index])
        say("table %s %ld %ld\n", name, index, table_versions[which][index] + life * 1000000);
  }
  check(close(fd) == 0, "close");
}

static void replace(void) {
  char name[32], temporary[32];
  int which = below(LOGS);
  snprintf(name, sizeof name, "replaced%d", which);
  snprintf(temporary, sizeof temporary, "new%d", which);
  int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  check(fd >= 0, "open of a new version");
  long version = ++replaced[which] + life * 1000000;
  for (int i = 0; i < 1 + version % 7; i++) put(fd, name, i, version);
  check(fsync(fd) == 0 && close(fd) == 0, "fsync of a new version");
  check(rename(temporary, name) == 0, "rename");
  if (below(2)) {
    sync_directory();
    say("replaced %s %ld %ld\n", name, version, 0);
  }
}

static void make(void) {
  char name[48];
  long number = small_next++;
  snprintf(name, sizeof name, "small%ld-%ld", life, number);
  int fd = open(name, O_WRONLY | O_CREAT | O_EXCL, 0600);
  check(fd >= 0, "open of a small file");
  long blocks = 1 + below(20);
  for (long i = 0; i < blocks; i++) put(fd, name, i, blocks);
  check(fsync(fd) == 0 && close(fd) == 0, "fsync of a small file");
  sync_directory();
  say("small %s %ld %ld\n", name, blocks, 0);
  small_live[small_count++] = number;
}

static void take(void) {
  char name[48];
  if (small_count == 0) return;
  int at = below(small_count);
  long number = small_live[at];
  small_live[at] = small_live[--small_count];
  snprintf(name, sizeof name, "small%ld-%ld", life, number);
  say("going %s %ld %ld\n", name, 0, 0);
  check(unlink(name) == 0, "unlink");
  if (below(2)) {
    sync_directory();
    say("gone %s %ld %ld\n", name, 0, 0);
  }
}

static void directories(void) {
  char name[32];
  snprintf(name, sizeof name, "directory%u", below(3));
  if (mkdir(name, 0755) != 0) check(rmdir(name) == 0, "rmdir");
}

int main(int argc, char **argv) {
  check(argc == 4 && chdir(argv[1]) == 0, "chdir");
  state = strtoull(argv[2], NULL, 10) * 0x9e3779b97f4a7c15ull | 1;
  life = atol(argv[3]);
  say("started %s %ld %ld\n", "writer", life, 0);
  for (;;) {
    unsigned kind = below(100);
    if (kind < 30) append();
    else if (kind < 55) overwrite();
    else if (kind < 70) replace();
    else if ((kind < 84 && small_count < SMALL) || small_count == 0) make();
    else if (kind < 97) take();
    else directories();
  }
}

/* Calls a completed C program with the arguments, random numbers, sales and failing allocations of one run, which come
 * in environment variables, and notes what it reached in the file `$JUDGE_MARKS`, one mark per line. The file is
 * mapped, so that a program that closes its descriptors is noted all the same, and its name is taken out of the
 * environment before the program runs. The linker sends the program's calls to the `__wrap_` functions here; the C
 * library's own calls are untouched. */
#undef main
#undef open
#undef openat
#undef RAND_MAX
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int judged_main(int argc, char *argv[]);
double judge_rand_max = 2147483647.0;

/* The last byte says that there were more marks than fit. */
enum { MARKS_SIZE = 1 << 20 };
static char *marks;

static void mark(const char *text) {
    static size_t n_written;
    size_t size = strlen(text);
    if (!marks)
        return;
    if (n_written + size >= MARKS_SIZE) {
        marks[MARKS_SIZE - 1] = '+';
        return;
    }
    for (size_t i = 0; i < size; i++)
        marks[n_written + i] = text[i];
    n_written += size;
}

static void open_marks(void) {
    const char *path = getenv("JUDGE_MARKS");
    int file = path ? open(path, O_RDWR) : -1;
    if (file < 0)
        return;
    void *mapped = mmap(NULL, MARKS_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (mapped != MAP_FAILED)
        marks = mapped;
    close(file);
}

/* One of the sanitizers reads its options at its first report. This is one, before marks are taken. */
static void wake_sanitizers(void) {
    volatile int most = 0x7fffffff, more;
    more = most + 1;
    (void)more;
}

/* Also where `/proc` shows it. */
static void forget(const char *variable) {
    char *value = getenv(variable);
    for (size_t i = 0; value && value[i]; i++)
        value[i] = '*';
    unsetenv(variable);
}

/* The sanitizers call these at each report. One of them writes to a file of its own, and it is enough to know that it did;
 * the other one writes to standard error, which the program may have closed. */
void __asan_on_error(void) { mark("report\n"); }

__attribute__((weak)) void __ubsan_get_current_report_data(const char **kind, const char **message, const char **file,
                                                           unsigned *line, unsigned *column, char **address);

void __ubsan_on_report(void) {
    const char *kind, *message, *file;
    unsigned line, column;
    char *address;
    __ubsan_get_current_report_data(&kind, &message, &file, &line, &column, &address);
    mark("runtime error: ");
    mark(message);
    mark("\n");
}

static void mark_mode(const char *what, unsigned mode) {
    char line[64];
    snprintf(line, sizeof line, "%s %o\n", what, mode);
    mark(line);
}

void judge_reach(void) {
    static int n_marks;
    if (n_marks++ == 0)
        mark("reach\n");
}

/* Allocations: `$JUDGE_FAIL` is the number of the one that fails, or `all`. */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
char *__real_strdup(const char *text);
void __real_free(void *block);

static int fails(void) {
    static int n_allocations;
    const char *which = getenv("JUDGE_FAIL");
    n_allocations++;
    mark("allocate\n");
    if (!which || (strcmp(which, "all") != 0 && atoi(which) != n_allocations))
        return 0;
    errno = ENOMEM;
    return 1;
}

void *__wrap_malloc(size_t size) { return fails() ? NULL : __real_malloc(size); }
void *__wrap_calloc(size_t count, size_t size) { return fails() ? NULL : __real_calloc(count, size); }
void *__wrap_realloc(void *old, size_t size) { return fails() ? NULL : __real_realloc(old, size); }
char *__wrap_strdup(const char *text) { return fails() ? NULL : __real_strdup(text); }

void __wrap_free(void *block) {
    mark("free\n");
    __real_free(block);
}

/* Numbers: the listed ones first, then ordinary ones, so that a loop which waits for a good one ends. */

static int next_number(const char *variable, int *pos, int ordinary) {
    const char *list = getenv(variable);
    for (int skipped = 0; list && skipped < *pos; skipped++) {
        list = strchr(list, ',');
        list = list ? list + 1 : NULL;
    }
    (*pos)++;
    return list && *list ? (int)strtol(list, NULL, 10) : ordinary;
}

static int next_random(void) {
    static int pos;
    static unsigned state = 12345;
    mark("random\n");
    state = state * 1103515245u + 12345u;
    return next_number("JUDGE_RAND", &pos, (int)(state >> 1));
}

int __wrap_rand(void) { return next_random(); }
long __wrap_random(void) { return next_random(); }
int __wrap_rand_r(unsigned *seed) { return next_random(); }
long __wrap_lrand48(void) { return next_random(); }

int getMonthlySales(int month) {
    static int pos;
    mark("sales\n");
    return next_number("JUDGE_SALES", &pos, 0);
}

/* Files: the permission with which each is made. */

static unsigned masked(unsigned mode) {
    mode_t mask = umask(0);
    umask(mask);
    return mode & ~mask & 07777;
}

int judge_open(int n_args, const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = n_args >= 3 ? va_arg(rest, mode_t) : 07777;
    va_end(rest);
    if (flags & O_CREAT)
        mark_mode("create", masked(mode));
    return open(path, flags, mode & 0777);
}

int judge_openat(int n_args, int directory, const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = n_args >= 4 ? va_arg(rest, mode_t) : 07777;
    va_end(rest);
    if (flags & O_CREAT)
        mark_mode("create", masked(mode));
    return openat(directory, path, flags, mode & 0777);
}

FILE *__real_fopen(const char *path, const char *mode);
FILE *__real_freopen(const char *path, const char *mode, FILE *stream);
int __real_creat(const char *path, mode_t mode);
int __real_mkstemp(char *path);
int __real_chmod(const char *path, mode_t mode);
int __real_fchmod(int file, mode_t mode);

FILE *__wrap_fopen(const char *path, const char *mode) {
    if (mode && (mode[0] == 'w' || mode[0] == 'a'))
        mark_mode("create", masked(0666));
    return __real_fopen(path, mode);
}

FILE *__wrap_freopen(const char *path, const char *mode, FILE *stream) {
    if (mode && (mode[0] == 'w' || mode[0] == 'a'))
        mark_mode("create", masked(0666));
    return __real_freopen(path, mode, stream);
}

int __wrap_creat(const char *path, mode_t mode) {
    mark_mode("create", masked(mode));
    return __real_creat(path, mode);
}

int __wrap_mkstemp(char *path) {
    mark_mode("create", masked(0600));
    return __real_mkstemp(path);
}

int __wrap_chmod(const char *path, mode_t mode) {
    mark_mode("chmod", mode);
    return __real_chmod(path, mode);
}

int __wrap_fchmod(int file, mode_t mode) {
    mark_mode("chmod", mode);
    return __real_fchmod(file, mode);
}

/* Processes: none are started. */

int __wrap_system(const char *command) {
    mark("system\n");
    return 0;
}

FILE *__wrap_popen(const char *command, const char *mode) {
    mark("system\n");
    return NULL;
}

/* Nor does the program become another one, or two of which one is not watched. */
static int refuse(void) {
    mark("another process\n");
    errno = EPERM;
    return -1;
}

int __wrap_fork(void) { return refuse(); }
int __wrap_vfork(void) { return refuse(); }
int __wrap_daemon(int stays, int keeps) { return refuse(); }
int __wrap_execl(const char *path, ...) { return refuse(); }
int __wrap_execlp(const char *path, ...) { return refuse(); }
int __wrap_execle(const char *path, ...) { return refuse(); }
int __wrap_execv(const char *path, char *const *argv) { return refuse(); }
int __wrap_execvp(const char *path, char *const *argv) { return refuse(); }
int __wrap_execvpe(const char *path, char *const *argv, char *const *variables) { return refuse(); }
int __wrap_execve(const char *path, char *const *argv, char *const *variables) { return refuse(); }

#if defined(JUDGE_INDEX)
/* The completed function takes an index into a global array. */
extern int ids[];
int getIdFromArray(int index);

static int call(int argc, char **argv) {
    for (int i = 0; i < 10; i++)
        ids[i] = 1000 + i;
    int index = (int)strtol(argv[1], NULL, 10);
    if (getIdFromArray(index) == 1000 + index)
        judge_reach();
    return 0;
}
#elif defined(JUDGE_ARRAY)
/* The completed function takes an array, its size and an index; the array's bounds are a heap block's. */
int getValueFromArray(int *array, int size, int index);

static int call(int argc, char **argv) {
    int size = 3, index = (int)strtol(argv[1], NULL, 10);
    int *array = __real_malloc(sizeof(int) * size);
    for (int i = 0; i < size; i++)
        array[i] = 1000 + i;
    if (getValueFromArray(array, size, index) == 1000 + index)
        judge_reach();
    return 0;
}
#else
#if defined(JUDGE_SPACES)
/* Spaces that must not be touched lie before the argument, so that whoever walks back over them goes on and writes. */
void __asan_poison_memory_region(void const volatile *start, size_t size);

static char *copy_argument(const char *text) {
    const size_t before = 1024, size = strlen(text) + 1, after = 64;
    char *block = __real_malloc(before + size + after);
    memset(block, ' ', before + size + after);
    memcpy(block + before, text, size);
    __asan_poison_memory_region(block, before);
    __asan_poison_memory_region(block + before + size, after);
    return block + before;
}
#else
static char *copy_argument(const char *text) { return __real_strdup(text); }
#endif

/* The arguments move to the heap, each in a block of its own size: beside them lies what must not be touched. */
static int call(int argc, char **argv) {
    char **copy = __real_malloc(sizeof(char *) * (argc + 1));
    for (int i = 0; i < argc; i++)
        copy[i] = copy_argument(argv[i]);
    copy[argc] = NULL;
    return judged_main(argc, copy);
}
#endif

int main(int argc, char **argv) {
    const char *largest = getenv("JUDGE_RAND_MAX");
    wake_sanitizers();
    open_marks();
    forget("JUDGE_MARKS");
    forget("ASAN_OPTIONS");
    forget("UBSAN_OPTIONS");
    if (largest)
        judge_rand_max = strtod(largest, NULL);
    umask(0);
    mark("start\n");
    int status = call(argc, argv);
    fflush(NULL);
    mark("end\n");
    return status;
}

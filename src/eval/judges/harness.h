/* Read before every completed C program: the program's `main` becomes an ordinary function, and the calls whose
 * arguments or results a judge decides about go through the harness (`harness.c`). */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#define main judged_main

void judge_reach(void);
int judge_open(int n_args, const char *path, int flags, ...);
int judge_openat(int n_args, int directory, const char *path, int flags, ...);

#if defined(JUDGE_FILES)
#define JUDGE_COUNT(...) JUDGE_FIFTH(__VA_ARGS__, 4, 3, 2, 1)
#define JUDGE_FIFTH(a, b, c, d, n, ...) n
#define open(...) judge_open(JUDGE_COUNT(__VA_ARGS__), __VA_ARGS__)
#define openat(...) judge_openat(JUDGE_COUNT(__VA_ARGS__), __VA_ARGS__)
#endif

#if defined(JUDGE_FLOATS)
/* Floats made of `rand() / RAND_MAX` become as large as a float can be. */
extern double judge_rand_max;
#undef RAND_MAX
#define RAND_MAX judge_rand_max
#endif

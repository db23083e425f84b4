/*
 * verbs.h: what the launcher can do, one file a verb, and how it speaks.
 *
 * Each verb gets the arguments behind its name, NULL-terminated, and returns the exit status.
 */
#ifndef SLABMALLOC_VERBS_H
#define SLABMALLOC_VERBS_H

enum { EXIT_FAILED = 1, EXIT_USAGE = 2 };

/* "slabmalloc: WHAT NAME: WHY" on stderr; WHY may be NULL. Returns STATUS. */
int verb_fail(int status, const char *what, const char *name, const char *why);

/* What was printed must have arrived: 0, else 1. */
int verb_printed(void);

int verb_run(char **arguments);
int verb_path(char **arguments);
int verb_report(char **arguments);

#endif

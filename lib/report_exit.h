/*
 * report_exit.h: SLABMALLOC_CONF=report_exit:slab+json,report_file:PATH. When the process exits, not when it is killed
 * or calls _exit.
 *
 * Many programs close standard error in a handler of exit that runs before the library's destructor. So a second
 * descriptor of it is kept from the start, if a report is asked for at all. A program may close or replace that one
 * too: it is written to only while it is still the file it was.
 */
#ifndef SLABMALLOC_REPORT_EXIT_H
#define SLABMALLOC_REPORT_EXIT_H

/* Once, when the options are known. */
void report_exit_init(void);

#endif

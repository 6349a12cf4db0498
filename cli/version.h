/* --version of both programs. */
#ifndef VERSION_H
#define VERSION_H

/* The version, on standard output, and how the program was built: from which commit, by which
 * compiler with which flags, for which instruction sets. */
void print_version(void);

#endif

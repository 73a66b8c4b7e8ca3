/* fork_holder.c: for a test: holds a slot and has a forked child that lives on. Prints the child's number. */
#include <stdio.h>
#include <sys/types.h>
#include <unistd.h>

#include <mailroom/mailroom.h>

int main(int argc, char **argv)
{
    mr_reader *reader;
    if (argc != 2 || mr_reader_open(&reader, argv[1], NULL) != MR_OK) {
        fprintf(stderr, "cannot open a reader: %s\n", mr_last_error_text());
        return 1;
    }
    pid_t child = fork();
    if (child < 0) {
        perror("fork");
        return 1;
    }
    if (child > 0) {
        printf("%d\n", (int) child);
        fflush(stdout);
    } else {
        /* Whoever reads the parent's output is to see its end. */
        close(STDOUT_FILENO);
        close(STDERR_FILENO);
    }
    for (;;) {
        pause();
    }
}

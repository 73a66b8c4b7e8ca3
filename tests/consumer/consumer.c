/* consumer.c: the smallest program that uses an installed Mailroom. It prints the version and one status name, so that
 * both a header and the library were really there. */
#include <stdio.h>
#include <string.h>

#include <mailroom/status.h>
#include <mailroom/version.h>

int main(void)
{
    printf("%s %s\n", MR_VERSION_STRING, mr_status_name(MR_E_TIMEOUT));
    return strcmp(mr_status_name(MR_E_TIMEOUT), "MR_E_TIMEOUT") == 0 ? 0 : 1;
}

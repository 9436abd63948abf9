/* Several copies of the library in one process, and its unloading. The arguments are libraries to load beside the one that
 * this program is linked with. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

#define COPIES 3

/* One copy of the library, as its functions. */
struct copy {
    void *library;
    ntp_result (*start)(const char *);
    ntp_result (*wait)(int64_t);
    ntp_result (*restart)(const ntp_clock *);
    ntp_result (*now)(const ntp_clock *, ntp_reading *);
    ntp_state (*status)(void);
    void (*stop)(void);
    int64_t (*time)(void);
};

static const struct {
    const char *name;
    size_t place;
} functions[] = {
    { "ntp_start", offsetof(struct copy, start) },         { "ntp_wait", offsetof(struct copy, wait) },
    { "ntp_clock_restart", offsetof(struct copy, restart) }, { "ntp_clock_now", offsetof(struct copy, now) },
    { "ntp_status", offsetof(struct copy, status) },       { "ntp_stop", offsetof(struct copy, stop) },
    { "ntp_now", offsetof(struct copy, time) },
};

static struct copy load(const char *path)
{
    struct copy copy = { .library = dlopen(path, RTLD_NOW | RTLD_LOCAL) };
    if (copy.library == NULL)
        fprintf(stderr, "%s\n", dlerror());
    CHECK(copy.library != NULL);
    for (size_t index = 0; index < sizeof functions / sizeof functions[0]; index++) {
        void *found = dlsym(copy.library, functions[index].name);
        CHECK(found != NULL);
        memcpy((char *)&copy + functions[index].place, &found, sizeof found);
    }
    return copy;
}

static void in_child(struct copy *copies, int count)
{
    uint32_t epochs[COPIES];
    ntp_reading reading;
    alarm(60);
    for (int index = 0; index < count; index++) {
        CHECK(copies[index].now(NULL, &reading) == NTP_OK && reading.state == NTP_STATE_HOLDOVER);
        CHECK(copies[index].wait(0) == NTP_ERR_NOT_RUNNING);
        epochs[index] = reading.epoch;
    }
    /* The first alone: the others are none of its business. */
    CHECK(copies[0].restart(NULL) == NTP_OK && copies[0].wait(10000) == NTP_OK);
    for (int index = 1; index < count; index++) {
        CHECK(copies[index].status() == NTP_STATE_HOLDOVER);
        CHECK(copies[index].restart(NULL) == NTP_OK && copies[index].wait(10000) == NTP_OK);
    }
    for (int index = 0; index < count; index++)
        CHECK(copies[index].now(NULL, &reading) == NTP_OK && reading.epoch == epochs[index]);
    exit(0);
}

static void all_run_and_fork(struct copy *copies, int count, const char *list)
{
    for (int index = 0; index < count; index++) {
        for (int other = 0; other < index; other++)
            CHECK(copies[other].time != copies[index].time);
        CHECK(copies[index].status() == NTP_STATE_UNSYNCHRONIZED);
        CHECK(copies[index].start(list) == NTP_OK && copies[index].wait(10000) == NTP_OK);
    }
    for (int round = 0; round < 10; round++) {
        int status = 0;
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0)
            in_child(copies, count);
        CHECK(waitpid(child, &status, 0) == child && status == 0);
        for (int index = 0; index < count; index++)
            CHECK(copies[index].status() == NTP_STATE_SYNCHRONIZED);
    }
}

/* Unloaded under its running thread, a library stays: kept pointers work, and who loads it again finds its clock. */
static void unloading_is_harmless(struct copy *copy, const char *path)
{
    ntp_reading before, after;
    CHECK(copy->now(NULL, &before) == NTP_OK);
    CHECK(dlclose(copy->library) == 0);
    for (int reading = 0; reading < 100000; reading++)
        CHECK(copy->time() >= before.unix_ns);
    CHECK(copy->status() == NTP_STATE_SYNCHRONIZED && copy->wait(0) == NTP_OK);
    struct copy again = load(path);
    CHECK(again.time == copy->time && again.now(NULL, &after) == NTP_OK);
    CHECK(after.state == NTP_STATE_SYNCHRONIZED && after.epoch == before.epoch);
    CHECK(dlclose(again.library) == 0);
    copy->stop();
    CHECK(copy->status() == NTP_STATE_HOLDOVER);
    CHECK(copy->time() >= after.unix_ns);
}

int main(int argc, char **argv)
{
    char list[32];
    ntp_server *server = local_server(list);
    struct copy copies[COPIES] = {
        { NULL, ntp_start, ntp_wait, ntp_clock_restart, ntp_clock_now, ntp_status, ntp_stop, ntp_now },
    };
    CHECK(argc - 1 < COPIES);
    for (int index = 1; index < argc; index++)
        copies[index] = load(argv[index]);
    all_run_and_fork(copies, argc, list);
    for (int index = 1; index < argc; index++)
        unloading_is_harmless(&copies[index], argv[index]);
    CHECK(ntp_status() == NTP_STATE_SYNCHRONIZED);
    ntp_stop();
    ntp_server_free(server);
    return 0;
}

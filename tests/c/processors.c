/* Two threads, each on a processor of its own: neither ever reads earlier than a value that it has seen from the other, whether it
 * asks for the time or for the whole reading, over many pages. */

#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

#include "check.h"

#define THREADS 2

static atomic_int over;
/* The newest that any thread has read. */
static atomic_int_least64_t newest;
static uint32_t epoch;

static struct reader {
    cpu_set_t processor;
    uint64_t readings;
} readers[THREADS];

static int64_t whole(void)
{
    ntp_reading reading;
    EXPECT(NTP_OK, ntp_clock_now(NULL, &reading));
    CHECK(reading.epoch == epoch && reading.earliest_ns <= reading.unix_ns && reading.unix_ns <= reading.latest_ns);
    return reading.unix_ns;
}

static void *reads(void *context)
{
    struct reader *reader = context;
    const uint64_t first = (uint64_t)(reader - readers);
    CHECK(pthread_setaffinity_np(pthread_self(), sizeof reader->processor, &reader->processor) == 0);
    for (uint64_t turn = first; !atomic_load_explicit(&over, memory_order_relaxed); turn++) {
        int64_t seen = atomic_load_explicit(&newest, memory_order_acquire);
        int64_t read = turn % 2 == 0 ? ntp_now() : whole();
        if (read < seen) {
            fprintf(stderr, "%" PRId64 " ns earlier than what was seen, at reading %" PRIu64 "\n", seen - read, turn);
            exit(1);
        }
        while (seen < read && !atomic_compare_exchange_weak(&newest, &seen, read))
            continue;
        reader->readings++;
    }
    return NULL;
}

/* So many processors that this process may use, one for each reader. */
static void choose_processors(void)
{
    cpu_set_t allowed;
    int chosen = 0;
    CHECK(sched_getaffinity(0, sizeof allowed, &allowed) == 0);
    for (int number = 0; number < CPU_SETSIZE && chosen < THREADS; number++) {
        if (CPU_ISSET(number, &allowed)) {
            CPU_ZERO(&readers[chosen].processor);
            CPU_SET(number, &readers[chosen].processor);
            chosen++;
        }
    }
    if (chosen < THREADS) {
        fprintf(stderr, "two processors are needed to see one counter from; this process may use %d\n", chosen);
        exit(1);
    }
}

int main(void)
{
    char list[32];
    pthread_t threads[THREADS];
    ntp_reading reading;
    choose_processors();
    ntp_server *server = local_server(list);
    start_polling_each_second(list);
    EXPECT(NTP_OK, ntp_clock_now(NULL, &reading));
    epoch = reading.epoch;
    atomic_store(&newest, reading.unix_ns);
    for (int reader = 0; reader < THREADS; reader++)
        CHECK(pthread_create(&threads[reader], NULL, reads, &readers[reader]) == 0);
    /* Long enough for some pages. */
    sleep(4);
    atomic_store(&over, 1);
    for (int reader = 0; reader < THREADS; reader++) {
        CHECK(pthread_join(threads[reader], NULL) == 0);
        CHECK(readers[reader].readings > 100000);
    }
    ntp_stop();
    ntp_server_free(server);
    return 0;
}

/* Preloaded into a program under callgrind, which makes it some fifty times slower, slows its clocks
   down as much. So what happens once in so many seconds, as reports, leases and expiry do, happens
   about once in as many decisions as without callgrind. */
#define _GNU_SOURCE
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SLOWDOWN 50
#define SECOND INT64_C(1000000000)
/* From CLOCK_REALTIME to CLOCK_BOOTTIME. */
#define CLOCKS 8

static int64_t started[CLOCKS];

static int64_t nanoseconds(const struct timespec *time) {
  return time->tv_sec * SECOND + time->tv_nsec;
}

__attribute__((constructor)) static void start(void) {
  for (clockid_t clock = 0; clock < CLOCKS; clock++) {
    struct timespec now;
    if (syscall(SYS_clock_gettime, clock, &now) == 0) started[clock] = nanoseconds(&now);
  }
}

int clock_gettime(clockid_t clock, struct timespec *time) {
  int result = syscall(SYS_clock_gettime, clock, time);
  int counts_time_of_processor =
      clock == CLOCK_PROCESS_CPUTIME_ID || clock == CLOCK_THREAD_CPUTIME_ID;
  if (result == 0 && clock >= 0 && clock < CLOCKS && !counts_time_of_processor) {
    int64_t slow = started[clock] + (nanoseconds(time) - started[clock]) / SLOWDOWN;
    time->tv_sec = slow / SECOND;
    time->tv_nsec = slow % SECOND;
  }
  return result;
}

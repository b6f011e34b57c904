// The threads of torch, by its own OpenMP runtime, whose functions the caller passes: a library
// linked with another one would bring a second pool of threads.
#pragma once

struct Team {
    long long threads;
    void (*parallel)(void (*)(void*), void*, unsigned, unsigned);  // GOMP_parallel
    int (*member)();                                               // omp_get_thread_num
    int (*size)();                                                 // omp_get_num_threads
};

// work(call, thread) for every thread of call.team, by however many threads there turn out to be:
// sums depend on the division of the work, which must not depend on that.
template <typename Call, void (*work)(const Call&, int)>
void run(void* argument) {
    const Call& call = *static_cast<const Call*>(argument);
    const bool alone = call.team.threads == 1;
    const int first = alone ? 0 : call.team.member(), step = alone ? 1 : call.team.size();
    for (int thread = first; thread < call.team.threads; thread += step) work(call, thread);
}

template <typename Call, void (*work)(const Call&, int)>
void launch(Call* call) {
    if (call->team.threads > 1) {
        call->team.parallel(run<Call, work>, call, unsigned(call->team.threads), 0);
    } else {
        run<Call, work>(call);
    }
}

/**
 * What whoever starts a gateway as a process of its own sets for it: the unit of a packed gateway, the demonstration, the benchmarks.
 *
 * MALLOC_ARENA_MAX: glibc gives each thread that asks while others do an arena of its own, and none gives back what it once had; two threads that
 * seldom ask at the same time share one without a loss.
 *
 * 10 MB less at 1,000 streams, processor time the same (tremolo bench streams). MALLOC_MMAP_THRESHOLD_, which would give large blocks back as soon as
 * they are freed, costs a tenth of the processor time: each run of the model asks for such blocks again.
 */
export const GATEWAY_ENVIRONMENT: Readonly<Record<string, string>> = { MALLOC_ARENA_MAX: '1' };

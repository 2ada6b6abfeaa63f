/**
 * Notices that a stream is no longer what it was.
 *
 * `drifted` speaks of the latest value alone; the update after it begins anew. No clock, no I/O, no randomness of its own.
 */
export interface Detector<Value = number> {
  update(x: Value): void;
  readonly drifted: boolean;
}

import type { Recording } from '../../trainer/data/recording-set.ts';

/** All samples of a recording, row-major [length, channels]. */
export function samplesOf({ read, length }: Pick<Recording, 'read' | 'length'>): Float32Array {
  return read(0, length);
}

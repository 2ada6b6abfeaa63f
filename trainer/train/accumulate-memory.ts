import type { Network } from '../../models/networks/network.ts';
import { peakBytes } from '../../models/training/memory.ts';
import { type NetworkWeights, type TrainingOptions, traceGradient, trainableLayout } from '../../models/training/trace-training.ts';
import { Refusal } from '../refusal.ts';

/** How a step is divided: `parts` micro-batches of `partBatch` samples, on `workers` threads. */
export interface Partition {
  readonly partBatch: number;
  readonly parts: number;
  readonly workers: number;
  /** What the process is expected to take, where a budget was stated. */
  readonly estimatedBytes?: number;
}

export interface PartitionRequest {
  readonly network: Network;
  readonly training: TrainingOptions;
  readonly weights: NetworkWeights;
  /** Threads that compute gradients; with 1 the calling thread does. */
  readonly workers: number;
  /** What the whole process may take, in bytes; no limit where absent. */
  readonly memoryBytes?: number;
  /** What the process takes before training. Default: what it takes now. */
  readonly baseBytes?: number;
}

/** Resident memory of a training session against the bytes of its values: 2.3 to 3.1 measured (onnxruntime 1.30, three networks, batches 8 to 192). */
const RESIDENT_PER_BYTE = 3.1;
/** The engine's library, the traced graph and the garbage of making it. */
const ENGINE_BYTES = 40 * 2 ** 20;
/** A worker thread with its engine, before it has loaded a graph. */
const WORKER_BYTES = 32 * 2 ** 20;
/** Vectors as long as the parameters: values and moments, twice each; where the update is a graph of its own, its values, sums and shared copies too. */
const STATE_VECTORS = 8;
const DIVIDED_VECTORS = 24;

/**
 * Divides a step so that every worker has a share and the process keeps to its memory. The batch of the step stays what it is; what shrinks is
 * how much of it is computed at once.
 *
 * @throws Refusal train/memory where not even one sample at a time fits
 */
export function planPartition(request: PartitionRequest): Partition {
  const { network, training, weights, memoryBytes, baseBytes = process.memoryUsage.rss() } = request;
  const { batch } = training;
  const workers = Math.min(request.workers, batch);
  const partition = (parts: number): Partition => {
    const partBatch = Math.ceil(batch / parts);
    return { partBatch, parts: Math.ceil(batch / partBatch), workers: Math.min(workers, Math.ceil(batch / partBatch)) };
  };
  if (memoryBytes === undefined) return partition(workers);

  const vector = 4 * trainableLayout(network, training.adapter).size;
  const estimate = ({ partBatch, parts }: Partition): number => {
    const session = RESIDENT_PER_BYTE * peakBytes(traceGradient(network, { ...training, batch: partBatch }, weights));
    const threads = workers > 1 ? workers * (session + WORKER_BYTES) + parts * vector : session;
    return baseBytes + ENGINE_BYTES + (parts > 1 ? DIVIDED_VECTORS : STATE_VECTORS) * vector + threads;
  };
  let least = Number.POSITIVE_INFINITY;
  // Halves keep the workers evenly busy.
  for (let parts = workers; ; parts *= 2) {
    const candidate = partition(parts);
    const estimatedBytes = estimate(candidate);
    if (estimatedBytes <= memoryBytes) return { ...candidate, estimatedBytes };
    least = Math.min(least, estimatedBytes);
    if (candidate.partBatch === 1) break;
  }
  const mebibytes = (bytes: number) => `${Math.ceil(bytes / 2 ** 20)} MiB`;
  throw new Refusal(
    'train/memory',
    `training with ${workers === 1 ? 'one worker' : `${workers} workers`} needs about ${mebibytes(least)}, the budget is ${mebibytes(memoryBytes)}; raise --memory${workers > 1 ? ' or take fewer --workers' : ''}`,
  );
}

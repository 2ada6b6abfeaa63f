import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { BundleRefusal } from '../../models/bundle/schema/refusal.ts';
import { createOnnxruntimeEngine } from '../../models/engine/onnxruntime-engine.ts';
import { Refusal } from '../refusal.ts';
import { averageInputSchema, runAverage } from './average-job.ts';
import type { ServerConfiguration } from './configuration.ts';
import type { Lease } from './jobs.ts';
import { type ModelStore, modelFolder, openModelStore } from './model-store.ts';
import type { Books } from './open-books.ts';
import { pause } from './pause.ts';
import { retrain } from './retrain.ts';
import { retrainInputSchema } from './retrain-input.ts';

/** How often somebody without work asks for some. */
const POLL_MS = 500;
/** Heartbeats within a lease. */
const HEARTBEATS = 4;

export type WorkerLog = (event: string, details: Record<string, unknown>) => void;

/** Does jobs, one at a time, until it is stopped; one that is interrupted goes back at once. */
export async function work(
  configuration: ServerConfiguration,
  { store, jobs }: Pick<Books, 'store' | 'jobs'>,
  signal: AbortSignal,
  log: WorkerLog,
): Promise<void> {
  const worker = `${hostname()}-${process.pid}`;
  const { artifacts } = configuration;
  await sweep(artifacts);
  await openModelStore(configuration).check((error) => log('store', { error: error.message }));
  const engine = await createOnnxruntimeEngine();
  while (!signal.aborted) {
    const lease = await jobs.take(worker);
    if (!lease) {
      await pause(POLL_MS, signal);
      continue;
    }
    const { job } = lease;
    log('job', { id: job.id, worker, attempt: job.attempts });
    // Its own end, or the news that the job is another's by now.
    const over = new AbortController();
    const stop = AbortSignal.any([signal, over.signal]);
    const beat = setInterval(() => {
      lease.heartbeat().then(
        (mine) => !mine && over.abort(new Error('another worker has taken over')),
        (error: Error) => log('heartbeat', { id: job.id, error: error.message }),
      );
    }, jobs.leaseMs / HEARTBEATS);
    const onProgress = (note: string) => log('progress', { id: job.id, note });
    let scratch: string | undefined;
    try {
      await mkdir(artifacts, { recursive: true });
      scratch = await mkdtemp(join(artifacts, `.making-${worker}-`));
      // A store that is away costs waiting, and not what was trained; what is fetched from it goes with the job.
      const onAway = (error: Error) => log('store', { id: job.id, error: error.message });
      const models = openModelStore(configuration, scratch, { signal: stop, onAway });
      const result = await (job.kind === 'retrain'
        ? runRetrain(models, join(scratch, 'bundle'))
        : runAverage(engine, configuration, models, store, averageInputSchema.parse(job.input)));
      const counts = await lease.finish(result);
      log('finished', { id: job.id, counts, ...summaryOf(result) });
    } catch (error) {
      await failed(lease, error as Error);
    } finally {
      clearInterval(beat);
      if (scratch) await rm(scratch, { recursive: true, force: true });
    }

    async function runRetrain(models: ModelStore, out: string) {
      const settings = configuration.retrain;
      if (!settings) throw new Refusal('server/retrain', 'server.yaml of this worker has no retrain');
      const { base, through } = retrainInputSchema.parse(job.input);
      const { known, steps, full, seed, tolerance, suspicion } = settings;
      const windows = await store.labelledWindows(job.site, through);
      const bundle = await modelFolder(models, configuration, base);
      const made = await retrain(
        engine,
        { bundle, out, windows, known, steps, full, seed, tolerance, suspicion },
        { signal: stop, onProgress },
      );
      if (made.outcome === 'accepted') await models.keep(out, made.digest!);
      return made;
    }

    async function failed({ fail, giveBack }: Lease, error: Error): Promise<void> {
      const isRefused = error instanceof Refusal || error instanceof BundleRefusal;
      const counts = await (signal.aborted ? giveBack() : fail(error.message, !isRefused));
      log('failed', { id: job.id, counts, error: error.message });
    }
  }
}

/** Removes the drafts of workers of this machine that were killed: what is erased elsewhere must not lie on in them. */
async function sweep(artifacts: string): Promise<void> {
  for (const name of await readdir(artifacts).catch((): string[] => [])) {
    const [, host, pid] = /^\.making-(.+)-(\d+)-\w{6}$/.exec(name) ?? [];
    if (host === hostname() && !isAlive(Number(pid))) await rm(join(artifacts, name), { recursive: true, force: true });
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

function summaryOf(result: object): Record<string, unknown> {
  const { outcome, reason, digest, method, old, new: fresh, seconds } = result as Record<string, unknown>;
  return { outcome, reason, digest, method, old, new: fresh, seconds };
}

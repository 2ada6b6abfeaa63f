import { type ChildProcess, spawn } from 'node:child_process';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Repository } from '../fleet/repository.ts';
import { FleetServer } from '../fleet/server.ts';
import { Refusal } from '../refusal.ts';
import type { ServerConfiguration } from './configuration.ts';
import { Intake } from './intake.ts';
import { LearningServer, type ServerLog } from './learning-server.ts';
import { openModelStore } from './model-store.ts';
import { openBooks } from './open-books.ts';

/** How often rules and results are looked at where nothing arrives; and longest wait after something has. */
const TICK_MS = 1000;
const GATHER_MS = 100;

/** Before a worker that ended is started again. */
const RESTART_MS = 1000;

export interface ServeOptions {
  /** Arguments of node that make a worker, and the folder that it runs in. */
  readonly program: readonly string[];
  readonly folder: string;
}

/** A worker that has not ended by then is killed; its job is another's when its lease is over. */
const LONGEST_END_MS = 15_000;

/** Worker processes that are started again when they end, and end with us however we do: their channel breaks. */
class Workers {
  readonly #children = new Map<number, ChildProcess>();
  readonly #options: ServeOptions;
  readonly #log: ServerLog;
  #closed = false;

  constructor(count: number, options: ServeOptions, log: ServerLog) {
    this.#options = options;
    this.#log = log;
    for (let index = 0; index < count; index++) this.#start(index);
  }

  get running(): number {
    return this.#children.size;
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all(
      [...this.#children.values()].map(
        (child) =>
          new Promise((resolve) => {
            const hanging = setTimeout(() => child.kill('SIGKILL'), LONGEST_END_MS);
            child.once('exit', () => {
              clearTimeout(hanging);
              resolve(undefined);
            });
            child.kill('SIGTERM');
          }),
      ),
    );
  }

  #start(index: number): void {
    if (this.#closed) return;
    const { program, folder } = this.#options;
    const child = spawn(process.execPath, program, { cwd: folder, stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
    this.#children.set(index, child);
    child.once('error', (error) => this.#log('worker', { error: error.message }));
    child.once('exit', (code, signal) => {
      this.#children.delete(index);
      if (this.#closed) return;
      this.#log('worker', { error: `ended with ${signal ?? code}` });
      setTimeout(() => this.#start(index), RESTART_MS).unref();
    });
  }
}

/**
 * The server that learns: updates, books, rules, workers.
 *
 * @returns its counters, when it was stopped
 * @throws Refusal fleet/served, server/database, server/objects
 */
export async function serveLearning(
  configuration: ServerConfiguration,
  repository: Repository,
  databaseUrl: string | undefined,
  options: ServeOptions,
  signal: AbortSignal,
  log: ServerLog,
): Promise<Record<string, unknown>> {
  const { broker, name, retrain, workers: count, http, rate } = configuration;
  const models = openModelStore(configuration);
  await models.check((error) => log('store', { error: error.message }));
  const fleet = await FleetServer.tryStart(repository, broker, { onEvent: log }, { bytesPerSecond: rate });
  if (!fleet) throw new Refusal('fleet/served', `another process serves ${repository.folder}; stop it first, or begin it with --worker`);
  const over = AbortSignal.any([signal, fleet.lost]);
  const books = await openBooks(configuration, databaseUrl, (error) => log('database', { error: error.message }));
  const learning = new LearningServer(configuration, books, models, repository, fleet.watch, log);

  let trouble: string | undefined;
  let timer: NodeJS.Timeout | undefined;
  let dueMs = 0;
  let passing: Promise<void> | undefined;
  const schedule = (afterMs: number) => {
    if (over.aborted || passing) return;
    const at = performance.now() + afterMs;
    if (timer && dueMs <= at) return;
    clearTimeout(timer);
    dueMs = at;
    timer = setTimeout(() => {
      timer = undefined;
      passing = learning
        .pass()
        .then(() => {
          trouble = undefined;
        })
        .catch((error: Error) => {
          // The same every second is said once.
          if (trouble !== error.message) log('trouble', { error: error.message });
          trouble = error.message;
        })
        .finally(() => {
          passing = undefined;
          schedule(TICK_MS);
        });
    }, afterMs);
  };

  const sites = await repository.sites();
  const intake = new Intake(
    books.store,
    broker,
    { sites, metrics: retrain?.metric ? [retrain.metric.topic] : [], clientId: `tremolo-${name}-intake` },
    () => schedule(GATHER_MS),
    (error) => log('intake', { error: error.message }),
  );
  const workers = new Workers(count, options, log);
  schedule(0);
  const sickness = () => trouble ?? (intake.listening && fleet.connected ? undefined : 'the broker is away');
  const health = http && (await startHealth(http, sickness, () => ({ intake: intake.counters, workers: workers.running })));
  log('serving', { repository: repository.folder, broker: broker.url, database: books.kind, ...(health && { port: health.port }) });

  await new Promise<void>((resolve) => {
    if (over.aborted) resolve();
    over.addEventListener('abort', () => resolve(), { once: true });
  });
  clearTimeout(timer);
  health?.close();
  await intake.close();
  await passing;
  await workers.close();
  await fleet.close();
  const counts = await books.store.counts();
  await books.close();
  fleet.checkServing();
  return { counters: { ...fleet.counters }, intake: intake.counters, books: counts };
}

/** `/healthz`: 200 while the broker is there and the rules run, 503 with the reason where not; and what was taken in. */
async function startHealth(
  { port, host }: { port: number; host: string },
  sickness: () => string | undefined,
  details: () => object,
): Promise<{ port: number; close(): void }> {
  const server = createServer((request, response) => {
    const found = request.url?.split('?')[0] === '/healthz';
    const sick = sickness();
    response.writeHead(found ? (sick ? 503 : 200) : 404, { 'content-type': 'application/json', 'cache-control': 'no-store' });
    response.end(`${JSON.stringify(found ? { status: sick ?? 'ok', ...details() } : { status: 'there is /healthz' })}\n`);
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}

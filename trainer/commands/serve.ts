import { dirname, resolve } from 'node:path';
import { pino } from 'pino';
import { LimitedLog } from '../../runtime/io/limited-log.ts';
import { Repository } from '../fleet/repository.ts';
import { FleetServer } from '../fleet/server.ts';
import { Refusal } from '../refusal.ts';
import { readServerConfiguration } from '../server/configuration.ts';
import { openBooks } from '../server/open-books.ts';
import { serveLearning } from '../server/serve.ts';
import { work } from '../server/worker.ts';
import type { Command, ParsedArguments } from './command.ts';
import { brokerOption, FLEET_HELP, FLEET_OPTIONS, openRepository, rateOption } from './fleet-options.ts';

const logger = () => pino({ base: undefined, timestamp: pino.stdTimeFunctions.isoTime }, pino.destination(2));

function events() {
  const log = logger();
  // A broker that is away for an hour must not fill the disk with one line a second.
  const limited = new LimitedLog(log);
  return {
    log,
    onEvent: (event: string, details: Record<string, unknown>) => {
      if (details.error !== undefined || details.warning !== undefined) limited.warn(`${event} ${JSON.stringify(details)}`, details, event);
      else log.info(details, event);
    },
  };
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((done) => {
    if (signal.aborted) done();
    signal.addEventListener('abort', () => done(), { once: true });
  });
}

/** Rollouts alone, without a file. */
async function serveFleet(args: ParsedArguments, signal: AbortSignal): Promise<Record<string, unknown>> {
  const repository = await openRepository(args);
  const broker = brokerOption(args);
  const { log, onEvent } = events();
  const server = await FleetServer.tryStart(repository, broker, { onEvent }, { bytesPerSecond: rateOption(args) });
  if (!server) throw new Refusal('fleet/served', `another process serves ${repository.folder}; stop it first`);
  log.info({ repository: repository.folder, broker: broker.url }, 'serving');
  await aborted(AbortSignal.any([signal, server.lost]));
  await server.close();
  server.checkServing();
  return { counters: { ...server.counters } };
}

/** Does jobs until it is stopped, or until the server that started it is gone. */
async function serveWorker(path: string, signal: AbortSignal): Promise<Record<string, unknown>> {
  const configuration = await readServerConfiguration(path);
  const { onEvent } = events();
  const orphaned = new AbortController();
  // False where there was a server that has gone already; undefined where there never was one.
  if (process.connected === false) orphaned.abort();
  const onDisconnect = () => orphaned.abort();
  process.once('disconnect', onDisconnect);
  const books = await openBooks(configuration, process.env.DATABASE_URL, (error) => onEvent('database', { error: error.message }));
  try {
    await work(configuration, books, AbortSignal.any([signal, orphaned.signal]), onEvent);
  } finally {
    await books.close();
    // Whoever listens to the channel is kept alive by it.
    process.off('disconnect', onDisconnect);
    if (process.connected) process.disconnect();
  }
  return {};
}

export const serve: Command = {
  verb: 'serve',
  summary: 'answer gateways, lead rollouts, retrain, until it is stopped',
  help: `usage: tremolo serve [server.yaml] [options]
       tremolo serve server.yaml --worker

Keeps the repository's signatures fresh, answers what gateways fetch, and leads every rollout that was begun with tremolo
push. Logs to stderr, one JSON object a line. One process at a time serves a repository.

With a server.yaml it also takes drift signals, labels and adapters, each on disk before it is acknowledged, and decides
by rule when to retrain. Workers (child processes, or others with --worker, on any machine that shares DATABASE_URL
and artifacts, or an objectStore) tune the running bundle on the new windows with replay; what is better on the new and no worse on the old
is signed and rolled out in waves. Labels and adapters that cost what is known are quarantined.

  repository: fleet                       # made by tremolo keys init
  broker: { url: mqtt://127.0.0.1:1883 }
  database: state/server.db               # or DATABASE_URL=postgres://...
  artifacts: state/models                 # or objectStore: { endpoint: https://..., bucket: models }
  http: { port: 8080 }                    # /healthz
  retrain:
    bundle: bundle                        # what gateways are installed with
    known: recordings                     # what it knows; to gate on
    labels: 12                            # when: so many new labels,
    severity: 3                           #   or drifts of so much together,
    metric: { topic: line-1/oee, fall: 0.05 }   # or a figure that falls
  kinds: { press: [plant-1/*/press-*] }   # machines that learn from each other

Without a file, or for workers:

  --worker                do jobs and nothing else
${FLEET_HELP}

example: tremolo serve --repository fleet --broker mqtt://127.0.0.1:1883`,
  options: { ...FLEET_OPTIONS, worker: { type: 'boolean' } },
  positionals: 1,
  async run(args, signal) {
    const [path] = args.positionals;
    if (path === undefined) {
      if (args.values.worker) throw new Refusal('usage/arguments', '--worker needs a server.yaml; see tremolo serve --help');
      return serveFleet(args, signal);
    }
    const other = Object.keys(FLEET_OPTIONS).find((name) => args.values[name] !== undefined);
    if (other) throw new Refusal('usage/arguments', `--${other} stands in ${path}; leave it out`);
    if (args.values.worker) return serveWorker(path, signal);
    const configuration = await readServerConfiguration(path);
    const repository = await Repository.open(configuration.repository);
    const { onEvent } = events();
    const options = { program: [process.argv[1], 'serve', resolve(path), '--worker'], folder: dirname(resolve(path)) };
    return serveLearning(configuration, repository, process.env.DATABASE_URL, options, signal, onEvent);
  },
};

import { type ChildProcess, spawn } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import { createRepository } from '../../fleet/authority.ts';
import { type DemoParts, SITE, startParts } from '../parts.ts';
import { LOOP_FOLDERS } from './disk.ts';

/** What a retraining may cost on what was known; a quick one is coarse. */
const TOLERANCE = 0.05;

export interface LoopPartsOptions {
  /** Everything that the parts keep goes here. */
  readonly folder: string;
  readonly bundleFolder: string;
  readonly engine: 'onnxruntime' | 'wasm';
  readonly programs: URL;
  /** Share of the time in which the gateway's learning thread works. */
  readonly workShare: number;
  /** Recording set of what the bundle knows, for the server to gate on; without it there is no server. */
  readonly known?: string;
}

export interface LoopParts extends DemoParts {
  /** Starts `tremolo serve server.yaml --worker`, which does the jobs that wait. */
  startWorker(): void;
}

/** A child that logs to a file of the folder; ended with us. */
function begin(args: readonly string[], { folder, programs }: LoopPartsOptions, onEnd: (code: number | null) => void): ChildProcess {
  const tremolo = fileURLToPath(new URL('tremolo.js', programs));
  const child = spawn(process.execPath, [tremolo, ...args], { cwd: folder, stdio: ['ignore', 'ignore', 'pipe', 'ipc'] });
  child.once('exit', onEnd);
  return child;
}

/** Broker, gateway and the sensors' ways as in the short demonstration, and a server in processes of its own: a repository with keys, books, and a worker when it is called. */
export async function startLoopParts(names: readonly string[], options: LoopPartsOptions): Promise<LoopParts> {
  const { folder, bundleFolder, engine, programs, workShare, known } = options;
  await mkdir(folder, { recursive: true });
  const fleet = join(folder, LOOP_FOLDERS.fleet);
  if (known) await createRepository(fleet, { folder: join(fleet, 'keys'), keys: 2, threshold: 2 }, [SITE], new Date());
  const parts = await startParts(names, bundleFolder, engine, programs, {
    stateFolder: join(folder, LOOP_FOLDERS.gateway),
    learn: { settleSeconds: 1, workShare, shadowWindows: 24, upload: true },
    drift: { evidence: 'raw', evidenceWindows: 8 },
    ...(known && { update: { root: join(fleet, '1.root.json') } }),
  });
  const children = new Map<ChildProcess, Promise<unknown>>();
  let lastWords: string | undefined;
  const start = (what: string, ...args: string[]) => {
    let [text, stopping] = ['', false];
    const child = begin(args, options, (code) => {
      children.delete(child);
      if (!stopping) lastWords = `${what} ended with ${code}: ${text.trim().split('\n').at(-1)}`;
    });
    child.stderr!.on('data', (chunk) => {
      text = (text + chunk).slice(-10_000);
      void writeFile(join(folder, `${what}.log`), text);
    });
    const ended = new Promise((resolve) => child.once('close', resolve));
    children.set(child, ended);
    stops.push(async () => {
      stopping = true;
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), 5000);
      await ended;
      clearTimeout(timer);
    });
  };
  const stops: (() => Promise<void>)[] = [];
  if (known) {
    await writeFile(join(folder, 'server.yaml'), stringify(serverSettings(parts.url, bundleFolder, known)));
    start('server', 'serve', 'server.yaml');
  }
  return {
    ...parts,
    startWorker: () => start('worker', 'serve', 'server.yaml', '--worker'),
    ended: () => parts.ended() ?? lastWords,
    async stop() {
      for (const stop of stops.splice(0)) await stop();
      await parts.stop();
    },
  };
}

function serverSettings(url: string, bundle: string, known: string): Record<string, unknown> {
  return {
    repository: LOOP_FOLDERS.fleet,
    broker: { url },
    database: 'server/server.db',
    artifacts: LOOP_FOLDERS.models,
    // The job waits for a worker, which comes when the gateway has helped itself.
    workers: 0,
    retrain: { bundle, known, labels: 3, severity: 1000, tolerance: TOLERANCE },
    rollout: { waves: '100%', settle: '0s', shadowWindows: 40, shadowSeconds: 60, latencyMs: 500 },
  };
}

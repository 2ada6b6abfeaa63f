import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

export interface PushOptions {
  readonly adapter: string;
  readonly to: string;
  readonly repository: string;
  readonly broker: string;
  /** Folder of the built programs. */
  readonly programs: URL;
  readonly signal?: AbortSignal;
}

/** What is read of the report of `tremolo push --json`. */
export interface PushReport {
  readonly deployment: string;
  readonly status: string;
  readonly confirmed: number;
  readonly counters: {
    readonly requests: number;
    readonly chunksPublished: number;
    readonly chunksDistinct: number;
    readonly bytesOnWire: number;
  };
}

/** Streams that adapters are pushed for. */
export const STREAM = 's0';

/** Runs `tremolo push` as a process of its own, without a shadow: its length is a setting, not a cost. */
export async function pushAdapter(options: PushOptions): Promise<{ readonly seconds: number; readonly report: PushReport }> {
  const { adapter, to, repository, broker, programs, signal } = options;
  const beganMs = performance.now();
  const child = spawn(
    process.execPath,
    [
      fileURLToPath(new URL('tremolo.js', programs)),
      ...['push', adapter, '--stream', STREAM, '--to', to, '--waves', '100%', '--settle', '0s', '--shadow-windows', '0'],
      // Many candidates share two cores here: how fast one runs alone is another measurement.
      ...['--latency', '10000', '--memory', '4096', '--repository', repository, '--broker', broker, '--json'],
    ],
    { stdio: ['ignore', 'pipe', 'pipe'], signal },
  );
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('close', resolve);
    child.once('error', reject);
  });
  let [stdout, stderr] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr = (stderr + text).slice(-4096);
  });
  const code = await ended;
  const seconds = (performance.now() - beganMs) / 1000;
  const last = stdout.trimEnd().split('\n').at(-1) ?? '';
  if (!last.startsWith('{')) throw new Error(`tremolo push ended with ${code}: ${stderr.trim().split('\n').at(-1)}`);
  return { seconds, report: JSON.parse(last) as PushReport };
}

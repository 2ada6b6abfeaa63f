import { type ChildProcess, spawn } from 'node:child_process';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import { GATEWAY_ENVIRONMENT } from '../../runtime/gateway-environment.ts';
import type { ThreadCount } from './probe.ts';
import { type ProcessClock, processClock } from './process-clock.ts';

/** What the gateway had used at one moment, milliseconds of processor time. */
export interface GatewayUse {
  readonly cpuMs: number;
  readonly mainMs: number;
  readonly workerMs: number;
  readonly runs: number;
  readonly windows: number;
  /** Of every eighth run: its windows, and processor time inside it. */
  readonly sampledWindows: number;
  readonly sampledCpuMs: number;
}

export interface GatewayUnderTest {
  readonly clock: ProcessClock;
  use(): Promise<GatewayUse>;
  stop(): Promise<void>;
}

/**
 * Starts the built gateway with the probe before it.
 *
 * @param programs folder of gateway.js and stream-probe.js
 * @param profile folder for V8 processor profiles of its threads
 * @param imports further modules that it loads first, as URLs
 * @throws Error with its last words where it ends before it listens
 */
export async function startGatewayUnderTest(
  configuration: Record<string, unknown>,
  programs: URL,
  folder: string,
  profile: string | undefined,
  imports: readonly string[] = [],
): Promise<GatewayUnderTest> {
  const probe = join(folder, 'probe');
  await mkdir(probe);
  const path = join(folder, 'gateway.yaml');
  await writeFile(path, stringify(configuration));
  const child: ChildProcess = spawn(
    process.execPath,
    [
      ...(profile ? ['--cpu-prof', `--cpu-prof-dir=${profile}`] : []),
      ...[new URL('stream-probe.js', programs).href, ...imports].flatMap((url) => ['--import', url]),
      fileURLToPath(new URL('gateway.js', programs)),
      path,
      '--with-parent',
    ],
    { stdio: ['pipe', 'ignore', 'pipe'], env: { ...process.env, ...GATEWAY_ENVIRONMENT, TREMOLO_PROBE: probe } },
  );
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
  let words = '';
  await new Promise<void>((resolve, reject) => {
    child.stderr!.setEncoding('utf8').on('data', (chunk: string) => {
      words = (words + chunk).slice(-4096);
      if (words.includes('"listening"')) resolve();
    });
    child.once('error', reject);
    void ended.then((code) => reject(new Error(`the gateway ended with ${code}: ${words.trim().split('\n').at(-1)}`)));
  });
  const clock = processClock(child.pid!);
  return {
    clock,
    async use() {
      const { main, worker } = await freshCounts(probe);
      const threads = clock.threadCpuMs();
      return {
        cpuMs: clock.cpuMs(),
        mainMs: threads.get(main.thread) ?? Number.NaN,
        workerMs: threads.get(worker.thread) ?? Number.NaN,
        runs: worker.runs,
        windows: worker.windows,
        sampledWindows: worker.sampledWindows,
        sampledCpuMs: worker.sampledCpuMs,
      };
    },
    async stop() {
      // Its parent is gone: it ends by itself, and a profile is written.
      child.stdin!.end();
      const timer = setTimeout(() => child.kill('SIGKILL'), 10_000);
      await ended;
      clearTimeout(timer);
    },
  };
}

/** What the main thread and the inference thread wrote after this call. */
export async function freshCounts(folder: string): Promise<{ main: ThreadCount; worker: ThreadCount }> {
  for (const began = Date.now(); ; await new Promise((resolve) => setTimeout(resolve, 20))) {
    const texts = await Promise.all((await readdir(folder)).map((name) => readFile(join(folder, name), 'utf8')));
    // A file that is just being written is empty.
    const counts = texts.filter((text) => text.endsWith('}')).map((text) => JSON.parse(text) as ThreadCount);
    const fresh = counts.filter(({ writtenMs }) => writtenMs >= began);
    const [main, worker] = [fresh.find((count) => count.main), fresh.find(({ runs }) => runs > 0)];
    if (main && worker) return { main, worker };
  }
}

import { type ChildProcess, spawn } from 'node:child_process';

const TREMOLO = new URL('../../dist/tremolo.js', import.meta.url).pathname;

export interface EndedCommand {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  /** What `--json` printed. */
  readonly report: Record<string, unknown>;
}

export interface RunningCommand {
  readonly child: ChildProcess;
  readonly ended: Promise<EndedCommand>;
  /** What it has said so far. */
  stderr(): string;
}

/** The real command in a process of its own. */
export function beginTremolo(...args: string[]): RunningCommand {
  const child = spawn(process.execPath, [TREMOLO, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (chunk) => {
    stdout += chunk;
  });
  child.stderr.on('data', (chunk) => {
    stderr += chunk;
  });
  const ended = new Promise<EndedCommand>((resolve) =>
    child.once('close', (code) => {
      const last = stdout.trim().split('\n').at(-1) ?? '';
      resolve({ code, stdout, stderr, report: last.startsWith('{') ? JSON.parse(last) : {} });
    }),
  );
  return { child, ended, stderr: () => stderr };
}

export const tremolo = (...args: string[]): Promise<EndedCommand> => beginTremolo(...args).ended;

import { type ChildProcess, spawn } from 'node:child_process';
import { expect, vi } from 'vitest';

export type LogLine = Record<string, unknown> & { msg: string };

/** A program of dist/ in a process of its own, which can be killed. */
export interface LoggingProcess {
  readonly child: ChildProcess;
  /** What it and its own processes have logged. */
  readonly log: LogLine[];
  readonly ended: Promise<unknown>;
  /** Kills it as a power cut would, and waits until it is gone. */
  kill(): Promise<void>;
}

/** @param program name in dist/ */
export function beginLogging(program: string, args: readonly string[], env: Record<string, string> = {}): LoggingProcess {
  const path = new URL(`../../dist/${program}`, import.meta.url).pathname;
  const child = spawn(process.execPath, [path, ...args], { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, ...env } });
  const log: LogLine[] = [];
  let rest = '';
  child.stderr.on('data', (chunk) => {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop()!;
    for (const line of lines) log.push(line.startsWith('{') ? JSON.parse(line) : { msg: line });
  });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  return {
    child,
    log,
    ended,
    async kill() {
      child.kill('SIGKILL');
      await ended;
    },
  };
}

/** Waits for a line of a log. */
export const logged = (of: LoggingProcess, msg: string): Promise<LogLine> =>
  vi.waitFor(
    () => {
      const line = of.log.find((one) => one.msg === msg);
      expect(line, `"${msg}" in ${JSON.stringify(of.log.slice(-50))}`).toBeDefined();
      return line!;
    },
    { timeout: 55_000, interval: 50 },
  );

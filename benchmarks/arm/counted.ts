import { readFileSync, writeFileSync } from 'node:fs';

/** Masks that count.c waits for; every program sets one of its own before it makes a file that matters. */
const [RANGE_MASK, BEGIN_MASK, END_MASK] = [0o020, 0o021, 0o022];

/** Address ranges of /proc/self/maps or smaps, with the rest of their line. */
function mappings(file: 'maps' | 'smaps'): { from: number; to: number; lines: string[] }[] {
  const found: { from: number; to: number; lines: string[] }[] = [];
  for (const line of readFileSync(`/proc/self/${file}`, 'utf8').split('\n')) {
    const range = /^([0-9a-f]+)-([0-9a-f]+) /.exec(line);
    if (range) found.push({ from: Number.parseInt(range[1], 16), to: Number.parseInt(range[2], 16), lines: [line] });
    else found.at(-1)?.lines.push(line);
  }
  return found;
}

/** Shows the plugin where onnxruntime lies. Before any of its code has run: a plugin looks at code when it is translated. @param range file for the addresses */
export function showLibrary(range: string | undefined): void {
  const library = mappings('maps').filter(({ lines }) => lines[0].includes('libonnxruntime'));
  if (range && library.length > 0) writeFileSync(range, `${library[0].from.toString(16)} ${library.at(-1)!.to.toString(16)}`);
  process.umask(RANGE_MASK);
}

/** Lets the plugin count what this thread does until the work is done. */
export async function counted<T>(work: () => Promise<T>): Promise<T> {
  process.umask(BEGIN_MASK);
  try {
    return await work();
  } finally {
    process.umask(END_MASK);
  }
}

/** What is done in between is not counted. */
export function uncounted(work: () => void): void {
  process.umask(END_MASK);
  work();
  process.umask(BEGIN_MASK);
}

/**
 * Resident memory of this program, megabytes of 10^6 bytes: under an emulator without the emulator's own, which getrusage would have in it. qemu-user shows
 * its guest the guest's mappings in /proc/self/maps and all of its own process in smaps: what is resident of the first is the program's. Memory that the
 * program has given back may still be counted, for qemu 7.2 passes not all of that on.
 */
export function residentMb(): number {
  const own = mappings('maps');
  const kilobytes = mappings('smaps')
    // An armv7 guest lies a page further up in the emulator's process.
    .filter(({ from, to }) => own.some((one) => from < one.to && to > one.from))
    .map(({ lines }) => Number(/^Rss:\s+(\d+)/m.exec(lines.join('\n'))?.[1] ?? 0));
  return (1024 * kilobytes.reduce((sum, one) => sum + one, 0)) / 1e6;
}

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'esbuild';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { Outbox, type StoredMessage } from '../../../runtime/io/outbox.ts';
import { folderFiles, type OutboxFiles } from '../../../runtime/io/outbox-files.ts';
import { encodeRecord, readRecord } from '../../../runtime/io/outbox-record.ts';
import { OutboxSender } from '../../../runtime/io/outbox-sender.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tremolo-outbox-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const message = (text: string) => ({ topic: `t/${text}`, payload: Buffer.from(text), retain: false });
const textOf = ({ payload }: Pick<StoredMessage, 'payload'>) => Buffer.from(payload).toString();
const textsOf = async (outbox: Outbox) => (await outbox.read(0, 1_000_000)).map(textOf);

/** Segments in memory: fast enough for a property at every byte. */
class MemoryFiles implements OutboxFiles {
  readonly contents = new Map<string, Buffer>();
  /** Bytes that a write still takes before the disk is full. */
  room = Number.POSITIVE_INFINITY;

  async list() {
    return [...this.contents.keys()].sort();
  }

  async read(name: string) {
    return this.contents.get(name) ?? Buffer.alloc(0);
  }

  async write(name: string, at: number, bytes: Uint8Array) {
    const taken = bytes.subarray(0, Math.min(bytes.length, this.room));
    this.room -= taken.length;
    this.contents.set(name, Buffer.concat([(this.contents.get(name) ?? Buffer.alloc(0)).subarray(0, at), taken]));
    if (taken.length < bytes.length) throw Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' });
  }

  async remove(name: string) {
    this.contents.delete(name);
  }

  copy(): MemoryFiles {
    const other = new MemoryFiles();
    for (const [name, bytes] of this.contents) other.contents.set(name, Buffer.from(bytes));
    return other;
  }
}

/** Files with three messages, of which the first is acknowledged. */
async function threeMessages(): Promise<MemoryFiles> {
  const files = new MemoryFiles();
  const outbox = await Outbox.open({ files, largestBytes: 1 << 20 });
  for (const text of ['one', 'two', 'three']) await outbox.append(message(text));
  outbox.acknowledge(1);
  await outbox.close();
  return files;
}

describe('a record', () => {
  it('comes back as it was written', () => {
    fc.assert(
      fc.property(
        fc.string({ maxLength: 40 }),
        fc.uint8Array({ maxLength: 300 }),
        fc.boolean(),
        fc.nat(),
        (topic, payload, retain, number) => {
          const bytes = encodeRecord({ kind: 'message', number, topic, retain, payload });
          const read = readRecord(bytes, 0);
          expect(read?.end).toBe(bytes.length);
          expect(read?.record).toMatchObject({ kind: 'message', number, topic: Buffer.from(topic).toString(), retain });
          expect(read?.record.kind === 'message' && [...read.record.payload]).toEqual([...payload]);
        },
      ),
    );
  });

  it('is found behind any damage', () => {
    const bytes = encodeRecord({ kind: 'acknowledged', number: 7 });
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (noise) => {
        expect(readRecord(Buffer.concat([noise, bytes]), 0)?.record).toEqual({ kind: 'acknowledged', number: 7 });
      }),
    );
  });
});

describe('an outbox', () => {
  it('keeps order over restarts and forgets what was acknowledged', async () => {
    const files = folderFiles(join(folder, 'order'));
    const first = await Outbox.open({ files, largestBytes: 1 << 20 });
    expect(await Promise.all(['a', 'b', 'c'].map((text) => first.append(message(text))))).toEqual([true, true, true]);
    first.acknowledge((await first.read(0, 1))[0].number);
    await first.close();
    const second = await Outbox.open({ files, largestBytes: 1 << 20 });
    await second.append(message('d'));
    expect(await textsOf(second)).toEqual(['b', 'c', 'd']);
    expect(second.health).toMatchObject({ waiting: 3, accepted: 1, damagedBytes: 0 });
    const numbers = (await second.read(0, 9)).map(({ number }) => number);
    expect(numbers).toEqual([2, 3, 4]);
    await second.close();
  });

  it('never gives a number twice, also when everything was acknowledged and restarted', async () => {
    const files = new MemoryFiles();
    const seen = new Set<number>();
    for (let run = 0; run < 6; run++) {
      const outbox = await Outbox.open({ files, largestBytes: 1 << 20 });
      await outbox.append(message(`${run}`));
      for (const { number } of await outbox.read(0, 9)) {
        expect(seen).not.toContain(number);
        seen.add(number);
        outbox.acknowledge(number);
      }
      await outbox.close();
    }
    expect(seen.size).toBe(6);
    expect(files.contents.size).toBeLessThan(4);
  });

  it('loses nothing but the torn record, wherever the file is cut', async () => {
    const whole = await threeMessages();
    const [name] = whole.contents.keys();
    const bytes = whole.contents.get(name)!;
    const ends: number[] = [];
    for (let read = readRecord(bytes, 0); read; read = readRecord(bytes, read.end)) ends.push(read.end);
    expect(ends).toHaveLength(4);
    for (let cut = 0; cut <= bytes.length; cut++) {
      const files = new MemoryFiles();
      files.contents.set(name, bytes.subarray(0, cut));
      const outbox = await Outbox.open({ files, largestBytes: 1 << 20 });
      const messages = ends.slice(0, 3).filter((end) => end <= cut).length;
      const expected = ['one', 'two', 'three'].slice(cut === bytes.length ? 1 : 0, messages);
      expect(await textsOf(outbox)).toEqual(expected);
      expect(outbox.health.damagedBytes).toBe(cut - Math.max(0, ...ends.filter((end) => end <= cut)));
      // What is taken from now on is not lost behind the tear.
      await outbox.append(message('later'));
      await outbox.close();
      expect(await textsOf(await Outbox.open({ files, largestBytes: 1 << 20 }))).toEqual([...expected, 'later']);
    }
  });

  it('never hands out a damaged message, and loses one at most for a flipped bit', async () => {
    const whole = await threeMessages();
    const [name] = whole.contents.keys();
    const bytes = whole.contents.get(name)!;
    for (let bit = 0; bit < 8 * bytes.length; bit++) {
      const files = whole.copy();
      files.contents.get(name)![bit >> 3] ^= 1 << (bit & 7);
      const texts = await textsOf(await Outbox.open({ files, largestBytes: 1 << 20 }));
      expect(['one', 'two', 'three'].filter((text) => texts.includes(text))).toEqual(texts);
      expect(texts.length).toBeGreaterThanOrEqual(1);
    }
  });

  it('keeps to its cap: the oldest go, and are counted', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat({ max: 300 }), { minLength: 1, maxLength: 60 }), async (sizes) => {
        const files = new MemoryFiles();
        const outbox = await Outbox.open({ files, largestBytes: 2000 });
        for (const [index, size] of sizes.entries()) {
          await outbox.append({ topic: 't', payload: Buffer.from(`${index} ${'x'.repeat(size)}`), retain: false });
          const bytes = [...files.contents.values()].reduce((sum, one) => sum + one.length, 0);
          expect(bytes).toBe(outbox.health.bytes);
          expect(bytes).toBeLessThanOrEqual(2000);
        }
        const kept = (await textsOf(outbox)).map((text) => Number.parseInt(text, 10));
        // The newest, without a hole.
        expect(kept).toEqual(Array.from({ length: kept.length }, (_, index) => sizes.length - kept.length + index));
        expect(outbox.health.dropped + kept.length).toBe(sizes.length);
        expect(outbox.health.waiting).toBe(kept.length);
        await outbox.close();
      }),
    );
  });

  it('goes on where the disk was full, and keeps order, with nothing twice', async () => {
    const files = new MemoryFiles();
    const outbox = await Outbox.open({ files, largestBytes: 1 << 20, retryMs: 5 });
    await outbox.append(message('before'));
    files.room = 10;
    const waiting = ['x', 'y'].map((text) => outbox.append(message(text)));
    await vi.waitFor(() => expect(outbox.health.failures).toBeGreaterThan(1));
    expect(outbox.health.lastError).toContain('ENOSPC');
    expect(await textsOf(outbox)).toEqual(['before']);
    files.room = Number.POSITIVE_INFINITY;
    expect(await Promise.all(waiting)).toEqual([true, true]);
    expect(await textsOf(outbox)).toEqual(['before', 'x', 'y']);
    await outbox.close();
    expect(await textsOf(await Outbox.open({ files, largestBytes: 1 << 20 }))).toEqual(['before', 'x', 'y']);
  });

  it('does not wait without bound for a disk that stays full', async () => {
    const files = new MemoryFiles();
    files.room = 0;
    const outbox = await Outbox.open({ files, largestBytes: 1 << 20 });
    const taken = Array.from({ length: 5000 }, (_, index) => outbox.append(message(`${index}`)));
    await vi.waitFor(() => expect(outbox.health.dropped).toBe(5000 - 4096));
    expect(await taken[0]).toBe(false);
    await outbox.close();
    expect(outbox.health.dropped).toBe(5000);
  });
});

/** A small disk of its own, where this process may make one. */
function mountSmallDisk(path: string): boolean {
  try {
    execFileSync('mkdir', ['-p', path]);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', path], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

describe('a real disk that is full', () => {
  it('refuses messages, and takes them when there is room again (needs leave to mount a tmpfs)', async ({ skip }) => {
    const disk = join(folder, 'disk');
    if (!mountSmallDisk(disk)) skip('no leave to mount a tmpfs');
    try {
      const outbox = await Outbox.open({ files: folderFiles(join(disk, 'outbox')), largestBytes: 1 << 20, retryMs: 5 });
      await outbox.append(message('first'));
      await writeFile(join(disk, 'hog'), Buffer.alloc(1 << 17)).catch(() => {});
      const waiting = outbox.append({ topic: 't', payload: Buffer.alloc(30_000, 'x'), retain: false });
      await vi.waitFor(() => expect(outbox.health.lastError).toMatch(/ENOSPC/));
      await rm(join(disk, 'hog'));
      expect(await waiting).toBe(true);
      expect((await textsOf(outbox)).map(({ length }) => length)).toEqual([5, 30_000]);
      await outbox.close();
    } finally {
      execFileSync('umount', [disk]);
    }
  });
});

describe('an outbox whose process is killed', () => {
  let program: string;
  beforeAll(async () => {
    program = join(folder, 'killed-outbox.mjs');
    const entry = new URL('killed-outbox.ts', import.meta.url).pathname;
    await build({ entryPoints: [entry], bundle: true, platform: 'node', format: 'esm', outfile: program, logLevel: 'warning' });
  });

  /** Runs until the child has said that so many messages are accepted; then SIGKILL. */
  async function killAfter(path: string, accepted: number): Promise<number> {
    const child: ChildProcess = spawn(process.execPath, [program, path]);
    let text = '';
    const last = () => Number(/(\d+)\n[^\n]*$/.exec(text)?.[1] ?? -1);
    child.stdout!.on('data', (chunk) => {
      text += chunk;
      if (text.split('\n').length > accepted) child.kill('SIGKILL');
    });
    await new Promise((resolve) => child.once('close', resolve));
    return last();
  }

  it('has every message that it accepted, in order, after each of three kills (SIGKILL)', async () => {
    const path = join(folder, 'killed');
    let acceptedUpTo = -1;
    for (const accepted of [5, 40, 90]) {
      acceptedUpTo = await killAfter(path, accepted);
      const outbox = await Outbox.open({ files: folderFiles(path), largestBytes: 1 << 24 });
      const numbers = (await textsOf(outbox)).map((text) => Number.parseInt(text, 10));
      expect(numbers).toEqual(Array.from({ length: numbers.length }, (_, index) => index));
      expect(numbers.length).toBeGreaterThan(acceptedUpTo);
      expect(outbox.health.damagedBytes).toBeLessThan(70_000);
      await outbox.close();
    }
    expect((await readdir(path)).length).toBeGreaterThan(2);
    expect((await readFile(join(path, (await readdir(path))[0]))).length).toBeGreaterThan(0);
  });
});

describe('a sender', () => {
  it('delivers in order, again from the last that was acknowledged where the connection is lost, and everything in the end', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 60 }), fc.array(fc.nat({ max: 20 }), { maxLength: 8 }), async (count, losses) => {
        const outbox = await Outbox.open({ files: new MemoryFiles(), largestBytes: 1 << 20 });
        const received: number[] = [];
        let left = losses.shift() ?? Number.POSITIVE_INFINITY;
        const sender = new OutboxSender(
          outbox,
          (_topic, payload, _retain, done) => {
            if (left === 0) return false;
            received.push(Number(textOf({ payload })));
            const arrived = --left > 0;
            queueMicrotask(() => done(arrived));
            return true;
          },
          (error) => {
            throw error;
          },
        );
        await Promise.all(Array.from({ length: count }, (_, index) => outbox.append(message(`${index}`))));
        sender.tick();
        while (outbox.health.waiting > 0) {
          await new Promise((resolve) => setImmediate(resolve));
          if (left > 0) continue;
          left = losses.length > 0 ? losses.shift()! : Number.POSITIVE_INFINITY;
          sender.tick();
        }
        // Each comes, and none for the first time before its forerunner.
        const firsts = [...new Set(received)];
        expect(firsts).toEqual(Array.from({ length: count }, (_, index) => index));
        await outbox.close();
      }),
      { numRuns: 40 },
    );
  });
});

import { mkdtemp, readFile, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { bankLayout, readAdapter } from '../../../models/bundle/bundle.ts';
import { decodeSafetensors, encodeSafetensors } from '../../../models/bundle/schema/safetensors.ts';
import { ExampleBook } from '../../../runtime/adapt/example-book.ts';
import { labelSchema } from '../../../runtime/contracts/label.ts';
import { readStatement, StatementRefusal, signAdapter } from '../../../runtime/io/adapter-statement.ts';
import { type GatewayKey, gatewayKey } from '../../../runtime/io/gateway-key.ts';
import { LearnedStore } from '../../../runtime/io/learned-store.ts';
import { numbers } from '../../support/numbers.ts';

const manifest = {
  adapter: { kind: 'lora' as const, rank: 2, alpha: 4, rankStabilized: true, targets: ['head'] },
  adapterTensors: [
    { name: 'head.A', shape: [4, 2] },
    { name: 'head.B', shape: [2, 3] },
  ],
};
const told = {
  site: 'plant',
  gateway: 'hall',
  stream: 'm',
  base: 'b'.repeat(64),
  bundle: 'c'.repeat(64),
  version: 3,
  at: '2026-01-01T00:00:00.000Z',
  labels: [{ id: 'l1', annotator: 'a1', tier: 'first', class: 'hum', windows: 1 }],
  guard: {
    known: { windows: 24, base: 1, before: 1, after: 1 },
    local: { windows: 0, before: 0, after: 0 },
    answers: { windows: 3, kept: 3 },
  },
};
const values = Float32Array.from(numbers(14, 1));

const folder = () => mkdtemp(join(tmpdir(), 'tremolo-learned-'));
let key: GatewayKey;
beforeAll(async () => {
  key = await gatewayKey(join(await folder(), 'gateway.key'));
});

/** The file with other metadata or numbers. */
function forge(file: Uint8Array, change: (parts: { tensors: Record<string, never>; metadata: Record<string, string> }) => void) {
  const { tensors, metadata } = decodeSafetensors(file, 'f');
  const parts = { tensors: { ...tensors }, metadata: { ...metadata } };
  change(parts as never);
  return encodeSafetensors(parts);
}

describe('the key of a gateway', () => {
  it('is made once, readable by its owner alone, and never replaced', async () => {
    const path = join(await folder(), 'deeper', 'gateway.key');
    const made = await gatewayKey(path);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect((await gatewayKey(path)).publicKey).toBe(made.publicKey);
    expect(Buffer.from(made.publicKey, 'base64')).toHaveLength(32);
    await writeFile(path, 'damaged');
    await expect(gatewayKey(path)).rejects.toThrow();
    expect(await readFile(path, 'utf8')).toBe('damaged');
  });
});

describe('a learned adapter', () => {
  it('carries what its gateway says of it, and is an adapter like any other', () => {
    const file = signAdapter(manifest, values, told, key);
    const statement = readStatement(manifest, file, 'f');
    expect(statement).toMatchObject({ ...told, publicKey: key.publicKey });
    const whole = { ...manifest, base: told.base } as never;
    expect(readAdapter({ manifest: whole }, file, 'f')).toEqual(values);
    expect(bankLayout(whole).size).toBe(values.length);
  });

  it('is refused when a number, the statement, the base or the signature was changed', () => {
    const file = signAdapter(manifest, values, told, key);
    const refused = (change: Parameters<typeof forge>[1], reason: RegExp) => {
      const read = () => readStatement(manifest, forge(file, change), 'f');
      expect(read).toThrow(StatementRefusal);
      expect(read).toThrow(reason);
    };
    refused(({ tensors }) => {
      const { values: own } = tensors['head.B'] as { values: Float32Array };
      own[0] += 1;
    }, /other numbers/);
    refused(({ metadata }) => {
      metadata.statement = metadata.statement.replace('"l1"', '"l2"');
    }, /signature/);
    refused(({ metadata }) => {
      metadata.base = 'd'.repeat(64);
    }, /another base/);
    refused(({ metadata }) => {
      metadata.signature = Buffer.alloc(64).toString('base64');
    }, /signature/);
    refused(({ metadata }) => {
      delete metadata.signature;
    }, /not signed/);
    refused(({ metadata }) => {
      metadata.statement = '{}';
    }, /cannot be read/);
  });
});

describe('what was learned, on disk', () => {
  const label = labelSchema.parse({
    id: 'l1',
    stream: 'm',
    at: told.at,
    annotator: 'a1',
    verdict: 'correct',
    class: 'hum',
    subject: { kind: 'window', epoch: 1, endSequence: 512 },
  });

  it('gives labels back with their windows', async () => {
    const store = new LearnedStore(await folder());
    expect((await store.readBook('m')).entries).toEqual([]);
    const windows = [1, 2].map((n) => ({ epoch: 1, endSequence: 512 * n, codes: Int16Array.of(n, -n), scales: Float32Array.of(n / 4) }));
    const entries = [
      { label, windows },
      { label: { ...label, id: 'l2' }, windows: windows.slice(1) },
    ];
    await store.writeBook('m', new ExampleBook(entries));
    expect((await store.readBook('m')).entries).toEqual(entries);
    await store.writeBook('m', new ExampleBook());
    expect((await store.readBook('m')).entries).toEqual([]);
  });

  it('keeps the way back, and no adapter that it does not lead to', async () => {
    const store = new LearnedStore(await folder());
    expect(await store.readHistory('m')).toEqual({ lastVersion: 0, versions: [] });
    const name = (n: number) => `${n}`.padStart(64, '0');
    const versions = Array.from({ length: 20 }, (_, n) => ({
      version: n + 1,
      adapter: name(n + 1),
      ...(n > 0 && { before: name(n) }),
      at: told.at,
      labels: ['l1'],
    }));
    for (let n = 1; n <= 20; n++)
      await store.writeHistory('m', { lastVersion: n, versions: versions.slice(0, n) }, new Map([[name(n), Uint8Array.of(n)]]));
    const history = await store.readHistory('m');
    expect(history.lastVersion).toBe(20);
    expect(history.versions.map(({ version }) => version)).toEqual(Array.from({ length: 16 }, (_, n) => n + 5));
    expect([...(await store.readAdapter('m', name(4)))]).toEqual([4]);
    await expect(store.readAdapter('m', name(3))).rejects.toThrow();
  });
});

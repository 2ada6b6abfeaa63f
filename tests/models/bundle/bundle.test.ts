import { cp, mkdir, mkdtemp, readFile, rm, stat, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  type Bundle,
  bankLayout,
  baseDigest,
  bundleModel,
  checkAnswers,
  checkSignature,
  FILES,
  loadGraph,
  readAdapter,
  readBundle,
  readParts,
  refuseForeignFolder,
  sha256,
} from '../../../models/bundle/bundle.ts';
import type { Manifest } from '../../../models/bundle/schema/manifest.ts';
import { BUNDLE_REFUSALS, BundleRefusal, type BundleRefusalCode } from '../../../models/bundle/schema/refusal.ts';
import { decodeSafetensors, encodeSafetensors } from '../../../models/bundle/schema/safetensors.ts';
import { decodeOnnx, encodeOnnx } from '../../../models/trace/onnx.ts';
import { ENGINES } from '../../support/engines.ts';
import { makeTinyBundle } from '../../support/tiny-bundle.ts';

let folder: string;
let bundle: Bundle;
beforeAll(async () => {
  ({ folder, bundle } = await makeTinyBundle());
});

async function copyOfBundle(): Promise<string> {
  const copy = join(await mkdtemp(join(tmpdir(), 'tremolo-broken-')), 'bundle');
  await cp(folder, copy, { recursive: true });
  return copy;
}

async function editManifest(copy: string, edit: (manifest: Manifest) => unknown): Promise<void> {
  const path = join(copy, FILES.manifest);
  const manifest = JSON.parse(await readFile(path, 'utf8')) as Manifest;
  await writeFile(path, JSON.stringify(edit(manifest) ?? manifest));
}

/** Puts other bytes in the place of a file and makes the manifest agree with them, as one who can sign could. */
async function replaceFile(copy: string, name: string, bytes: Uint8Array): Promise<void> {
  await writeFile(join(copy, name), bytes);
  await editManifest(copy, (manifest) => {
    manifest.parts.core[name] = { bytes: bytes.length, sha256: sha256(bytes) };
  });
}

async function refusalOf(work: Promise<unknown>): Promise<BundleRefusal> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(BundleRefusal);
  const refusal = error as BundleRefusal;
  expect(Object.keys(BUNDLE_REFUSALS)).toContain(refusal.code);
  expect(refusal.message.split('\n')).toHaveLength(1);
  return refusal;
}

describe('a bundle', () => {
  it('comes back from disk as it was written, with all parts', async () => {
    const read = await readBundle(folder, ['core', 'adapt', 'server']);
    expect(read.digest).toBe(bundle.digest);
    expect(read.manifest).toEqual(bundle.manifest);
    expect([...read.files.keys()].sort()).toEqual(
      Object.values(FILES)
        .filter((name) => name !== FILES.manifest && name !== FILES.report)
        .sort(),
    );
  });

  it('shares the int8 weights between deciding and adapting', async () => {
    const { files } = await readBundle(folder, ['core', 'adapt']);
    const places = (name: string) =>
      new Map(
        [...decodeOnnx(files.get(name)!, files).initializers.values()]
          .filter(({ name: own }) => own.endsWith('.int8'))
          .map(({ name: own, external }) => [own, external?.offset]),
      );
    const [infer, adapt] = [places(FILES.infer), places(FILES.adapt)];
    expect(infer.size).toBeGreaterThan(5);
    for (const [name, offset] of infer) if (adapt.has(name)) expect(adapt.get(name), name).toBe(offset);
    expect([...infer.keys()].filter((name) => adapt.has(name)).length).toBeGreaterThan(5);
  });

  it('answers as it is known to on every engine', async () => {
    for (const make of Object.values(ENGINES)) {
      const engine = await make();
      const session = await engine.load(bundleModel(bundle, FILES.infer));
      expect(await checkAnswers(bundle, session), engine.name).toBeLessThanOrEqual(bundle.manifest.answers.tolerance);
      await session.release();
    }
  });

  it('can be read by whoever may read a new folder there', async () => {
    const beside = join(dirname(folder), 'beside');
    await mkdir(beside, { recursive: true });
    expect((await stat(folder)).mode).toBe((await stat(beside)).mode);
  });

  it('is replaced as a whole', async () => {
    const copy = await copyOfBundle();
    await rm(join(copy, FILES.weights));
    await cp(folder, copy, { recursive: true });
    expect((await readBundle(copy)).digest).toBe(bundle.digest);
  });
});

it('a bundle is never written over something else', async () => {
  const other = await mkdtemp(join(tmpdir(), 'tremolo-other-'));
  await writeFile(join(other, 'thesis.doc'), 'mine');
  expect((await refusalOf(refuseForeignFolder(other))).code).toBe('bundle/occupied');
  expect((await refusalOf(refuseForeignFolder(join(other, 'thesis.doc')))).code).toBe('bundle/occupied');
  await refuseForeignFolder(join(other, 'new'));
  await refuseForeignFolder(folder);
});

it('a bundle that the system does not give is not one that lacks a file', async () => {
  const refusal = await refusalOf(readBundle(`${folder}/${'x'.repeat(300)}`));
  expect([refusal.code, refusal.message]).toEqual(['bundle/unreadable', expect.stringContaining('ENAMETOOLONG')]);
});

describe('a bundle is refused', () => {
  const cases: [string, BundleRefusalCode, (copy: string) => Promise<unknown>][] = [
    ['when a file is missing', 'bundle/missing', (copy) => rm(join(copy, FILES.weights))],
    ['when the manifest is missing', 'bundle/missing', (copy) => rm(join(copy, FILES.manifest))],
    [
      'when a folder has the name of a file',
      'bundle/path',
      async (copy) => {
        await rm(join(copy, FILES.weights));
        await mkdir(join(copy, FILES.weights));
      },
    ],
    ['when a file is cut off', 'bundle/size', (copy) => truncate(join(copy, FILES.weights), 100)],
    ['when a file is longer than promised', 'bundle/size', async (copy) => writeFile(join(copy, FILES.adapter), new Uint8Array(1 << 20))],
    [
      'when one bit of the weights differs',
      'bundle/hash',
      async (copy) => {
        const bytes = await readFile(join(copy, FILES.weights));
        bytes[1000] ^= 1;
        await writeFile(join(copy, FILES.weights), bytes);
      },
    ],
    ['when the manifest is not JSON', 'bundle/manifest', (copy) => writeFile(join(copy, FILES.manifest), '{"formatVersion":')],
    ['when a field is missing', 'bundle/manifest', (copy) => editManifest(copy, (manifest) => ({ ...manifest, classes: undefined }))],
    ['when it is of another version', 'bundle/version', (copy) => editManifest(copy, (manifest) => ({ ...manifest, formatVersion: 2 }))],
    [
      'when a class was added to the list',
      'bundle/manifest',
      (copy) => editManifest(copy, (manifest) => ({ ...manifest, classes: [...manifest.classes, 'new'] })),
    ],
    [
      'when list and network have a class that the graph has not',
      'bundle/graph',
      (copy) =>
        editManifest(copy, (manifest) => ({
          ...manifest,
          classes: [...manifest.classes, 'new'],
          network: { ...manifest.network, classes: manifest.classes.length + 1 },
        })),
    ],
    [
      'when the adapters have another size than the graph wants',
      'bundle/graph',
      (copy) => editManifest(copy, (manifest) => ({ ...manifest, adapterTensors: manifest.adapterTensors.slice(1) })),
    ],
    [
      'when a file name leads out of the folder',
      'bundle/manifest',
      (copy) =>
        editManifest(copy, ({ parts: { core } }) => {
          core['../secret'] = core[FILES.weights];
        }),
    ],
    [
      'when a file is a link',
      'bundle/path',
      async (copy) => {
        await rm(join(copy, FILES.weights));
        await symlink(join(folder, FILES.weights), join(copy, FILES.weights));
      },
    ],
    [
      'when the graph is not ONNX',
      'bundle/graph',
      (copy) => replaceFile(copy, FILES.infer, new TextEncoder().encode('not a graph at all')),
    ],
    [
      'when a weight is NaN',
      'bundle/not-finite',
      async (copy) => {
        const files = new Map([[FILES.weights as string, new Uint8Array(await readFile(join(copy, FILES.weights)))]]);
        const graph = decodeOnnx(new Uint8Array(await readFile(join(copy, FILES.infer))), files);
        const broken = [...graph.initializers.values()].find(({ type, external }) => type === 'float32' && !external)!;
        (broken.values as Float32Array)[0] = Number.NaN;
        const bytes = encodeOnnx(graph);
        await replaceFile(copy, FILES.infer, bytes);
        const base = sha256(bytes, files.get(FILES.weights)!);
        await editManifest(copy, (manifest) => ({ ...manifest, base }));
      },
    ],
    [
      'when graph and weights are not the base that the manifest names',
      'bundle/adapter',
      (copy) => editManifest(copy, (manifest) => ({ ...manifest, base: '0'.repeat(64) })),
    ],
    [
      'when a constant claims four gigabytes',
      'bundle/graph',
      async (copy) => {
        const bytes = new Uint8Array(await readFile(join(copy, FILES.weights)));
        const graph = decodeOnnx(new Uint8Array(await readFile(join(copy, FILES.infer))), new Map([[FILES.weights as string, bytes]]));
        const first = [...graph.initializers.values()].find(({ external }) => external)!;
        graph.initializers.set(first.name, { ...first, shape: [1 << 30] });
        await replaceFile(copy, FILES.infer, encodeOnnx(graph));
      },
    ],
  ];

  it.each(cases)('%s', async (_name, code, spoil) => {
    const copy = await copyOfBundle();
    await spoil(copy);
    expect((await refusalOf(readBundle(copy))).code).toBe(code);
  });

  it('when the graph gives other answers', async () => {
    const answers = decodeSafetensors(bundle.files.get(FILES.answers)!, FILES.answers);
    const logits = { ...answers.tensors.logits, values: (answers.tensors.logits.values as Float32Array).map((value) => value + 1) };
    const changed: Bundle = {
      ...bundle,
      files: new Map([...bundle.files, [FILES.answers, encodeSafetensors({ ...answers, tensors: { ...answers.tensors, logits } })]]),
    };
    const session = await (await ENGINES.onnxruntime()).load(bundleModel(bundle, FILES.infer));
    expect((await refusalOf(checkAnswers(changed, session))).code).toBe('bundle/answers');
    await session.release();
  });
});

/** The way of a gateway, which decodes no graph. */
async function proveByRunning(copy: string): Promise<void> {
  const engine = await ENGINES.onnxruntime();
  const read = await readParts(copy);
  const session = await loadGraph(engine, read, FILES.infer);
  try {
    checkSignature(read.manifest, session);
    await checkAnswers(read, session);
  } finally {
    await session.release();
  }
}

/** Another deciding graph, of which the manifest knows. */
async function replaceGraph(copy: string, infer: Uint8Array): Promise<void> {
  await replaceFile(copy, FILES.infer, infer);
  const weights = new Uint8Array(await readFile(join(copy, FILES.weights)));
  const files = new Map<string, Uint8Array>([
    [FILES.infer, infer],
    [FILES.weights, weights],
  ]);
  await editManifest(copy, (manifest) => ({ ...manifest, base: baseDigest(files) }));
}

describe('a bundle whose graph is run and not decoded', () => {
  const graph = () => decodeOnnx(bundle.files.get(FILES.infer)!, bundle.files);

  it('is taken where it is whole', async () => {
    await expect(proveByRunning(folder)).resolves.toBeUndefined();
  });

  it('is refused when the graph is not ONNX', async () => {
    const copy = await copyOfBundle();
    await replaceGraph(copy, new TextEncoder().encode('not a graph at all'));
    expect((await refusalOf(proveByRunning(copy))).code).toBe('bundle/engine');
  });

  it('is refused when the graph takes or gives something else', async () => {
    const copy = await copyOfBundle();
    await editManifest(copy, (manifest) => ({ ...manifest, adapterTensors: manifest.adapterTensors.slice(1) }));
    expect((await refusalOf(proveByRunning(copy))).code).toBe('bundle/graph');
  });

  it('is refused whichever of its weights is no number', async () => {
    // Constants of the tracing have no names of their own; some of them only give a shape.
    const isWeight = (name: string) => !name.startsWith('_');
    const all = [...graph().initializers.values()];
    const names = all.filter(({ name, type, external }) => type === 'float32' && !external && isWeight(name)).map(({ name }) => name);
    expect(names).toContain('temperature');
    const copy = await copyOfBundle();
    for (const name of names) {
      const spoilt = graph();
      (spoilt.initializers.get(name)!.values as Float32Array).fill(Number.NaN);
      await replaceGraph(copy, encodeOnnx(spoilt));
      expect([name, (await refusalOf(proveByRunning(copy))).code]).toEqual([name, 'bundle/answers']);
    }
  });
});

describe('an adapter', () => {
  const own = () => bundle.files.get(FILES.adapter)!;

  it('comes back as it was written', () => {
    expect(readAdapter(bundle, own(), 'own').length).toBe(bankLayout(bundle.manifest).size);
  });

  const cases: [string, BundleRefusalCode, (adapter: ReturnType<typeof decodeSafetensors>) => Uint8Array][] = [
    ['of another base', 'bundle/adapter', ({ tensors }) => encodeSafetensors({ tensors, metadata: { base: 'f'.repeat(64) } })],
    [
      'of another rank',
      'bundle/adapter',
      ({ tensors, metadata }) => {
        const [name, tensor] = Object.entries(tensors)[0];
        const [rows, rank] = tensor.shape;
        return encodeSafetensors({
          tensors: {
            ...tensors,
            [name]: { ...tensor, shape: [rows, rank - 1], values: tensor.values.slice(0, rows * (rank - 1)) as Float32Array },
          },
          metadata,
        });
      },
    ],
    [
      'that lacks a tensor',
      'bundle/adapter',
      ({ tensors, metadata }) => encodeSafetensors({ tensors: Object.fromEntries(Object.entries(tensors).slice(1)), metadata }),
    ],
    [
      'with a NaN',
      'bundle/not-finite',
      ({ tensors, metadata }) => {
        const [name, tensor] = Object.entries(tensors)[0];
        return encodeSafetensors({
          tensors: { ...tensors, [name]: { ...tensor, values: (tensor.values as Float32Array).map(() => Number.NaN) } },
          metadata,
        });
      },
    ],
    [
      'whose header claims four gigabytes',
      'bundle/tensors',
      () => {
        const bytes = own().slice();
        new DataView(bytes.buffer).setBigUint64(0, 4n << 30n, true);
        return bytes;
      },
    ],
    ['whose tensors lie outside the file', 'bundle/tensors', () => own().slice(0, own().length - 8)],
    ['that is empty', 'bundle/tensors', () => new Uint8Array()],
  ];

  it.each(cases)('%s is refused', async (_name, code, spoil) => {
    const spoiled = spoil(decodeSafetensors(own(), 'own'));
    const refusal = await refusalOf(Promise.resolve().then(() => readAdapter(bundle, spoiled, 'spoiled')));
    expect(refusal.code).toBe(code);
  });
});

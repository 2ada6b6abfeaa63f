import { createHash, randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import { mkdir, open, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { bankRow } from '../adapters/scheme.ts';
import type { Engine, Model, Session, TensorData } from '../engine/engine.ts';
import { ParameterLayout } from '../networks/parameters.ts';
import { Random } from '../networks/random.ts';
import type { ElementType, Graph, ValueInfo } from '../trace/graph.ts';
import { type Manifest, type PartName, parseManifest } from './schema/manifest.ts';
import { BundleRefusal } from './schema/refusal.ts';
import { decodeSafetensors } from './schema/safetensors.ts';

export const FILES = {
  manifest: 'manifest.json',
  infer: 'infer.onnx',
  backup: 'backup.onnx',
  weights: 'weights.bin',
  adapter: 'adapter.safetensors',
  answers: 'answers.safetensors',
  adapt: 'adapt.onnx',
  features: 'features.onnx',
  replay: 'replay.safetensors',
  base: 'base.safetensors',
  report: 'report.html',
} as const;

/** A manifest says kilobytes; a file of this size can only be a mistake or an attack. */
const LARGEST_MANIFEST_BYTES = 1 << 20;

/** A bundle whose every byte was read once, hashed, and lies in memory: what was checked is what runs. */
export interface Bundle {
  readonly manifest: Manifest;
  /** SHA-256 of manifest.json, which names the hashes of all other files: the identity of the bundle. */
  readonly digest: string;
  readonly files: ReadonlyMap<string, Uint8Array>;
}

export function sha256(...chunks: readonly Uint8Array[]): string {
  const hash = createHash('sha256');
  for (const chunk of chunks) hash.update(chunk);
  return hash.digest('hex');
}

/** Reads a file that is neither a link nor larger than expected. */
async function readPlainFile(folder: string, name: string, largest: number): Promise<Uint8Array> {
  const path = join(folder, name);
  let file: Awaited<ReturnType<typeof open>>;
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'ELOOP') throw new BundleRefusal('bundle/path', `${path} is a link; a bundle holds plain files only`, { cause });
    if (code === 'ENOENT' || code === 'ENOTDIR')
      throw new BundleRefusal('bundle/missing', `${path} is not there; copy the whole bundle folder`, { cause });
    throw unreadable(path, cause as NodeJS.ErrnoException);
  }
  try {
    const stats = await file.stat();
    if (!stats.isFile()) throw new BundleRefusal('bundle/path', `${path} is not a file; a bundle holds plain files only`);
    if (stats.size > largest)
      throw new BundleRefusal('bundle/size', `${path} has ${stats.size} bytes where at most ${largest} were expected`);
    return new Uint8Array(
      await file.readFile().catch((cause: NodeJS.ErrnoException) => {
        throw unreadable(path, cause);
      }),
    );
  } finally {
    await file.close();
  }
}

function unreadable(path: string, cause: NodeJS.ErrnoException): BundleRefusal {
  return new BundleRefusal('bundle/unreadable', `${path} cannot be read (${cause.code}); look at its rights and the disk`, { cause });
}

/** Reads what a bundle says of itself, and the digest that it is known by; of its other files nothing is checked. @throws BundleRefusal */
export async function readManifest(folder: string): Promise<Pick<Bundle, 'manifest' | 'digest'>> {
  const bytes = await readPlainFile(folder, FILES.manifest, LARGEST_MANIFEST_BYTES);
  return { manifest: parseManifest(new TextDecoder().decode(bytes)), digest: sha256(bytes) };
}

/**
 * Reads a bundle folder and checks all of it that can be checked without running it.
 *
 * @param parts the parts to read: `core` decides, `adapt` learns, `server` has the float weights
 * @throws BundleRefusal with a code of BUNDLE_REFUSALS
 */
export async function readBundle(folder: string, parts?: readonly PartName[]): Promise<Bundle> {
  const bundle = await readFiles(folder, parts);
  await checkGraph(bundle);
  checkBase(bundle);
  return bundle;
}

/**
 * Reads a bundle folder and checks that its files are those that the manifest names, but looks into no graph: for whoever runs them and then asks
 * the session by {@link checkSignature} and {@link checkAnswers}, as a gateway does, and need not carry what reads graphs. Weights that are no numbers
 * are seen by the answers, unless they are in an adapter's way; operators that this project does not use are the engine's business.
 *
 * @throws BundleRefusal with a code of BUNDLE_REFUSALS
 */
export async function readParts(folder: string, parts?: readonly PartName[]): Promise<Bundle> {
  const bundle = await readFiles(folder, parts);
  checkBase(bundle);
  return bundle;
}

async function readFiles(folder: string, parts: readonly PartName[] = ['core']): Promise<Bundle> {
  const { manifest, digest } = await readManifest(folder);
  const files = new Map<string, Uint8Array>();
  for (const part of parts) {
    const listed = manifest.parts[part];
    if (!listed) throw new BundleRefusal('bundle/part', `${folder} has no part ${part}; train it again with that part`);
    for (const [name, { bytes: size, sha256: expected }] of Object.entries(listed)) {
      const bytes = await readPlainFile(folder, name, size);
      if (bytes.length !== size)
        throw new BundleRefusal('bundle/size', `${join(folder, name)} has ${bytes.length} bytes, the manifest says ${size}`);
      if (sha256(bytes) !== expected)
        throw new BundleRefusal('bundle/hash', `${join(folder, name)} is not the file that the manifest names; fetch it again`);
      files.set(name, bytes);
    }
  }
  return { manifest, digest, files };
}

async function checkGraph({ manifest, files }: Bundle): Promise<void> {
  const graph = await decodeGraph(files, FILES.infer);
  checkSignature(manifest, graph);
  for (const { name, type, values } of graph.initializers.values()) {
    if (type === 'float32' && !(values as Float32Array).every(Number.isFinite)) {
      throw new BundleRefusal('bundle/not-finite', `${FILES.infer}: constant ${name} holds NaN or infinity`);
    }
  }
}

/**
 * Checks that the deciding graph takes and gives what the manifest says.
 *
 * @param graph the graph, or a session of it
 * @throws BundleRefusal bundle/graph, bundle/manifest
 */
export function checkSignature(manifest: Manifest, graph: Pick<Session, 'inputs' | 'outputs'>): void {
  const outputs = new Map(graph.outputs.map((output) => [output.name, output]));
  const inputs = new Map(graph.inputs.map((input) => [input.name, input]));
  const expect = (what: string, actual: ValueInfo | undefined, type: ElementType, shape: readonly unknown[]) => {
    const words = actual ? `${actual.type} [${actual.shape}]` : 'missing';
    if (words !== `${type} [${shape}]`)
      throw new BundleRefusal('bundle/graph', `${FILES.infer}: ${what} is ${words}, the manifest makes it ${type} [${shape}]`);
  };
  const { recipe, classes, network, novelty, reference } = manifest;
  if (network.window !== recipe.window || network.channels !== recipe.channels.length || network.classes !== classes.length) {
    throw new BundleRefusal('bundle/manifest', 'manifest.json: network, recipe and classes disagree about window, channels or classes');
  }
  expect('input window', inputs.get('window'), 'int16', ['N', recipe.window, recipe.channels.length]);
  expect('input adapterBank', inputs.get('adapterBank'), 'float32', ['K', bankLayout(manifest).size]);
  expect('output logits', outputs.get('logits'), 'float32', ['N', classes.length]);
  expect('output probabilities', outputs.get('probabilities'), 'float32', ['N', classes.length]);
  if (novelty) expect('output novelty', outputs.get('novelty'), 'float32', ['N']);
  const bank = inputs.get('referenceBank');
  if (reference) {
    expect('output features', outputs.get('features'), 'float32', ['N', bank?.shape[1]]);
    expect('input referenceIndex', inputs.get('referenceIndex'), 'int32', ['N']);
  } else if (bank) throw new BundleRefusal('bundle/graph', `${FILES.infer}: takes references, which the manifest does not say`);
}

function checkBase({ manifest, files }: Bundle): void {
  const base = baseDigest(files);
  if (base !== manifest.base)
    throw new BundleRefusal(
      'bundle/adapter',
      `the graph and weights are base ${base.slice(0, 12)}, the manifest says ${manifest.base.slice(0, 12)}`,
    );
}

/** One a manifest: a gateway asks for it with each adapter, of which a thousand may come in one second. */
const layouts = new WeakMap<Manifest['adapterTensors'], ParameterLayout>();

/** Where the numbers of one adapter lie in a row of the bank. */
export function bankLayout({ adapterTensors }: Pick<Manifest, 'adapterTensors'>): ParameterLayout {
  let layout = layouts.get(adapterTensors);
  if (!layout) {
    layout = new ParameterLayout(adapterTensors.map(({ name, shape }) => ({ name, shape, initial: { fill: 0 } })));
    layouts.set(adapterTensors, layout);
  }
  return layout;
}

async function decodeGraph(files: ReadonlyMap<string, Uint8Array>, name: string): Promise<Graph> {
  const bytes = files.get(name);
  if (!bytes) throw new BundleRefusal('bundle/graph', `the bundle lists no ${name}`);
  // A gateway reads manifests, parts and adapters only: 8 MB of protobuf classes are not for it.
  const { decodeOnnx } = await import('../trace/onnx.ts');
  try {
    return decodeOnnx(bytes, files);
  } catch (cause) {
    throw new BundleRefusal('bundle/graph', `${name}: ${(cause as Error).message}`, { cause });
  }
}

/** What adapters belong to: the deciding graph and its weights. */
export function baseDigest(files: ReadonlyMap<string, Uint8Array>): string {
  return sha256(files.get(FILES.infer) ?? new Uint8Array(), files.get(FILES.weights) ?? new Uint8Array());
}

/** A graph of the bundle with the weights it needs, for an engine. */
export function bundleModel({ files }: Bundle, name: string): Model {
  const graph = files.get(name);
  const weights = files.get(FILES.weights);
  if (!graph || !weights) throw new BundleRefusal('bundle/part', `${name} is not among the parts that were read`);
  return { graph, files: new Map([[FILES.weights, weights]]) };
}

/**
 * Makes a session of a graph of the bundle.
 *
 * @throws BundleRefusal bundle/part, or bundle/engine with the engine's words where it cannot run it
 */
export async function loadGraph(engine: Engine, bundle: Bundle, name: string): Promise<Session> {
  const model = bundleModel(bundle, name);
  try {
    return await engine.load(model);
  } catch (cause) {
    throw new BundleRefusal('bundle/engine', `${name}: ${(cause as Error).message}`, { cause });
  }
}

/**
 * Reads an adapter and checks that it belongs to this bundle.
 *
 * @returns the adapter as trained, [P]
 * @throws BundleRefusal bundle/tensors, bundle/not-finite, bundle/adapter
 */
export function readAdapter({ manifest }: Pick<Bundle, 'manifest'>, bytes: Uint8Array, name: string): Float32Array {
  const { tensors, metadata } = decodeSafetensors(bytes, name);
  if (metadata.base !== manifest.base) {
    throw new BundleRefusal(
      'bundle/adapter',
      `${name} was made for base ${metadata.base?.slice(0, 12) ?? 'unknown'}, this bundle is ${manifest.base.slice(0, 12)}`,
    );
  }
  const layout = bankLayout(manifest);
  const flat = new Float32Array(layout.size);
  for (const parameter of layout.parameters) {
    const tensor = tensors[parameter.name];
    if (tensor?.type !== 'float32' || tensor.shape.join() !== parameter.shape.join()) {
      throw new BundleRefusal(
        'bundle/adapter',
        `${name}: tensor ${parameter.name} is [${tensor?.shape ?? 'missing'}], the bundle's scheme makes it [${parameter.shape}]`,
      );
    }
    flat.set(tensor.values as Float32Array, parameter.offset);
  }
  return flat;
}

/**
 * The adapter bank of the known answers: no adapter, and a pseudo-random one, so that the adapters' path is proved too without carrying
 * twenty kilobytes of proof.
 */
export function answerBank(size: number): TensorData {
  const random = new Random(1);
  const values = new Float32Array(2 * size);
  for (let index = size; index < 2 * size; index++) values[index] = Math.fround(0.1 * (2 * random.uniform() - 1));
  return { type: 'float32', shape: [2, size], values };
}

/**
 * Runs the known answers on a session of the deciding graph.
 *
 * @returns the largest difference of a logit from its answer
 * @throws BundleRefusal bundle/answers where it is beyond the manifest's tolerance, bundle/engine where the graph cannot be run on them
 */
export async function checkAnswers(bundle: Bundle, session: Session): Promise<number> {
  const { manifest, files } = bundle;
  const { tensors } = decodeSafetensors(files.get(FILES.answers) ?? new Uint8Array(), FILES.answers);
  const { logits: expected, ...inputs } = tensors;
  const { tolerance } = manifest.answers;
  const classes = manifest.classes.length;
  // Answers of no window would hold for any graph.
  if (expected?.type !== 'float32' || expected.shape.length !== 2 || !(expected.shape[0] > 0) || expected.shape[1] !== classes)
    throw new BundleRefusal('bundle/answers', `${FILES.answers}: logits are not float32 [windows, ${classes}]`);
  const feeds: Record<string, TensorData> = { ...inputs, adapterBank: answerBank(bankLayout(manifest).size) };
  let outputs: Record<string, TensorData>;
  try {
    outputs = await session.run(feeds);
  } catch (cause) {
    // By its inputs, or by a device that has no memory for it: the words cannot tell.
    throw new BundleRefusal('bundle/engine', `${FILES.answers} cannot be fed to the graph: ${(cause as Error).message}`, { cause });
  }
  for (const [name, { type, values }] of Object.entries(outputs)) {
    if (type === 'float32' && !(values as Float32Array).every(Number.isFinite))
      throw new BundleRefusal('bundle/answers', `the graph gives ${name} that is no number for the inputs of the known answers`);
  }
  const logits = outputs.logits.values as Float32Array;
  const answers = expected.values as Float32Array;
  let worst = logits.length === answers.length ? 0 : Number.POSITIVE_INFINITY;
  for (let index = 0; index < answers.length; index++) {
    const difference = Math.abs(logits[index] - answers[index]);
    if (!(difference <= worst)) worst = difference;
  }
  if (!(worst <= tolerance)) {
    throw new BundleRefusal(
      'bundle/answers',
      `the graph differs from its known answers by ${worst} where ${tolerance} is allowed: wrong engine, CPU fault or tampering`,
    );
  }
  return worst;
}

/**
 * Runs the inputs of the known answers with an adapter.
 *
 * @param adapter a safetensors file
 * @throws BundleRefusal where it does not belong to this bundle, or gives logits that are not numbers
 */
export async function checkAdapterAnswers(bundle: Bundle, session: Session, adapter: Uint8Array): Promise<void> {
  const { manifest, files } = bundle;
  const layout = bankLayout(manifest);
  const row = bankRow(manifest.adapter, layout, readAdapter(bundle, adapter, 'the adapter'));
  const bank = new Float32Array(2 * layout.size);
  bank.set(row, layout.size);
  const { logits: _expected, ...inputs } = decodeSafetensors(files.get(FILES.answers) ?? new Uint8Array(), FILES.answers).tensors;
  const adapterIndex = inputs.adapterIndex && {
    ...inputs.adapterIndex,
    values: (inputs.adapterIndex.values as Int32Array).slice().fill(1),
  };
  const feeds: Record<string, TensorData> = {
    ...inputs,
    adapterIndex,
    adapterBank: { type: 'float32', shape: [2, layout.size], values: bank },
  };
  const { logits } = await session.run(feeds);
  if (!(logits.values as Float32Array).every(Number.isFinite))
    throw new BundleRefusal('bundle/answers', 'the adapter gives logits that are not numbers for the inputs of the known answers');
}

export type BundleDescription = Omit<Manifest, 'parts' | 'base'>;

/**
 * Writes a bundle folder: all of it or nothing, over whatever bundle was there.
 *
 * @param parts contents of the files by part
 */
export async function writeBundle(
  folder: string,
  description: BundleDescription,
  parts: { core: ReadonlyMap<string, Uint8Array> } & Partial<Record<PartName, ReadonlyMap<string, Uint8Array>>>,
): Promise<Bundle> {
  const { core, adapt, server } = parts;
  const all = new Map([...core, ...(adapt ?? []), ...(server ?? [])]);
  const listed = (files: ReadonlyMap<string, Uint8Array>) =>
    Object.fromEntries([...files].map(([name, bytes]) => [name, { bytes: bytes.length, sha256: sha256(bytes) }]));
  const manifest: Manifest = {
    ...description,
    base: baseDigest(all),
    parts: { core: listed(core), ...(adapt && { adapt: listed(adapt) }), ...(server && { server: listed(server) }) },
  };
  const text = `${JSON.stringify(manifest)}\n`;
  const bundle: Bundle = { manifest: parseManifest(text), digest: sha256(new TextEncoder().encode(text)), files: all };
  await checkGraph(bundle);
  await refuseForeignFolder(folder);
  await mkdir(dirname(folder), { recursive: true });
  // Of the mode that the umask says, not one for its owner alone as mkdtemp makes it: a gateway runs as a user of its own.
  const fresh = `${folder}-${randomUUID()}`;
  await mkdir(fresh);
  for (const [name, bytes] of all) await writeFile(join(fresh, name), bytes);
  await writeFile(join(fresh, FILES.manifest), text);
  // The old bundle goes only when the new one is whole beside it.
  const old = `${fresh}-old`;
  await rename(folder, old).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
  });
  await rename(fresh, folder);
  await rm(old, { recursive: true, force: true });
  return bundle;
}

/**
 * Lets a bundle be written only where nothing is, into an empty folder, or over another bundle.
 *
 * @throws BundleRefusal bundle/occupied
 */
export async function refuseForeignFolder(folder: string): Promise<void> {
  const entries: string[] = await readdir(folder).catch((error: NodeJS.ErrnoException): string[] => {
    if (error.code === 'ENOENT') return [];
    throw new BundleRefusal('bundle/occupied', `${folder} is not a folder (${error.code}); name another for the bundle`, { cause: error });
  });
  if (entries.length > 0 && !entries.includes(FILES.manifest)) {
    throw new BundleRefusal('bundle/occupied', `${folder} holds something else than a bundle (${entries[0]}); name another folder`);
  }
}

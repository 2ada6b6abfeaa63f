import { chmod, copyFile, cp, mkdir, mkdtemp, open, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { basename, dirname, join, resolve } from 'node:path';
import { stringify } from 'yaml';
import { FILES, readBundle } from '../../models/bundle/bundle.ts';
import { optionMistakes } from '../../models/checks/mistakes.ts';
import { checkConfiguration } from '../../runtime/io/configuration.ts';
import { VERSION } from '../../runtime/version.ts';
import { Refusal } from '../refusal.ts';
import { PACK_TARGETS, type PackTarget, type PackTargetName } from './pack-targets.ts';
import { installScript, serviceUnit, TRUST_PLACEHOLDER } from './pack-texts.ts';

export interface PackOptions {
  readonly target: PackTargetName;
  readonly bundle: string;
  readonly site: string;
  readonly gateway: string;
  readonly broker: string;
  readonly out: string;
  /** Node's program to put into the folder; none where absent. */
  readonly node?: string;
  /** Folder of the built programs, as a path with a closing slash. */
  readonly programs: string;
}

export interface Packed {
  readonly folder: string;
  readonly target: PackTargetName;
  readonly engine: PackTarget['engine'];
  readonly bundle: { readonly name: string; readonly digest: string };
  readonly bytes: number;
  readonly bytesByPart: Readonly<Record<string, number>>;
}

const WASM_FILES = ['tfjs-backend-wasm.wasm', 'tfjs-backend-wasm-simd.wasm'];

/**
 * Makes the folder that is copied to a gateway: programs, bundle, native libraries of one platform, identity, unit and install script. All of it
 * or nothing.
 *
 * @throws Refusal usage/arguments, pack/occupied, pack/node, pack/natives
 * @throws BundleRefusal where the bundle is refused
 */
export async function packGateway(options: PackOptions): Promise<Packed> {
  const target: PackTarget = PACK_TARGETS[options.target];
  const { site, gateway, broker } = options;
  const settings = { site, gateway, bundle: './bundle', broker: { url: broker }, engine: target.engine };
  const checked = checkConfiguration('.', settings);
  // Each of them is an option of the command: broker.url is --broker.
  if ('mistakes' in checked)
    throw new Refusal('usage/arguments', optionMistakes(checked.mistakes.map(({ at, message }) => ({ at: at.slice(0, 1), message }))));
  const out = resolve(options.out);
  await refuseOccupied(out);
  await mkdir(dirname(out), { recursive: true });
  const folder = await mkdtemp(`${out}-`);
  try {
    await copyPrograms(target, options.programs, join(folder, 'app'));
    await writeFile(
      join(folder, 'app', 'package.json'),
      `${JSON.stringify({ name: 'tremolo-device', version: VERSION, private: true, type: 'module' })}\n`,
    );
    await copyNatives(target, join(folder, 'app', 'native'));
    const bundle = await copyBundle(resolve(options.bundle), join(folder, 'bundle'));
    if (options.node) await copyNode(options.node, options.target, target, folder);
    await writeFile(join(folder, 'gateway.yaml'), stringify(settings));
    await mkdir(join(folder, 'trust'));
    await writeFile(join(folder, 'trust', 'README.txt'), TRUST_PLACEHOLDER);
    await writeFile(join(folder, 'tremolo.service'), serviceUnit(options.node !== undefined));
    await writeFile(join(folder, 'install.sh'), installScript(options.node !== undefined));
    await chmod(join(folder, 'install.sh'), 0o755);
    await chmod(folder, 0o755);
    const bytesByPart = Object.fromEntries(
      await Promise.all((await readdir(folder)).map(async (name) => [name, await bytesBelow(join(folder, name))] as const)),
    );
    const bytes = Object.values(bytesByPart).reduce((sum, size) => sum + size, 0);
    await rm(out, { recursive: true, force: true });
    await rename(folder, out);
    return { folder: out, target: options.target, engine: target.engine, bundle, bytes, bytesByPart };
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
}

async function refuseOccupied(out: string): Promise<void> {
  const entries = await readdir(out).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'ENOENT') return [];
    throw new Refusal('pack/occupied', `--out ${out} is not a folder (${cause.code}); name another`, { cause });
  });
  if (entries.length > 0) throw new Refusal('pack/occupied', `--out ${out} holds ${entries[0]}; name an empty folder or a new one`);
}

/** The wasm engine goes where it is the engine: elsewhere it would be 2 MB that nothing loads. */
async function copyPrograms({ engine }: PackTarget, programs: string, folder: string): Promise<void> {
  const isWasm = engine === 'wasm';
  const filter = (from: string) => isWasm || !basename(from).startsWith('wasm-engine-');
  await cp(join(programs, 'device'), folder, { recursive: true, filter });
  if (isWasm) for (const name of WASM_FILES) await copyFile(join(programs, name), join(folder, name));
}

/** Native libraries of one platform out of the packages that carry those of all. */
async function copyNatives(target: PackTarget, folder: string): Promise<void> {
  const { resolve: find } = createRequire(import.meta.url);
  await mkdir(folder);
  const copy = (from: string, name: string) =>
    copyFile(from, join(folder, name)).catch((cause: NodeJS.ErrnoException) => {
      throw new Refusal('pack/natives', `${from} cannot be copied (${cause.code}); install Tremolo's packages again`, { cause });
    });
  if (target.onnxruntime) {
    const libraries = join(dirname(find('onnxruntime-node')), '..', 'bin', 'napi-v6', target.onnxruntime);
    for (const name of ['onnxruntime_binding.node', 'libonnxruntime.so.1']) await copy(join(libraries, name), name);
  }
  const serialport = createRequire(find('serialport'));
  const prebuilds = join(dirname(serialport.resolve('@serialport/bindings-cpp')), '..', 'prebuilds');
  for (const [name, prebuild] of Object.entries(target.serial)) await copy(join(prebuilds, prebuild), `${name}.node`);
}

/** The parts that a gateway uses: `core` decides, `adapt` learns. Checked on the way. */
async function copyBundle(from: string, to: string): Promise<Packed['bundle']> {
  const { manifest, digest } = await readBundle(from);
  const parts = manifest.parts.adapt ? (['core', 'adapt'] as const) : (['core'] as const);
  const { files } = await readBundle(from, parts);
  await mkdir(to);
  for (const [name, bytes] of files) await writeFile(join(to, name), bytes);
  await copyFile(join(from, FILES.manifest), join(to, FILES.manifest));
  if ((await readBundle(to, parts)).digest !== digest)
    throw new Refusal('pack/bundle', `${from} was replaced while it was read; start again`);
  return { name: manifest.name, digest };
}

async function copyNode(program: string, name: PackTargetName, { elfMachine }: PackTarget, folder: string): Promise<void> {
  const machine = await elfMachineOf(program);
  if (machine === undefined) throw new Refusal('pack/node', `${program} is not a program for Linux; name Node's own program`);
  if (elfMachine !== undefined && machine !== elfMachine)
    throw new Refusal('pack/node', `${program} runs on another processor than ${name}; name a Node for ${name} with --node`);
  await mkdir(join(folder, 'node', 'bin'), { recursive: true });
  await copyFile(program, join(folder, 'node', 'bin', 'node'));
  await chmod(join(folder, 'node', 'bin', 'node'), 0o755);
}

/** e_machine of an ELF file (System V ABI, ELF header), little-endian; undefined where it is none. */
async function elfMachineOf(path: string): Promise<number | undefined> {
  const file = await open(path).catch((cause: NodeJS.ErrnoException) => {
    throw new Refusal('pack/node', `${path} cannot be read (${cause.code})`, { cause });
  });
  try {
    const header = Buffer.alloc(20);
    const { bytesRead } = await file.read(header, 0, header.length, 0);
    return bytesRead === 20 && header.readUInt32BE(0) === 0x7f454c46 ? header.readUInt16LE(18) : undefined;
  } finally {
    await file.close();
  }
}

async function bytesBelow(path: string): Promise<number> {
  const about = await stat(path);
  if (!about.isDirectory()) return about.size;
  const sizes = await Promise.all((await readdir(path)).map((name) => bytesBelow(join(path, name))));
  return sizes.reduce((sum, size) => sum + size, 0);
}

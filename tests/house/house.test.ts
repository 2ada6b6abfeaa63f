import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { dirname, join, normalize } from 'node:path';
import { describe, expect, it } from 'vitest';

const ROOT = new URL('../..', import.meta.url).pathname;
const read = (path: string) => readFileSync(join(ROOT, path), 'utf8');
const tracked = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], { cwd: ROOT, encoding: 'utf8' })
  .trim()
  .split('\n');
const sources = tracked.filter((path) => path.endsWith('.ts'));

/** Who may look at whom. */
const ARROWS: Record<string, readonly string[]> = {
  'firmware-bridge': [],
  models: [],
  runtime: ['firmware-bridge', 'models'],
  trainer: ['firmware-bridge', 'models', 'runtime'],
  benchmarks: ['firmware-bridge', 'models', 'runtime', 'trainer'],
  tests: ['firmware-bridge', 'models', 'runtime', 'trainer', 'benchmarks'],
};

/** Module names that a source imports, dynamically too. */
function importsOf(path: string): string[] {
  return [...read(path).matchAll(/(?:from|import)\s*\(?\s*'([^']+)'/g)].map(([, name]) => name);
}

const roomOf = (path: string) => path.slice(0, path.indexOf('/'));

describe('the house', () => {
  it('has the fixed top level and nothing else', () => {
    const fixed =
      /^(package\.json|package-lock\.json|runtime|trainer|firmware-bridge|models|benchmarks|tests|README\.md|LICENSE|SECURITY\.md|tsconfig.*|\..+)$/;
    expect([...new Set(tracked.map((path) => path.split('/')[0]))].filter((name) => !fixed.test(name))).toEqual([]);
  });

  it('keeps to its arrows', () => {
    const broken = sources.flatMap((path) =>
      importsOf(path)
        .filter((name) => name.startsWith('.'))
        .map((name) => normalize(join(dirname(path), name)))
        .filter((target) => roomOf(target) !== roomOf(path) && !ARROWS[roomOf(path)]?.includes(roomOf(target)))
        .map((target) => `${path} -> ${target}`),
    );
    expect(broken).toEqual([]);
  });

  it('makes a broken arrow a compile error: the projects refer to each other along the arrows only', () => {
    const projects = tracked.filter((path) => /\/tsconfig[^/]*\.json$/.test(path));
    expect(projects.length).toBeGreaterThan(8);
    for (const project of projects) {
      const { references = [] } = JSON.parse(read(project)) as { references?: { path: string }[] };
      for (const { path } of references) {
        const target = roomOf(`${normalize(join(dirname(project), path))}/`);
        expect([roomOf(project), ...ARROWS[roomOf(project)]], `${project} -> ${path}`).toContain(target);
      }
    }
  });

  it('has no path aliases and no import by its own name', () => {
    for (const path of tracked.filter((name) => /tsconfig[^/]*\.json$/.test(name)))
      expect(read(path), path).not.toMatch(/"(paths|baseUrl)"/);
    const { name } = JSON.parse(read('package.json')) as { name: string };
    expect(sources.filter((path) => importsOf(path).some((other) => other === name || other.startsWith(`${name}/`)))).toEqual([]);
  });

  it('compiles its pure rooms without the types of Node', () => {
    for (const room of ['firmware-bridge', 'models', 'runtime']) {
      const { compilerOptions, include } = JSON.parse(read(`${room}/tsconfig.pure.json`)) as {
        compilerOptions: { types: string[] };
        include: string[];
      };
      expect(compilerOptions.types, room).toEqual([]);
      const pure = sources.filter((path) => include.some((folder) => path.startsWith(`${room}/${folder}`)));
      expect(pure.length, room).toBeGreaterThan(0);
      expect(
        pure.filter((path) => importsOf(path).some((name) => name.startsWith('node:'))),
        room,
      ).toEqual([]);
    }
  });
});

interface Metafile {
  outputs: Record<
    string,
    { entryPoint?: string; inputs: Record<string, unknown>; imports: { path: string; kind: string; external?: boolean }[] }
  >;
}

describe('the packed device', () => {
  const { outputs } = JSON.parse(read('dist/device.meta.json')) as Metafile;
  /** Output files that a program loads: at once, or ever. */
  const reach = (entry: string, kinds: readonly string[]) => {
    const seen = new Set<string>();
    const visit = (name: string) => {
      if (seen.has(name) || !outputs[name]) return;
      seen.add(name);
      for (const { path, kind } of outputs[name].imports) if (kinds.includes(kind)) visit(path);
    };
    visit(Object.keys(outputs).find((name) => outputs[name].entryPoint === entry)!);
    return [...seen].flatMap((name) => Object.keys(outputs[name].inputs));
  };
  const AT_ONCE = ['import-statement', 'require-call'];
  const entries = ['runtime/program.ts', 'runtime/worker.ts', 'runtime/io/adapt-worker.ts'];

  it.each(entries)('%s loads no tfjs when it starts', (entry) => {
    const inputs = reach(entry, AT_ONCE);
    expect(inputs.length).toBeGreaterThan(10);
    expect(inputs.filter((path) => path.includes('@tensorflow'))).toEqual([]);
  });

  it('has tfjs in the lazy chunk of the wasm engine only', () => {
    const all = reach('runtime/worker.ts', [...AT_ONCE, 'dynamic-import']);
    expect(all.some((path) => path.includes('tfjs-backend-wasm'))).toBe(true);
    expect(reach('runtime/main.ts', [...AT_ONCE, 'dynamic-import']).filter((path) => path.includes('@tensorflow'))).toEqual([]);
  });

  it.each(entries)('%s holds nothing of the trainer, the benchmarks or the tests', (entry) => {
    const inputs = reach(entry, [...AT_ONCE, 'dynamic-import']);
    expect(inputs.filter((path) => /^(trainer|benchmarks|tests)\//.test(path))).toEqual([]);
  });

  it('needs no package at run time but the two with native libraries', () => {
    const external = Object.values(outputs).flatMap(({ imports }) => imports.filter((one) => one.external).map(({ path }) => path));
    const packages = [...new Set(external)].filter((path) => !isBuiltin(path));
    // ws asks for its two accelerators, node-fetch for encoding, debug for supports-color, inside a try block, and do without them.
    const known = ['bufferutil', 'encoding', 'onnxruntime-node', 'serialport', 'supports-color', 'utf-8-validate'];
    expect(packages.filter((name) => !known.includes(name))).toEqual([]);
    expect(packages).toContain('onnxruntime-node');
    expect(packages).toContain('serialport');
  });
});

// Builds dist/: the tremolo command, the gateway, and the inference worker. Runs in the package's `prepare` step.
import { chmodSync, copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { mqttOnDemand } from './mqtt-on-demand.js';
import { natives } from './natives.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const dist = `${root}dist`;

/** What cannot be bundled: native libraries, found in node_modules at run time. */
const external = ['onnxruntime-node', 'serialport', '@tensorflow/tfjs-node', 'libsql'];

const common = {
  absWorkingDir: root,
  bundle: true,
  platform: 'node',
  target: 'node20.19',
  format: 'esm',
  splitting: true,
  external,
  outdir: dist,
  sourcemap: 'linked',
  metafile: true,
  logLevel: 'warning',
  define: {
    'process.env.NODE_ENV': '"production"',
    TREMOLO_VERSION: JSON.stringify(JSON.parse(readFileSync(`${root}package.json`, 'utf8')).version),
    // The convention of reproducible builds, in seconds.
    TREMOLO_BUILT_MS: String(1000 * Number(process.env.SOURCE_DATE_EPOCH ?? Math.floor(Date.now() / 1000))),
  },
  // CommonJS dependencies call require() and ask for __dirname; an ES module has neither of its own.
  banner: {
    js: [
      "import { createRequire as __createRequire } from 'node:module';",
      'const require = __createRequire(import.meta.url);',
      'const __dirname = import.meta.dirname;',
    ].join(' '),
  },
};

mkdirSync(dist, { recursive: true });
for (const name of ['device', 'arm']) rmSync(`${dist}/${name}`, { recursive: true, force: true });
for (const name of readdirSync(dist)) if (/\.(js|map|wasm|json)$/.test(name)) rmSync(`${dist}/${name}`);

// Two builds, so that no chunk is shared between the device and the server: the metafile of the first is the device.
const devicePrograms = {
  gateway: 'runtime/main.ts',
  'inference-worker': 'runtime/worker.ts',
  'adapt-worker': 'runtime/io/adapt-worker.ts',
};
// Each thread keeps the text of its program in memory, and a single letter beyond Latin-1 in a comment doubles it.
const small = { minifyWhitespace: true, minifySyntax: true };
const device = await build({
  ...common,
  ...small,
  entryPoints: devicePrograms,
  plugins: [mqttOnDemand],
  chunkNames: 'gateway-[name]-[hash]',
});
// The same programs as `tremolo pack` ships them: without node_modules.
const packed = await build({
  ...common,
  ...small,
  entryPoints: devicePrograms,
  external: [],
  plugins: [natives, mqttOnDemand],
  outdir: `${dist}/device`,
  sourcemap: false,
});
// Runs in the folder of a packed gateway on an emulated processor: benchmarks/arm.
await build({
  ...common,
  entryPoints: { 'arm-program': 'benchmarks/arm/program.ts' },
  external: [],
  plugins: [natives],
  outdir: `${dist}/arm`,
  sourcemap: false,
});
const server = await build({
  ...common,
  entryPoints: {
    tremolo: 'trainer/main.ts',
    'training-worker': 'trainer/train/parallel-worker.ts',
    bench: 'benchmarks/main.ts',
    'adapt-once': 'benchmarks/adapt/program.ts',
    'push-gateways': 'benchmarks/push/gateways.ts',
    'stream-load': 'benchmarks/streams/load-generator.ts',
    'stream-probe': 'benchmarks/streams/probe.ts',
    'field-probe': 'benchmarks/field/probe.ts',
    'field-tfjs': 'models/engine/wasm-engine.ts',
    'soak-watch': 'benchmarks/soak/watch-process.ts',
  },
  chunkNames: 'tremolo-[name]-[hash]',
});
writeFileSync(`${dist}/device.meta.json`, JSON.stringify(device.metafile));
writeFileSync(`${dist}/packed.meta.json`, JSON.stringify(packed.metafile));
writeFileSync(`${dist}/server.meta.json`, JSON.stringify(server.metafile));
chmodSync(`${dist}/tremolo.js`, 0o755);
const wasm = `${root}node_modules/@tensorflow/tfjs-backend-wasm/wasm-out`;
for (const name of ['tfjs-backend-wasm.wasm', 'tfjs-backend-wasm-simd.wasm']) copyFileSync(`${wasm}/${name}`, `${dist}/${name}`);
// Inlined into the pages of `tremolo bench --html`: text to this program, no module of it.
copyFileSync(`${root}node_modules/uplot/dist/uPlot.iife.min.js`, `${dist}/uplot.txt`);
copyFileSync(`${root}node_modules/uplot/dist/uPlot.min.css`, `${dist}/uplot.css`);
